"""Whether this validator signs: *dry* (it judges and reports) or *live*; durable.

- It starts dry. Somebody says that it goes live, and that takes a gold run which has passed since it last
  went dry: the published baseline, reproduced here within this machine's own noise (``gold``).
- Three ``refuted`` in a row, a failed gold run or a guard that lost entries return it to dry mode, with a
  sentence that says why and what to do. "In a row" counts proposals: a reproduced or unimproved one in
  between ends the row, an undecided one says nothing of this machine and does not.
- A gold run holds for the machine, hardware class and environment it was made on. A verdict from another one
  waits, although the validator is live.
- What was decided in dry mode is kept with its draft and is settled once the mode allows it, if it still
  stands.
- The local world is for practice: there a validator starts live. It returns to dry mode by the same rules.

::

    modes = ModeKeeper(database, where, practice=False, now=clock)
    modes.note_verdict(proposal.id, verdict.outcome, key=gold_key(bench))
    hindrance = modes.hindrance(proposal.id)      # a sentence: nothing is signed now
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from armlx_chain.durable import transaction
from armlx_chain.errors import UsageError
from verifier.model import Outcome

__all__ = ["MODE_TABLES", "REFUTED_IN_A_ROW", "Gold", "Mode", "ModeKeeper"]

REFUTED_IN_A_ROW: Final = 3
"""So many proposals refuted one after the other are more likely a fault here than three cheats."""

MODE_TABLES = (
    """
CREATE TABLE IF NOT EXISTS mode (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    mode TEXT NOT NULL,
    why TEXT NOT NULL,
    since INTEGER NOT NULL,
    gold_needed_after INTEGER NOT NULL,
    PRIMARY KEY (chain, ledger, account)
)""",
    """
CREATE TABLE IF NOT EXISTS gold (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    number INTEGER NOT NULL,
    machine TEXT NOT NULL,
    passed INTEGER NOT NULL,
    sentence TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (chain, ledger, account, number)
)""",
    """
