"""What happened to a project and its proposals, from events, in the order of the chain.

One search for the events that name the project, one for those that name only its proposals; both from the
block in which the project was made, found by its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import contracts_abi
from armlx_chain.chain.logs import LogEntry, LogQuery, LogReader, first_block_from
from armlx_chain.chain.records import Project
from armlx_chain.chain.rpc import Rpc
from armlx_chain.errors import RpcUnavailable
from armlx_chain.types import Address, BlockNumber, TxHash

_MOST_TOPICS = 500
"""Alternatives in one question; nodes take 1000."""
_OF_PROPOSAL = (
    "ReviewClaimed", "ReviewReleased", "ProposalApproved", "ProposalRejected", "ProposalExpired",
    "StakeSlashed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One event.

    Attributes:
        args: By name: integers, checksummed addresses, bytes.
    """

    name: str
    args: Mapping[str, Any]
    block_number: BlockNumber
    tx_hash: TxHash
    index: int


def project_history(rpc: Rpc, project: Project, *, ledger: Address, registry: Address) -> list[HistoryEvent]:
    """Everything that the registry and the ledger said of a project, up to the block of this view.

    Args:
        rpc: A pinned view (``at_depth``), or the chain itself for its newest state.

    Raises:
        RpcUnavailable, NodeRefused, EndpointsDisagree: the chain cannot be searched.
    """
    newest = rpc.block("latest").number
    first = first_block_from(rpc, project.created_at, last=newest)
    reader, this = LogReader(), (int(project.id).to_bytes(32, "big"),)
    queries = [
        LogQuery((registry,), (_topics("ProjectRegistry", ("ProjectCreated", "BestUpdated")), this)),
        LogQuery((ledger,), (_topics("ProposalLedger", ("RewardClaimed",)), this)),
        LogQuery((ledger,), (_topics("ProposalLedger", ("ProposalSubmitted",)), (), this)),
    ]
    entries = reader.read(rpc, queries, first, newest)
    submitted = contracts_abi.event_topic("ProposalLedger", "ProposalSubmitted")
    ids = [entry.topics[1] for entry in entries if entry.topics[0] == submitted]
    more = [
        LogQuery((ledger,), (_topics("ProposalLedger", _OF_PROPOSAL), tuple(part))) for part in _parts(ids)
    ]
    entries += reader.read(rpc, more, first, newest)
    entries.sort(key=lambda entry: (entry.block_number, entry.index))
    return [decode_event(entry) for entry in entries]


def decode_event(entry: LogEntry) -> HistoryEvent:
    """An event of one of the contracts, its arguments by name.

    Raises:
        RpcUnavailable: it is none of theirs, or does not fit its interface.
    """
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError
    from eth_utils import to_checksum_address

    described = _events().get(entry.topics[0] if entry.topics else b"")
    if described is None:
        raise RpcUnavailable("An endpoint sent an event that none of the contracts has.")
    name, inputs = described
    indexed = [item for item in inputs if item["indexed"]]
    plain = [item for item in inputs if not item["indexed"]]
    try:
        values = dict(
            zip((item["name"] for item in plain), decode([i["type"] for i in plain], entry.data), strict=True)
        )
        for item, topic in zip(indexed, entry.topics[1:], strict=True):
            (values[item["name"]],) = decode([item["type"]], topic)
    except (DecodingError, ValueError, OverflowError) as error:
        raise RpcUnavailable(f"An endpoint sent a {name} event that makes no sense.") from error
    for item in inputs:
        if item["type"] == "address":
            values[item["name"]] = to_checksum_address(values[item["name"]])
    args = {item["name"]: values[item["name"]] for item in inputs}
    return HistoryEvent(
        name, args, BlockNumber(entry.block_number), TxHash("0x" + entry.tx_hash.hex()), entry.index
    )


@cache
def _events() -> dict[bytes, tuple[str, Sequence[dict[str, Any]]]]:
    found: dict[bytes, tuple[str, Sequence[dict[str, Any]]]] = {}
    for contract in ("ProjectRegistry", "ProposalLedger", "ProjectToken", "VerifierRegistry"):
        for item in contracts_abi.abi(contract):
            if item["type"] == "event":
                found[contracts_abi.event_topic(contract, item["name"])] = (item["name"], item["inputs"])
    return found


def _parts(topics: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(topics), _MOST_TOPICS):
        yield topics[start : start + _MOST_TOPICS]


def _topics(contract: str, events: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(contracts_abi.event_topic(contract, event) for event in events)
