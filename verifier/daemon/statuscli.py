"""``armlx-validator status``: what the daemon is about, and what it waits for."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import coin, emit, table

if TYPE_CHECKING:
    from verifier.daemon.board import Board
    from verifier.daemon.cyclelog import CycleRow, Queued


@click.command()
@click.option("--validator", metavar="ADDRESS", help="This validator only. [default: all of this home]")
@click.option("--offline", is_flag=True, help="Do not ask the chain for balances and credits.")
@network_options
def status(app: App, validator: str | None, offline: bool) -> int:
    """Show mode, last cycle, queue, today's machine time, rejections that wait, and balances.

    Reads the validator's database beside the running daemon, and needs no key. Where the chain cannot be
    asked, the rest is shown all the same.

    \b
    Examples:
      armlx-validator status
      armlx-validator status --offline --json
    """
    boards = _boards(app, validator)
    purses = {board.account: None if offline else _purse(app, board.account) for board in boards}
    now = time.time()
    lines = [line for board in boards for line in _lines(board, purses[board.account], now)]
    emit(
        {"validators": [_as_json(board, purses[board.account]) for board in boards]},
        lines or ["No validator has worked here yet.", "Start one with: armlx-validator run --account NAME"],
        as_json=app.as_json,
    )
    return 0


def _boards(app: App, validator: str | None) -> list[Board]:
    from armlx_chain.errors import UsageError
    from verifier.daemon.board import accounts_of, read_board

    path, network = app.home / "findings.sqlite", app.settings.network
    known = []
    if path.exists():
        known = accounts_of(path, chain_id=network.chain_id, ledger=network.proposal_ledger)
    if validator is not None:
        known = [(chain, account) for chain, account in known if account == validator.lower()]
        if not known:
            raise UsageError(
                f"{validator} has not worked as a validator of {network.name} in this home.",
                next_step="See who has: armlx-validator status",
            )
    return [
        read_board(
            path,
            chain=chain,
            ledger=network.proposal_ledger,
            account=account,
            practice=network.name == "devnet",
            now=time.time,
        )
        for chain, account in known
    ]


def _purse(app: App, account: str) -> dict[str, Any]:
    """What the account has; or why that cannot be told."""
    from eth_utils import to_checksum_address

    from armlx_chain.cli.wiring import holdings_of
    from armlx_chain.errors import ArmlxError
    from armlx_chain.types import Address

    address = Address(to_checksum_address(account))
    try:
        balance = app.rpc.balance(address)
        credits = {int(one.project_id): int(one.credit) for one in holdings_of(app, address) if one.credit}
    except ArmlxError as error:
        return {"unknown": error.message}
    return {"wei": int(balance), "credits": credits}


def _lines(board: Board, purse: dict[str, Any] | None, now: float) -> list[str]:
    rows: list[tuple[str, object]] = [
        ("validator", board.account),
        ("mode", f"{board.mode}: {board.why}"),
        ("last cycle", _cycle(board.cycles[0], now) if board.cycles else "none yet"),
    ]
    for gold in board.golds:
        rows.append(
            ("gold run", f"{'passed' if gold.passed else 'FAILED'} {_moment(gold.at)}: {gold.sentence}")
        )
    rows.append(("today", _today(board)))
    rows += _purse_rows(purse)
    lines = table(rows)
    lines += ["", f"queue: {len(board.queue)}" if board.queue else "queue: empty"]
    for one in board.queue:
        lines += [f"  {_headline(board, one)}", f"    {one.sentence}"]
    if board.pending:
        lines += ["", "rejections that wait for a person (armlx-validator pending):"]
        lines += [f"  proposal {one.proposal_id}: {one.reason}, {one.stake} tokens" for one in board.pending]
    return [*lines, ""]


def _headline(board: Board, one: Queued) -> str:
    finding = board.findings.get(one.proposal_id)
    verdict = "" if finding is None else f", {finding.report.get('outcome')} ({finding.state.value})"
    where = "" if one.machine is None else f", on {one.machine}"
    return f"proposal {one.proposal_id} of project {one.project_id}: {one.phase.value}{verdict}{where}"


def _cycle(cycle: CycleRow, now: float) -> str:
    ago = max(0, int(now) - (cycle.began if cycle.ended is None else cycle.ended))
    if cycle.ended is None:
        return f"{cycle.number} began {ago} s ago and has not ended (it runs, or its process died)"
    said = f": {cycle.sentence}" if cycle.sentence else ""
    return f"{cycle.number} ended {ago} s ago, {cycle.outcome}, {cycle.proposals} proposals{said}"


def _today(board: Board) -> str:
    used = ", ".join(f"project {project} {seconds} s" for project, seconds in board.used.items())
    return f"machine time: {used or 'none'}; rejections: {board.rejected_today}"


def _purse_rows(purse: dict[str, Any] | None) -> list[tuple[str, object]]:
    if purse is None:
        return [("balance", "not asked (--offline)")]
    if "unknown" in purse:
        return [("balance", f"unknown: {purse['unknown']}")]
    owed = ", ".join(f"project {project} {tokens}" for project, tokens in purse["credits"].items())
    return [("balance", coin(purse["wei"])), ("credits", owed or "none")]


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


def _as_json(board: Board, purse: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "validator": board.account,
        "chain": board.chain,
        "mode": board.mode,
        "why": board.why,
        "gold_runs": [
            {"key": one.key, "passed": one.passed, "sentence": one.sentence, "at": one.at}
            for one in board.golds
        ],
        "cycles": [
            {
                "number": one.number,
                "why": one.why,
                "began": one.began,
                "ended": one.ended,
                "outcome": one.outcome,
                "sentence": one.sentence,
                "proposals": one.proposals,
            }
            for one in board.cycles
        ],
        "queue": [_queued_as_json(board, one) for one in board.queue],
        "machine_seconds_today": {str(project): seconds for project, seconds in board.used.items()},
        "rejections_today": board.rejected_today,
        "pending_rejections": [
            {"proposal": one.proposal_id, "reason": one.reason, "stake": one.stake, "asked": one.asked}
            for one in board.pending
        ],
        "purse": purse,
    }


def _queued_as_json(board: Board, one: Queued) -> dict[str, Any]:
    finding = board.findings.get(one.proposal_id)
    return {
        "proposal": one.proposal_id,
        "project": one.project_id,
        "phase": one.phase.value,
        "sentence": one.sentence,
        "since": one.since,
        "machine": one.machine,
        "state": None if finding is None else finding.state.value,
        "outcome": None if finding is None else finding.report.get("outcome"),
        "reason": None if finding is None else finding.report.get("reason"),
    }
