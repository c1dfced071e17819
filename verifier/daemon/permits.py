"""What stands between a candidate and a session: policy, machine time, the clock, and the lease.

Every session is asked for here, and every run of one is told from here: to the metrics, to the day's account
of machine time, to a person's terminal.

With ``claim_first`` the review is claimed before the first run, and a session that cannot end inside the
lease is never begun: a lease cannot be handed back for 24 hours. A proposal whose lease ran out here is not
claimed first again. Otherwise nothing is claimed before the verdict is ready, and only the proposal's week
counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from armlx_chain.chain.basis import Basis, Standing
from armlx_chain.chain.contracts import Project, Proposal, ProposalLedger
from verifier.daemon.admission import Admission, open_before
from verifier.daemon.cyclelog import CycleLog, Phase
from verifier.daemon.gold import gold_key
from verifier.daemon.mode import ModeKeeper
from verifier.daemon.observer import Observer
from verifier.daemon.settle import Settler
from verifier.daemon.timing import Term, no_time
from verifier.daemon.usage import Usage, day_of
from verifier.executors.interface import Bench
from verifier.session import Progress, ProgressCallback
from verifier.verdict.constants import ALLOWED_VOIDS

__all__ = ["Left", "Permits", "Sessions"]

_SPARE_PAIRS: Final = ALLOWED_VOIDS + 1
"""A session may run so many more than those that count: one that is voided, and a failed audit's repeat."""


@dataclass(frozen=True, slots=True)
class Left:
    """Nothing is run, for the reason that the sentence gives; what was found before stands."""

    sentence: str


class Sessions(Protocol):
    """Who is asked before a session, and told of it."""

    def measuring(self, bench: Bench) -> AbstractContextManager[None]:
        """Around whatever finds the machine's noise."""
        ...

    def permit(self, proposal: Proposal, bench: Bench, further: int) -> int | Left:
        """How many of so many further pairs may be run now."""
        ...

    def session(self, proposal: Proposal, bench: Bench) -> AbstractContextManager[ProgressCallback]:
        """Around a session that was permitted."""
        ...


class Permits:
    """Permits sessions of one verifier account.

    Args:
        show: Shows a person what happens in a session.
        clock: Seconds since 1970, UTC; the day's account of machine time goes by it.
        claim_first: Claim the review before the first run.
    """

    def __init__(
        self,
        *,
        ledger: ProposalLedger,
        settler: Settler,
        log: CycleLog,
        usage: Usage,
        admission: Admission,
        modes: ModeKeeper,
        observer: Observer,
        show: ProgressCallback,
        clock: Callable[[], float],
        claim_first: bool = False,
    ) -> None:
        self._ledger = ledger
        self._settler = settler
        self._log = log
        self._usage = usage
        self._admission = admission
        self._modes = modes
        self._observer = observer
        self._show = show
        self._clock = clock
        self._claim_first = claim_first

    def refusal(
        self, proposal: Proposal, project: Project, supply: int, others: Iterable[Proposal]
    ) -> str | None:
        """Why this validator's own policy does not run it, if it does not."""
        return self._admission.refusal(
            proposal,
            project,
            supply=supply,
            open_before=open_before(proposal, others),
            used_seconds=self._usage.used(int(project.id), day_of(self._clock())),
        )

    def week(self, proposal: Proposal) -> Term:
        """From then on anybody may expire it."""
        return Term("its week", proposal.submitted_at + self._ledger.expiry_window_seconds())

    @contextmanager
    def measuring(self, bench: Bench) -> Iterator[None]:
        """Charge what finds the machine's noise; where it is known that takes no time."""
        project, lane = int(bench.materials.project.id), bench.machine_id
        with self._usage.spending(project, lane=lane, now=self._clock, expected=None):
            yield

    @contextmanager
    def preparing(self, project: Project, machine: str) -> Iterator[None]:
        """Charge what makes a project ready: programs of its own run there, as long as they like within their
        limit, and they may fail each time."""
        with self._usage.spending(int(project.id), lane=machine, now=self._clock, expected=None):
            yield

    def permit(self, proposal: Proposal, bench: Bench, further: int) -> int | Left:
        """How many pairs may be run now; claims the review first where that was asked for.

        Raises:
            PreconditionFailed, ContractRevert: the review cannot be claimed.
        """
        project = bench.materials.project
        used = self._usage.used(int(project.id), day_of(self._clock()))
        allowed = self._admission.pairs_left(used, pair_seconds=bench.session_seconds(1), most=further)
        if allowed == 0:
            return Left("its project has had the machine time that this validator's policy gives it in a day")
        terms = [self.week(proposal)]
        claims = self._claims_first(proposal, bench)
        now = self._ledger.rpc.block("latest").timestamp
        if claims:
            terms.append(self._lease(proposal, now))
        late = no_time(now, bench.session_seconds(allowed + _SPARE_PAIRS), *terms)
        if late is not None:
            return Left(late)
        if claims:
            self._settler.claim(proposal, Basis.of(project))
            self._log.note(proposal.id, project.id, Phase.CLAIMED, "its review is claimed", self._second())
        self._log.note(proposal.id, project.id, Phase.JUDGING, f"up to {allowed} pairs", self._second())
        self._log.pin(proposal.id, bench.machine_id)
        return allowed

    def _claims_first(self, proposal: Proposal, bench: Bench) -> bool:
        """Once: a lease that ran out shows that nothing is decided in time here. Claimed again and again, a
        proposal would be kept from all other verifiers until its week is over."""
        is_wanted = self._claim_first and self._modes.hindrance_on(gold_key(bench)) is None
        return is_wanted and not self._settler.has_lapsed(proposal)

    def _lease(self, proposal: Proposal, now: int) -> Term:
        """The lease that is held, or the one that would be claimed."""
        standing = self._settler.standing(proposal)
        if standing in (Standing.OURS, Standing.ENDING):
            held = self._ledger.find_proposal(proposal.id) or proposal
            return Term("the lease", held.review_lock_until)
        return Term("the lease", now + self._ledger.review_lock_seconds())

    @contextmanager
    def session(self, proposal: Proposal, bench: Bench) -> Iterator[ProgressCallback]:
        """Charge and tell every run of a session."""
        project = int(bench.materials.project.id)
        pair = bench.session_seconds(1)
        per_run = None if pair is None else pair / 2
        with self._usage.session(
            project, lane=bench.machine_id, now=self._clock, run_seconds=per_run
        ) as meter:

            def tell(progress: Progress) -> None:
                meter(progress)
                if progress.record is not None and progress.role is not None:
                    self._observer.run_ended(progress.role, progress.record, progress.record.wall_seconds)
                self._show(progress)

            yield tell

    def _second(self) -> int:
        return int(self._clock())
