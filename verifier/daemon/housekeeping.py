"""What a validator does beside judging: hand leases back, collect credits and, if told to, expire.

- Its own leases that ran out are released, so that others may review; the next settlement claims anew.
- A proposal is never expired here that this key judged, tested, signed a verdict on or passed over: a
  validator must not profit from what it did not settle. Any other only with ``expire_others``, and not
  within a day of the window's opening, so that the miner can be first (half of the stake goes to whoever is).
- A credit is collected once it is worth several times the gas that collecting costs.
- Everything goes through the account's transaction journal; in dry mode nothing is sent.
- Time is the latest block's.

::

    keeper = Housekeeper(chain=…, settler=settler, sender=sender, store=store, …)
    for sentence in keeper.run(now):
        log.info(sentence)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from armlx_chain.chain.basis import Standing, standing
from armlx_chain.chain.contracts import Proposal, ProposalLedger, Status
from armlx_chain.chain.frontier import Frontier
from armlx_chain.chain.portfolio import Holding
from armlx_chain.chain.sender import TxSender
from armlx_chain.claims import settling
from armlx_chain.claims.outcomes import CLAIM_REWARD_GAS, claim_gas
from armlx_chain.errors import ContractRevert, MarketError, PreconditionFailed
from armlx_chain.market.trade import MarketState
from armlx_chain.types import ProjectId, ProposalId, Tokens, Wei
from verifier.daemon.admission import PassedOver
from verifier.daemon.rejections import Rejections
from verifier.daemon.settle import Settler
from verifier.daemon.store import FindingStore

__all__ = ["COLLECT_TIMES_GAS", "GRACE_SECONDS", "Chores", "Housekeeper", "Readings"]

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 86_400
"""After its week a proposal is its miner's to expire for a day, before this validator looks at it."""
COLLECT_TIMES_GAS: Final = 10
"""A credit is collected once it sells for so many times the gas. Our choice: at most a tenth is burned."""
COLLECT_EVERY_SECONDS: Final = 3600
"""Credits are looked at once in so many seconds of block time; they hardly ever change."""


@dataclass(frozen=True, slots=True)
class Chores:
    """What the operator wants done.

    Attributes:
        expire_others: Expire proposals that this validator had nothing to do with.
        collect_from: Fewest tokens that are collected; 0 to collect nothing.
    """

    expire_others: bool = False
    collect_from: Tokens = Tokens(1)


@dataclass(frozen=True, slots=True)
class Readings:
    """What housekeeping looks at.

    Attributes:
        frontier: All projects and proposals.
        holdings: This account's credits, by project.
        market: A project's token market.
        gas_price: Wei for one gas at most, now.
    """

    frontier: Callable[[], Frontier]
    holdings: Callable[[Frontier], list[Holding]]
    market: Callable[[ProjectId], MarketState]
    gas_price: Callable[[], int]


