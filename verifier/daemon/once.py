"""One pass over the open proposals: each is brought as far as it can be brought now.

For each proposal, those of a project in order of id:

- what was decided earlier is carried on from where it stopped, never decided again, and a test that wants
  more pairs is continued; transactions that an earlier process signed are finished first (in dry mode nothing
  is sent);
- anything else is judged (``judge``); what is missing is not there yet, and later proposals of the project
  wait behind it, for an hour.

``VerifierFault`` anywhere ends in "undecided": nothing is sent, others may try. No proposal or project,
however malformed, stops the pass for the others; what does stop it is sorted in one place (``sorting``). One
process of an account at a time: the account's lock is held throughout.

With several machines several projects are worked on side by side (``lanes``), and what arrives meanwhile is
taken up by whichever machine is free.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from armlx_chain.chain.contracts import Project, Proposal
from armlx_chain.errors import (
    ArmlxError,
    ContentMismatch,
    ContractRevert,
    FormatError,
    StorageError,
    VerifierFault,
)
from armlx_chain.types import ProjectId, ProposalId
from verifier.daemon.cyclelog import CycleLog, Phase
from verifier.daemon.finish import Finisher
from verifier.daemon.judge import Contracts, Judge, Library
from verifier.daemon.lanes import Baton, Board, Item, run_lanes, shared
from verifier.daemon.listing import require_listed
from verifier.daemon.mode import Mode, ModeKeeper
from verifier.daemon.observer import Observer
from verifier.daemon.results import Result, Step, result_of
from verifier.daemon.settle import Settler
from verifier.daemon.sorting import Sortable, Weight, sort
from verifier.daemon.store import FINAL, Finding, FindingStore
from verifier.executors.interface import Bench, Executor
from verifier.model import Outcome

__all__ = ["Contracts", "Library", "Surroundings", "Validator"]

log = logging.getLogger(__name__)

ARTIFACT_GRACE_SECONDS = 3600
"""Later proposals of a project wait this long for an earlier one's artifacts, not for ever: otherwise a miner
who never uploads would stop the project for a week."""


REFILL_SECONDS = 3600.0
"""A pass takes up what arrives while other lanes work, but not for ever: housekeeping waits for its end."""


AGAIN_SECONDS = 3600.0
"""How often a pass tries again to settle what it decided. One with many sessions takes days, and neither a
lease nor a proposal's week waits for its end."""


STAND_IN_SECONDS = 3600.0
"""How long a control that stands in for the best is kept, before the best's own bytes are asked for again."""


class _NotHere(VerifierFault):
    """No machine can take a session now, or not the one that has to."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Who watches a pass, and who may end it.

    Attributes:
        is_draining: Whether no new proposal is to be looked at.
        wall: Seconds since 1970, UTC.
        steady: A clock that never jumps, in seconds.
        clean: Takes secrets out of what is said of a proposal, before it is kept and shown.
    """

    observer: Observer
    is_draining: Callable[[], bool] = lambda: False
    clean: Callable[[str], str] = str
    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