CREATE TABLE IF NOT EXISTS verdict_seen (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    machine TEXT NOT NULL,
    refuted INTEGER NOT NULL,
    PRIMARY KEY (chain, ledger, account, proposal)
)""",
)
_HOW = (
    "Make a gold run with: armlx-validator gold --project N, look at what it says, then start with --go-live."
)
_BREAKS_THE_ROW: Final = frozenset({Outcome.REPRODUCED.value, Outcome.UNIMPROVED.value})


class Mode(StrEnum):
    DRY = "dry"
    """Judges and reports; signs nothing, sends nothing."""
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Gold:
    """The latest gold run of a machine.

    Attributes:
        key: Machine, hardware class and environment (``gold.gold_key``).
        at: Seconds since 1970.
    """

    key: str
    passed: bool
    sentence: str
    at: int


class ModeKeeper:
    """The mode of one verifier account on one ledger, in the database of its findings.

    Args:
        practice: The local world, where a validator starts live and needs no gold run to judge.
        now: Seconds since 1970, UTC.
        held: Why it is dry as long as this process runs, whatever is recorded; ``None`` where it is not.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        where: tuple[str, str, str],
        *,
        practice: bool,
        now: Callable[[], float],
        held: str | None = None,
    ) -> None:
        self._db = database
        self._where = where
        self._practice = practice
        self._now = now
        self._held = held

    def current(self) -> Mode:
        if self._held is not None:
            return Mode.DRY
        row = self._row()
        if row is None:
            return Mode.LIVE if self._practice else Mode.DRY
        return Mode(row[0])

    def why(self) -> str:
        """Why the mode is what it is, and how to leave it if it is dry."""
        if self._held is not None:
            return self._held
        row = self._row()
        if row is not None:
            return str(row[1])
        if self._practice:
            return "This is the local world, where a validator starts live."
        return "Nobody said yet that it goes live. " + _HOW

    def hindrance(self, proposal_id: int) -> str | None:
        """Why a verdict on this proposal is not signed now, if something stands against it."""
        row = self._db.execute(
            "SELECT machine FROM verdict_seen"
            " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?",
            (*self._where, int(proposal_id)),
        ).fetchone()
        return self.hindrance_on("" if row is None else str(row[0]))

    def hindrance_on(self, key: str) -> str | None:
        """Why a verdict of this machine would not be signed now, if something stands against it.

        Args:
            key: ``gold.gold_key`` of its bench; empty where nothing was run.
        """
        if self.current() is Mode.DRY:
            return "dry mode: nothing is signed or sent. " + self.why()
        gold = self.gold_of(key)
        if self._practice or not key or (gold is not None and gold.passed):
            return None
        return (
            "no gold run has passed on the machine and environment that judged it; nothing is signed or "
            "sent. Make one with: armlx-validator gold --project N"
        )

    def note_verdict(self, proposal_id: int, outcome: str, *, key: str = "") -> None:
        """A verdict was reached; the third refuted one in a row ends live mode.

        Args:
            key: ``gold.gold_key`` of the bench that judged it; empty where nothing was run.
        """
        refuted = outcome == Outcome.REFUTED.value
        with transaction(self._db):
            if outcome in _BREAKS_THE_ROW:
                self._db.execute(
                    "UPDATE verdict_seen SET refuted = 0 WHERE chain = ? AND ledger = ? AND account = ?",
                    self._where,
                )
            self._db.execute(
                "INSERT OR REPLACE INTO verdict_seen VALUES (?, ?, ?, ?, ?, ?)",
                (*self._where, int(proposal_id), key, int(refuted)),
            )
            row = self._refuted()
            if refuted and len(row) >= REFUTED_IN_A_ROW:
                listed = ", ".join(str(number) for number in row)
                self._go_dry(
                    f"{len(row)} proposals in a row were refuted ({listed}): look at their reports before "
                    "anything is sent. " + _HOW,
                    # Otherwise whoever goes on cheating could make every gold run void.
                    keeps_gold=True,
                )

    def gold(self, passed: bool, sentence: str, key: str) -> None:
        """A gold run was made; a failed one ends live mode."""
        with transaction(self._db):
            count = self._db.execute(
                "SELECT COUNT(*) FROM gold WHERE chain = ? AND ledger = ? AND account = ?", self._where
            ).fetchone()[0]
            self._db.execute(
                "INSERT INTO gold VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*self._where, int(count) + 1, key, int(passed), sentence, self._second()),
            )
            if not passed:
                self._go_dry(f"A gold run failed: {sentence} {_HOW}")

    def lost_guard(self, sentence: str) -> None:
        """The guard does not know verdicts that this key settled; nothing is signed until a person looked."""
        with transaction(self._db):
            self._go_dry(f"{sentence} {_HOW}")

    def golds(self) -> tuple[Gold, ...]:
        """The latest gold run of each machine, the newest first."""
        rows = self._db.execute(
            "SELECT machine, passed, sentence, at FROM gold"
            " WHERE chain = ? AND ledger = ? AND account = ? ORDER BY number DESC",
            self._where,
        ).fetchall()
        found: dict[str, Gold] = {}
        for machine, passed, sentence, at in rows:
            found.setdefault(machine, Gold(machine, bool(passed), sentence, int(at)))
        return tuple(found.values())

    def gold_of(self, key: str) -> Gold | None:
        """The latest gold run of a machine."""
        return next((gold for gold in self.golds() if gold.key == key), None)

    def go_live(self) -> None:
        """Leave dry mode.

        Raises:
            UsageError: no gold run has passed since it went dry.
        """
        if self.current() is Mode.LIVE:
            return
        with transaction(self._db):  # another process may write that a gold run failed
            row = self._row()
            passed = self._passed_after(0 if row is None else int(row[2]))
            if passed is None:
                raise UsageError(
                    "No gold run has passed on this machine"
                    + (" since the validator went dry." if row is not None else "."),
                    meaning="It stays dry: " + self.why(),
                    next_step=_HOW,
                )
            self._db.execute(
                "UPDATE verdict_seen SET refuted = 0 WHERE chain = ? AND ledger = ? AND account = ?",
                self._where,
            )
            self._write(Mode.LIVE, f"A person said so after a gold run: {passed}", 0)

    def _passed_after(self, number: int) -> str | None:
        found = self._db.execute(
            "SELECT sentence FROM gold"
            " WHERE chain = ? AND ledger = ? AND account = ? AND passed = 1 AND number > ?"
            " ORDER BY number DESC LIMIT 1",
            (*self._where, number),
        ).fetchone()
        return None if found is None else str(found[0])

    def _refuted(self) -> list[int]:
        rows = self._db.execute(
            "SELECT proposal FROM verdict_seen"
            " WHERE chain = ? AND ledger = ? AND account = ? AND refuted = 1 ORDER BY proposal",
            self._where,
        ).fetchall()
        return [int(number) for (number,) in rows]

    def _go_dry(self, sentence: str, *, keeps_gold: bool = False) -> None:
        """Args:
        keeps_gold: Where it is dry already, a gold run that passed since then still counts.
        """
        row = self._row()
        if keeps_gold and row is not None and row[0] == Mode.DRY:
            self._write(Mode.DRY, sentence, row[2])
            return
        count = self._db.execute(
            "SELECT COUNT(*) FROM gold WHERE chain = ? AND ledger = ? AND account = ?", self._where
        ).fetchone()[0]
        self._write(Mode.DRY, sentence, int(count))

    def _write(self, mode: Mode, why: str, gold_number: int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO mode VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*self._where, mode.value, why, self._second(), gold_number),
        )

    def _row(self) -> tuple[str, str, int] | None:
        row = self._db.execute(
            "SELECT mode, why, gold_needed_after FROM mode WHERE chain = ? AND ledger = ? AND account = ?",
            self._where,
        ).fetchone()
        return None if row is None else (str(row[0]), str(row[1]), int(row[2]))

    def _second(self) -> int:
        return int(self._now())
