"""One typed class per contract; every state read takes a block.

- Every function of the four ABIs is wrapped here, or named in the class's ``UNUSED`` with the reason.
- Reads return typed values; ``…_data`` methods return the calldata of a transaction.
- An unknown project or proposal id reads as zeros on the chain (contracts specification, section 6), so the
  ``find_*`` methods return ``None`` for it instead of a record full of zeros.
- ``on`` gives the same contract on another view of the chain, such as ``rpc.at_depth(3)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import contracts_abi
from armlx_chain.chain.logs import LogQuery, LogReader, first_block_from
from armlx_chain.chain.records import (
    ZERO_ADDRESS,
    Project,
    Proposal,
    Status,
    decode_project,
    decode_proposal,
)
from armlx_chain.chain.rpc import BlockId, Rpc
from armlx_chain.chain.sender import Receipt
from armlx_chain.errors import ChainError, WrongChain
from armlx_chain.protocol.text import one_line
from armlx_chain.types import Address, ProposalId, ScaledScore, Tokens, Wei

__all__ = [
    "ZERO_ADDRESS",
    "Project",
    "ProjectRegistry",
    "ProjectToken",
    "Proposal",
    "ProposalLedger",
    "Status",
    "VerifierRegistry",
]
_IDS = range(1 << 256)


class _Contract:
    """Shared plumbing: a web3 contract of a known ABI at an address."""

    abi_name: str
    UNUSED: ClassVar[Mapping[str, str]] = {}
    """Functions of the ABI without a wrapper, and why."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.rpc = rpc
        self.address = address
        self._contract = rpc.contract(address, contracts_abi.abi(self.abi_name))

    def on(self, rpc: Rpc) -> Self:
        """The same contract on another view of the chain."""
        return type(self)(rpc, self.address)

    def _read(self, function: str, *args: Any, block: BlockId = "latest") -> Any:
        what = f"{self.abi_name}.{function}"
        return self.rpc.guarded(
            what, lambda: self._contract.functions[function](*args).call(block_identifier=block)
        )

    def _raw(self, function: str, *args: Any, block: BlockId = "latest") -> bytes:
        what = f"{self.abi_name}.{function}"
        data = "0x" + self.encode(function, *args).hex()
        return self.rpc.call({"to": self.address, "data": data}, what, block)

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
    UNUSED: ClassVar[Mapping[str, str]] = {
        "renounceOwnership": "it freezes the list for good; nobody should do that by a slip of ours",
        "transferOwnership": "it takes effect at once and cannot be undone; owners have tools of their own",
    }

    def is_verifier(self, account: Address, *, block: BlockId = "latest") -> bool:
        return bool(self._read("isVerifier", account, block=block))

    def verifier_count(self, *, block: BlockId = "latest") -> int:
        return int(self._read("verifierCount", block=block))

    def verifier_at(self, position: int, *, block: BlockId = "latest") -> Address:
        """An entry of the list; positions change when one is removed."""
        return Address(self._read("verifiers", position, block=block))

    def owner(self, *, block: BlockId = "latest") -> Address:
        """Who keeps the list; zero once renounced."""
        return Address(self._read("owner", block=block))

    def add_verifier_data(self, account: Address) -> bytes:
        return self.encode("addVerifier", account)

    def remove_verifier_data(self, account: Address) -> bytes:
        return self.encode("removeVerifier", account)


class ProjectRegistry(_Contract):
    """Projects and their current best."""

    abi_name = "ProjectRegistry"
    UNUSED: ClassVar[Mapping[str, str]] = {"updateBest": "only the ledger may call it"}

    def find_project(self, project_id: int, *, block: BlockId = "latest") -> Project | None:
        """The record, or ``None`` for an id that does not exist."""
        if project_id not in _IDS:
            return None
        raw = self._raw("getProject", project_id, block=block)
        return decode_project(project_id, _answered(self, "getProject", raw))

    def token_of(self, project_id: int, *, block: BlockId = "latest") -> Address | None:
        """The project's token, or ``None`` for an id that does not exist."""
        found = Address(self._read("tokenOf", project_id, block=block))
        return None if found == ZERO_ADDRESS else found

    def best_score(self, project_id: int, *, block: BlockId = "latest") -> ScaledScore:
        """C alone; 0 for an id that does not exist."""
        return ScaledScore(self._read("currentBestAggregateScore", project_id, block=block))

    def project_count(self, *, block: BlockId = "latest") -> int:
        return int(self._read("nextProjectId", block=block))

    def proposal_ledger(self) -> Address:
        return Address(self._read("proposalLedger"))

    def create_project_data(
        self,
        *,
        protocol_hash: bytes,
        repo_snapshot_hash: bytes,
        benchmark_hash: bytes,
        baseline_score: ScaledScore,
        baseline_metrics_hash: bytes,
        token_name: str,
        token_symbol: str,
        base_price: Wei,
        slope: Wei,
        pool_cap: Tokens,
    ) -> bytes:
        """The contract checks none of it."""
        hashes = (protocol_hash, repo_snapshot_hash, benchmark_hash)
        market = (int(base_price), int(slope), int(pool_cap))
        baseline = (int(baseline_score), baseline_metrics_hash)
        return self.encode("createProject", *hashes, *baseline, token_name, token_symbol, *market)


