"""The rules of service of one validator, made from what the operator chose, in one visible place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from armlx_chain.errors import UsageError
from armlx_chain.types import Tokens
from verifier.daemon.admission import Admission, PassedOver, own_policy
from verifier.daemon.housekeeping import Chores, Housekeeper, Readings
from verifier.daemon.mode import ModeKeeper
from verifier.daemon.rejections import MAX_REJECTIONS, Rejections
from verifier.daemon.settle import Settler
from verifier.daemon.store import FindingStore
from verifier.daemon.usage import Usage

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal
    from armlx_chain.chain.frontier import FrontierReader
    from armlx_chain.chain.sender import TxSender
    from armlx_chain.cli.context import App
    from armlx_chain.signing.guard import SingleSignGuard
    from armlx_chain.types import ProposalId

__all__ = ["Service", "ServiceChoice", "build_housekeeper", "build_service", "is_practice"]


@dataclass(frozen=True, slots=True)
class ServiceChoice:
    """What the operator chose.

    Attributes:
        auto_reject: Reject without asking a person.
        max_rejections: Rejections in a UTC day.
        go_live: Leave dry mode.
        dry: Sign and send nothing in this run, whatever the mode.
        held: Why it signs nothing in this run, if something else than ``dry`` demands it.
        policy: The validator's own policy, instead of what lies in the home.
        expire_others: Expire proposals that this validator had nothing to do with.
        collect_from: Fewest tokens of a credit that are collected; 0 to collect nothing.
    """

    auto_reject: bool = False
    max_rejections: int = MAX_REJECTIONS
    go_live: bool = False
    dry: bool = False
    held: str | None = None
    policy: Path | None = None
    expire_others: bool = False
    collect_from: int = 1


@dataclass(frozen=True, slots=True)
class Service:
    """What the cycle asks."""

    admission: Admission
    passed_over: PassedOver
    usage: Usage
    modes: ModeKeeper
    rejections: Rejections


def is_practice(app: App) -> bool:
    """Whether this is the local world, where nobody's stake is worth anything."""
    return app.settings.network.name == "devnet"


def build_service(
    app: App,
    store: FindingStore,
    settler: Settler,
    choice: ServiceChoice,
    *,
    now: Callable[[], float],
    ask: Callable[[Proposal, str], bool] | None = None,
) -> Service:
    """The rules over a validator's database.

    Args:
        now: Seconds since 1970, UTC.
        ask: Asks a person who is there about a rejection; ``None`` where nobody is.

    Raises:
        UsageError: the policy does not count, the validator cannot go live, or the choice contradicts itself.
    """
    from armlx_chain.cli.claiming import domain_of

    if choice.dry and choice.go_live:
        raise UsageError("--dry and --go-live contradict each other.", next_step="Leave one of them out.")
    database, where = store.database, store.where
    passed_over = PassedOver(database, where)
    policy = own_policy(app.home / "policies", domain_of(app), settler.account, stated=choice.policy)
    modes = ModeKeeper(database, where, practice=is_practice(app), now=now, held=_held(choice))
    if choice.go_live:
        modes.go_live()
    rejections = Rejections(
        database, where, now=now, auto=choice.auto_reject, most=choice.max_rejections, ask=ask
    )
    return Service(Admission(policy, passed_over), passed_over, Usage(database, where), modes, rejections)


def _held(choice: ServiceChoice) -> str | None:
    return "It was started with --dry." if choice.dry else choice.held


def build_housekeeper(
    app: App,
    service: Service,
    store: FindingStore,
    settler: Settler,
    sender: TxSender,
    guard: SingleSignGuard,
    frontier: FrontierReader,
    choice: ServiceChoice,
) -> Housekeeper:
    """The chores of a validator."""
    from armlx_chain.chain.portfolio import read_holdings
    from armlx_chain.chain.reading import ManyReader
    from armlx_chain.cli.claiming import present_fees
    from armlx_chain.cli.wiring import ledger_of, open_project
    from armlx_chain.market.trade import read_market
    from armlx_chain.signing.guard import GuardKey
    from verifier.daemon.mode import Mode

    network, account = app.settings.network, settler.account

    def signed(proposal_id: ProposalId) -> bool:
        key = GuardKey(
            chain_id=network.chain_id,
            genesis_hash=app.rpc.genesis_hash,
            ledger=network.proposal_ledger,
            proposal_id=proposal_id,
            signer=account,
        )
        return guard.recorded(key) is not None

    readings = Readings(
        frontier=frontier.read,
        holdings=lambda known: read_holdings(
            ManyReader(app.rpc, network.multicall3),
            known.projects.values(),
            account,
            ledger=network.proposal_ledger,
        ),
        market=lambda project_id: read_market(open_project(app, int(project_id))[1], project_id),
        gas_price=lambda: int(present_fees(app).max_fee),
    )
    return Housekeeper(
        ledger=ledger_of(app),
        readings=readings,
        settler=settler,
        sender=sender,
        store=store,
        passed_over=service.passed_over,
        rejections=service.rejections,
        chores=Chores(expire_others=choice.expire_others, collect_from=Tokens(choice.collect_from)),
        may_send=lambda: service.modes.current() is Mode.LIVE,
        signed=signed,
    )
