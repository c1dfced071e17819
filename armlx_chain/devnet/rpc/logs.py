"""eth_getLogs: the filter, and the logs it lets through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armlx_chain.devnet.node.engine import PENDING, Engine
from armlx_chain.devnet.node.evm import LogRecord
from armlx_chain.devnet.node.transactions import refused
from armlx_chain.devnet.rpc.params import address, block_reference, hash32, invalid
from armlx_chain.devnet.rpc.shapes import JSON, log_json

MAX_TOPICS = 4
MAX_ALTERNATIVES = 1000
"""Addresses, or alternatives for one topic, in a filter (geth's limits)."""
_KEYS = frozenset({"address", "topics", "fromBlock", "toBlock", "blockHash"})


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs are wanted: in blocks ``first`` to ``last``; empty sets let everything through."""

    first: int
    last: int
    addresses: frozenset[bytes]
    topics: tuple[frozenset[bytes], ...]

    def admits(self, log: LogRecord) -> bool:
        if self.addresses and log.address not in self.addresses:
            return False
        if len(self.topics) > len(log.topics):
            return False
        return all(
            not wanted or topic in wanted for wanted, topic in zip(self.topics, log.topics, strict=False)
        )


def read_filter(chain: Engine, value: Any) -> LogFilter:
    """Parse a filter object.

    Raises:
        DevnetRpcError: -32602 for a malformed one, -32000 for an unknown block hash.
    """
    if not isinstance(value, dict):
        raise invalid("invalid filter: not an object")
    unknown = sorted(set(value) - _KEYS)
    if unknown:
        raise invalid(f"invalid filter: unknown field {unknown[0]!r}")
    first, last = _range(chain, value)
    topics = value.get("topics") or []
    if not isinstance(topics, list):
        raise invalid("invalid topics: not a list")
    if len(topics) > MAX_TOPICS:
        raise invalid("exceed max topics")
    return LogFilter(
        first=first,
        last=last,
        addresses=frozenset(address(item) for item in _alternatives(value.get("address"), "addresses")),
        topics=tuple(
            frozenset(hash32(item, "topic") for item in _alternatives(position, "topic alternatives"))
            for position in topics
        ),
    )


def find_logs(chain: Engine, wanted: LogFilter) -> list[dict[str, JSON]]:
    """Every admitted log, in the order of the chain."""
    return [
        log_json(log, block, index)
        for block in chain.blocks(wanted.first, wanted.last)
        for index, outcome in enumerate(block.outcomes)
        for log in outcome.logs
        if wanted.admits(log)
    ]


def _range(chain: Engine, value: dict[str, Any]) -> tuple[int, int]:
    if value.get("blockHash") is not None:
        if value.get("fromBlock") is not None or value.get("toBlock") is not None:
            raise invalid("cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")
        number = chain.number_of(hash32(value["blockHash"], "block hash"))
        if number is None:
            raise refused("unknown block")
        return number, number
    first = block_reference(chain, value.get("fromBlock"))
    last = block_reference(chain, value.get("toBlock"))
    beyond = chain.height + 1
    return (beyond if first == PENDING else first), (beyond if last == PENDING else last)


def _alternatives(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_ALTERNATIVES:
        raise invalid(f"exceed max {name}")
    return items
