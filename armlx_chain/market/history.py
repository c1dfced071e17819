"""What happened to a token, read from its events in bounded ranges of blocks.

- Ranges are halved where an endpoint finds them too long, down to one block.
- An event is taken only if it is what was asked for: this token, this range, a known shape, once.
- Supplies are reckoned backwards from the supply at the last block, so that a history may begin anywhere.

::

    events = read_events(token, first=1_000, last=2_000)
    for movement in movements(events, curve, token.total_supply(block=2_000)): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils import keccak, to_checksum_address

from armlx_chain.chain.contracts import ZERO_ADDRESS, ProjectToken
from armlx_chain.chain.rpc import NodeRefused
from armlx_chain.errors import ChainError, CurveOverflow
from armlx_chain.market.curve import Curve
from armlx_chain.types import Address, TxHash, Wei

DEFAULT_SPAN = 10_000
"""Blocks asked about at once, to begin with."""
MAX_EVENTS = 1_000_000
"""More events than this are not held in memory."""

_SHAPES = {
    "Bought": ("Bought(address,uint256,uint256)", 1, 2),
    "Sold": ("Sold(address,uint256,uint256)", 1, 2),
    "MinerRewardMinted": ("MinerRewardMinted(address,uint256)", 1, 1),
    "LedgerBurned": ("LedgerBurned(uint256)", 0, 1),
    "Transfer": ("Transfer(address,address,uint256)", 2, 1),
}
"""Event: signature, indexed addresses, words of data (contracts specification, section 5)."""
_BY_TOPIC = {keccak(text=shape[0]): name for name, shape in _SHAPES.items()}


@dataclass(frozen=True, slots=True, order=True)
class TokenEvent:
    """One event of a token; events compare in the order of the chain.

    Attributes:
        accounts: Its indexed addresses.
        amounts: The words of its data, in order.
    """

    block: int
    log_index: int
    tx_hash: TxHash
    name: str
    accounts: tuple[Address, ...]
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of a token's supply, with the price after it.

    Attributes:
        kind: ``bought``, ``sold``, ``reward`` or ``burned``.
        wei: Paid or received; 0 for rewards and burns, which leave the reserve alone.
        price_after: Marginal price after it; None where the curve overflows.
    """

    block: int
    tx_hash: TxHash
    kind: str
    account: Address | None
    tokens: int
    wei: Wei
    supply_after: int
    price_after: Wei | None


