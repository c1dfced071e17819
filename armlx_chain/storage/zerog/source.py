"""What is to be uploaded: bytes in memory, or a file that is read piece by piece.

A file is read once to hash it, and each segment once more when it is sent; never is the whole of it in
memory. If it changes in between, that is noticed and said: the nodes would refuse its segments anyway.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from armlx_chain.errors import MachineError, StorageError, UsageError
from armlx_chain.storage.zerog import shape

__all__ = ["BytesSource", "FileSource", "Source"]


class Source(Protocol):
    """A file's bytes by segment.

    Attributes:
        size: Length in bytes.
    """

    size: int

    def read(self, index: int) -> bytes:
        """Real segment ``index``, the last one as long as it is (not padded). Safe from several threads."""
        ...

    def require_unchanged(self) -> None:
        """Raises:
        StorageError: the bytes are no longer those that were hashed.
        """
        ...


def segments_of(source: Source) -> Iterator[bytes]:
    """All real segments in order."""
    for index in range(-(-source.size // shape.SEGMENT_BYTES)):
        yield source.read(index)


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, index: int) -> bytes:
        return self._data[index * shape.SEGMENT_BYTES : (index + 1) * shape.SEGMENT_BYTES]

    def require_unchanged(self) -> None:
        return None


class FileSource:
    """A regular file, open while it is used; see :meth:`opened`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._facts = self._look()
        self.size = os.fstat(descriptor).st_size

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator[FileSource]:
        """The file at ``path``.

        Raises:
            UsageError: it does not exist or is no regular file.
            MachineError: it cannot be read.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise UsageError(f"{path} does not exist.") from error
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{path} is not a regular file.")
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    def read(self, index: int) -> bytes:
        at = index * shape.SEGMENT_BYTES
        want = min(shape.SEGMENT_BYTES, self.size - at)
        try:
            piece = os.pread(self._descriptor, want, at)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        if len(piece) != want:
            raise self._changed()
        return piece

    def require_unchanged(self) -> None:
        if self._look() != self._facts:
            raise self._changed()

    def _look(self) -> tuple[int, int]:
        facts = os.fstat(self._descriptor)
        return facts.st_size, facts.st_mtime_ns

    def _changed(self) -> StorageError:
        return StorageError(
            f"{self._path} changed while it was uploaded.",
            meaning="What was announced is the file as it was before; its segments can no longer be sent.",
            next_step="Let nobody write to the file, and upload it again.",
        )


def _unreadable(path: Path, error: OSError) -> MachineError:
    return MachineError(f"{path} cannot be read: {error.strerror or error}.")
