"""The usual way to read content: a cache in front, each scheme's storage behind, opened when it is needed.

- A hit touches no network, and imports nothing of it.
- Offline, the cache is all there is.
- Content without a proof comes from :meth:`ContentStorage.fetch_unproven` only, and is never cached.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Unpack

from armlx_chain.errors import ContentMismatch, SchemeUnsupported, StorageUnavailable
from armlx_chain.storage.cache import DEFAULT_LIMIT, CachedStorage, ContentCache
from armlx_chain.storage.files import WholeFiles, staged
from armlx_chain.storage.interface import (
    MAX_DOCUMENT_BYTES,
    DownloadOptions,
    ProofKind,
    Storage,
    UnprovenSource,
    UnverifiedBytes,
    VerifiedBytes,
    VerifiedFile,
)
from armlx_chain.storage.places import Places
from armlx_chain.types import Root, Scheme

if TYPE_CHECKING:
    from armlx_chain.storage.http import Timeouts
    from armlx_chain.storage.irys.client import IrysStorage

__all__ = ["ContentStorage", "Places", "open_storage"]


class _Lazy:
    """A storage that is made when it is first asked, or an error instead, which may name the root."""

    def __init__(self, make: Callable[[Root], Storage]) -> None:
        self._make = make
        self._made: Storage | None = None

    def _storage(self, root: Root) -> Storage:
        if self._made is None:
            self._made = self._make(root)
        return self._made

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        return self._storage(root).fetch(root, max_bytes=max_bytes, expected_size=expected_size)

    def download(self, root: Root, destination: Path, **options: Unpack[DownloadOptions]) -> VerifiedFile:
        return self._storage(root).download(root, destination, **options)


class ContentStorage:
    """Sends each root to the storage that can prove it, through the cache.

    Args:
        storages: By scheme.
        unproven: Who may hold content without a proof, by scheme.
        cache: Kept content, or ``None``.
    """

    def __init__(
        self,
        storages: Mapping[Scheme, Storage],
        unproven: Mapping[Scheme, Callable[[Root], UnprovenSource]],
        cache: ContentCache | None,
    ) -> None:
        self._unproven = unproven
        self._cache = cache
        self._storages = {
            scheme: storage if cache is None else CachedStorage(storage, cache)
            for scheme, storage in storages.items()
        }

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        """See :meth:`armlx_chain.storage.interface.Fetcher.fetch`."""
        return self._storages[root.scheme].fetch(root, max_bytes=max_bytes, expected_size=expected_size)

    def download(self, root: Root, destination: Path, **options: Unpack[DownloadOptions]) -> VerifiedFile:
        """See :meth:`armlx_chain.storage.interface.Storage.download`."""
        return self._storages[root.scheme].download(root, destination, **options)

    def fetch_unproven(
        self, root: Root, *, max_bytes: int, sha256: bytes | None = None
    ) -> VerifiedBytes | UnverifiedBytes:
        """See :class:`armlx_chain.storage.interface.UnprovenSource`; what a pin proves is kept by digest."""
        if root.scheme == "irys":
            max_bytes = min(max_bytes, MAX_DOCUMENT_BYTES)
        kept = self._kept(root, max_bytes, sha256)
        if kept is not None:
            return kept
        source = self._unproven.get(root.scheme)
        if source is None:
            found: VerifiedBytes | UnverifiedBytes = self.fetch(root, max_bytes=max_bytes)
        else:
            found = source(root).fetch_unproven(root, max_bytes=max_bytes, sha256=sha256)
        if isinstance(found, UnverifiedBytes) and sha256 is not None:
            found = VerifiedBytes(root, found.data, found.source, found.faults, ProofKind.SHA256_PIN)
        if isinstance(found, VerifiedBytes):
            if sha256 is not None:
                _require_digest(root, hashlib.sha256(found.data).digest(), sha256)
            self._keep(found, sha256)
        return found

    def _kept(self, root: Root, max_bytes: int, sha256: bytes | None) -> VerifiedBytes | None:
        if self._cache is None:
            return None
        found = self._cache.find(root, max_bytes=max_bytes)
        if found is not None:
            if sha256 is not None:
                _require_digest(root, hashlib.sha256(found.data).digest(), sha256)
            return found
        if sha256 is None:
            return None
        pinned = self._cache.find(Root("sha256", sha256), max_bytes=max_bytes)
        return None if pinned is None else replace(pinned, root=root)

    def _keep(self, found: VerifiedBytes, sha256: bytes | None) -> None:
        if self._cache is None:
            return
        if found.proof is not ProofKind.SHA256_PIN:
            self._cache.keep(found)
        elif sha256 is not None:
            self._cache.keep(replace(found, root=Root("sha256", sha256)))

    def download_pinned(
        self, root: Root, destination: Path, *, sha256: bytes, **options: Unpack[DownloadOptions]
    ) -> VerifiedFile:
        """A download whose SHA-256 must be ``sha256`` too before it gets its name.

        Raises:
            ContentMismatch: the content of ``root`` has another digest.
        """
        unpinned = destination.with_name(destination.name + ".unpinned")
        found = self.download(root, unpinned, **options)
        with staged(destination) as there:
            unpinned.replace(there.path)  # a name that no other process has: what is judged is what is kept
            with there.path.open("rb") as file:
                _require_digest(root, hashlib.file_digest(file, "sha256").digest(), sha256)
            there.keep()
        return replace(found, path=destination)


def _require_digest(root: Root, actual: bytes, wanted: bytes) -> None:
    if actual != wanted:
        raise ContentMismatch(
            f"The content of {root} has the SHA-256 {actual.hex()}, not {wanted.hex()}.",
            meaning="The root and the digest name different documents; one of them is wrong.",
            next_step="Ask whoever gave you the two which one is meant.",
            details={"root": str(root), "sha256": actual.hex(), "expected_sha256": wanted.hex()},
        )


def _offline(root: Root) -> NoReturn:
    raise StorageUnavailable(
        f"{root} is not in the cache, and asking the network was forbidden (--offline).",
        next_step="Run the same command once without --offline.",
        details={"root": str(root), "offline": True},
    )


def _unplaced(root: Root) -> NoReturn:
    raise SchemeUnsupported(
        "A SHA-256 digest names no place to fetch from, and the cache does not hold it.",
        next_step="Give the 0G root or Irys id instead, and the digest with --sha256.",
        details={"root": str(root)},
    )


def open_storage(
    places: Places | Sequence[str] | Callable[[], Places],
    cache_dir: Path | None,
    *,
    timeouts: Timeouts | None = None,
    cache_limit: int = DEFAULT_LIMIT,
    offline: bool = False,
) -> ContentStorage:
    """Storage of every scheme, cached in ``cache_dir`` if one is given.

    Args:
        places: Where to ask; 0G indexers alone; or a function that says so when the network is needed.
        offline: Serve from the cache only.

    Raises:
        UsageError: when the network is first needed: there is no URL, or one that is not http or https.
    """
    cache = None if cache_dir is None else ContentCache(cache_dir, limit=cache_limit)
    if offline:
        nowhere = _Lazy(_offline)
        return ContentStorage({"0g": nowhere, "irys": nowhere, "sha256": nowhere}, {"irys": _offline}, cache)

    @functools.cache
    def asked() -> Places:
        given = places() if callable(places) else places
        return given if isinstance(given, Places) else Places(tuple(given))

    def zerog(_: Root) -> Storage:
        from armlx_chain.storage.network import zerog_storage

        return zerog_storage(asked(), timeouts)

    @functools.cache
    def irys() -> IrysStorage:
        from armlx_chain.storage.network import irys_storage

        return irys_storage(asked(), timeouts)

    return ContentStorage(
        {"0g": _Lazy(zerog), "irys": _Lazy(lambda _: WholeFiles(irys())), "sha256": _Lazy(_unplaced)},
        {"irys": lambda _: irys()},
        cache,
    )
