"""``abandon``: give up a submission that was begun, and take back what it allowed the ledger."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.output import confirm, emit
from armlx_chain.errors import ClaimRefused, UsageError

if TYPE_CHECKING:
    from armlx_chain.chain.sender import Receipt
    from armlx_chain.claims.submission import Submission, SubmissionStore
    from armlx_chain.types import Address


def _require_not_mined(store: SubmissionStore, identifier: str, receipt: Receipt | None) -> None:
    """What is on the ledger is no longer given up, also if an earlier ``abandon`` was cut short.

    Raises:
        ClaimRefused: it is on the ledger.
    """
    if receipt is None:
        return
    store.take_up(identifier)
    raise ClaimRefused(
        f"This run is on the ledger already, in transaction {receipt.tx_hash}.",
        meaning="A stake cannot be withdrawn.",
        next_step="Run submit again to finish its uploads: without them its stake would expire.",
    )


@click.command()
@click.option("--run", "run", type=click.Path(path_type=Path), help="The run folder, or the run.log in it.")
@click.option("--submission", "identifier", help="Its name, as status shows it.")
@signer_options
@spending_options
@network_options
def abandon(
    app: App, key: SignerChoice, run: Path | None, identifier: str | None, yes: bool, dry_run: bool
) -> int:
    """Give up the submission of a run before its proposal is on the ledger.

    What the ledger was allowed to take is set back to 0; tokens that were bought stay yours (see: sell). A
    run that was given up is not submitted again: run reproduce anew for that.

    \b
    Examples:
      armlx-chain abandon --run runs/better --account me
      armlx-chain abandon --submission 3f9c… --account me
    """
    from armlx_chain.claims import settling
    from armlx_chain.claims.submit import mined_receipt
    from armlx_chain.cli import wiring
    from armlx_chain.formats.evidence import Evidence

    if (run is None) == (identifier is None):
        raise UsageError("Give either --run or --submission.")
    signer, store = key.load(app), wiring.submissions(app.settings)
    record = _begun(store, signer.address, run, identifier)
    _, token = wiring.open_project(app, int(Evidence.parse(record.evidence).claim.project_id))
    sender = app.sender(signer)
    _require_not_mined(store, record.id, mined_receipt(sender, record.id))
    ledger = app.settings.network.proposal_ledger
    allowed = token.allowance(signer.address, ledger)
    plan: list[tuple[str, object]] = [
        ("give up", f"submission {record.id}"),
        ("allowance", f"{allowed} {token.symbol()}, set back to 0" if allowed else "none is left"),
        ("tokens", f"{token.balance_of(signer.address)} {token.symbol()} stay with {signer.address}"),
    ]
    if not confirm(plan, yes=yes, dry_run=dry_run):
        emit({"dry_run": True, "allowance": int(allowed)}, [], as_json=app.as_json)
        return 0
    store.abandon(record.id)  # from here on none of its signed steps is broadcast any more
    sender.resume()
    _require_not_mined(store, record.id, mined_receipt(sender, record.id))
    was_reset = settling.reset_allowance(sender, token, ledger, identifier=record.id)
    emit(
        {"abandoned": True, "submission": record.id, "allowance_reset": was_reset, "allowance": 0},
        ["The submission is given up; the ledger may take nothing."],
        as_json=app.as_json,
    )
    return 0


def _begun(store: SubmissionStore, miner: Address, run: Path | None, identifier: str | None) -> Submission:
    """The record that is meant.

    Raises:
        UsageError: there is none.
    """
    from armlx_chain.claims.runfolder import peek_facts, run_log_of

    if run is not None:
        found = store.of_run(peek_facts(run_log_of(run)), miner)
    else:
        known = re.fullmatch("[0-9a-f]{32}", identifier or "")
        found = None if known is None else store.find(known.group())
    if found is None:
        raise UsageError(
            "No such submission was begun.",
            meaning="There is nothing to give up.",
            next_step="See the unfinished ones with: armlx-chain status --account NAME",
        )
    return found
