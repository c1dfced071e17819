"""All projects and all proposals as of one block, in a handful of round trips, and what changed since.

- The first look reads every record: the counts, then all records together.
- Later looks read what is new and what events name since the last block looked at, with an overlap. Records
  are the truth, events only say which to read again; every ``full_every`` looks, and where a node refuses to
  search for events, everything that can still change is read again.
- A settled proposal never changes. If the last block looked at is no longer on the chain, nothing that was
  known counts any more.

::

    reader = FrontierReader(rpc, ledger=…, registry=…, multicall=network.multicall3, depth=3)
    frontier = reader.read()
    frontier.open_of(ProjectId(1))
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import contracts_abi
from armlx_chain.chain.logs import LogQuery, LogReader
from armlx_chain.chain.reading import ManyReader, Outcome
from armlx_chain.chain.records import Project, Proposal, decode_project, decode_proposal, decode_uint
from armlx_chain.chain.rpc import Block, NodeRefused, Rpc
from armlx_chain.errors import ContractRevert, RpcUnavailable, WrongChain
from armlx_chain.types import Address, ProjectId, ProposalId

log = logging.getLogger(__name__)
OVERLAP_BLOCKS = 4
FULL_EVERY = 20
_PROPOSAL_EVENTS = (
    "ProposalSubmitted", "ReviewClaimed", "ReviewReleased", "ProposalApproved", "ProposalRejected",
    "ProposalExpired",
)  # fmt: skip
_PROJECT_EVENTS = ("ProjectCreated", "BestUpdated")
_GET_PROJECT = contracts_abi.function_selector("ProjectRegistry", "getProject")
_GET_PROPOSAL = contracts_abi.function_selector("ProposalLedger", "getProposal")
_Touched = tuple[set[int], set[int]] | None
"""Ids of projects and of proposals that events name; None where events do not tell."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Frontier:
    """Every record at one block."""

    block: Block
    projects: Mapping[ProjectId, Project]
    proposals: Mapping[ProposalId, Proposal]

    def of_project(self, project_id: ProjectId) -> tuple[Proposal, ...]:
        """A project's proposals, settled ones too, in order of id."""
        return tuple(p for _, p in sorted(self.proposals.items()) if p.project_id == project_id)

    def open_of(self, project_id: ProjectId) -> tuple[Proposal, ...]:
        """A project's proposals that are not settled, in order of id."""
        return tuple(p for p in self.of_project(project_id) if p.is_open)

    @property
    def open_proposals(self) -> tuple[Proposal, ...]:
        """All that are not settled, in order of id."""
        return tuple(p for _, p in sorted(self.proposals.items()) if p.is_open)


