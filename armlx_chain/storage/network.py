"""The storages that talk to the network, each with its HTTP client. Imported when the cache does not do."""

from __future__ import annotations

from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.irys.client import IrysStorage
from armlx_chain.storage.places import Places
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage

__all__ = ["irys_storage", "zerog_storage"]


def irys_storage(places: Places, timeouts: Timeouts | None) -> IrysStorage:
    """Irys. Redirects lead to its own servers only."""
    return IrysStorage(places.irys, timeouts=timeouts)


def zerog_storage(places: Places, timeouts: Timeouts | None) -> ZeroGStorage:
    """0G Storage. Nodes that an indexer lists are talked to at public addresses only, or on hosts that the
    person configured.

    Raises:
        UsageError: there is no URL, or one that is not http or https.
    """
    http = BoundedHttp(timeouts, configured=places.indexers)
    return ZeroGStorage([Endpoint(url) for url in places.indexers], http=http)
