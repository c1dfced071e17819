"""``abandon``: give up a submission that was begun, and take back what it allowed the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.output import confirm, emit
from armlx_chain.errors import ClaimRefused, UsageError

if TYPE_CHECKING:
    from armlx_chain.chain.sender import Receipt


def _require_not_mined(receipt: Receipt | None) -> None:
    if receipt is None:
        return
    raise ClaimRefused(
        f"This run is on the ledger already, in transaction {receipt.tx_hash}.",
        meaning="A stake cannot be withdrawn.",
        next_step="Run submit again to finish its uploads: without them its stake would expire.",
    )


@click.command()
@click.option(
    "--run",
    "run",
    type=click.Path(path_type=Path),
    required=True,
    help="The run folder, or the run.log in it.",
)
@signer_options
@spending_options
@network_options
def abandon(app: App, key: SignerChoice, run: Path, yes: bool, dry_run: bool) -> int:
    """Give up the submission of a run before its proposal is on the ledger.

    What the ledger was allowed to take is set back to 0; tokens that were bought stay yours (see: sell). A
    run that was given up is not submitted again: run reproduce anew for that.

    \b
    Example:
      armlx-chain abandon --run runs/better --account me
    """
    from armlx_chain.claims import settling
    from armlx_chain.claims.runfolder import peek_facts, read_run_folder, run_log_of
    from armlx_chain.claims.submit import mined_receipt, pack_run
    from armlx_chain.cli import wiring

    run_log = run_log_of(run)
    stated = peek_facts(run_log)
    facts, token = wiring.claim_facts(app, stated.project_id)
    signer = key.load(app)
    identifier = pack_run(read_run_folder(run_log, facts.protocol), signer.address).id
    store = wiring.submissions(app.settings)
    if store.find(identifier) is None:
        raise UsageError("No submission of this run was begun.", meaning="There is nothing to give up.")
    sender = app.sender(signer)
    _require_not_mined(mined_receipt(sender, identifier))
    ledger = app.settings.network.proposal_ledger
    allowed = token.allowance(signer.address, ledger)
    plan: list[tuple[str, object]] = [
        ("give up", f"the submission of {run_log}"),
        ("allowance", f"{allowed} {facts.market.symbol}, set back to 0" if allowed else "none is left"),
        ("tokens", f"{token.balance_of(signer.address)} {facts.market.symbol} stay with {signer.address}"),
    ]
    if not confirm(plan, yes=yes, dry_run=dry_run):
        emit({"dry_run": True, "allowance": int(allowed)}, [], as_json=app.as_json)
        return 0
    store.abandon(identifier)  # from here on none of its signed steps is broadcast any more
    sender.resume()
    receipt = mined_receipt(sender, identifier)
    if receipt is not None:
        store.take_up(identifier)
    _require_not_mined(receipt)
    was_reset = settling.reset_allowance(sender, token, ledger, identifier=identifier)
    emit(
        {"abandoned": True, "allowance_reset": was_reset, "allowance": 0},
        ["The submission is given up; the ledger may take nothing."],
        as_json=app.as_json,
    )
    return 0