class FrontierReader:
    """Reads the frontier, and keeps it for the next look.

    Args:
        depth: Confirmations that a block needs to be looked at.
    """

    def __init__(
        self,
        rpc: Rpc,
        *,
        ledger: Address,
        registry: Address,
        multicall: Address | None = None,
        depth: int = 0,
        full_every: int = FULL_EVERY,
    ) -> None:
        self._rpc = rpc
        self._ledger = ledger
        self._registry = registry
        self._depth = depth
        self._full_every = full_every
        self._many = ManyReader(rpc, multicall)
        self._logs = LogReader()
        self._last: Frontier | None = None
        self._looks = 0

    def read(self) -> Frontier:
        """The frontier at the newest block that is deep enough.

        Raises:
            RpcUnavailable, EndpointsDisagree, NodeRefused: the chain cannot be read.
            WrongChain: a record is none.
        """
        view = self._rpc.at_depth(self._depth)
        block = view.block()
        if self._last is not None and self._last.block.hash == block.hash:
            return self._last
        known = self._still_valid(view)
        many = self._many.on(view)
        many.uses_multicall()
        self._many = many
        projects, proposals = self._counts(many)
        touched = None if known is None else self._touched(view, known.block)
        self._looks += 1
        self._last = Frontier(block, *self._records(many, projects, proposals, known, touched))
        return self._last

    def _still_valid(self, view: Rpc) -> Frontier | None:
        """What is known already, unless the chain moved under it."""
        last, newest = self._last, view.block()
        if last is None or last.block.number > newest.number:
            return None
        now = view.witnessed_block(last.block.number)
        if now is None or now.hash != last.block.hash:
            log.warning("block %d is no longer what it was; everything is read again", last.block.number)
            return None
        return last

    def _counts(self, many: ManyReader) -> tuple[int, int]:
        reads = [
            (self._registry, contracts_abi.function_selector("ProjectRegistry", "nextProjectId")),
            (self._ledger, contracts_abi.function_selector("ProposalLedger", "nextProposalId")),
        ]
        projects, proposals = (decode_uint(_good(o)) for o in many.read(reads, "counting records"))
        return projects, proposals

    def _touched(self, view: Rpc, since: Block) -> _Touched:
        """Projects and proposals that events name since a block; None if events do not tell."""
        if self._looks % self._full_every == 0:
            return None
        queries = [
            LogQuery((self._registry,), (_topics("ProjectRegistry", _PROJECT_EVENTS),)),
            LogQuery((self._ledger,), (_topics("ProposalLedger", _PROPOSAL_EVENTS),)),
        ]
        first = max(0, since.number + 1 - OVERLAP_BLOCKS)
        try:
            entries = self._logs.read(view, queries, first, view.block().number)
        except NodeRefused as refused:
            log.info("no events: %s", refused.message)
            return None
        ids = [(entry.address.lower(), int.from_bytes(entry.topics[1], "big")) for entry in entries]
        of_registry = {number for address, number in ids if address == self._registry.lower()}
        return of_registry, {number for address, number in ids if address == self._ledger.lower()}

    def _records(
        self, many: ManyReader, projects: int, proposals: int, known: Frontier | None, touched: _Touched
    ) -> tuple[dict[ProjectId, Project], dict[ProposalId, Proposal]]:
        """Known records with those that are new or may have changed read again, all in one go."""
        kept = {} if known is None or touched is None else dict(known.projects)
        wanted = [n for n in range(projects) if n not in kept or (touched is not None and n in touched[0])]
        held = {} if known is None else dict(known.proposals)
        open_ids = {int(number) for number, record in held.items() if record.is_open}
        again = open_ids if touched is None else open_ids & touched[1]
        due = [n for n in range(proposals) if n not in held or n in again]
        reads = [(self._registry, _GET_PROJECT + number.to_bytes(32, "big")) for number in wanted]
        reads += [(self._ledger, _GET_PROPOSAL + number.to_bytes(32, "big")) for number in due]
        outcomes = many.read(reads, f"reading {len(reads)} records") if reads else []
        first, second = outcomes[: len(wanted)], outcomes[len(wanted) :]
        kept |= {
            ProjectId(n): _there(n, decode_project(n, _good(o))) for n, o in zip(wanted, first, strict=True)
        }
        held |= {
            ProposalId(n): _there(n, decode_proposal(n, _good(o))) for n, o in zip(due, second, strict=True)
        }
        return kept, held


def _there(number: int, record: T | None) -> T:
    """A record that is counted must be there.

    Raises:
        RpcUnavailable: it is not.
    """
    if record is None:
        raise RpcUnavailable(
            f"An endpoint counts a record {number} that it does not have.",
            next_step="Wait a moment and run this again, or use another --rpc-url.",
        )
    return record


def _good(outcome: Outcome) -> bytes:
    if isinstance(outcome, ContractRevert):
        raise outcome
    if not outcome:
        raise WrongChain(
            "There is no such contract at a configured address.",
            next_step="Check the network and the contract addresses.",
        )
    return outcome


def _topics(contract: str, events: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(contracts_abi.event_topic(contract, event) for event in events)
