"""Events in bounded ranges of blocks, and blocks by their time.

- A range that a node refuses (too wide, too many results) is halved until it is taken; the width that worked
  is remembered. Several ranges travel in one round trip.
- Every log is checked to be what was asked for. Keyed by block, transaction and position, none counts twice.
- Events are triggers only: what they announce is read from the records.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from armlx_chain.chain.canonical import is_behind
from armlx_chain.chain.rpc import NodeRefused, Rpc, error_words
from armlx_chain.chain.wire import Answer, Ask
from armlx_chain.errors import RpcUnavailable
from armlx_chain.types import Address

log = logging.getLogger(__name__)
RANGES_PER_ROUND = 20
SEARCH_FANOUT = 32
"""Blocks looked at in one round of a search by time: five rounds for thirty million blocks."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event as the chain holds it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    tx_hash: bytes
    index: int

    @property
    def key(self) -> tuple[bytes, bytes, int]:
        return self.block_hash, self.tx_hash, self.index


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which events are wanted.

    Attributes:
        topics: For each position the allowed values, empty for any.
    """

    addresses: tuple[Address, ...]
    topics: tuple[tuple[bytes, ...], ...] = ()

    def admits(self, entry: LogEntry) -> bool:
        if entry.address.lower() not in {address.lower() for address in self.addresses}:
            return False
        if len(self.topics) > len(entry.topics):
            return False
        pairs = zip(self.topics, entry.topics, strict=False)
        return all(not wanted or topic in wanted for wanted, topic in pairs)

    def ask(self, first: int, last: int) -> Ask:
        topics = [["0x" + topic.hex() for topic in wanted] or None for wanted in self.topics]
        return Ask(
            "eth_getLogs",
            [
                {
                    "address": list(self.addresses),
                    "topics": topics,
                    "fromBlock": hex(first),
                    "toBlock": hex(last),
                }
            ],
        )


@dataclass(slots=True)
class LogReader:
    """Reads events; remembers how wide a range its endpoint takes.

    Attributes:
        width: Blocks in one question; None until a node refused one.
    """

    width: int | None = field(default=None)

    def read(self, rpc: Rpc, queries: Sequence[LogQuery], first: int, last: int) -> list[LogEntry]:
        """All events of any of the queries in blocks ``first`` to ``last``, in the order of the chain.

        Raises:
            NodeRefused: even a single block is refused.
            RpcUnavailable: the answers make no sense, or none comes.
        """
        waiting = [(query, *part) for query in queries for part in self._split(first, last)]
        found: dict[tuple[bytes, bytes, int], LogEntry] = {}
        while waiting:
            now, waiting = waiting[:RANGES_PER_ROUND], waiting[RANGES_PER_ROUND:]
            answers = rpc.ask_many([query.ask(start, end) for query, start, end in now])
            for (query, start, end), answer in zip(now, answers, strict=True):
                if answer.get("error") is None:
                    found |= {entry.key: entry for entry in _entries(answer, query, start, end)}
                else:
                    waiting += [(query, *part) for part in self._halve(start, end, answer)]
        return sorted(found.values(), key=lambda entry: (entry.block_number, entry.index))

    def _split(self, first: int, last: int) -> list[tuple[int, int]]:
        step = self.width or max(1, last - first + 1)
        return [(start, min(start + step - 1, last)) for start in range(first, last + 1, step)]

    def _halve(self, start: int, end: int, answer: Answer) -> list[tuple[int, int]]:
        words = error_words(answer)
        if start >= end or is_behind("eth_getLogs", answer):
            raise NodeRefused(f"An endpoint refuses to search blocks {start} to {end} for events: {words}")
        half = (end - start + 1) // 2
        self.width = half if self.width is None else min(self.width, half)
        log.info("a search of %d blocks for events was refused (%s)", end - start + 1, words)
        return [(start, start + half - 1), (start + half, end)]


def first_block_from(rpc: Rpc, timestamp: int, *, last: int) -> int:
    """Number of the first block whose time is at or after ``timestamp``; ``last`` + 1 if there is none.

    Args:
        last: The newest block to look at. Times never fall along a chain.

    Raises:
        RpcUnavailable: an answer makes no sense.
    """
    low, high = 0, last + 1
    while low < high:
        step = max(1, (high - low) // SEARCH_FANOUT)
        probes = list(range(low, high, step))
        answers = rpc.ask_many([Ask("eth_getBlockByNumber", [hex(number), False]) for number in probes])
        late = next(
            (number for number, answer in zip(probes, answers, strict=True) if _time_of(answer) >= timestamp),
            None,
        )
        if late is None:
            low = probes[-1] + 1
        else:
            low, high = (late if late == low else late - step + 1), late
    return low


def _time_of(answer: Answer) -> int:
    try:
        return int(answer["result"]["timestamp"], 16)
    except (KeyError, TypeError, ValueError) as error:
        raise RpcUnavailable("An endpoint's answer about an old block makes no sense.") from error


def _entries(answer: Answer, query: LogQuery, first: int, last: int) -> list[LogEntry]:
    result = answer.get("result")
    if not isinstance(result, list):
        raise RpcUnavailable("An endpoint answered a search for events with something else.")
    entries = [_entry(raw) for raw in result]
    for entry in entries:
        if not first <= entry.block_number <= last or not query.admits(entry):
            raise RpcUnavailable("An endpoint answered a search for events with others than asked for.")
    return entries


def _entry(raw: Any) -> LogEntry:
    read: Callable[[str], bytes] = lambda name: bytes.fromhex(raw[name][2:])  # noqa: E731
    try:
        return LogEntry(
            address=str(raw["address"]),
            topics=tuple(bytes.fromhex(topic[2:]) for topic in raw["topics"]),
            data=read("data"),
            block_number=int(raw["blockNumber"], 16),
            block_hash=read("blockHash"),
            tx_hash=read("transactionHash"),
            index=int(raw["logIndex"], 16),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RpcUnavailable("An endpoint sent an event that makes no sense.") from error