class Housekeeper:
    """Does the chores of one verifier account.

    Args:
        may_send: Whether the mode allows transactions.
        signed: Whether the guard holds a verdict of this key on a proposal.
    """

    def __init__(
        self,
        *,
        ledger: ProposalLedger,
        readings: Readings,
        settler: Settler,
        sender: TxSender,
        store: FindingStore,
        passed_over: PassedOver,
        rejections: Rejections,
        chores: Chores,
        may_send: Callable[[], bool],
        signed: Callable[[ProposalId], bool],
    ) -> None:
        self._ledger = ledger
        self._read = readings
        self._settler = settler
        self._sender = sender
        self._store = store
        self._passed_over = passed_over
        self._rejections = rejections
        self._chores = chores
        self._may_send = may_send
        self._signed = signed
        self._collected_at: int | None = None

    def run(self, now: int) -> list[str]:
        """Do what is due; a sentence for each thing that was done, or that the ledger refused.

        Args:
            now: Timestamp of the latest block.

        Raises:
            ChainError: the chain cannot be read, or a transaction cannot be finished now.
        """
        frontier = self._read.frontier()
        self._forget_settled(frontier)
        if not self._may_send():
            return []
        done = [*self._leases(frontier, now)]
        if self._chores.expire_others:
            done += self._expiries(frontier, now)
        if self._chores.collect_from and self._is_collecting_time(now):
            done += self._credits(frontier)
            self._collected_at = now
        return done

    def _forget_settled(self, frontier: Frontier) -> None:
        """Nobody needs to confirm a rejection of what is settled."""
        for asked in self._rejections.pending():
            proposal = frontier.proposals.get(ProposalId(asked.proposal_id))
            if proposal is not None and not proposal.is_open:
                self._rejections.withdraw(asked.proposal_id)

    def _leases(self, frontier: Frontier, now: int) -> Iterator[str]:
        for proposal in frontier.open_proposals:
            if standing(proposal, self._settler.account, now) is not Standing.LAPSED:
                continue
            current = self._ledger.find_proposal(proposal.id)
            if current is None or standing(current, self._settler.account, now) is not Standing.LAPSED:
                continue
            yield self._attempt(
                partial(self._settler.release, current),
                f"released the review of proposal {proposal.id}, whose lease ran out",
            )

    def _expiries(self, frontier: Frontier, now: int) -> Iterator[str]:
        window = self._ledger.expiry_window_seconds()
        for proposal in frontier.open_proposals:
            if now < proposal.submitted_at + window + GRACE_SECONDS or self.is_party_to(proposal):
                continue
            current = self._ledger.find_proposal(proposal.id)
            if current is None or not current.is_open or self.is_party_to(current):
                continue
            credit, burned = settling.expected_credit(current)
            worth = self._worth(current.project_id, credit, burned=int(burned), gas_units=claim_gas())
            if worth is not None and worth.pays:
                yield self._attempt(
                    partial(settling.expire, self._sender, self._ledger, current),
                    f"expired proposal {proposal.id}, a day after its week: {credit} tokens credited",
                )

    def is_party_to(self, proposal: Proposal) -> bool:
        """Whether this validator had anything to do with it, and so must not profit from its expiry."""
        held = proposal.status is Status.REVIEWING and proposal.reviewer == self._settler.account
        return (
            held
            or self._store.find(proposal.id) is not None
            or self._store.tests.was_begun(proposal.id)
            or self._passed_over.find(proposal.id) is not None
            or self._signed(proposal.id)
        )

    def _is_collecting_time(self, now: int) -> bool:
        return self._collected_at is None or now >= self._collected_at + COLLECT_EVERY_SECONDS

    def _credits(self, frontier: Frontier) -> Iterator[str]:
        for held in self._read.holdings(frontier):
            if held.credit < self._chores.collect_from:
                continue
            worth = self._worth(held.project_id, held.credit, burned=0, gas_units=CLAIM_REWARD_GAS)
            if worth is not None and worth.value >= COLLECT_TIMES_GAS * worth.gas:
                yield self._attempt(
                    partial(settling.claim_reward, self._sender, self._ledger, held.project_id),
                    f"collected {held.credit} tokens credited in project {held.project_id}",
                )

    def _worth(
        self, project_id: ProjectId, credit: int, *, burned: int, gas_units: int
    ) -> settling.Yield | None:
        """What a credit is worth; ``None`` where a stranger's project has a price formula that overflows."""
        gas = Wei(gas_units * self._read.gas_price())
        try:
            return settling.yield_of(credit, self._read.market(project_id), burned=burned, gas=gas)
        except (MarketError, ContractRevert) as error:
            log.info("the tokens of project %s have no price: %s", project_id, error.message)
            return None

    def _attempt(self, deed: Callable[[], object], sentence: str) -> str:
        """Do it; what the ledger refuses by now stops nothing else."""
        try:
            deed()
        except (ContractRevert, PreconditionFailed) as error:
            log.info("not done (%s): %s", sentence, error.message)
            return f"not done: {sentence} ({error.message})"
        return sentence
