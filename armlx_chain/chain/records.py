"""Records of the registry and the ledger, decoded strictly from their words.

- An unknown id reads as zeros on the chain (contracts specification, section 6): that is ``None`` here.
- A word with bits where its type has none is no record; a node that sends one is not believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from eth_utils.address import to_checksum_address

from armlx_chain.errors import WrongChain
from armlx_chain.types import Address, ProjectId, ProposalId, ScaledScore, Tokens

ZERO_ADDRESS = Address("0x" + "00" * 20)
_WORD = 32
_PROJECT_WORDS = 12
_PROPOSAL_WORDS = 13


class Status(IntEnum):
    """Where a proposal stands on the ledger."""

    SUBMITTED = 0
    REVIEWING = 1
    APPROVED = 2
    REJECTED = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True)
class Project:
    """A project's record. Hashes are the 32 bytes the ledger holds."""

    id: ProjectId
    protocol_hash: bytes
    repo_snapshot_hash: bytes
    benchmark_hash: bytes
    baseline_score: ScaledScore
    baseline_metrics_hash: bytes
    best_code_hash: bytes
    best_score: ScaledScore
    best_metrics_hash: bytes
    best_miner: Address
    token: Address
    creator: Address
    created_at: int

    @property
    def has_accepted(self) -> bool:
        """Whether a proposal was ever approved."""
        return self.best_miner != ZERO_ADDRESS


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal's record. Times are Unix seconds of block timestamps."""

    id: ProposalId
    project_id: ProjectId
    miner: Address
    reward_recipient: Address
    code_hash: bytes
    evidence_hash: bytes
    metrics_hash: bytes
    claimed_score: ScaledScore
    verified_score: ScaledScore
    stake: Tokens
    submitted_at: int
    review_lock_until: int
    reviewer: Address
    status: Status

    @property
    def is_open(self) -> bool:
        return self.status in (Status.SUBMITTED, Status.REVIEWING)


def decode_project(project_id: int, data: bytes) -> Project | None:
    """What ``getProject`` returned, or None for an id that does not exist.

    Raises:
        WrongChain: it is no project's record.
    """
    words = _words(data, _PROJECT_WORDS, "project")
    if not any(words[9]):
        return None
    return Project(
        id=ProjectId(project_id),
        protocol_hash=words[0],
        repo_snapshot_hash=words[1],
        benchmark_hash=words[2],
        baseline_score=ScaledScore(_signed(words[3])),
        baseline_metrics_hash=words[4],
        best_code_hash=words[5],
        best_score=ScaledScore(_signed(words[6])),
        best_metrics_hash=words[7],
        best_miner=decode_address(words[8]),
        token=decode_address(words[9]),
        creator=decode_address(words[10]),
        created_at=_unsigned(words[11], 64),
    )


def decode_proposal(proposal_id: int, data: bytes) -> Proposal | None:
    """What ``getProposal`` returned, or None for an id that does not exist.

    Raises:
        WrongChain: it is no proposal's record.
    """
    words = _words(data, _PROPOSAL_WORDS, "proposal")
    if not any(words[9]):
        return None
    status = _unsigned(words[12], 8)
    if status > max(Status):
        raise _no_record(f"the status {status} does not exist")
    return Proposal(
        id=ProposalId(proposal_id),
        project_id=ProjectId(_unsigned(words[0], 256)),
        miner=decode_address(words[1]),
        reward_recipient=decode_address(words[2]),
        code_hash=words[3],
        evidence_hash=words[4],
        metrics_hash=words[5],
        claimed_score=ScaledScore(_signed(words[6])),
        verified_score=ScaledScore(_signed(words[7])),
        stake=Tokens(_unsigned(words[8], 256)),
        submitted_at=_unsigned(words[9], 64),
        review_lock_until=_unsigned(words[10], 64),
        reviewer=decode_address(words[11]),
        status=Status(status),
    )


def decode_uint(data: bytes) -> int:
    """One unsigned word.

    Raises:
        WrongChain: it is not one word.
    """
    return _unsigned(_words(data, 1, "number")[0], 256)


@lru_cache(maxsize=4096)
def decode_address(word: bytes) -> Address:
    """A word as a checksummed address; the same few accounts appear in thousands of records.

    Raises:
        WrongChain: it is none.
    """
    if any(word[:12]) or len(word) != _WORD:
        raise _no_record("an address has more than 20 bytes")
    return Address(to_checksum_address(word[12:]))


def _words(data: bytes, count: int, what: str) -> Sequence[bytes]:
    if len(data) != count * _WORD:
        raise _no_record(f"a {what} has {count * _WORD} bytes, this answer has {len(data)}")
    return [data[start : start + _WORD] for start in range(0, len(data), _WORD)]


def _unsigned(word: bytes, bits: int) -> int:
    value = int.from_bytes(word, "big")
    if value >> bits:
        raise _no_record(f"a number does not fit in {bits} bits")
    return value


def _signed(word: bytes) -> int:
    return int.from_bytes(word, "big", signed=True)


def _no_record(why: str) -> WrongChain:
    return WrongChain(
        f"A contract's answer is no record of the kind asked for: {why}.",
        meaning="Other contracts are at the configured addresses, or the endpoint makes answers up.",
        next_step="Check the network and the contract addresses.",
    )
