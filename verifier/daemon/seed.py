"""The seed of an evaluation, from a block that nobody knew when the candidate was fixed.

keccak256 of the ABI encoding of (domain, chain id, ledger, proposal id, rule id, hash of block B), with B the
block of the ``ProposalSubmitted`` event plus a fixed delay, read once it has the configured confirmations
(trusted evaluation, section 2). Where two endpoints are configured, both must show the same event and the
same hash. There is no fall-back to a local seed.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi import encode
from eth_utils import keccak

from armlx_chain.chain.contracts import ProposalLedger
from armlx_chain.types import Address, BlockNumber, ProposalId

SEED_DOMAIN = "armlx-chain/evaluation-seed/1"


@dataclass(frozen=True, slots=True)
class Seed:
    """The seed and the block it came from."""

    value: bytes
    block: BlockNumber


def evaluation_seed(
    *, chain_id: int, ledger: Address, proposal_id: ProposalId, rule_id: str, block_hash: bytes
) -> bytes:
    """The 32 bytes every validator draws alike. Pure."""
    types = ["string", "uint256", "address", "uint256", "string", "bytes32"]
    values = [SEED_DOMAIN, chain_id, ledger, int(proposal_id), rule_id, block_hash]
    return bytes(keccak(encode(types, values)))


def read_seed(
    ledger: ProposalLedger, proposal_id: ProposalId, *, rule_id: str, delay_blocks: int, confirmations: int
) -> Seed | None:
    """The seed of a proposal, or ``None`` while its block is not mined and confirmed.

    Raises:
        EndpointsDisagree: two endpoints show different events or hashes.
        ChainError: the chain cannot be read.
    """
    settled = ledger.rpc.at_depth(confirmations)
    submitted_in = ledger.on(settled).submission_block(proposal_id)
    if submitted_in is None:
        return None
    number = submitted_in + delay_blocks
    if settled.block().number < number:
        return None
    block = settled.witnessed_block(number)
    if block is None:
        return None
    value = evaluation_seed(
        chain_id=ledger.rpc.expected_chain_id,
        ledger=ledger.address,
        proposal_id=proposal_id,
        rule_id=rule_id,
        block_hash=block.hash,
    )
    return Seed(value, block.number)
