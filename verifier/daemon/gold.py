"""A gold run: the published baseline, judged here like a stranger's candidate, before anything is signed.

- The unmodified snapshot goes the whole way of a candidate: gate, sandbox, deadline, trusted evaluation,
  audits, pairs and rule, on whichever machine the executor has. What is measured is known beforehand.
- It passes where the machine is in the state in which it was calibrated: every run of the snapshot ended with
  a model in time, passed the audits and scored within the rule's own band for controls; the mean of the runs
  is within m of the calibrated mean (m is the smallest gain this machine claims to tell from noise); and,
  where the snapshot is the control as well, the rule found no improvement, no cheat and no reason to doubt.
- The figure that was published with the project is shown beside it and decides nothing: absolute numbers do
  not travel between machines.
- Whatever fails on this side (a sandbox that does not start, too few undisturbed runs) is no pass.

::

    found = run_gold(bench, seed=secrets.token_bytes(32), run_folder=folder, progress=progress)
    modes.gold(found.passed, found.sentence, found.key)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import VerifierFault
from armlx_chain.formats.canonical import canonical_json
from verifier.executors.interface import Bench
from verifier.harness.staging import TRAIN
from verifier.judgement import Trial
from verifier.model import Bpb, Noise, Outcome, Pair, Reason, RunRecord, Verdict
from verifier.session import ProgressCallback
from verifier.verdict.case import REQUIRED_AUDITS, failed_audits, passes
from verifier.verdict.rule import Test
from verifier.verdict.statistics import mean
from verifier.verdict.voiding import Band, void_reason

__all__ = ["GOLD_PAIRS", "GOLD_RUNS", "GoldRun", "assess_gold", "gold_key", "run_gold"]

GOLD_RUNS: Final = 3
"""Undisturbed runs of the snapshot that a gold run needs. Our choice: the mean of three differs from that of
twenty by more than m (at least 2s) once in seven hundred times, if nothing has changed."""
GOLD_PAIRS: Final = 3
"""Pairs of one session: a no-op is refused after three."""
_SESSIONS: Final = 3
"""A control that is much better than the snapshot ends a session after one pair; then more are run."""


@dataclass(frozen=True, slots=True)
class GoldRun:
    """What a gold run found.

    Attributes:
        key: The machine it holds for (``gold_key``).
        sentence: Why it passed or did not, for a person.
        scores: Validation bits per byte of the snapshot's runs, in order.
        mean, calibrated, allowed: Their mean, the calibration's, and m; ``None`` where nothing was scored.
        published: The metric published with the project, if its record can be had; measured elsewhere.
    """

    passed: bool
    key: str
    sentence: str
    scores: tuple[Bpb, ...] = ()
    mean: Bpb | None = None
    calibrated: Bpb | None = None
    allowed: Bpb | None = None
    published: Decimal | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``; figures are text."""
        figures = {
            "mean": self.mean,
            "calibrated": self.calibrated,
            "allowed": self.allowed,
            "published": self.published,
        }
        return {
            "passed": self.passed,
            "machine": self.key,
            "sentence": self.sentence,
            "scores": [str(score) for score in self.scores],
            **{name: None if figure is None else str(figure) for name, figure in figures.items()},
        }


def gold_key(bench: Bench) -> str:
    """The machine, hardware class and environment that a gold run holds for; canonical text."""
    return canonical_json(
        {
            "class": bench.hardware_class,
            "environment": bench.environment_digest,
            "machine": bench.machine_id,
        }
    ).decode()


def run_gold(bench: Bench, *, seed: bytes, run_folder: Path, progress: ProgressCallback) -> GoldRun:
    """Judge the unmodified snapshot as if it were a candidate.

    Args:
        seed: A local one; nobody's stake depends on it.
        run_folder: Where the runs and their logs go.

    Raises:
        VerifierFault: no calibration holds here, or the snapshot has no program.
        Interrupted: the executor was stopped.
    """
    train = bench.materials.snapshot.get(TRAIN)
    if train is None:
        raise VerifierFault(f"The project's snapshot has no {TRAIN}, so there is no baseline to reproduce.")
    files, noise = {TRAIN: train}, bench.noise()
    verdicts: list[Verdict] = []
    refused = bench.precheck(files)
    if refused is not None:
        verdicts.append(refused)
    while refused is None and len(verdicts) < _SESSIONS:
        found = bench.judge(
            Trial(
                files,
                noise,
                seed,
                run_folder=run_folder / f"session-{len(verdicts) + 1}",
                progress=progress,
                pairs=GOLD_PAIRS,
            )
        )
        verdicts.append(found)
        if (
            found.reason is Reason.VERIFIER_FAULT
            or len(_undisturbed(_baselines(bench, verdicts))) >= GOLD_RUNS
        ):
            break
    return assess_gold(bench, noise, verdicts)