class ProposalLedger(_Contract):
    """Proposals, reviews and settlements."""

    abi_name = "ProposalLedger"

    def find_proposal(self, proposal_id: int, *, block: BlockId = "latest") -> Proposal | None:
        """The record, or ``None`` for an id that does not exist."""
        if proposal_id not in _IDS:
            return None
        raw = self._raw("getProposal", proposal_id, block=block)
        return decode_proposal(proposal_id, _answered(self, "getProposal", raw))

    def proposal_count(self, *, block: BlockId = "latest") -> int:
        return int(self._read("nextProposalId", block=block))

    def claimable(self, project_id: int, account: Address, *, block: BlockId = "latest") -> Tokens:
        return Tokens(self._read("claimable", project_id, account, block=block))

    def review_lock_seconds(self) -> int:
        return int(self._read("REVIEW_LOCK"))

    def expiry_window_seconds(self) -> int:
        return int(self._read("EXPIRY_WINDOW"))

    def bps_denominator(self) -> int:
        return int(self._read("BPS_DENOMINATOR"))

    def slash_bps_to_burn(self) -> int:
        return int(self._read("SLASH_BPS_TO_BURN"))

    def slash_bps_to_beneficiary(self) -> int:
        return int(self._read("SLASH_BPS_TO_VERIFIER_POOL"))

    def registry(self) -> Address:
        return Address(self._read("registry"))

    def verifier_registry(self) -> Address:
        return Address(self._read("verifierRegistry"))

    def submission_block(self, proposal_id: int) -> int | None:
        """Number of the block whose ``ProposalSubmitted`` event made this proposal.

        The record holds the block's time, so only blocks of that time are searched for the event.
        """
        proposal = self.find_proposal(proposal_id)
        if proposal is None:
            return None
        newest = self.rpc.block("latest").number
        first = first_block_from(self.rpc, proposal.submitted_at, last=newest)
        last = first_block_from(self.rpc, proposal.submitted_at + 1, last=newest) - 1
        if last < first:
            return None
        topic = contracts_abi.event_topic(self.abi_name, "ProposalSubmitted")
        query = LogQuery((self.address,), ((topic,), (proposal_id.to_bytes(32, "big"),)))
        found = LogReader().read(self.rpc, [query], first, last)
        return found[0].block_number if found else None

    def submit_data(
        self,
        *,
        project_id: int,
        code_hash: bytes,
        evidence_hash: bytes,
        claimed_score: ScaledScore,
        stake: Tokens,
        reward_recipient: Address,
    ) -> bytes:
        score, amount = int(claimed_score), int(stake)
        return self.encode("submit", project_id, code_hash, evidence_hash, score, amount, reward_recipient)

    def claim_review_data(self, proposal_id: ProposalId) -> bytes:
        return self.encode("claimReview", int(proposal_id))

    def release_review_data(self, proposal_id: ProposalId) -> bytes:
        return self.encode("releaseReview", int(proposal_id))

    def approve_data(self, proposal_id: ProposalId, verified: ScaledScore, metrics_hash: bytes) -> bytes:
        return self.encode("approve", int(proposal_id), int(verified), metrics_hash)

    def reject_data(self, proposal_id: ProposalId, metrics_hash: bytes) -> bytes:
        return self.encode("reject", int(proposal_id), metrics_hash)

    def expire_data(self, proposal_id: ProposalId) -> bytes:
        return self.encode("expire", int(proposal_id))

    def claim_reward_data(self, project_id: int) -> bytes:
        return self.encode("claimReward", int(project_id))


class ProjectToken(_Contract):
    """A project's token with its bonding curve. It has no decimals: amounts are whole tokens."""

    abi_name = "ProjectToken"
    UNUSED: ClassVar[Mapping[str, str]] = {
        "burnFromLedger": "only the ledger may call it",
        "mintMinerReward": "only the ledger may call it",
        "transferFrom": "nobody here spends another account's allowance; only the ledger does",
    }

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

        raw = self._raw(function)
        try:
            (data,) = decode(["bytes"], raw)
        except DecodingError as error:
            raise _no_contract(self, function) from error
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

    def price_at(self, supply: int, *, block: BlockId = "latest") -> Wei:
        """Marginal price at a supply, by the contract."""
        return Wei(self._read("priceAt", supply, block=block))

    def cost_between(self, start: int, end: int, *, block: BlockId = "latest") -> Wei:
        """Cost from one supply to another, by the contract."""
        return Wei(self._read("costBetween", start, end, block=block))

    def quote_buy(self, payment: Wei, *, block: BlockId = "latest") -> Tokens:
        """Tokens for a payment now, by the contract."""
        return Tokens(self._read("quoteBuy", int(payment), block=block))

    def quote_sell(self, count: int, *, block: BlockId = "latest") -> Wei:
        """What the curve says a sale is worth; the contract does not look at its reserve."""
        return Wei(self._read("quoteSell", count, block=block))

    def buy_data(self) -> bytes:
        return self.encode("buy")

    def sell_data(self, count: int) -> bytes:
        return self.encode("sell", count)

    def approve_data(self, spender: Address, amount: int) -> bytes:
        """Sets the allowance; it does not add to it."""
        return self.encode("approve", spender, amount)

    def transfer_data(self, to: Address, amount: int) -> bytes:
        return self.encode("transfer", to, amount)


def _answered(contract: _Contract, function: str, raw: bytes) -> bytes:
    """An address without code answers every call with nothing.

    Raises:
        WrongChain: it did.
    """
    if not raw:
        raise _no_contract(contract, function)
    return raw


def _no_contract(contract: _Contract, function: str) -> WrongChain:
    return WrongChain(
        f"{contract.abi_name}.{function}: there is no such contract at this address on chain"
        f" {contract.rpc.expected_chain_id}.",
        next_step="Check the network and the contract addresses.",
    )
