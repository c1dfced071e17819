"""How objects are made from settings, in one visible place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from armlx_chain.chain.basis import Basis, facts_hold
from armlx_chain.chain.contracts import (
    Project,
    ProjectRegistry,
    ProjectToken,
    Proposal,
    ProposalLedger,
    VerifierRegistry,
)
from armlx_chain.chain.fees import FeePolicy
from armlx_chain.chain.flow import JournalledFlow
from armlx_chain.chain.journal import Journal
from armlx_chain.chain.portfolio import Holding, read_holdings
from armlx_chain.chain.reading import ManyReader
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import TxSender
from armlx_chain.chain.startup import check_project
from armlx_chain.claims.preflight import ClaimFacts, orientation_of
from armlx_chain.claims.submission import SubmissionStore
from armlx_chain.errors import ArmlxError, RpcUnavailable, UsageError
from armlx_chain.market.trade import read_market
from armlx_chain.settings import Settings
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.zerog.endpoints import Endpoint
from armlx_chain.storage.zerog.upload import FlowSender, RpcPriceReader, UploadSettings, ZeroGPublisher
from armlx_chain.types import Address, ProjectId, Root, Wei

if TYPE_CHECKING:
    from armlx_chain.cli.context import App

PROTOCOL_LIMIT_BYTES = 1 << 20
MAX_STORAGE_FEE = Wei(10**17)
"""Never pay more for one file: some twenty times what the largest log costs on Galileo."""

UPLOAD_CALL_SECONDS = 60.0
"""For one call that carries segments to a node."""
LOCAL_POLL_SECONDS = 0.05
"""A storage node on this machine need not be spared questions."""


def make_sender(settings: Settings, rpc: Rpc, signer: Signer, **options: Any) -> TxSender:
    """A sender whose journal belongs to this chain (by id and genesis hash) and account.

    It can check the preconditions of every command's transactions: whichever command runs next finishes
    what an earlier one left.
    """
    network = settings.network
    journal = Journal(settings.journal_path, chain=chain_key(settings, rpc), account=signer.address)
    registry = ProjectRegistry(rpc, network.project_registry)
    ledger = ProposalLedger(rpc, network.proposal_ledger)
    begun = submissions(settings)
    return TxSender(
        rpc=rpc,
        signer=signer,
        journal=journal,
        confirmations=network.confirmations,
        fees=FeePolicy(cap=settings.max_fee),
        check_precondition=lambda facts: (
            begun.stands(facts) and facts_hold(registry, ledger, facts, confirmations=network.confirmations)
        ),
        **options,
    )


def chain_key(settings: Settings, rpc: Rpc) -> str:
    """How journal and findings name a chain: by id and genesis hash."""
    return f"{settings.network.chain_id}:{rpc.genesis_hash.hex()}"


def make_publisher(settings: Settings, sender: TxSender, *, max_fee: Wei = MAX_STORAGE_FEE) -> ZeroGPublisher:
    """Uploads to the network's storage, paid by the sender's account, for ``max_fee`` per file at most.

    Raises:
        UsageError: the network has no storage configured.
    """
    return zerog_publisher(settings, JournalledFlow(sender), sender.address, max_fee)


def zerog_publisher(settings: Settings, flow: FlowSender, submitter: Address, max_fee: Wei) -> ZeroGPublisher:
    """Uploads whose transactions ``flow`` sends.

    Raises:
        UsageError: the network has no storage configured.
    """
    network = settings.network
    if network.flow is None or not network.storage_urls:
        raise UsageError(
            f"No storage to upload to is known on {network.name}.", next_step="Give --storage-url."
        )
    return ZeroGPublisher(
        Endpoint(network.storage_urls[0]),
        flow_address=network.flow,
        flow=flow,
        price=RpcPriceReader(network.rpc_url),
        submitter=submitter,
        max_fee=max_fee,
        http=BoundedHttp(Timeouts(total=UPLOAD_CALL_SECONDS), configured=network.storage_urls),
        settings=UploadSettings(poll=LOCAL_POLL_SECONDS) if network.name == "devnet" else None,
    )


def submissions(settings: Settings) -> SubmissionStore:
    return SubmissionStore(settings.home / "submissions")


def registry_of(app: App) -> ProjectRegistry:
    return ProjectRegistry(app.rpc, app.settings.network.project_registry)


def ledger_of(app: App) -> ProposalLedger:
    return ProposalLedger(app.rpc, app.settings.network.proposal_ledger)


def check_wiring(app: App) -> None:
    """Chain id, code, wiring and constants must be as configured (contracts specification, section 12); once.

    Raises:
        WrongChain: they are not.
    """
    _ = app.constants


def open_project(app: App, project_id: int) -> tuple[Project, ProjectToken]:
    """A project and its token on the newest block, checked against each other.

    Raises:
        UsageError: there is no such project.
        WrongChain: the token is wired to another ledger.
    """
    return check_project(app.rpc, app.settings.network, project_id)


def settled_project(app: App, project_id: int) -> tuple[Project, ProjectToken]:
    """As ``open_project``, for decisions about money: control and best are confirmed.

    Raises:
        RpcUnavailable: they changed in the last blocks; wait until that is settled.
    """
    network = app.settings.network
    project, token = open_project(app, project_id)
    if network.confirmations and Basis.of(project) != _confirmed_basis(app, project_id):
        raise RpcUnavailable(
            f"Project {project_id} or its best changed in the last {network.confirmations} blocks.",
            meaning="That is not settled on the chain yet; nothing was sent.",
            next_step="Wait a moment and run this again.",
        )
    return project, token


def _confirmed_basis(app: App, project_id: int) -> Basis | None:
    network = app.settings.network
    view = app.rpc.at_depth(network.confirmations)
    found = registry_of(app).on(view).find_project(project_id)
    return None if found is None else Basis.of(found)


def holdings_of(app: App, account: Address) -> list[Holding]:
    """What an account has in every project, also where that is nothing."""
    frontier = app.frontier.read()
    many = ManyReader(app.rpc, app.settings.network.multicall3)
    ledger = app.settings.network.proposal_ledger
    return read_holdings(many, frontier.projects.values(), account, ledger=ledger)


def project_proposals(app: App, project_id: int) -> tuple[Proposal, ...]:
    """All proposals of a project, settled ones too, in order of id."""
    return app.frontier.read().of_project(ProjectId(project_id))


def open_proposals(app: App, project_id: int) -> tuple[Proposal, ...]:
    """The project's proposals that are not settled yet, in order of id."""
    return tuple(proposal for proposal in project_proposals(app, project_id) if proposal.is_open)


