"""How ``submit`` goes about it: from what a person gave to the steps of ``armlx_chain.claims.submit``.

Order: the run is read and proven; a submission begun earlier is carried on as it was begun; else everything
is checked, the plan shown with the cost of each outcome, and only then is anything signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.sender import Receipt, TxSender
from armlx_chain.claims import submit as claims
from armlx_chain.claims.bare import BareRun, folders_of, keep_bare_run
from armlx_chain.claims.known import known_code
from armlx_chain.claims.outcomes import require_native
from armlx_chain.claims.policies import stake_for
from armlx_chain.claims.preflight import ClaimFacts
from armlx_chain.claims.runfolder import (
    is_bare,
    peek_facts,
    read_bare_log,
    read_candidate_files,
    read_run_folder,
    run_log_of,
)
from armlx_chain.claims.submission import Submission, SubmissionStore, require_unsubmitted
from armlx_chain.claims.submit import Packed, SubmitPlan, Terms
from armlx_chain.cli import claiming, wiring
from armlx_chain.cli.context import App, SignerChoice
from armlx_chain.cli.links import links_of
from armlx_chain.cli.marks import candidate_paths, require_verified
from armlx_chain.cli.output import emit, say
from armlx_chain.cli.submitplan import ShownPlan, agreed
from armlx_chain.errors import ClaimRefused, FormatError, UsageError
from armlx_chain.formats.policy import Policy
from armlx_chain.protocol.metric import extract_metric, metric_rule
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Wei

__all__ = ["Attempt", "Source", "Wishes", "carry_out", "open_attempt"]

UNREPRODUCED_FOLDER = "unreproduced"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the run is: a run folder, its log, or a bare log with the code that ran."""

    run: Path
    project_id: int | None
    candidate: Path | None
    unreproduced: bool


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person asked for; what was left open is filled in from the record, policies and settings."""

    stake: int | None
    recipient: str | None
    max_spend: Wei | None
    policies: Sequence[str]
    despite_verdict: bool
    despite_open: bool
    despite_policy: bool
    accept_total_loss: bool


@dataclass(frozen=True)
class Attempt:
    """A run that was read and proven, and everybody who takes part in submitting it."""

    app: App
    packed: Packed
    facts: ClaimFacts
    token: ProjectToken
    signer: Signer
    sender: TxSender
    store: SubmissionStore
    existing: Submission | None


def open_attempt(app: App, key: SignerChoice, source: Source) -> Attempt:
    """Read the run and the chain, and open the key.

    Raises:
        ClaimRefused: the run is not what it says, or was submitted already.
        UsageError, StorageError, ChainError, SigningError.
    """
    run_log = run_log_of(source.run)
    store = wiring.submissions(app.settings)
    signer: Signer | None = None
    if is_bare(run_log) and source.project_id is not None:
        bare = _bare_run(app, run_log, source, source.project_id)
        signer = key.load(app)
        run_log = _kept(bare, app.home / UNREPRODUCED_FOLDER, store, signer)
    stated = peek_facts(run_log)
    _require_same_ledger(app, stated.chain_id, stated.ledger)
    facts, token = wiring.claim_facts(app, stated.project_id)
    run = read_run_folder(run_log, facts.protocol)
    signer = signer or key.load(app)
    packed = claims.pack_run(run, signer.address)
    require_unsubmitted(store, packed.id)
    existing = store.find(packed.id)
    return Attempt(app, packed, facts, token, signer, app.sender(signer), store, existing)


def carry_out(attempt: Attempt, wishes: Wishes, *, now: int, yes: bool, dry_run: bool) -> int:
    """Resume or begin; returns the exit code.

    Args:
        now: Seconds since 1970, for the claim.
    """
    known, ignored = claiming.read_policies(attempt.app, wishes.policies)
    for sentence in ignored:
        say(f"warning: {sentence}")
    terms = _terms(attempt, wishes, known)
    claims.require_same_terms(attempt.existing, terms)
    if not dry_run:
        attempt.sender.resume()
    receipt = claims.mined_receipt(attempt.sender, attempt.packed.id)
    if receipt is not None:
        return _go_on(attempt, receipt, dry_run=dry_run)
    planned = _plan(attempt, terms, known, now)
    shown = _shown(attempt, planned, known)
    if not agreed(attempt.app, shown, yes=yes, dry_run=dry_run):
        return 0
    submission = claims.seal(planned, attempt.store, attempt.signer.sign_typed_data)
    say("roots are computed and the claim is signed; nothing is uploaded before the proposal is mined")
    receipt = claims.stake_and_submit(
        planned,
        submission,
        sender=attempt.sender,
        ledger=wiring.ledger_of(attempt.app),
        token=attempt.token,
        progress=say,
    )
    return _publish(attempt, submission, receipt, shown.to_json())


# --- the run ------------------------------------------------------------------------------------------


def _bare_run(app: App, run_log: Path, source: Source, project_id: int) -> BareRun:
    """A bare log with its code; it goes on only where the person said that it may.

    Raises:
        ClaimRefused: they did not.
        UsageError: the code that ran is not named.
        ContentUnproven: it is marked as unverified.
    """
    facts, _ = wiring.claim_facts(app, project_id)
    log = read_bare_log(run_log)
    found = extract_metric(log, metric_rule(facts.protocol.measurement.primary_metric))
    metric = facts.protocol.measurement.primary_metric.name
    code = source.candidate if source.candidate is not None else "train.py"
    control = f"armlx-chain reproduce --project {project_id} {code}"
    if not source.unreproduced:
        raise ClaimRefused(
            f"{run_log} prints {metric} {found.text}, and was not reproduced: there is no control beside it.",
            meaning="A claim is a gain over a control run on the same machine; a log alone proves none."
            " Nothing was sent.",
            next_step=f"Make the missing control with: {control}; or go on with --unreproduced.",
            details={"metric": metric, "value": found.text},
        )
    if source.candidate is None:
        raise UsageError(
            "A log by itself does not hold the code that ran.", next_step="Name it with --candidate PATH."
        )
    files = read_candidate_files(source.candidate)
    require_verified(app.home, candidate_paths(source.candidate, files), allowed=False)
    say(f"warning: {metric} {found.text} is what the log prints; it was not reproduced and has no control.")
    say(f"         The missing control is made by: {control}")
    network = app.settings.network
    return BareRun(
        chain_id=network.chain_id,
        ledger=network.proposal_ledger,
        project=facts.project,
        protocol=facts.protocol,
        control_root=wiring.control_root_of(facts.project),
        log=log,
        files=files,
    )


def _kept(bare: BareRun, home: Path, store: SubmissionStore, signer: Signer) -> Path:
    """The folder of a submission begun with this log, or a new one against the present best."""
    for folder in folders_of(bare, home):
        run = read_run_folder(run_log_of(folder), bare.protocol)
        if store.find(claims.pack_run(run, signer.address).id) is not None:
            return run_log_of(folder)
    return keep_bare_run(bare, home)


def _require_same_ledger(app: App, chain_id: int, ledger: str) -> None:
    network = app.settings.network
    if chain_id != network.chain_id or ledger.lower() != network.proposal_ledger.lower():
        raise ClaimRefused(
            f"This run was made for chain {chain_id}, ledger {ledger}; {network.name} is chain"
            f" {network.chain_id}, ledger {network.proposal_ledger}.",
            meaning="Nothing was sent.",
            next_step="Choose the network with --network, or run reproduce again on this one.",
        )


# --- terms and plan -----------------------------------------------------------------------------------


def _terms(attempt: Attempt, wishes: Wishes, known: Sequence[Policy]) -> Terms:
    """What was asked for; what was left open is taken from the record of the submission, if it was begun."""
    miner, existing = attempt.signer.address, attempt.existing
    stake = wishes.stake
    if stake is None:
        stake = stake_for(known) if existing is None else existing.stake
    if wishes.recipient is None and existing is not None:
        recipient = existing.reward_recipient
    else:
        recipient = claiming.reward_recipient(attempt.app, wishes.recipient, miner)
    return Terms(
        miner=miner,
        reward_recipient=recipient,
        stake=stake,
        max_spend=wishes.max_spend,
        despite_verdict=wishes.despite_verdict,
        despite_open=wishes.despite_open,
        despite_policy=wishes.despite_policy,
        accept_total_loss=wishes.accept_total_loss,
    )


def _plan(attempt: Attempt, terms: Terms, known: Sequence[Policy], now: int) -> SubmitPlan:
    facts = attempt.facts
    code = known_code(facts.project, facts.proposals, attempt.app.storage, miner=terms.miner)
    return claims.plan_submission(
        attempt.packed,
        terms,
        replace(facts, known_code=code),
        control_root=wiring.control_root_of(facts.project),
        balance=attempt.token.balance_of(terms.miner),
        now=now,
        policies=known,
    )


def _shown(attempt: Attempt, planned: SubmitPlan, known: Sequence[Policy]) -> ShownPlan:
    """The plan with its costs, which the account must be able to pay.

    Raises:
        InsufficientFunds: it is not.
    """
    app, miner = attempt.app, planned.terms.miner
    costs = claims.plan_costs(
        planned,
        allowance=attempt.token.allowance(miner, app.settings.network.proposal_ledger),
        fees=claiming.present_fees(app),
        price_per_sector=claiming.storage_price(app),
    )
    require_native(costs, account=miner, balance=app.rpc.balance(miner))
    return ShownPlan(planned, attempt.facts, costs, tuple(known), app.settings.network)


# --- afterwards ---------------------------------------------------------------------------------------


def _go_on(attempt: Attempt, receipt: Receipt, *, dry_run: bool) -> int:
    """The proposal is on the ledger; what is left is to upload its artifacts."""
    if attempt.existing is None:
        raise FormatError(
            f"This run was submitted in transaction {receipt.tx_hash}, but its record is gone from"
            f" {attempt.app.home}.",
            meaning="Its evidence cannot be made again: the ledger holds the root of the one signed then.",
            next_step="Restore the home folder from a backup and run this again.",
        )
    say("This run is on the ledger already; its uploads are resumed.")
    if dry_run:
        say("Dry run: nothing was sent.")
        emit({"dry_run": True, "tx_hash": receipt.tx_hash}, [], as_json=attempt.app.as_json)
        return 0
    return _publish(attempt, attempt.existing, receipt, {})


def _publish(attempt: Attempt, submission: Submission, receipt: Receipt, plan: dict[str, Any]) -> int:
    app = attempt.app
    done = claims.publish_artifacts(
        attempt.packed,
        submission,
        receipt,
        store=attempt.store,
        ledger=wiring.ledger_of(app),
        publisher=wiring.make_publisher(app.settings, attempt.sender),
        progress=say,
    )
    links = links_of(
        app.settings.network, done.receipt.tx_hash, candidate=done.candidate_root, evidence=done.evidence_root
    )
    data = {
        **plan,
        "proposal": int(done.proposal_id),
        "tx_hash": done.receipt.tx_hash,
        "candidate_root": str(done.candidate_root),
        "evidence_root": str(done.evidence_root),
        "stake": submission.stake,
        "reward_recipient": submission.reward_recipient,
        "links": links,
    }
    lines = [
        f"Proposal {done.proposal_id} is submitted and its artifacts are published.",
        f"  candidate    {done.candidate_root}",
        f"  evidence     {done.evidence_root}",
        *(f"  {name:<11}  {link}" for name, link in links.items()),
        f"Follow it with: armlx-chain watch --proposal {done.proposal_id}",
    ]
    emit(data, lines, as_json=app.as_json)
    return 0
