"""How objects are made from settings, in one visible place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from armlx_chain.chain.basis import facts_hold
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
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import TxSender
from armlx_chain.claims.preflight import ClaimFacts, orientation_of
from armlx_chain.claims.submission import SubmissionStore
from armlx_chain.errors import ArmlxError, UsageError, WrongChain
from armlx_chain.market.trade import read_market
from armlx_chain.settings import Settings
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.zerog.endpoints import Endpoint
from armlx_chain.storage.zerog.upload import RpcPriceReader, UploadSettings, ZeroGPublisher
from armlx_chain.types import Root, Wei

if TYPE_CHECKING:
    from armlx_chain.cli.context import App

PROTOCOL_LIMIT_BYTES = 1 << 20
MAX_STORAGE_FEE = Wei(10**17)
"""Never pay more for one file: some twenty times what the largest log costs on Galileo."""

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
        check_precondition=lambda facts: begun.stands(facts) and facts_hold(registry, ledger, facts),
        **options,
    )


def chain_key(settings: Settings, rpc: Rpc) -> str:
    """How journal and findings name a chain: by id and genesis hash."""
    return f"{settings.network.chain_id}:{rpc.genesis_hash.hex()}"


def make_publisher(settings: Settings, sender: TxSender) -> ZeroGPublisher:
    """Uploads to the network's storage, paid by the sender's account.

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
        flow=JournalledFlow(sender),
        price=RpcPriceReader(network.rpc_url),
        submitter=sender.address,
        max_fee=MAX_STORAGE_FEE,
        settings=UploadSettings(poll=LOCAL_POLL_SECONDS) if network.name == "devnet" else None,
    )


def submissions(settings: Settings) -> SubmissionStore:
    return SubmissionStore(settings.home / "submissions")


def registry_of(app: App) -> ProjectRegistry:
    return ProjectRegistry(app.rpc, app.settings.network.project_registry)


def ledger_of(app: App) -> ProposalLedger:
    return ProposalLedger(app.rpc, app.settings.network.proposal_ledger)


def check_wiring(app: App) -> None:
    """Contracts must point at each other as configured (contracts specification, section 12).

    Raises:
        WrongChain: they do not.
    """
    network = app.settings.network
    ledger, registry = ledger_of(app), registry_of(app)
    pairs = (
        ("ledger.registry", ledger.registry(), network.project_registry),
        ("ledger.verifierRegistry", ledger.verifier_registry(), network.verifier_registry),
        ("registry.proposalLedger", registry.proposal_ledger(), network.proposal_ledger),
    )
    for what, actual, expected in pairs:
        if actual != expected:
            raise WrongChain(f"{what} is {actual}, but {expected} is configured. Nothing was sent.")


def open_project(app: App, project_id: int) -> tuple[Project, ProjectToken]:
    """A project and its token, checked against each other.

    Raises:
        UsageError: there is no such project.
        WrongChain: the token is wired to another ledger.
    """
    registry = registry_of(app)
    project = registry.find_project(project_id)
    if project is None:
        count = registry.project_count()
        known = f"ids run from 0 to {count - 1}" if count else "there is none yet"
        raise UsageError(f"There is no project {project_id} on {app.settings.network.name}: {known}.")
    token = ProjectToken(app.rpc, project.token)
    if token.proposal_ledger() != app.settings.network.proposal_ledger or token.decimals() != 0:
        raise WrongChain(f"The token of project {project_id} does not belong to the configured ledger.")
    return project, token


def project_proposals(app: App, project_id: int) -> tuple[Proposal, ...]:
    """All proposals of a project, settled ones too, in order of id."""
    ledger = ledger_of(app)
    found = (ledger.find_proposal(number) for number in range(ledger.proposal_count()))
    return tuple(p for p in found if p is not None and p.project_id == project_id)


def open_proposals(app: App, project_id: int) -> tuple[Proposal, ...]:
    """The project's proposals that are not settled yet, in order of id."""
    return tuple(proposal for proposal in project_proposals(app, project_id) if proposal.is_open)


def claim_facts(app: App, project_id: int) -> tuple[ClaimFacts, ProjectToken]:
    """Everything a submission is checked against, read now."""
    from armlx_chain.protocol.parse import parse_protocol
    from verifier.materials import load_baseline

    check_wiring(app)
    project, token = open_project(app, project_id)
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
