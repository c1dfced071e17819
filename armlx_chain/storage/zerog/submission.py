"""How a file is announced to the Flow contract: calldata, fee, and the event that follows. Pure.

``submit(((uint256 length, bytes tags, (bytes32 root, uint256 height)[] nodes), address submitter))``; the
older interface without the submitter is dead on Galileo and is not offered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from armlx_chain.storage.zerog.keccak import keccak256
from armlx_chain.storage.zerog.merkle import FileTree, SubmissionNode, fold_nodes
from armlx_chain.types import Address, Wei

__all__ = [
    "MARKET_SELECTOR",
    "PRICE_SELECTOR",
    "SUBMIT_TOPIC",
    "Submission",
    "fee_of",
    "identity_of",
    "parse_submit_event",
    "submit_calldata",
]

SUBMIT_SELECTOR = keccak256(b"submit(((uint256,bytes,(bytes32,uint256)[]),address))")[:4]
MARKET_SELECTOR = keccak256(b"market()")[:4]
PRICE_SELECTOR = keccak256(b"pricePerSector()")[:4]
SUBMIT_TOPIC = keccak256(
    b"Submit(address,bytes32,uint256,uint256,uint256,(uint256,bytes,(bytes32,uint256)[]))"
)

_SUBMISSION_TYPE = "((uint256,bytes,(bytes32,uint256)[]),address)"
_EVENT_TYPES = ["uint256", "uint256", "uint256", "(uint256,bytes,(bytes32,uint256)[])"]


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission as the Flow contract recorded it.

    Attributes:
        seq: Its 0-based number.
        start: First chunk in the flow.
        size: Length of the file in bytes.
        nodes: The perfect subtrees, largest first.
        root: The file's data root, folded from ``nodes`` (the event itself does not carry it).
    """

    seq: int
    start: int
    size: int
    nodes: tuple[SubmissionNode, ...]
    root: bytes


def submit_calldata(tree: FileTree, submitter: Address, *, tags: bytes = b"") -> bytes:
    """Calldata of ``submit`` for the file of ``tree``."""
    nodes = [(node.root, node.height) for node in tree.submission_nodes]
    argument = ((tree.size, tags, nodes), submitter)
    return SUBMIT_SELECTOR + encode([_SUBMISSION_TYPE], [argument])


def fee_of(nodes: Sequence[SubmissionNode], price_per_sector: Wei) -> Wei:
    """Wei to send along: sectors (padded chunks) times the market's price. More is not refunded."""
    return Wei(sum(1 << node.height for node in nodes) * price_per_sector)


def identity_of(nodes: Sequence[SubmissionNode]) -> bytes:
    """The event's indexed ``identity``: keccak256 of the node roots in a row. Not the file root."""
    return keccak256(b"".join(node.root for node in nodes))


def parse_submit_event(data: bytes) -> Submission:
    """The submission in the data part of a ``Submit`` log.

    Raises:
        ValueError: if it is not one.
    """
    try:
        seq, start, _sectors, (size, _tags, pairs) = decode(_EVENT_TYPES, data)
    except (DecodingError, OverflowError) as error:
        raise ValueError("not the data of a Submit event") from error
    if not pairs:
        raise ValueError("a submission without nodes")
    nodes = tuple(SubmissionNode(bytes(root), height) for root, height in pairs)
    return Submission(seq, start, size, nodes, fold_nodes([node.root for node in nodes]))
