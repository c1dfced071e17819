"""A content-addressed cache on disk, proven again on every read.

- A file's name is its root; its content is hashed before it is returned, so a corrupt or forged entry is a
  miss, and is removed.
- Entries appear by an atomic rename of a complete, synced file: several processes may share a folder.
- Only 0G roots are kept: others cannot be proven from the bytes alone here.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

from armlx_chain.errors import ContentMismatch, ContentTooLarge, StorageError
from armlx_chain.storage.interface import Fetcher, VerifiedBytes
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

__all__ = ["CachedStorage", "ContentCache"]

log = logging.getLogger(__name__)


class ContentCache:
    """Bytes by root, under ``directory`` (made on the first write)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path_of(self, root: Root) -> Path:
        """Where the bytes of ``root`` are, if they are here."""
        name = root.digest.hex()
        return self._directory / root.scheme / name[:2] / name

    def get(self, root: Root, *, max_bytes: int) -> bytes | None:
        """The proven bytes of ``root``, or ``None``.

        Raises:
            ContentTooLarge: if the entry is right but longer than ``max_bytes``.
        """
        if root.scheme != "0g":
            return None
        path = self.path_of(root)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the cache entry %s cannot be read: %s", path, error)
            return None
        if not data or root_of(data) != root:
            log.warning("the cache entry %s does not hash to its name; removed", path)
            path.unlink(missing_ok=True)
            return None
        if len(data) > max_bytes:
            raise ContentTooLarge(f"{root} has {len(data)} bytes; the limit is {max_bytes}.")
        return data

    def put(self, root: Root, data: bytes) -> None:
        """Keep ``data``.

        Raises:
            ContentMismatch: if it does not hash to ``root``; nothing is written then.
            StorageError: if the folder cannot be written.
        """
        if root.scheme != "0g" or root_of(data) != root:
            raise ContentMismatch(f"These {len(data)} bytes are not the content of {root}; not cached.")
        path = self.path_of(root)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"The cache folder {self._directory} cannot be written: {error}.",
                next_step="Free space, or choose another cache folder.",
            ) from error


class CachedStorage:
    """A :class:`Fetcher` that looks into a cache first and keeps what it fetched."""

    def __init__(self, inner: Fetcher, cache: ContentCache) -> None:
        self._inner = inner
        self._cache = cache

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        """See :meth:`armlx_chain.storage.interface.Storage.fetch`; ``source`` is ``cache`` for a hit."""
        kept = self._cache.get(root, max_bytes=max_bytes)
        if kept is not None and expected_size in (None, len(kept)):
            return VerifiedBytes(root, kept, "cache")
        fetched = self._inner.fetch(root, max_bytes=max_bytes, expected_size=expected_size)
        self._cache.put(root, fetched.data)
        return fetched
