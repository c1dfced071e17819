"""The record of a submission, on disk before anything is sent.

One run is submitted once. The record is created exclusively, so of two processes with the same run one
makes it and the other reads it; the evidence in it never changes afterwards.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlx_chain.claims.runfolder import RunFacts, RunFolder
from armlx_chain.errors import ClaimRefused, FormatError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.evidence import Evidence
from armlx_chain.types import Address, ProposalId, Root

FORMAT = "armlx-submission/1"


def submission_id(run: RunFolder, miner: Address, candidate_root: Root) -> str:
    """Names one run of one miner for one project on one chain; 32 hex digits."""
    facts = run.facts
    parts = (
        str(facts.chain_id),
        facts.ledger.lower(),
        str(facts.project_id),
        miner.lower(),
        str(candidate_root),
        facts.run_log_sha256,
        facts.control_log_sha256,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Submission:
    """What was decided once: evidence, roots and stake."""

    id: str
    evidence: bytes
    candidate_root: Root
    evidence_root: Root
    stake: int
    reward_recipient: Address


class SubmissionStore:
    """Submission records in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, identifier: str) -> Submission | None:
        """The record of this run, if one was made.

        Raises:
            FormatError: it is damaged.
        """
        path = self._path(identifier)
        if not path.exists():
            return None
        document = parse_canonical(path.read_bytes())
        try:
            if document["format"] != FORMAT:
                raise FormatError(f"{path} is not a submission record.")
            return Submission(
                id=str(document["id"]),
                evidence=str(document["evidence"]).encode(),
                candidate_root=Root.parse(document["candidateRoot"]),
                evidence_root=Root.parse(document["evidenceRoot"]),
                stake=int(document["stake"]),
                reward_recipient=Address(document["rewardRecipient"]),
            )
        except (KeyError, TypeError) as error:
            raise FormatError(f"{path} is damaged ({error}).") from error

    def create(self, submission: Submission) -> Submission:
        """Write the record durably, or return the one another process made first."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = canonical_json(
            {
                "format": FORMAT,
                "id": submission.id,
                "evidence": submission.evidence.decode(),
                "candidateRoot": str(submission.candidate_root),
                "evidenceRoot": str(submission.evidence_root),
                "stake": submission.stake,
                "rewardRecipient": submission.reward_recipient,
            }
        )
        temporary = self._folder / f".{submission.id}.{os.getpid()}"
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        try:
            # A hard link is created or fails as a whole: nobody ever reads half a record.
            self._path(submission.id).hardlink_to(temporary)
        except FileExistsError:
            existing = self.find(submission.id)
            if existing is not None:
                return existing
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return submission

    def finish(self, identifier: str, proposal_id: ProposalId) -> None:
        """Note the proposal and that everything is uploaded."""
        path = self._folder / f"{identifier}.done"
        temporary = path.with_suffix(".part")
        temporary.write_text(f"{proposal_id}\n")
        temporary.replace(path)

    def finished(self, identifier: str) -> ProposalId | None:
        """The proposal of a submission that is complete."""
        path = self._folder / f"{identifier}.done"
        return ProposalId(int(path.read_text())) if path.exists() else None

    def abandon(self, identifier: str) -> None:
        """Note that this submission is given up for good."""
        (self._folder / f"{identifier}.abandoned").touch()

    def take_up(self, identifier: str) -> None:
        """Take back that it was given up: its proposal was on the ledger already."""
        (self._folder / f"{identifier}.abandoned").unlink(missing_ok=True)

    def stands(self, facts: Mapping[str, Any]) -> bool:
        """Whether the submission that a journalled step names, if any, was not given up."""
        return not ("submission" in facts and self.abandoned(str(facts["submission"])))

    def abandoned(self, identifier: str) -> bool:
        """Whether it was given up."""
        return (self._folder / f"{identifier}.abandoned").exists()

    def of_run(self, facts: RunFacts, miner: Address) -> Submission | None:
        """The submission that was begun with this run by this miner, found by what it signed.

        Raises:
            FormatError: a record is damaged.
        """
        for path in sorted(self._folder.glob("*.json")):
            record = self.find(path.stem)
            claim = None if record is None else Evidence.parse(record.evidence).claim
            if claim is None or claim.miner != miner or claim.project_id != facts.project_id:
                continue
            logs = (claim.run_log_digest.digest.hex(), claim.control_log_digest.digest.hex())
            same_ledger = claim.domain.ledger.lower() == facts.ledger.lower()
            if logs == (facts.run_log_sha256, facts.control_log_sha256) and same_ledger:
                return record
        return None

    def unfinished(self) -> list[Submission]:
        """Submissions that were begun, and neither completed nor given up; by the name of their records.

        Raises:
            FormatError: a record is damaged.
        """
        found = [self.find(path.stem) for path in sorted(self._folder.glob("*.json"))]
        return [
            record
            for record in found
            if record is not None and self.finished(record.id) is None and not self.abandoned(record.id)
        ]

    def _path(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.json"


def require_unsubmitted(store: SubmissionStore, identifier: str) -> None:
    """Refuse a run that was already submitted completely, or given up.

    Raises:
        ClaimRefused: naming the proposal, if there is one.
    """
    if store.abandoned(identifier):
        raise ClaimRefused(
            "The submission of this run was given up.",
            meaning="Nothing was sent.",
            next_step="Run reproduce again for a submission of its own. If abandon was interrupted, run it"
            " again first: it says whether the proposal got onto the ledger.",
        )
    proposal = store.finished(identifier)
    if proposal is not None:
        raise ClaimRefused(
            f"This run was already submitted as proposal {proposal}.",
            meaning="A second submission would lock a second stake on the same code. Nothing was sent.",
            next_step=f"Follow it with: armlx-chain status --proposal {proposal}",
            details={"proposal": int(proposal)},
        )
