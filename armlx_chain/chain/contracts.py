"""One typed class per contract; every state read takes an explicit block.

An unknown project or proposal id reads as zeros on the chain (contracts specification, section 6), so the
``find_*`` methods return ``None`` for it instead of a record full of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import contracts_abi
from armlx_chain.chain.rpc import BlockId, Rpc
from armlx_chain.chain.sender import Receipt
from armlx_chain.errors import ChainError, WrongChain
from armlx_chain.protocol.text import one_line
from armlx_chain.types import Address, ProjectId, ProposalId, ScaledScore, Tokens, Wei

ZERO_ADDRESS = Address("0x" + "00" * 20)
_IDS = range(1 << 256)


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


class _Contract:
    """Shared plumbing: a web3 contract of a known ABI at an address."""

    abi_name: str

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.rpc = rpc
        self.address = address
        self._contract = rpc.contract(address, contracts_abi.abi(self.abi_name))

    def _read(self, function: str, *args: Any, block: BlockId = "latest") -> Any:
        what = f"{self.abi_name}.{function}"
        return self.rpc.guarded(
            what, lambda: self._contract.functions[function](*args).call(block_identifier=block)
        )

    def encode(self, function: str, *args: Any) -> bytes:
        """Calldata of a call."""
        return bytes.fromhex(self._contract.encode_abi(function, args=list(args))[2:])

    def event(self, receipt: Receipt, name: str) -> dict[str, Any]:
        """The arguments of the one event of this name that this contract emitted in a receipt.

        Raises:
            ChainError: there is none.
        """
        topic = self._contract.events[name]().topic
        for entry in receipt.raw["logs"]:
            if entry["address"] == self.address and "0x" + bytes(entry["topics"][0]).hex() == topic:
                return dict(self._contract.events[name]().process_log(entry)["args"])
        raise ChainError(f"Transaction {receipt.tx_hash} emitted no {name} event of {self.address}.")


class VerifierRegistry(_Contract):
    """The allow-list of verifiers."""

    abi_name = "VerifierRegistry"

    def is_verifier(self, account: Address, *, block: BlockId = "latest") -> bool:
        return bool(self._read("isVerifier", account, block=block))

    def verifier_count(self, *, block: BlockId = "latest") -> int:
        return int(self._read("verifierCount", block=block))


class ProjectRegistry(_Contract):
    """Projects and their current best."""

    abi_name = "ProjectRegistry"

    def find_project(self, project_id: int, *, block: BlockId = "latest") -> Project | None:
        """The record, or ``None`` for an id that does not exist."""
        if project_id not in _IDS:
            return None
        raw = self._read("getProject", project_id, block=block)
        if raw[9] == ZERO_ADDRESS:
            return None
        return Project(
            id=ProjectId(project_id),
            protocol_hash=bytes(raw[0]),
            repo_snapshot_hash=bytes(raw[1]),
            benchmark_hash=bytes(raw[2]),
            baseline_score=ScaledScore(raw[3]),
            baseline_metrics_hash=bytes(raw[4]),
            best_code_hash=bytes(raw[5]),
            best_score=ScaledScore(raw[6]),
            best_metrics_hash=bytes(raw[7]),
            best_miner=Address(raw[8]),
            token=Address(raw[9]),
            creator=Address(raw[10]),
            created_at=int(raw[11]),
        )

    def project_count(self, *, block: BlockId = "latest") -> int:
        return int(self._read("nextProjectId", block=block))

    def proposal_ledger(self) -> Address:
        return Address(self._read("proposalLedger"))


class ProposalLedger(_Contract):
    """Proposals, reviews and settlements."""

    abi_name = "ProposalLedger"

    def find_proposal(self, proposal_id: int, *, block: BlockId = "latest") -> Proposal | None:
        """The record, or ``None`` for an id that does not exist."""
        if proposal_id not in _IDS:
            return None
        raw = self._read("getProposal", proposal_id, block=block)
        if raw[9] == 0:
            return None
        return Proposal(
            id=ProposalId(proposal_id),
            project_id=ProjectId(raw[0]),
            miner=Address(raw[1]),
            reward_recipient=Address(raw[2]),
            code_hash=bytes(raw[3]),
            evidence_hash=bytes(raw[4]),
            metrics_hash=bytes(raw[5]),
            claimed_score=ScaledScore(raw[6]),
            verified_score=ScaledScore(raw[7]),
            stake=Tokens(raw[8]),
            submitted_at=int(raw[9]),
            review_lock_until=int(raw[10]),
            reviewer=Address(raw[11]),
            status=Status(raw[12]),
        )

    def proposal_count(self, *, block: BlockId = "latest") -> int:
        return int(self._read("nextProposalId", block=block))

    def claimable(self, project_id: int, account: Address, *, block: BlockId = "latest") -> Tokens:
        return Tokens(self._read("claimable", project_id, account, block=block))

    def review_lock_seconds(self) -> int:
        return int(self._read("REVIEW_LOCK"))

    def expiry_window_seconds(self) -> int:
        return int(self._read("EXPIRY_WINDOW"))

    def registry(self) -> Address:
        return Address(self._read("registry"))

    def verifier_registry(self) -> Address:
        return Address(self._read("verifierRegistry"))

    def submission_block(self, proposal_id: int, *, from_block: int = 0) -> int | None:
        """Number of the block whose ``ProposalSubmitted`` event made this proposal."""
        logs = self.rpc.guarded(
            "eth_getLogs",
            lambda: self._contract.events.ProposalSubmitted().get_logs(
                from_block=from_block, argument_filters={"id": proposal_id}
            ),
        )
        return int(logs[0]["blockNumber"]) if logs else None


class ProjectToken(_Contract):
    """A project's token with its bonding curve. It has no decimals: amounts are whole tokens."""

    abi_name = "ProjectToken"

    def name(self) -> str:
        """The creator's text, made fit to be shown on one line."""
        return self._label("name")

    def symbol(self) -> str:
        """As ``name``."""
        return self._label("symbol")

    def _label(self, function: str) -> str:
        # A string on a chain is any bytes. A name that is no UTF-8 must not keep holders from selling, and
        # one with control characters must not write the screen on which they confirm.
        from eth_abi import decode
        from eth_abi.exceptions import DecodingError

        what = f"{self.abi_name}.{function}"
        raw = self.rpc.call({"to": self.address, "data": "0x" + self.encode(function).hex()}, what)
        try:
            (data,) = decode(["bytes"], raw)
        except DecodingError as error:
            raise WrongChain(
                f"{what}: there is no such contract at this address on chain {self.rpc.expected_chain_id}.",
                next_step="Check the network and the contract addresses.",
            ) from error
        return one_line(bytes(data).decode("utf-8", "replace"))

    def decimals(self) -> int:
        return int(self._read("decimals"))

    def base_price(self) -> Wei:
        return Wei(self._read("basePrice"))

    def slope(self) -> Wei:
        return Wei(self._read("slope"))

    def total_supply(self, *, block: BlockId = "latest") -> Tokens:
        return Tokens(self._read("totalSupply", block=block))

    def balance_of(self, account: Address, *, block: BlockId = "latest") -> Tokens:
        return Tokens(self._read("balanceOf", account, block=block))

    def allowance(self, owner: Address, spender: Address, *, block: BlockId = "latest") -> Tokens:
        return Tokens(self._read("allowance", owner, spender, block=block))

    def pool_cap(self) -> Tokens:
        return Tokens(self._read("minerPoolCap"))

    def pool_minted(self, *, block: BlockId = "latest") -> Tokens:
        return Tokens(self._read("minerPoolMinted", block=block))

    def proposal_ledger(self) -> Address:
        return Address(self._read("proposalLedger"))

    def reserve(self) -> Wei:
        """Native balance that backs sales."""
        return self.rpc.balance(self.address)
