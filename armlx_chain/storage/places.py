"""Where content is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from armlx_chain.irys_hosts import NO_IRYS, IrysHosts

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where to ask, in order.

    Attributes:
        indexers: 0G indexers; each is a REST gateway too.
        irys: Servers of Irys.
    """

    indexers: Sequence[str] = ()
    irys: IrysHosts = NO_IRYS