def claim_facts(app: App, project_id: int) -> tuple[ClaimFacts, ProjectToken]:
    """Everything a submission is checked against, read now."""
    from armlx_chain.protocol.parse import parse_protocol
    from verifier.materials import load_baseline

    check_wiring(app)
    project, token = settled_project(app, project_id)
    root = Root.zerog(project.protocol_hash)
    protocol = parse_protocol(app.storage.fetch(root, max_bytes=PROTOCOL_LIMIT_BYTES).data)
    verifiers = VerifierRegistry(app.rpc, app.settings.network.verifier_registry)
    facts = ClaimFacts(
        project=project,
        protocol=protocol,
        protocol_root=root,
        baseline_metric=load_baseline(project, app.storage),
        market=read_market(token, project.id),
        verifier_count=verifiers.verifier_count(),
        proposals=project_proposals(app, project_id),
    )
    return facts, token


def control_root_of(project: Project) -> Root:
    """Root of the code to beat: the current best's bundle, or the snapshot."""
    return Root.zerog(project.best_code_hash if project.has_accepted else project.repo_snapshot_hash)


def orientation_warning(app: App, project_id: int) -> str | None:
    """What a person should know about a project published the wrong way round, if anything.

    A storage that is out of reach is no reason not to show a price: then this says that it could not check.
    """
    from armlx_chain.protocol.parse import parse_protocol
    from verifier.materials import load_baseline

    project, _ = open_project(app, project_id)
    try:
        root = Root.zerog(project.protocol_hash)
        protocol = parse_protocol(app.storage.fetch(root, max_bytes=PROTOCOL_LIMIT_BYTES).data)
        found = orientation_of(project, protocol, load_baseline(project, app.storage))
    except ArmlxError as error:
        return f"the project's protocol could not be checked for its direction: {error.message}"
    return " ".join(found.sentences) if found.stop else None
