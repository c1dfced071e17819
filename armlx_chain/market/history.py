"""What happened to a token, read from its events.

- An event is taken only if it has the shape that the token's events have; two in one place are refused.
- Supplies are reckoned backwards from the supply at the last block, so that a history may begin anywhere.

::

    events = read_events(token, first=1_000, last=2_000)
    for movement in movements(events, curve, token.total_supply(block=2_000)): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from eth_utils import keccak, to_checksum_address

from armlx_chain.chain.contracts import ZERO_ADDRESS, ProjectToken
from armlx_chain.chain.logs import LogEntry, LogQuery, LogReader
from armlx_chain.errors import ChainError, CurveOverflow, RpcUnavailable
from armlx_chain.market.curve import Curve
from armlx_chain.types import Address, TxHash, Wei

MAX_EVENTS = 1_000_000
"""More events than this are not worked on."""

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
    names: Iterable[str] = _SHAPES,
    reader: LogReader | None = None,
) -> list[TokenEvent]:
    """The token's events in the blocks ``first`` to ``last``, in order, read in bounded ranges.

    Args:
        names: Which events.
        reader: Remembers how wide a range the endpoints take.

    Raises:
        RpcUnavailable: an endpoint lies about an event, or none can be reached.
        NodeRefused: even a single block is refused.
    """
    wanted = set(names)
    topics = tuple(topic for topic, name in _BY_TOPIC.items() if name in wanted)
    query = LogQuery((token.address,), (topics,))
    entries = (reader or LogReader()).read(token.rpc, [query], max(0, first), last)
    if len(entries) > MAX_EVENTS:
        raise ChainError(f"{token.address} has more than {MAX_EVENTS} events; ask for fewer blocks.")
    if len({(entry.block_number, entry.index) for entry in entries}) < len(entries):
        raise _lie("shows two events in one place")
    return [_event(entry) for entry in entries]


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


def _event(entry: LogEntry) -> TokenEvent:
    """One log, taken only if it has the shape of the event that it says it is."""
    name = _BY_TOPIC[entry.topics[0]]
    _, accounts, words = _SHAPES[name]
    fits = len(entry.topics) == accounts + 1 and len(entry.data) == 32 * words
    if not fits or not all(len(topic) == 32 and not any(topic[:12]) for topic in entry.topics[1:]):
        raise _lie(f"sent a {name} event of another shape")
    return TokenEvent(
        block=entry.block_number,
        log_index=entry.index,
        tx_hash=TxHash("0x" + entry.tx_hash.hex()),
        name=name,
        accounts=tuple(Address(to_checksum_address(topic[12:])) for topic in entry.topics[1:]),
        amounts=tuple(int.from_bytes(entry.data[32 * n : 32 * n + 32], "big") for n in range(words)),
    )


def _lie(what: str) -> RpcUnavailable:
    return RpcUnavailable(
        f"An endpoint {what} when asked for a token's events.", next_step="Try another with --rpc-url."
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
