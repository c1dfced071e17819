"""Where content is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where to ask, in order.

    Attributes:
        indexers: 0G indexers; each is a REST gateway too.
        irys_gateways: Where Irys payloads are, ``None`` for the public ones.
        irys_bundlers: Where the metadata of Irys items is, ``None`` for the public ones.
    """

    indexers: Sequence[str] = ()
    irys_gateways: Sequence[str] | None = None
    irys_bundlers: Sequence[str] | None = None