class Validator:
    """One verifier account's pass over a ledger.

    Args:
        judge: From papers to a recorded verdict.
        finisher: Carries recorded verdicts to their end on the ledger.
        executor: Makes projects ready on its machines; asked anew once a project's best has moved.
        require_whole: Compares all proposals with the guard, before anything is judged.
    """

    def __init__(
        self,
        *,
        contracts: Contracts,
        library: Library,
        settler: Settler,
        judge: Judge,
        finisher: Finisher,
        store: FindingStore,
        modes: ModeKeeper,
        executor: Executor,
        require_whole: Callable[[Iterable[Proposal]], None],
        surroundings: Surroundings,
    ) -> None:
        self._contracts = contracts
        self._rpc = contracts.ledger.rpc
        self._frontier = library.frontier
        self._settler = settler
        self._judge = judge
        self._finisher = finisher
        self._store = store
        self._log: CycleLog = store.cycles
        self._modes = modes
        self._executor = executor
        self._require_whole = require_whole
        self._around = surroundings
        self._baton = Baton()
        self._benches: dict[str, tuple[tuple[ProjectId, bytes, int], Bench]] = {}
        self._prepared_at: dict[str, float] = {}
        self._blocked: set[ProjectId] = set()
        self._records: Mapping[ProposalId, Proposal] = {}
        self._tried_again = 0.0

    def run(self, results: list[Result] | None = None) -> list[Result]:
        """Bring every open proposal as far as it can be brought now.

        Args:
            results: Gets what was done with each, as soon as it is done.

        Raises:
            AccountBusy: another process sends with this account.
            GuardRefused: the guard lost verdicts.
            Interrupted: it was told to stop while a session ran.
            ChainError, SigningError: the pass stops; the next one carries on.
        """
        results = [] if results is None else results
        with self._settler.exclusive(), self._baton.held():
            if self._modes.current() is Mode.LIVE:
                self._settler.resume()
            self._pass(results)
        results.sort(key=lambda result: result.proposal_id)
        return results

    def _pass(self, results: list[Result]) -> None:
        require_listed(self._contracts.verifiers, self._settler.account)
        self._records = proposals = self._frontier.read().proposals
        self._require_whole(proposals.values())
        self._blocked.clear()
        self._forget_stand_ins()
        self._tried_again = self._around.steady()
        machines = self._machines()
        due = self._due(machines)
        self._forget_settled({item.number for item in due})
        board = Board(due, machines)

        def work(item: Item, machine: str | None) -> None:
            with self._baton.held():
                if self._around.is_draining():
                    board.close()
                    return
                result = self._timed(item, machine)
                if result is not None:
                    results.append(result)
                self._settle_again(results)

        def on_error(error: BaseException) -> None:
            if isinstance(error, Sortable) and sort(error).weight is not Weight.STOP:
                return  # the next cycle needs the machines: one that was stopped takes no session any more
            if isinstance(error, ArmlxError):
                self._executor.stop()
            else:
                self._executor.kill()

        until = self._around.steady() + REFILL_SECONDS

        def refill() -> None:
            with self._baton.held():
                if self._around.is_draining():
                    board.close()
                elif self._around.steady() < until:
                    board.add(self._due(machines))

        with self._baton.laid_down():
            run_lanes(board, machines, work, on_error=on_error, refill=refill)

    def _machines(self) -> tuple[str, ...]:
        """The machines that could take a session now; without one, what needs none is done all the same."""
        try:
            return self._executor.machines()
        except (VerifierFault, FormatError) as fault:
            self._around.observer.fault(sort(fault))
            return ()

    def _due(self, machines: tuple[str, ...]) -> list[Item]:
        frontier = self._frontier.read()
        due = []
        for number, known in sorted(frontier.proposals.items()):
            if self._is_ours(known):
                project = frontier.projects.get(known.project_id)
                best = None if project is None else str(int(project.best_score))
                pinned = None if self._is_final(known.id) else self._pinned(int(number), best)
                due.append(Item(int(number), int(known.project_id), pinned))
        return due

    def _pinned(self, number: int, best: str | None) -> str | None:
        """The machine on which a test goes on: what was measured on one is not continued on another. A test
        against an earlier best does not go on."""
        queued, subject = self._log.find(number), self._store.tests.subject_begun(number)
        if queued is None or subject is None:
            return None
        return queued.machine if json.loads(subject).get("best") == best else None

    def _forget_settled(self, due: set[int]) -> None:
        for queued in self._log.queue():
            if queued.proposal_id not in due:
                self._log.note(
                    queued.proposal_id, queued.project_id, Phase.ENDED, "settled by others", self._second()
                )

    def _settle_again(self, results: list[Result]) -> None:
        """Between two sessions: what was decided and could not be settled yet, once in a while."""
        now = self._around.steady()
        if now < self._tried_again + AGAIN_SECONDS:
            return
        self._tried_again = now
        for queued in self._log.queue():
            if queued.phase is not Phase.DECIDED or self._around.is_draining():
                continue
            result = self._timed(Item(queued.proposal_id, queued.project_id), None, is_decided=True)
            if result is not None:
                results[:] = [known for known in results if known.proposal_id != result.proposal_id]
                results.append(result)

    def _timed(self, item: Item, machine: str | None, *, is_decided: bool = False) -> Result | None:
        proposal = self._present(ProposalId(item.number))
        if proposal is None or not self._is_ours(proposal):
            return None
        observer, began = self._around.observer, self._around.steady()
        observer.proposal_began(item.number, item.project)
        look = self._consider if is_decided else self._look
        found = look(proposal, machine, item.machine)
        result = replace(found, sentence=self._around.clean(found.sentence))
        self._note(item, result)
        observer.proposal_ended(result, self._around.steady() - began)
        return result

    def _present(self, number: ProposalId) -> Proposal | None:
        """The record as it is now: the pass may have taken hours since it began. What came to its end here is
        not asked for again, or hundreds of proposals that wait for their expiry would slow every cycle."""
        if self._is_final(number):
            return self._records.get(number)
        return self._contracts.ledger.find_proposal(number)

    def _is_final(self, number: ProposalId) -> bool:
        finding = self._store.find(number)
        return finding is not None and finding.state in FINAL

    def _look(self, proposal: Proposal, machine: str | None, pinned: str | None) -> Result:
        if proposal.project_id in self._blocked:
            return Result(proposal.id, Step.WAITING, "an earlier proposal of its project is not decided yet")
        result = self._consider(proposal, machine, pinned)
        # A refuted one that waits for a person changes nothing for the others.
        is_open = result.step is Step.WAITING and result.outcome != Outcome.REFUTED.value
        if is_open and self._is_young(proposal):
            self._blocked.add(proposal.project_id)
        return result

    def _is_young(self, proposal: Proposal) -> bool:
        return self._rpc.block("latest").timestamp < proposal.submitted_at + ARTIFACT_GRACE_SECONDS

    def _is_ours(self, proposal: Proposal) -> bool:
        """Open, or with a verdict of ours whose end on the ledger is not noted yet."""
        finding = self._store.find(proposal.id)
        return proposal.is_open or (
            finding is not None and finding.draft is not None and finding.state not in FINAL
        )

    def _consider(self, proposal: Proposal, machine: str | None, pinned: str | None) -> Result:
        finding = self._store.find(proposal.id)
        if finding is not None and finding.state in FINAL:
            return self._result(finding, Step.KNOWN, f"was {finding.state.value} in an earlier pass")
        try:
            return self._brought_on(proposal, finding, machine, pinned)
        except _NotHere as absent:
            return Result(proposal.id, Step.WAITING, absent.message)
        except (ArmlxError, OSError) as error:  # also where a fault could not even be recorded
            placed = sort(error)
            if placed.weight is not Weight.NEXT_PROPOSAL:
                raise
            self._around.observer.fault(placed)
            return Result(proposal.id, Step.WAITING, _waits_for(error))

    def _brought_on(
        self, proposal: Proposal, finding: Finding | None, machine: str | None, pinned: str | None
    ) -> Result:
        try:
            if finding is not None and finding.draft is not None:
                return self._finisher.carry_on(proposal, finding)
            return self._judge.judge(proposal, lambda project: self._ready(project, machine, pinned))
        except _NotHere:
            raise
        except (VerifierFault, FormatError) as fault:
            self._around.observer.fault(sort(fault))
            return self._judge.failed(proposal, fault)

    def _ready(self, project: Project, machine: str | None, pinned: str | None) -> Bench:
        """The project on a lane's machine.

        Raises:
            _NotHere: it cannot be judged now.
        """
        if machine is None:
            raise _NotHere("no machine can take a session now")
        if pinned not in (None, machine):
            raise _NotHere(f"its test was begun on machine {pinned}, which is not here now")
        key = (project.id, project.best_code_hash, int(project.best_score))
        known = self._benches.get(machine)
        if known is None or known[0] != key:
            self._benches.pop(machine, None)
            with self._judge.preparing(project, machine):
                bench = self._executor.prepare(project, machine, aside=self._baton.laid_down)
            known = key, shared(bench, self._baton)
            self._benches[machine] = known
            self._prepared_at[machine] = self._around.steady()
        return known[1]

    def _forget_stand_ins(self) -> None:
        """Where an earlier best served as control, the present one's bytes may be there by now. A test that
        was begun against those waits for them. Not in every pass: the project is made ready anew for it."""
        latest = self._around.steady() - STAND_IN_SECONDS
        for machine, (_, bench) in tuple(self._benches.items()):
            if bench.materials.control_note is not None and self._prepared_at[machine] <= latest:
                del self._benches[machine]

    def _note(self, item: Item, result: Result) -> None:
        """Where the proposal stands now, for whoever asks."""
        finding = self._store.find(item.number)
        is_final = finding is not None and finding.state in FINAL
        if is_final or result.step in (Step.APPROVED, Step.REJECTED, Step.KNOWN):
            phase = Phase.ENDED
        elif finding is not None and finding.draft is not None:
            phase = Phase.DECIDED
        else:
            phase = Phase.WAITING if result.step is Step.WAITING else Phase.LEFT
        self._log.note(item.number, item.project, phase, result.sentence, self._second())

    def _result(self, finding: Finding, step: Step, sentence: str) -> Result:
        return result_of(finding, step, sentence, self._judge.folder_of(ProposalId(finding.proposal_id)))

    def _second(self) -> int:
        return int(self._around.wall())


def _waits_for(error: ArmlxError | OSError) -> str:
    if isinstance(error, OSError):
        return f"a file on this machine cannot be used: {error}"
    if isinstance(error, ContentMismatch):
        return f"no honest copy was found: {error.message}"
    if isinstance(error, StorageError):
        return f"not there yet: {error.message}"
    if isinstance(error, ContractRevert):
        return f"the ledger refuses it now: {error.message}"
    return error.message
