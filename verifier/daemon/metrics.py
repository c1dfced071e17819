"""The daemon's figures for Prometheus.

- Every name begins with ``armlx_`` and ends in its unit; counters in ``_total``.
- Every combination of labels is there, at zero, from the first scrape: a rate over a series that does not
  exist yet says nothing, and an alert on it never fires. Labels come from closed lists only, so that no
  stranger decides how many series there are.
- A registry of its own: nothing of this process, its host or another library is shown.
- Safe to call from several threads; never raises for what it is told.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import product
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from armlx_chain import __version__
from verifier.daemon.observer import Alarm, CycleOutcome
from verifier.daemon.results import Result, Step
from verifier.daemon.sorting import Kind, Sorted, Weight
from verifier.model import Ending, Outcome, Reason, Role, RunRecord

__all__ = ["CONTENT_TYPE", "MODES", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MODES: Final = ("dry", "live")
_CYCLE_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)
_RUN_BUCKETS = (1, 5, 15, 60, 180, 300, 450, 600, 900, 1800, 3600)
_KNOWN_PROPOSALS: Final = 10_000
"""Verdicts remembered, so that one that is met again in a later cycle is not counted again."""
_WEI = 10**18


class _CycleFigures:
    """Figures of the cycles."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.cycles = Counter(
            "armlx_cycles_total", "Cycles by how they ended.", ["outcome"], registry=registry
        )
        self.seconds = Histogram(
            "armlx_cycle_seconds", "Wall time of a cycle.", registry=registry, buckets=_CYCLE_BUCKETS
        )
        self.running = Gauge("armlx_cycle_running", "1 while a cycle runs.", registry=registry)
        self.last = Gauge(
            "armlx_last_cycle_timestamp_seconds", "When the last cycle ended; Unix time.", registry=registry
        )
        self.last_good = Gauge(
            "armlx_last_good_cycle_timestamp_seconds",
            "When the last cycle that was done ended; Unix time.",
            registry=registry,
        )
        self.errors = Counter(
            "armlx_errors_total",
            "Errors by what the daemon did next and where the trouble lay.",
            ["weight", "kind"],
            registry=registry,
        )
        self.alarms = Counter(
            "armlx_alarms_total", "What a person should have seen at once.", ["alarm"], registry=registry
        )
        for outcome in CycleOutcome:
            self.cycles.labels(outcome.value)
        for weight, kind in product(Weight, Kind):
            self.errors.labels(weight.value, kind.value)
        for alarm in Alarm:
            self.alarms.labels(alarm.value)


class _ProposalFigures:
    """Figures of proposals and runs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.considered = Counter(
            "armlx_proposals_considered_total",
            "Looks at proposals by what became of them; one proposal is looked at in many cycles.",
            ["step"],
            registry=registry,
        )
        self.seconds = Histogram(
            "armlx_proposal_seconds",
            "Wall time of one look at one proposal, runs included.",
            registry=registry,
            buckets=_CYCLE_BUCKETS,
        )
        self.queue = Gauge(
            "armlx_queue_proposals", "Proposals of the last cycle by their step.", ["step"], registry=registry
        )
        self.verdicts = Counter(
            "armlx_verdicts_total",
            "Verdicts met by this process, each proposal's again only where it changed.",
            ["outcome"],
            registry=registry,
        )
        self.reasons = Counter(
            "armlx_verdict_reasons_total",
            "The same verdicts by deciding reason.",
            ["reason"],
            registry=registry,
        )
        self.runs = Counter(
            "armlx_runs_total", "Runs under the harness.", ["role", "ending"], registry=registry
        )
        self.run_seconds = Histogram(
            "armlx_run_seconds", "Wall time of a run.", ["role"], registry=registry, buckets=_RUN_BUCKETS
        )
        self.cpu = Counter(
            "armlx_run_cpu_seconds_total", "Processor time of runs.", ["role"], registry=registry
        )
        self.memory = Gauge(
            "armlx_run_peak_memory_bytes", "Peak memory of the last run.", ["role"], registry=registry
        )
        self.disturbed = Counter(
            "armlx_runs_disturbed_total", "Runs that something disturbed.", ["role"], registry=registry
        )
        self._prepare()

    def _prepare(self) -> None:
        for step in Step:
            self.considered.labels(step.value)
            self.queue.labels(step.value)
        for outcome in Outcome:
            self.verdicts.labels(outcome.value)
        for reason in Reason:
            self.reasons.labels(reason.value)
        for role in Role:
            for ending in Ending:
                self.runs.labels(role.value, ending.value)
            for family in (self.run_seconds, self.cpu, self.memory, self.disturbed):
                family.labels(role.value)


class _StandingFigures:
    """Figures of what stands at the end of a cycle."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.build = Gauge("armlx_build_info", "1; the version is a label.", ["version"], registry=registry)
        self.build.labels(__version__).set(1)
        self.started = Gauge(
            "armlx_start_timestamp_seconds", "When this process began; Unix time.", registry=registry
        )
        self.mode = Gauge("armlx_mode", "1 for the mode that holds.", ["mode"], registry=registry)
        for mode in MODES:
            self.mode.labels(mode)
        self.balance = Gauge(
            "armlx_account_balance_coins", "Native coin of the account, in whole coins.", registry=registry
        )
        self.pending = Gauge(
            "armlx_pending_rejections", "Rejections that wait for a person.", registry=registry
        )
        self.machines = Gauge("armlx_machines", "Machines that take sessions now.", registry=registry)


