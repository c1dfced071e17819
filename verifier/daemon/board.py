"""What a validator stands at, read from its database beside the running daemon; no chain, no key.

Reading changes nothing but, once, the version of a database that an earlier program wrote.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armlx_chain.errors import MachineError
from verifier.daemon.cyclelog import CycleRow, Queued
from verifier.daemon.mode import Gold, ModeKeeper
from verifier.daemon.rejections import Pending, Rejections
from verifier.daemon.store import Finding, FindingStore
from verifier.daemon.usage import Usage, day_of

__all__ = ["Board", "accounts_of", "read_board"]

SHOWN_CYCLES: Final = 5
_TABLES: Final = ("finding", "cycle", "queue", "mode")


@dataclass(frozen=True, slots=True)
class Board:
    """One validator on one ledger.

    Attributes:
        account: Its address, lower case.
        chain: Id and genesis hash, as the database names it.
        why: Why the mode is what it is.
        cycles: The latest, the last one first. One without an end runs, or its process died.
        queue: Every proposal that is not at its end.
        findings: What was recorded of those in the queue, by proposal.
        used: Machine seconds of today (UTC) by project.
        rejected_today: Rejections that have their place in today.
    """

    account: str
    chain: str
    mode: str
    why: str
    golds: tuple[Gold, ...]
    cycles: tuple[CycleRow, ...]
    queue: tuple[Queued, ...]
    findings: dict[int, Finding]
    used: dict[int, int]
    pending: tuple[Pending, ...]
    rejected_today: int


def accounts_of(path: Path, *, chain_id: int, ledger: str) -> list[tuple[str, str]]:
    """The validators that ever worked with this database on a ledger: chain and account, in order.

    Raises:
        MachineError: it cannot be read.
    """
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            known = {
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            found: set[tuple[str, str]] = set()
            for table in _TABLES:
                if table in known:
                    rows = database.execute(
                        f"SELECT DISTINCT chain, account FROM {table} WHERE ledger = ?",  # noqa: S608 (ours)
                        (ledger.lower(),),
                    )
                    found |= {(str(chain), str(account)) for chain, account in rows}
        finally:
            database.close()
    except sqlite3.Error as error:
        raise MachineError(f"{path} cannot be read: {error}.") from error
    return sorted(
        (chain, account) for chain, account in found if chain.startswith(f"{chain_id}:") and account
    )


def read_board(
    path: Path, *, chain: str, ledger: str, account: str, practice: bool, now: Callable[[], float]
) -> Board:
    """What stands in the database.

    Args:
        practice: The local world.
        now: Seconds since 1970, UTC.

    Raises:
        MachineError: it cannot be read.
    """
    try:
        store = FindingStore(path, chain=chain, ledger=ledger, account=account)
        try:
            return _read(store, practice=practice, now=now)
        finally:
            store.close()
    except (sqlite3.Error, OSError) as error:
        raise MachineError(f"{path} cannot be read: {error}.") from error


def _read(store: FindingStore, *, practice: bool, now: Callable[[], float]) -> Board:
    database, where = store.database, store.where
    modes = ModeKeeper(database, where, practice=practice, now=now)
    rejections = Rejections(database, where, now=now)
    queue = tuple(store.cycles.queue())
    findings = {one.proposal_id: store.find(one.proposal_id) for one in queue}
    return Board(
        account=where[2],
        chain=where[0],
        mode=modes.current().value,
        why=modes.why(),
        golds=modes.golds(),
        cycles=tuple(store.cycles.cycles(SHOWN_CYCLES)),
        queue=queue,
        findings={number: found for number, found in findings.items() if found is not None},
        used=Usage(database, where).by_project(day_of(now())),
        pending=rejections.pending(),
        rejected_today=rejections.taken(),
    )
