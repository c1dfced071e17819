"""What this validator has found, durably: one row per proposal, so that no step is repeated or lost.

States, in order::

    judged ── superseded
      │
      ├─ closed          unimproved, undecided: nothing is sent
      └─ signed ── published ── settled

Undecided for want of pairs, for a fault of this machine, or before any pair counted stays judged.

Rows belong to a chain by id and genesis hash, to a ledger, and to a verifier account: what one key decided
and signed is nothing that another key may carry on. The same database keeps every pair (``testlog``) and what
the daemon did and stands at (``cyclelog``).

A store may be used from several threads, one after the other: whoever shares it holds a lock.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from armlx_chain.durable import open_durable
from verifier.daemon.admission import PASSED_OVER_TABLES
from verifier.daemon.cyclelog import CYCLE_TABLES, CycleLog
from verifier.daemon.mode import MODE_TABLES
from verifier.daemon.rejections import REJECTION_TABLES
from verifier.daemon.testlog import TEST_TABLES, TestLog
from verifier.daemon.usage import USAGE_TABLES

_SCHEMA_VERSION = 3
_FINDINGS = """
CREATE TABLE IF NOT EXISTS finding (
    chain TEXT NOT NULL,
    ledger TEXT NOT NULL,
    account TEXT NOT NULL,
    proposal INTEGER NOT NULL,
    state TEXT NOT NULL,
    report TEXT NOT NULL,
    draft BLOB,
    attestation BLOB,
    metrics_root TEXT,
    PRIMARY KEY (chain, ledger, account, proposal)
)"""
_SERVICE_TABLES = (*CYCLE_TABLES, *MODE_TABLES, *USAGE_TABLES, *REJECTION_TABLES, *PASSED_OVER_TABLES)
"""What version 3 added; every statement says IF NOT EXISTS."""
_SCHEMA = ";\n".join((_FINDINGS, *TEST_TABLES, *_SERVICE_TABLES)) + ";"
_MIGRATIONS = {1: TEST_TABLES, 2: _SERVICE_TABLES}


class FindingState(StrEnum):
    JUDGED = "judged"
    CLOSED = "closed"
    SIGNED = "signed"
    PUBLISHED = "published"
    SETTLED = "settled"
    SUPERSEDED = "superseded"


FINAL = frozenset({FindingState.CLOSED, FindingState.SETTLED, FindingState.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Finding:
    """One proposal's row.

    Attributes:
        report: The verdict as the report's tree.
        draft: The unsigned attestation and what it was decided against; written with the verdict, so that a
            restart signs the very same bytes.
        attestation: The signed attestation document, once signed.
        metrics_root: Its root, which the ledger's ``metricsHash`` takes.
    """

    proposal_id: int
    state: FindingState
    report: dict[str, Any]
    draft: bytes | None
    attestation: bytes | None
    metrics_root: str | None


class FindingStore:
    """The findings of one verifier account on one ledger."""

    def __init__(self, path: Path, *, chain: str, ledger: str, account: str) -> None:
        self._where = (chain, ledger.lower(), account.lower())
        self._db = open_durable(
            path, _SCHEMA, version=_SCHEMA_VERSION, migrations=_MIGRATIONS, is_shared=True
        )
        self.tests = TestLog(self._db, self._where)
        self.cycles = CycleLog(self._db, self._where)

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, for the other tables of this database."""
        return self._db

    @property
    def where(self) -> tuple[str, str, str]:
        """Chain, ledger and account that rows belong to."""
        return self._where

    def find(self, proposal_id: int) -> Finding | None:
        """The row of a proposal."""
        row = self._db.execute(
            "SELECT state, report, draft, attestation, metrics_root FROM finding"
            " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?",
            (*self._where, proposal_id),
        ).fetchone()
        if row is None:
            return None
        draft, attestation = (None if part is None else bytes(part) for part in row[2:4])
        return Finding(proposal_id, FindingState(row[0]), json.loads(row[1]), draft, attestation, row[4])

    def judged(
        self, proposal_id: int, state: FindingState, report: dict[str, Any], draft: bytes | None = None
    ) -> Finding:
        """Record a fresh verdict; it replaces an earlier one unless that led to a signature."""
        self._db.execute(
            "INSERT INTO finding (chain, ledger, account, proposal, state, report, draft)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (chain, ledger, account, proposal) DO UPDATE SET state = excluded.state,"
            " report = excluded.report, draft = excluded.draft WHERE finding.attestation IS NULL",
            (*self._where, proposal_id, state.value, json.dumps(report, sort_keys=True), draft),
        )
        return Finding(proposal_id, state, report, draft, None, None)

    def signed(self, proposal_id: int, attestation: bytes, metrics_root: str) -> None:
        """Keep the signed attestation; from here on its bytes never change."""
        self._db.execute(
            "UPDATE finding SET state = ?, attestation = ?, metrics_root = ?"
            " WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ? AND attestation IS NULL",
            (FindingState.SIGNED.value, attestation, metrics_root, *self._where, proposal_id),
        )

    def move(self, proposal_id: int, state: FindingState) -> None:
        """Record the next state."""
        self._db.execute(
            "UPDATE finding SET state = ? WHERE chain = ? AND ledger = ? AND account = ? AND proposal = ?",
            (state.value, *self._where, proposal_id),
        )

    def close(self) -> None:
        self._db.close()
