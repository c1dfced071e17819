"""Who packed a candidate: read from the bundle itself, compared with the ledger.

A bundle's root commits to its miner, project and chain. A copied ``codeHash`` therefore names its author; of
several proposals with one root, the earliest whose miner packed it is the author's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from armlx_chain.chain.contracts import Proposal
from armlx_chain.errors import FormatError, StorageError
from armlx_chain.formats.bundle import CANDIDATE_LIMITS, Authorship, read_candidate
from armlx_chain.storage.interface import Fetcher
from armlx_chain.types import Root

__all__ = ["Finding", "Verdict", "check_author"]


class Verdict(StrEnum):
    """From good to bad."""

    HOLDS = "holds"
    MISSING = "not there yet"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    sentence: str

    def to_json(self) -> dict[str, object]:
        return {"what": self.what, "verdict": self.verdict.value, "sentence": self.sentence}


def check_author(proposal: Proposal, others: Sequence[Proposal], chain_id: int, storage: Fetcher) -> Finding:
    """Whether the proposal's miner packed its code, for this project and chain.

    Args:
        others: All proposals of the project.
    """
    what = "author"
    try:
        data = storage.fetch(Root.zerog(proposal.code_hash), max_bytes=CANDIDATE_LIMITS.archive_bytes).data
        author, _ = read_candidate(data)
    except FormatError as error:
        return Finding(what, Verdict.CONTRADICTS, f"the code is no candidate bundle: {error.message}")
    except StorageError as error:
        return Finding(what, Verdict.MISSING, error.message)
    same = [other for other in others if other.code_hash == proposal.code_hash]
    authors = [other.id for other in same if other.miner == author.miner]
    first = min(authors) if authors else None
    problem = _problem(proposal, author, chain_id)
    if problem is not None:
        whose = "" if first is None else f"; the author's own is proposal {first}"
        return Finding(what, Verdict.CONTRADICTS, problem + whose)
    copies = [str(other.id) for other in same if other.miner != author.miner]
    copied = f"; copied by proposal {', '.join(copies)}" if copies else ""
    again = "" if first == proposal.id else f"; first submitted as proposal {first}"
    return Finding(what, Verdict.HOLDS, f"packed by {author.miner}, its miner{again}{copied}")


def _problem(proposal: Proposal, author: Authorship, chain_id: int) -> str | None:
    if author.miner != proposal.miner:
        return f"packed by {author.miner}, but submitted by {proposal.miner}: a copy"
    if author.project_id != proposal.project_id or author.chain_id != chain_id:
        return (
            f"packed for project {author.project_id} on chain {author.chain_id}, submitted for project"
            f" {proposal.project_id} on chain {chain_id}"
        )
    return None