def read_events(
    token: ProjectToken,
    *,
    first: int,
    last: int,
    span: int = DEFAULT_SPAN,
    names: Iterable[str] = _SHAPES,
    progress: Callable[[int], None] | None = None,
) -> list[TokenEvent]:
    """The token's events in the blocks ``first`` to ``last``, in order.

    Args:
        names: Which events.
        progress: Called with the last block read, range by range.

    Raises:
        ChainError: an endpoint refuses a single block, lies about an event, or cannot be reached.
    """
    topics = ["0x" + topic.hex() for topic, name in _BY_TOPIC.items() if name in set(names)]
    found: dict[tuple[int, int], TokenEvent] = {}
    start = max(0, first)
    while start <= last:
        end = min(last, start + span - 1)
        try:
            logs = _logs(token, topics, start, end)
        except NodeRefused:
            if end == start:
                raise
            span = max(1, (end - start + 1) // 2)
            continue
        for raw in logs:
            event = _event(token, raw, start, end)
            if found.setdefault((event.block, event.log_index), event) != event:
                raise _lie(token, "shows two events in one place")
        if len(found) > MAX_EVENTS:
            raise ChainError(f"{token.address} has more than {MAX_EVENTS} events; ask for fewer blocks.")
        if progress is not None:
            progress(end)
        start = end + 1
    return sorted(found.values())


def movements(events: Sequence[TokenEvent], curve: Curve, supply_at_end: int) -> list[Movement]:
    """Trades, rewards and burns with the supply and price after each. A pure rule.

    Args:
        events: In order; transfers are passed over.
        supply_at_end: Supply after the last of them.

    Raises:
        ChainError: the events do not lead to this supply.
    """
    found: list[Movement] = []
    supply = supply_at_end
    for event in reversed(events):
        plain = _plain(event)
        if plain is None:
            continue
        kind, account, tokens, wei = plain
        found.append(
            Movement(
                event.block, event.tx_hash, kind, account, tokens, Wei(wei), supply, _price(curve, supply)
            )
        )
        supply -= tokens if kind in ("bought", "reward") else -tokens
        if supply < 0:
            raise ChainError(
                "The token's events do not fit its supply.",
                meaning="The endpoint left events out, or made some up.",
                next_step="Try another endpoint.",
            )
    return list(reversed(found))


def first_block_since(timestamp_of: Callable[[int], int], timestamp: int, last: int) -> int:
    """The first block that is not older than a moment (binary search); ``last`` where all are older."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        if timestamp_of(middle) >= timestamp:
            high = middle
        else:
            low = middle + 1
    return low


def _logs(token: ProjectToken, topics: list[str], first: int, last: int) -> list[Mapping[str, Any]]:
    wanted: Any = {"address": token.address, "fromBlock": first, "toBlock": last, "topics": [topics]}
    rpc = token.rpc
    return list(rpc.guarded("eth_getLogs", lambda: rpc.w3.eth.get_logs(wanted)))


def _event(token: ProjectToken, raw: Mapping[str, Any], first: int, last: int) -> TokenEvent:
    """One log, taken only if it is what was asked for."""
    try:
        topics = [bytes(topic) for topic in raw["topics"]]
        data, block = bytes(raw["data"]), int(raw["blockNumber"])
        name = _BY_TOPIC[topics[0]]
        _, accounts, words = _SHAPES[name]
        fits = len(topics) == accounts + 1 and len(data) == 32 * words and first <= block <= last
        padded = all(len(topic) == 32 and not any(topic[:12]) for topic in topics[1:])
        if not fits or not padded or raw["address"] != token.address or raw.get("removed"):
            raise _lie(token, "answers with something else than was asked for")
        return TokenEvent(
            block=block,
            log_index=int(raw["logIndex"]),
            tx_hash=TxHash("0x" + bytes(raw["transactionHash"]).hex()),
            name=name,
            accounts=tuple(Address(to_checksum_address(topic[12:])) for topic in topics[1:]),
            amounts=tuple(int.from_bytes(data[32 * n : 32 * n + 32], "big") for n in range(words)),
        )
    except (KeyError, TypeError, ValueError, IndexError):
        raise _lie(token, "answers with something that is no event") from None


def _lie(token: ProjectToken, what: str) -> ChainError:
    return ChainError(
        f"The endpoint {what} when asked for the events of {token.address}.",
        next_step="Try another endpoint with --rpc-url.",
    )


def _plain(event: TokenEvent) -> tuple[str, Address | None, int, int] | None:
    """Kind, account, tokens and wei of an event that changes the supply."""
    if event.name == "Bought":
        return "bought", event.accounts[0], event.amounts[1], event.amounts[0]
    if event.name == "Sold":
        return "sold", event.accounts[0], event.amounts[0], event.amounts[1]
    if event.name == "MinerRewardMinted":
        return "reward", event.accounts[0], event.amounts[0], 0
    if event.name == "LedgerBurned":
        return "burned", None, event.amounts[0], 0
    return None


def _price(curve: Curve, supply: int) -> Wei | None:
    try:
        return curve.price_at(supply)
    except CurveOverflow:
        return None


def transfers_of(events: Iterable[TokenEvent], account: Address) -> Iterator[TokenEvent]:
    """The transfers to or from an account, mints and burns included."""
    return (event for event in events if event.name == "Transfer" and account in event.accounts)


def is_mint(event: TokenEvent) -> bool:
    return event.accounts[0] == ZERO_ADDRESS


def is_burn(event: TokenEvent) -> bool:
    return event.accounts[1] == ZERO_ADDRESS
