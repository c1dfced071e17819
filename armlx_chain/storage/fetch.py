"""The usual way to read content: a cache in front, each scheme's storage behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from armlx_chain.errors import SchemeUnsupported
from armlx_chain.storage.cache import CachedStorage, ContentCache
from armlx_chain.storage.files import WholeFiles
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.interface import Fetcher, Progress, Storage, VerifiedBytes, VerifiedFile
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.types import Root

__all__ = ["open_storage"]

_WHY = {
    "irys": "Roots of Irys cannot be fetched and proven yet: not yet in this build.",
    "sha256": "A SHA-256 digest names no place to fetch from: give the file itself, or its 0G root.",
}


class _ByScheme:
    """Sends each root to the storage that can prove it."""

    def __init__(self, storages: Mapping[str, Storage]) -> None:
        self._storages = storages

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        return self._of(root).fetch(root, max_bytes=max_bytes, expected_size=expected_size)

    def download(
        self,
        root: Root,
        destination: Path,
        *,
        max_bytes: int,
        expected_size: int | None = None,
        progress: Progress | None = None,
    ) -> VerifiedFile:
        return self._of(root).download(
            root, destination, max_bytes=max_bytes, expected_size=expected_size, progress=progress
        )

    def _of(self, root: Root) -> Storage:
        storage = self._storages.get(root.scheme)
        if storage is None:
            raise SchemeUnsupported(
                _WHY.get(root.scheme, f"{root.scheme} is not supported."), details={"root": str(root)}
            )
        return storage


def open_storage(
    indexer_urls: Sequence[str], cache_dir: Path | None, *, timeouts: Timeouts | None = None
) -> Storage:
    """Storage over 0G indexers (each is a REST gateway too), cached in ``cache_dir`` if one is given.

    Raises:
        UsageError: if there is no URL, or one that is not http or https.
    """
    zerog: Fetcher = ZeroGStorage([Endpoint(url) for url in indexer_urls], timeouts=timeouts)
    if cache_dir is not None:
        zerog = CachedStorage(zerog, ContentCache(cache_dir))
    return _ByScheme({"0g": WholeFiles(zerog)})
