"""Rejections wait for a person, and no more than a few are sent in a day; both durable.

- A refuted verdict enters the queue when it could be signed. It is signed once a person has confirmed this
  very report (``armlx-validator confirm ID``), or at once under the operator's standing order
  (``--auto-reject``).
- A person may also decline: the verdict stays recorded and nothing is ever sent. A confirmation can be taken
  back the same way as long as nothing is signed.
- Whoever consents, at most ``most`` proposals are rejected in a UTC day. A proposal takes its place in the
  day before it is signed, and keeps it: a crash in between neither frees the place nor takes a second one.

::

    rejections = Rejections(database, where, auto=False, most=3, now=clock)
    hindrance = rejections.hindrance(proposal, finding.report)      # a sentence: nothing is signed now
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from armlx_chain.chain.contracts import Proposal
from armlx_chain.durable import transaction
from armlx_chain.errors import UsageError
from armlx_chain.formats.canonical import canonical_json
from verifier.daemon.usage import day_of

__all__ = ["MAX_REJECTIONS", "REJECTION_TABLES", "Answer", "Pending", "Queue", "Rejections", "report_digest"]

MAX_REJECTIONS: Final = 3
"""Rejections in a UTC day unless the operator says otherwise; as many refusals in a row end live mode."""

REJECTION_TABLES = (
    """
CREATE TABLE IF NOT EXISTS rejection (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    report TEXT NOT NULL,
    reason TEXT NOT NULL,
    sentence TEXT NOT NULL,
    stake TEXT NOT NULL,
    asked INTEGER NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (chain, ledger, account, proposal)
)""",
    """
CREATE TABLE IF NOT EXISTS rejection_day (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    day INTEGER NOT NULL,
    PRIMARY KEY (chain, ledger, account, proposal)
)""",
)
_ASK = (
    "INSERT INTO rejection VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (chain, ledger, account, proposal) DO UPDATE SET report = excluded.report,"
    " reason = excluded.reason, sentence = excluded.sentence, asked = excluded.asked,"
    " answer = excluded.answer WHERE rejection.report != excluded.report"
)
_SELECT = "SELECT account, proposal, report, reason, sentence, stake, asked, answer FROM rejection"


class Answer(StrEnum):
    WAITING = "waiting"
    CONFIRMED = "confirmed"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Pending:
    """A rejection that was asked for.

    Attributes:
        account: The validator whose verdict it is; lower case.
        report: Digest of the verdict's report, which the answer is about.
        reason, sentence: The verdict's reason and explanation.
        stake: Tokens that it slashes.
        asked: Seconds since 1970.
    """

    account: str
    proposal_id: int
    report: str
    reason: str
    sentence: str
    stake: int
    asked: int
    answer: Answer


def report_digest(report: Mapping[str, Any]) -> str:
    """What names a recorded verdict: SHA-256 of its report as canonical JSON, hex."""
    return hashlib.sha256(canonical_json(dict(report))).hexdigest()


class Queue:
    """The rejections asked for on one ledger, by whichever of this machine's validators."""

    def __init__(self, database: sqlite3.Connection, *, chain: str, ledger: str) -> None:
        self._db = database
        self._where = (chain, ledger.lower())

    def all(self) -> tuple[Pending, ...]:
        """Every one ever asked for, in order of proposal."""
        rows = self._db.execute(
            _SELECT + " WHERE chain = ? AND ledger = ? ORDER BY proposal, account",
            self._where,
        ).fetchall()
        return tuple(_pending(row) for row in rows)

    def answer(self, pending: Pending, answer: Answer) -> None:
        """A person's answer on exactly this report.

        Raises:
            UsageError: the verdict is another one by now.
        """
        changed = self._db.execute(
            "UPDATE rejection SET answer = ?"
            " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ? AND report = ?",
            (answer.value, *self._where, pending.account, pending.proposal_id, pending.report),
        ).rowcount
        if changed != 1:
            raise UsageError(
                f"The verdict on proposal {pending.proposal_id} is another one than the one that was shown.",
                meaning="It was judged anew in the meantime; nothing was confirmed.",
                next_step="Look again with: armlx-validator pending",
            )


