"""Orders that were begun, on disk, so that an interrupted one is finished and never begun a second time.

One order at a time per chain, account, token and kind, in ``<home>/orders``. The file appears before the
first transaction is signed and goes when the order has ended, either way. Hold the account's lock
(``TxSender.exclusive``) from opening to closing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from armlx_chain.errors import MachineError, UsageError
from armlx_chain.privatefile import replace_private
from armlx_chain.protocol.strict_json import read_json
from armlx_chain.types import Address

_MAX_BYTES = 16_384
_VERSION = 1
_BOUND = "bound_"


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that was begun.

    Attributes:
        id: Names its transactions in the journal.
        terms: What was ordered, as text.
        resumed: Whether it was begun by an earlier run.
    """

    id: str
    terms: Mapping[str, str]
    path: Path
    resumed: bool

    def bound(self, name: str) -> int:
        """A figure that was agreed to.

        Raises:
            MachineError: the file does not hold it.
        """
        try:
            return int(self.terms[_BOUND + name])
        except (KeyError, ValueError):
            raise MachineError(f"{self.path} is damaged: {name} is missing.") from None

    def close(self) -> None:
        """The order has ended."""
        self.path.unlink(missing_ok=True)


class OrderBook:
    """The orders of one home.

    Args:
        chain: ``<chain id>:<genesis hash>``, as the journal names it.
    """

    def __init__(
        self, folder: Path, *, chain: str, entropy: Callable[[int], str] = secrets.token_hex
    ) -> None:
        self._folder = folder
        self._chain = sha256(chain.encode()).hexdigest()[:16]
        self._entropy = entropy

    def find(self, kind: Literal["buy", "sell"], account: Address, token: Address) -> OpenOrder | None:
        """The order that was begun and not ended, if any.

        Raises:
            MachineError: its file is damaged.
        """
        path = self._path(kind, account, token)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        tree = read_json(data, error=MachineError, what=str(path), max_bytes=_MAX_BYTES)
        terms = tree.get("terms") if isinstance(tree, dict) and tree.get("version") == _VERSION else None
        order_id = tree.get("id") if isinstance(terms, dict) else None
        if not isinstance(terms, dict) or not isinstance(order_id, str) or not order_id.isalnum():
            raise MachineError(
                f"{path} is damaged.",
                meaning="It says which trade was begun; without it that trade cannot be finished.",
                next_step="Look at the account's last transactions, then remove the file.",
            )
        return OpenOrder(order_id, {name: str(value) for name, value in terms.items()}, path, resumed=True)

    def carry_on(
        self, kind: Literal["buy", "sell"], account: Address, token: Address, asked: Mapping[str, object]
    ) -> OpenOrder | None:
        """The order that the same request began and did not end, if any.

        Raises:
            UsageError: another order was begun and not finished.
            MachineError: the file is damaged.
        """
        earlier = self.find(kind, account, token)
        if earlier is None:
            return None
        known = {name: value for name, value in earlier.terms.items() if not name.startswith(_BOUND)}
        if known != {name: str(value) for name, value in asked.items()}:
            raise UsageError(
                f"A {kind} order was begun and not finished: {_shown(known)}.",
                meaning="Its transaction may still be on its way; another order could trade twice.",
                next_step="Give that command again to finish it, or --abandon to give the rest of it up.",
                details=dict(known),
            )
        return earlier

    def open(
        self,
        kind: Literal["buy", "sell"],
        account: Address,
        token: Address,
        asked: Mapping[str, object],
        bounds: Mapping[str, object],
    ) -> OpenOrder:
        """Begin an order, or take up the one that the same request began.

        Args:
            asked: What the person asked for; it must be the same to be the same order.
            bounds: What was worked out from it and agreed to; kept from the first run.

        Raises:
            UsageError: another order was begun and not finished.
            MachineError: the file is damaged or cannot be written.
        """
        earlier = self.carry_on(kind, account, token, asked)
        if earlier is not None:
            return earlier
        terms = {name: str(value) for name, value in asked.items()}
        terms |= {_BOUND + name: str(value) for name, value in bounds.items()}
        order = OpenOrder(self._entropy(8), terms, self._path(kind, account, token), resumed=False)
        self._write(order)
        return order

    def _path(self, kind: str, account: Address, token: Address) -> Path:
        return self._folder / f"{kind}-{account.lower()}-{token.lower()}-{self._chain}.json"

    def _write(self, order: OpenOrder) -> None:
        tree = {"id": order.id, "terms": dict(order.terms), "version": _VERSION}
        try:
            replace_private(order.path, json.dumps(tree, indent=2, sort_keys=True).encode() + b"\n")
        except OSError as failed:
            raise MachineError(f"{order.path} cannot be written: {failed.strerror}.") from None


def _shown(terms: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(terms.items()))
