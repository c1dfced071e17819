"""``submit``: from a run folder to a staked proposal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.errors import ClaimRefused, FormatError, UsageError
from armlx_chain.types import Address, Wei

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import ProjectToken
    from armlx_chain.chain.sender import Receipt, TxSender
    from armlx_chain.claims.preflight import ClaimFacts
    from armlx_chain.claims.submission import Submission, SubmissionStore
    from armlx_chain.claims.submit import Packed, SubmitPlan, Terms
    from armlx_chain.signing.signer import Signer


@click.command()
@click.option(
    "--run",
    "run_log",
    type=click.Path(path_type=Path),
    required=True,
    help="run.log of a run folder that reproduce made.",
)
@click.option(
    "--stake",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Tokens to stake. Approval returns them and mints as many.",
)
@click.option("--reward-recipient", help="Address that receives the reward. [default: the signing account]")
@click.option(
    "--max-spend", type=click.IntRange(min=1), help="Never send more wei than this for missing tokens."
)
@click.option(
    "--despite-verdict",
    is_flag=True,
    help="Risk the stake although this machine's own verdict was not reproduced.",
)
@signer_options
@spending_options
@network_options
def submit(
    app: App,
    key: SignerChoice,
    run_log: Path,
    stake: int,
    reward_recipient: str | None,
    max_spend: int | None,
    despite_verdict: bool,
    yes: bool,
    dry_run: bool,
) -> int:
    """Sign the claim of a run and submit it with a stake; then upload candidate and evidence.

    Whatever is interrupted is resumed by the same command; nothing is sent twice.

    \b
    Examples:
      armlx-chain submit --run runs/better/run.log --stake 10 --account me
      armlx-chain submit --run run.log --stake 5 --account me --reward-recipient 0x… --dry-run
    """
    from armlx_chain.claims.runfolder import peek_facts, read_run_folder
    from armlx_chain.claims.submit import (
        Terms,
        mined_receipt,
        pack_run,
        require_same_terms,
        require_unsubmitted,
    )
    from armlx_chain.cli import wiring

    stated = peek_facts(run_log)
    _require_same_ledger(app, stated.chain_id, stated.ledger)
    facts, token = wiring.claim_facts(app, stated.project_id)
    run = read_run_folder(run_log, facts.protocol)
    signer = key.load(app)
    packed = pack_run(run, signer.address)
    store = wiring.submissions(app.settings)
    require_unsubmitted(store, packed.id)
    sender = app.sender(signer)
    terms = Terms(
        miner=signer.address,
        reward_recipient=_recipient(reward_recipient, signer.address),
        stake=stake,
        max_spend=None if max_spend is None else Wei(max_spend),
        despite_verdict=despite_verdict,
    )
    existing = store.find(packed.id)
    require_same_terms(existing, terms)
    if not dry_run:
        sender.resume()
    receipt = mined_receipt(sender, packed.id)
    if receipt is not None:
        return _go_on(app, packed, existing, receipt, sender, store, dry_run=dry_run)
    planned = _plan(app, packed, terms, facts, token)
    if not _agreed(app, planned, facts, yes=yes, dry_run=dry_run):
        return 0
    return _carry_out(app, planned, signer, sender, token, store)


def _go_on(
    app: App,
    packed: Packed,
    existing: Submission | None,
    receipt: Receipt,
    sender: TxSender,
    store: SubmissionStore,
    *,
    dry_run: bool,
) -> int:
    """The proposal is on the ledger; what is left is to upload its artifacts."""
    if existing is None:
        raise FormatError(
            f"This run was submitted in transaction {receipt.tx_hash}, but its record is gone from"
            f" {app.home}.",
            meaning="Its evidence cannot be made again: the ledger holds the root of the one signed then.",
            next_step="Restore the home folder from a backup and run this again.",
        )
    say("This run is on the ledger already; its uploads are resumed.")
    if dry_run:
        say("Dry run: nothing was sent.")
        emit({"dry_run": True, "tx_hash": receipt.tx_hash}, [], as_json=app.as_json)
        return 0
    return _publish(app, packed, existing, receipt, sender, store)


def _require_same_ledger(app: App, chain_id: int, ledger: str) -> None:
    network = app.settings.network
    if chain_id != network.chain_id or ledger.lower() != network.proposal_ledger.lower():
        raise ClaimRefused(
            f"This run was made for chain {chain_id}, ledger {ledger}; {network.name} is chain"
            f" {network.chain_id}, ledger {network.proposal_ledger}.",
            meaning="Nothing was sent.",
            next_step="Choose the network with --network, or run reproduce again on this one.",
        )


def _recipient(text: str | None, miner: Address) -> Address:
    from eth_utils import is_address, to_checksum_address

    if text is None:
        return miner
    if not is_address(text) or int(text, 16) == 0:
        raise UsageError(f"{text!r} is not an address that can receive a reward.")
    return Address(to_checksum_address(text))


def _plan(app: App, packed: Packed, terms: Terms, facts: ClaimFacts, token: ProjectToken) -> SubmitPlan:
    from armlx_chain.claims.submit import plan_submission
    from armlx_chain.cli.wiring import control_root_of

    return plan_submission(
        packed,
        terms,
        facts,
        control_root=control_root_of(facts.project),
        balance=token.balance_of(terms.miner),
        now=int(time.time()),
    )


def _agreed(app: App, planned: SubmitPlan, facts: ClaimFacts, *, yes: bool, dry_run: bool) -> bool:
    """Show who, what, at most how much, on which chain; and what can be lost."""
    symbol, run = facts.market.symbol, planned.packed.run.facts
    buying = "nothing" if planned.purchase is None else (
        f"{planned.purchase.count} {symbol} for at most {coin(planned.purchase.payment)}"
    )  # fmt: skip
    for warning in planned.warnings:
        say(f"warning: {warning}")
    go = confirm(
        [
            ("chain", f"{app.settings.network.name} ({run.chain_id})"),
            ("miner", planned.terms.miner),
            ("project", f"{run.project_id} ({symbol})"),
            ("measured", f"{run.metric} {run.value} against the control's {run.control_value}"),
            ("claim", f"chained score {planned.score} (best now {facts.project.best_score})"),
            ("candidate", planned.packed.root),
            ("buy", buying),
            ("stake", f"{planned.stake} {symbol}"),
            ("if approved", f"the stake returns, and {planned.stake} {symbol} go to"
             f" {planned.terms.reward_recipient}"),
            ("if rejected", "the whole stake is lost"),
            ("if it expires", "half to all of the stake is lost"),
        ],
        yes=yes,
        dry_run=dry_run,
    )  # fmt: skip
    if not go:
        emit({"dry_run": True, "claimed_score": planned.score}, [], as_json=app.as_json)
    return go


def _carry_out(
    app: App,
    planned: SubmitPlan,
    signer: Signer,
    sender: TxSender,
    token: ProjectToken,
    store: SubmissionStore,
) -> int:
    from armlx_chain.claims.submit import seal, stake_and_submit
    from armlx_chain.cli.wiring import ledger_of

    submission = seal(planned, store, signer.sign_typed_data)
    receipt = stake_and_submit(
        planned, submission, sender=sender, ledger=ledger_of(app), token=token, progress=say
    )
    return _publish(app, planned.packed, submission, receipt, sender, store)


def _publish(
    app: App,
    packed: Packed,
    submission: Submission,
    receipt: Receipt,
    sender: TxSender,
    store: SubmissionStore,
) -> int:
    from armlx_chain.claims.submit import publish_artifacts
    from armlx_chain.cli.wiring import ledger_of, make_publisher

    done = publish_artifacts(
        packed,
        submission,
        receipt,
        store=store,
        ledger=ledger_of(app),
        publisher=make_publisher(app.settings, sender),
        progress=say,
    )
    emit(
        {
            "proposal": int(done.proposal_id),
            "tx_hash": done.receipt.tx_hash,
            "candidate_root": str(done.candidate_root),
            "evidence_root": str(done.evidence_root),
            "stake": submission.stake,
        },
        [
            f"Proposal {done.proposal_id} is submitted and its artifacts are published.",
            f"  candidate  {done.candidate_root}",
            f"  evidence   {done.evidence_root}",
            f"Follow it with: armlx-chain status --proposal {done.proposal_id}",
        ],
        as_json=app.as_json,
    )
    return 0