class Rejections:
    """The rejections of one verifier account on one ledger, in the database of its findings.

    Args:
        auto: The operator's standing order: no person is asked.
        most: Proposals that may be rejected in a UTC day.
        now: Seconds since 1970, UTC.
        ask: Asks a person who is there; ``None`` where nobody is.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        where: tuple[str, str, str],
        *,
        now: Callable[[], float],
        auto: bool = False,
        most: int = MAX_REJECTIONS,
        ask: Callable[[Proposal, str], bool] | None = None,
    ) -> None:
        self._db = database
        self._where = where
        self._auto = auto
        self._most = most
        self._now = now
        self._ask = ask

    def hindrance(self, proposal: Proposal, report: Mapping[str, Any]) -> str | None:
        """Why the rejection is not signed now; with ``None`` its place in the day is taken.

        Args:
            report: Of the refuted verdict.
        """
        pending = self._asked(proposal, report)
        if pending.answer is Answer.DECLINED:
            return "refuted; a person declined to reject it, so nothing is sent"
        if pending.answer is Answer.WAITING and not self._auto:
            if self._ask is None or not self._ask(proposal, pending.sentence):
                return (
                    "refuted; the rejection waits for a person's consent. Confirm it with: "
                    f"armlx-validator confirm {proposal.id}"
                )
            self._answer(pending, Answer.CONFIRMED)
        if not self._take_place(int(proposal.id)):
            return (
                f"refuted; {self._most} proposals were rejected today, which is the most for a day "
                "(--max-rejections), so this one waits with its consent until tomorrow (UTC)"
            )
        return None

    def pending(self) -> tuple[Pending, ...]:
        """All rejections asked for by this validator that wait for a person."""
        rows = self._db.execute(
            _SELECT + " WHERE chain = ? AND ledger = ? AND account = ? AND answer = ? ORDER BY proposal",
            (*self._where, Answer.WAITING.value),
        ).fetchall()
        return tuple(_pending(row) for row in rows)

    def taken(self) -> int:
        """How many rejections have their place in today."""
        return self._count(day_of(self._now()))

    def is_spent(self) -> bool:
        """Whether no further proposal can be rejected today."""
        return self.taken() >= self._most

    def withdraw(self, proposal_id: int) -> None:
        """Nobody needs to answer any more: the proposal was settled by somebody else, or judged otherwise."""
        self._db.execute(
            "DELETE FROM rejection WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?",
            (*self._where, int(proposal_id)),
        )

    def _asked(self, proposal: Proposal, report: Mapping[str, Any]) -> Pending:
        """Ask, unless this very verdict was asked about before; an answer on another verdict is void."""
        row = (
            int(proposal.id),
            report_digest(report),
            str(report["reason"]),
            str(report["explanation"]),
            str(int(proposal.stake)),
            int(self._now()),
            Answer.WAITING.value,
        )
        self._db.execute(_ASK, (*self._where, *row))
        found = self._db.execute(
            _SELECT + " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?",
            (*self._where, int(proposal.id)),
        ).fetchone()
        return _pending(found)

    def _answer(self, pending: Pending, answer: Answer) -> None:
        Queue(self._db, chain=self._where[0], ledger=self._where[1]).answer(pending, answer)

    def _take_place(self, proposal_id: int) -> bool:
        day = day_of(self._now())
        with transaction(self._db):
            held = self._db.execute(
                "SELECT 1 FROM rejection_day WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?",
                (*self._where, proposal_id),
            ).fetchone()
            if held is None:
                if self._count(day) >= self._most:
                    return False
                self._db.execute(
                    "INSERT INTO rejection_day VALUES (?, ?, ?, ?, ?)", (*self._where, proposal_id, day)
                )
        return True

    def _count(self, day: int) -> int:
        row = self._db.execute(
            "SELECT COUNT(*) FROM rejection_day WHERE chain = ? AND ledger = ? AND account = ? AND day = ?",
            (*self._where, day),
        ).fetchone()
        return int(row[0])


def _pending(row: tuple[Any, ...]) -> Pending:
    account, proposal, report, reason, sentence, stake, asked, answer = row
    return Pending(
        str(account),
        int(proposal),
        str(report),
        str(reason),
        str(sentence),
        int(stake),
        int(asked),
        Answer(answer),
    )