def assess_gold(bench: Bench, noise: Noise, verdicts: Sequence[Verdict]) -> GoldRun:
    """What these sessions say of the machine. Pure."""
    test, records = Test.of(noise), _baselines(bench, verdicts)
    counted = _undisturbed(records)
    scores = tuple(record.validation for record in counted if record.validation is not None)
    centre = noise.control_mean if noise.control_mean is not None else mean(noise.scores)
    found = mean(scores) if scores else None
    problem = _rule_problem(bench, verdicts) or _problem(noise, test, counted, found, centre)
    sentence = problem or (
        f"{len(scores)} runs of the published baseline scored {found} bits per byte on average, within "
        f"{test.m} of the {centre} this machine was calibrated with."
    )
    published = bench.materials.baseline_metric
    if published is not None and found is not None:
        sentence += f" Published, on its publisher's machine: {published}."
    return GoldRun(
        passed=problem is None,
        key=gold_key(bench),
        sentence=sentence,
        scores=scores,
        mean=found,
        calibrated=centre,
        allowed=Bpb(test.m),
        published=published,
    )


def _baselines(bench: Bench, verdicts: Sequence[Verdict]) -> list[RunRecord]:
    """The runs of the unmodified snapshot, in the order of pairs."""
    records: list[RunRecord] = []
    for verdict in verdicts:
        for pair in verdict.pairs:
            if bench.materials.control_is_baseline:
                records.append(pair.control)
            records.append(pair.candidate)
    return records


def _undisturbed(records: Sequence[RunRecord]) -> list[RunRecord]:
    return [record for record in records if not record.disturbances]


def _problem(
    noise: Noise, test: Test, records: Sequence[RunRecord], found: Bpb | None, centre: Bpb
) -> str | None:
    """What is wrong with the runs themselves."""
    band = Band.of(noise, test, (), control_is_baseline=True)
    for record in records:
        failed = failed_audits(record)
        if failed:
            names = ", ".join(sorted({audit.kind.value for audit in failed}))
            return f"The published baseline failed an audit here ({names}): the fault is this machine's."
        outside = void_reason(Pair(control=record, candidate=record), band)
        if outside is not None:
            return f"The published baseline was not reproduced: {outside}"
        missing = [kind.value for kind in REQUIRED_AUDITS if not passes(record, kind)]
        if missing:
            return f"An audit was not carried out on the published baseline ({', '.join(missing)})."
    if len(records) < GOLD_RUNS or found is None:
        return (
            f"Only {len(records)} undisturbed runs of the published baseline, where {GOLD_RUNS} are needed."
        )
    if abs(found - centre) > test.m:
        return (
            f"{len(records)} runs of the published baseline scored {found} bits per byte on average, further "
            f"than {test.m} from the {centre} this machine was calibrated with. Calibrate it again, at rest."
        )
    return None


def _rule_problem(bench: Bench, verdicts: Sequence[Verdict]) -> str | None:
    """What is wrong with how they were judged."""
    for verdict in verdicts:
        if verdict.reason in (Reason.VERIFIER_FAULT, Reason.GATE):
            return f"The published baseline could not be judged: {verdict.explanation}"
        if verdict.outcome is Outcome.REFUTED:
            return f"The published baseline was refuted: {verdict.explanation}"
        if not bench.materials.control_is_baseline:
            continue
        if verdict.outcome is Outcome.REPRODUCED:
            return f"The published baseline was judged better than itself: {verdict.explanation}"
        if verdict.outcome is Outcome.UNDECIDED and verdict.reason is not Reason.MORE_PAIRS_NEEDED:
            return f"The published baseline could not be judged against itself: {verdict.explanation}"
    return None
