"""``armlx-validator pending`` and ``confirm``: a person's word before a stake is slashed.

Both read the validator's database beside the running daemon; the next cycle acts on the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import confirm as ask
from armlx_chain.cli.output import emit, table

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal
    from verifier.daemon.rejections import Pending, Queue
    from verifier.daemon.store import FindingStore

_VALIDATOR = click.option(
    "--validator", metavar="ADDRESS", help="Whose verdict it is, where this machine has several validators."
)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those that were answered, or are settled.")
@network_options
def pending(app: App, everything: bool) -> int:
    """List the rejections that wait for a person.

    Nothing is slashed without one, unless the daemon runs with --auto-reject.

    \b
    Examples:
      armlx-validator pending
      armlx-validator pending --all --json
    """
    queue = _open(app)
    entries = [] if queue is None else [(entry, _proposal(app, entry)) for entry in queue.all()]
    shown = [(e, p) for e, p in entries if everything or (e.answer.value == "waiting" and p.is_open)]
    lines = [line for entry, proposal in shown for line in _lines(app, entry, proposal)]
    data = {"rejections": [_as_json(app, entry, proposal) for entry, proposal in shown]}
    emit(data, lines or ["No rejection waits for a person."], as_json=app.as_json)
    return 0


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL", type=click.IntRange(min=0))
@click.option("--decline", is_flag=True, help="Do not reject it: the verdict is kept, and nothing is sent.")
@_VALIDATOR
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be answered, and stop.")
@network_options
def confirm(
    app: App, proposal_id: int, decline: bool, validator: str | None, yes: bool, dry_run: bool
) -> int:
    """Confirm that PROPOSAL is rejected, which slashes its miner's stake. Read its report first.

    The answer holds for the verdict that is shown, and for no later one. Nothing is sent by this command: the
    daemon rejects in its next cycle, if the day's number of rejections allows it. Until it has signed,
    --decline takes a confirmation back.

    \b
    Examples:
      armlx-validator confirm 12
      armlx-validator confirm 12 --decline
    """
    from verifier.daemon.rejections import Answer

    queue, entry = _find(app, proposal_id, validator)
    proposal = _proposal(app, entry)
    answer = Answer.DECLINED if decline else Answer.CONFIRMED
    deed = "left alone; nothing is sent" if decline else f"rejected: {entry.stake} tokens are slashed"
    rows: list[tuple[str, object]] = [
        ("chain", f"{app.settings.network.name} ({app.settings.network.chain_id})"),
        ("validator", entry.account),
        ("proposal", f"{proposal.id} of project {proposal.project_id}, {proposal.status.name.lower()}"),
        ("miner", proposal.miner),
        ("verdict", f"refuted ({entry.reason}): {entry.sentence}"),
        ("report", _report_folder(app, entry)),
        ("it will be", deed),
    ]
    _require_open(app, entry, proposal)
    is_answered = ask(rows, yes=yes, dry_run=dry_run)
    lines = []
    if is_answered:
        queue.answer(entry, answer)
        word = "declined" if decline else "confirmed"
        lines = [f"Proposal {proposal_id}: {word}. The daemon acts in its next cycle."]
    standing = answer if is_answered else entry.answer
    data = {
        "proposal": proposal_id,
        "validator": entry.account,
        "answer": standing.value,
        "stake": entry.stake,
    }
    emit(data, lines, as_json=app.as_json)
    return 0


def _store(app: App, account: str) -> FindingStore | None:
    """The findings of a validator of this machine; ``None`` where none ever judged anything."""
    from armlx_chain.cli.wiring import chain_key
    from verifier.daemon.store import FindingStore

    path = app.home / "findings.sqlite"
    if not path.exists():
        return None
    chain, ledger = chain_key(app.settings, app.rpc), app.settings.network.proposal_ledger
    return FindingStore(path, chain=chain, ledger=ledger, account=account)


def _open(app: App) -> Queue | None:
    """The queue of this machine's validators."""
    from verifier.daemon.rejections import Queue

    store = _store(app, "")
    if store is None:
        return None
    chain, ledger, _ = store.where
    return Queue(store.database, chain=chain, ledger=ledger)


def _require_open(app: App, entry: Pending, proposal: Proposal) -> None:
    """An answer must still be able to change something.

    Raises:
        UsageError: the proposal is settled, or the rejection is signed.
    """
    from armlx_chain.errors import UsageError

    if not proposal.is_open:
        raise UsageError(f"Proposal {proposal.id} is {proposal.status.name.lower()} already.")
    store = _store(app, entry.account)
    finding = None if store is None else store.find(entry.proposal_id)
    if finding is not None and finding.attestation is not None:
        raise UsageError(
            f"The rejection of proposal {proposal.id} is signed already.",
            meaning="A verdict that was signed is final: it will be sent, or superseded.",
        )


def _find(app: App, proposal_id: int, validator: str | None) -> tuple[Queue, Pending]:
    from armlx_chain.errors import UsageError

    queue = _open(app)
    found = [] if queue is None else [e for e in queue.all() if e.proposal_id == proposal_id]
    if validator is not None:
        found = [entry for entry in found if entry.account == validator.lower()]
    if queue is None or not found:
        raise UsageError(
            f"No rejection of proposal {proposal_id} was asked for on this machine.",
            next_step="See which were: armlx-validator pending --all",
        )
    if len(found) > 1:
        raise UsageError(
            f"Several validators of this machine would reject proposal {proposal_id}.",
            next_step="Name one: --validator " + " or ".join(entry.account for entry in found),
        )
    return queue, found[0]


def _proposal(app: App, entry: Pending) -> Proposal:
    from armlx_chain.cli.claiming import require_proposal
    from armlx_chain.cli.wiring import ledger_of

    return require_proposal(ledger_of(app), entry.proposal_id)


def _report_folder(app: App, entry: Pending) -> str:
    return str(app.home / "reports" / app.settings.network.proposal_ledger / str(entry.proposal_id))


def _as_json(app: App, entry: Pending, proposal: Proposal) -> dict[str, object]:
    return {
        "proposal": entry.proposal_id,
        "project": int(proposal.project_id),
        "miner": proposal.miner,
        "status": proposal.status.name.lower(),
        "validator": entry.account,
        "reason": entry.reason,
        "sentence": entry.sentence,
        "stake": entry.stake,
        "asked_at": entry.asked,
        "answer": entry.answer.value,
        "report": _report_folder(app, entry),
    }


def _lines(app: App, entry: Pending, proposal: Proposal) -> list[str]:
    tree = _as_json(app, entry, proposal)
    names = ("project", "miner", "status", "validator", "reason", "sentence", "stake", "answer", "report")
    rows = table([(name, tree[name]) for name in names])
    return [f"proposal {entry.proposal_id}", *("  " + row for row in rows)]