class Metrics:
    """An observer that counts.

    Args:
        now: Unix time.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        # Otherwise a second series beside every counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        self._now = now
        self._cycles = _CycleFigures(self.registry)
        self._proposals = _ProposalFigures(self.registry)
        self._standing = _StandingFigures(self.registry)
        self._standing.started.set(now())
        self._verdicts: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._turn = threading.Lock()

    def text(self) -> bytes:
        """What a scrape gets."""
        return bytes(generate_latest(self.registry))

    # --- an observer ---------------------------------------------------------------------------------

    def cycle_began(self, cycle_id: str) -> None:
        self._cycles.running.set(1)

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        figures, moment = self._cycles, self._now()
        known = str(outcome) if str(outcome) in set(CycleOutcome) else CycleOutcome.BROKEN_OFF.value
        figures.cycles.labels(known).inc()
        figures.seconds.observe(max(seconds, 0.0))
        figures.running.set(0)
        figures.last.set(moment)
        if known == CycleOutcome.DONE:
            figures.last_good.set(moment)
            queue = Tally(result.step for result in results)
            for step in Step:
                self._proposals.queue.labels(step.value).set(queue[step])

    def proposal_began(self, proposal_id: int, project_id: int) -> None:
        """Nothing is counted before something came of it."""

    def proposal_ended(self, result: Result, seconds: float) -> None:
        figures = self._proposals
        figures.considered.labels(result.step.value).inc()
        figures.seconds.observe(max(seconds, 0.0))
        if self._is_news(result):
            figures.verdicts.labels(str(result.outcome)).inc()
            figures.reasons.labels(str(result.reason)).inc()

    def _is_news(self, result: Result) -> bool:
        """Whether this verdict is another than the last one on this proposal. What an earlier process found
        (``Step.KNOWN``) is none of this one's."""
        verdict = (str(result.outcome), str(result.reason))
        if verdict[0] not in set(Outcome) or verdict[1] not in set(Reason):
            return False
        with self._turn:
            before = self._verdicts.pop(int(result.proposal_id), None)
            self._verdicts[int(result.proposal_id)] = verdict
            if len(self._verdicts) > _KNOWN_PROPOSALS:
                self._verdicts.popitem(last=False)
        return before != verdict and result.step is not Step.KNOWN

    def run_ended(self, role: Role, record: RunRecord, seconds: float) -> None:
        figures = self._proposals
        figures.runs.labels(role.value, record.ending.value).inc()
        figures.run_seconds.labels(role.value).observe(max(seconds, 0.0))
        figures.cpu.labels(role.value).inc(max(record.cpu_seconds, 0.0))
        figures.memory.labels(role.value).set(record.peak_memory_bytes)
        if record.disturbances:
            figures.disturbed.labels(role.value).inc()

    def fault(self, sorted_: Sorted, /) -> None:
        self._cycles.errors.labels(sorted_.weight.value, sorted_.kind.value).inc()

    def alarm(self, name: str, sentence: str) -> None:
        known = str(name) if str(name) in set(Alarm) else Alarm.OTHER.value
        self._cycles.alarms.labels(known).inc()

    # --- what stands ---------------------------------------------------------------------------------

    def mode(self, mode: str) -> None:
        """The mode that holds now: one of ``MODES``."""
        for known in MODES:
            self._standing.mode.labels(known).set(known == str(mode))

    def balance(self, wei: int) -> None:
        """What the account has, in wei."""
        self._standing.balance.set(wei / _WEI)

    def pending_rejections(self, number: int) -> None:
        """How many rejections wait for a person."""
        self._standing.pending.set(number)

    def machines(self, number: int) -> None:
        """How many machines take sessions now."""
        self._standing.machines.set(number)
