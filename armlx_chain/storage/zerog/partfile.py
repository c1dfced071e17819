"""A download on disk: ``<name>.part`` beside ``<name>.part.state``, resumed after any stop.

Invariants:

- Only :meth:`PartFile.finish` gives the content its name, by an atomic rename after an fsync; the caller
  calls it when the content is proven as a whole.
- The state is a log: whose file it is, then one record per proven segment (its index and Merkle root),
  appended after the segment was written. A torn record at its end is ignored.
- Nothing in it is believed. When a download goes on, every segment in the log is read and hashed again;
  what does not have the noted root is missing. The notes themselves are judged by the file's root in the
  end (see ``Held.adds_up_to``); if they fail, all that was not proven in this run is fetched anew.
- One process at a time: the state is locked while it is in use.
- Symbolic links are not followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from armlx_chain.errors import MachineError
from armlx_chain.storage.files import cannot_write, require_replaceable
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.merkle import segment_root
from armlx_chain.storage.zerog.sink import HEAD_BYTES, Body, Held, Tally, root_of_segments
from armlx_chain.types import Root

__all__ = ["PartFile", "part_paths"]

_MAGIC = b"armlx-part-1\n\0\0\0"
_HEADER = struct.Struct(">16s32sQQ")
_RECORD = struct.Struct(">Q32s")
_READ_BLOCK = 1 << 20
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def part_paths(destination: Path) -> tuple[Path, Path]:
    """Where an unfinished download to ``destination`` keeps its content and its state."""
    return (
        destination.with_name(destination.name + ".part"),
        destination.with_name(destination.name + ".part.state"),
    )


class PartFile:
    """A :class:`Sink` on disk; see :meth:`opened`.

    Args:
        base: Where in the file the content begins: fragments of a larger file follow each other.
    """

    def __init__(self, destination: Path, root: Root, tally: Tally, data: int, state: int, base: int) -> None:
        self._destination = destination
        self._root = root
        self._tally = tally
        self._data = data
        self._state = state
        self._base = base
        self._held = Held(1)
        self._begun = False
        self._header = b""
        self._is_begun_anew = False
        self._proven: set[int] = set()
        self._lock = threading.Lock()
        self.end = base

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, destination: Path, root: Root, tally: Tally, *, base: int = 0, state: Path | None = None
    ) -> Iterator[PartFile]:
        """The unfinished download of ``root`` to ``destination``, begun now or earlier.

        Args:
            state: Where the state is, if not beside the content under its usual name.

        Raises:
            MachineError: it cannot be written, is a device, a pipe or a socket, or another process is at it.
                What was proven so far stays.
        """
        require_replaceable(destination)
        content_path, usual = part_paths(destination)
        state_path = state or usual
        try:
            state_descriptor = _locked(state_path, destination)
            try:
                data = os.open(content_path, _OPEN, 0o666)
                try:
                    yield cls(destination, root, tally, data, state_descriptor, base)
                finally:
                    os.close(data)
            finally:
                os.close(state_descriptor)
        except OSError as error:
            raise cannot_write(destination, error) from error

    @property
    def held(self) -> Held:
        return self._held

    def begin(self, size: int) -> None:
        if self._begun and size == self._held.size:
            return
        self._held = Held(size)
        self.end = self._base + size
        self._tally.start(size)
        self._begun = True
        claims = self._claims(size)
        if claims:
            self._check_claims(claims)

    def _claims(self, size: int) -> dict[int, bytes]:
        """What the log says is here: nothing, if it is about another file.

        A log about another file stays until something of this one is proven: whoever merely says that the
        file has another length must not make an earlier run's work be done again.
        """
        self._header = _HEADER.pack(_MAGIC, self._root.digest, shape.padded_chunks(size), self._base)
        log = _read_all(self._state)
        self._is_begun_anew = log[: _HEADER.size] != self._header
        if self._is_begun_anew:
            self._proven.clear()
            return {}
        whole = (len(log) - _HEADER.size) // _RECORD.size
        os.ftruncate(self._state, _HEADER.size + whole * _RECORD.size)
        records = _RECORD.iter_unpack(log[_HEADER.size : _HEADER.size + whole * _RECORD.size])
        return {index: root for index, root in records if index < self._held.count}

    def _check_claims(self, claims: dict[int, bytes]) -> None:
        """Hash what the log says is here again."""

        def check(claim: tuple[int, bytes]) -> None:
            index, root = claim
            if segment_root(self.read(index), shape.segment_leaves(self._held.size, index)) == root:
                self._held.add(index, root)
                self._tally.segment(index, self._length(index))

        with ThreadPoolExecutor(max_workers=2) as pool:
            for _ in pool.map(check, sorted(claims.items())):
                pass
        kept = sum(1 for index in claims if index in self._held)
        self._proven.intersection_update(index for index in claims if index in self._held)
        self._tally.note(f"{kept} of {self._held.count} segments are here from an earlier run")
        if kept < len(claims):
            self._tally.note(f"{len(claims) - kept} segments were damaged since and are fetched again")

    def _length(self, index: int) -> int:
        return min(shape.SEGMENT_BYTES, self._held.size - index * shape.SEGMENT_BYTES)

    def read(self, index: int) -> bytes:
        """Segment ``index`` as it is on disk."""
        return os.pread(self._data, self._length(index), self._base + index * shape.SEGMENT_BYTES)

    def put(self, index: int, data: memoryview, root: bytes, *, proven: bool) -> None:
        try:
            _write_all(self._data, data, self._base + index * shape.SEGMENT_BYTES)
            with self._lock:
                if proven:
                    self._note(index, root)
                    self._proven.add(index)
                self._held.add(index, root)
        except OSError as error:
            raise cannot_write(self._destination, error) from error
        self._tally.segment(index, len(data))

    def _note(self, index: int, root: bytes) -> None:
        if self._is_begun_anew:
            os.ftruncate(self._state, 0)
            os.pwrite(self._state, self._header, 0)
            self._is_begun_anew = False
        os.lseek(self._state, 0, os.SEEK_END)
        os.write(self._state, _RECORD.pack(index, root))

    def drop(self, indices: Iterable[int]) -> None:
        with self._lock:
            for index in indices:
                self._held.remove(index)
                self._proven.discard(index)

    def doubted(self) -> list[int]:
        with self._lock:
            return [i for i in range(self._held.count) if i in self._held and i not in self._proven]

    @contextlib.contextmanager
    def body(self) -> Iterator[Body]:
        """A gateway's whole file goes beside the part, and takes its place only if its root is right."""
        scratch = self._destination.with_name(self._destination.name + ".part.whole")
        descriptor = os.open(scratch, _OPEN | os.O_TRUNC, 0o666)
        try:
            yield _FileBody(self, scratch, descriptor)
        finally:
            os.close(descriptor)
            scratch.unlink(missing_ok=True)

    def take_whole(self, descriptor: int, size: int) -> None:
        """Take ``size`` proven bytes of another file as the content."""
        self._held = Held(size)
        self.end = self._base + size
        for at in range(0, size, _READ_BLOCK):
            _write_all(self._data, os.pread(descriptor, _READ_BLOCK, at), self._base + at)
        self._tally.all(size)

    def settle(self, size: int) -> bool:
        end = self._base + size
        for at in range(end, self.end, _READ_BLOCK):
            if any(os.pread(self._data, min(_READ_BLOCK, self.end - at), at)):
                return False
        for at in range(self.end, end, _READ_BLOCK):
            _write_all(self._data, bytes(min(_READ_BLOCK, end - at)), at)
        self.end = end
        return True

    def finish(self, end: int | None = None) -> None:
        """Give the content its name. The caller has proven it as a whole.

        Args:
            end: Its length, where further fragments were put after this one.

        Raises:
            MachineError: it cannot be renamed; nothing is lost.
        """
        content, state = part_paths(self._destination)
        try:
            os.ftruncate(self._data, self.end if end is None else end)
            os.fsync(self._data)
            content.replace(self._destination)
            _sync_folder(self._destination.parent)
        except OSError as error:
            raise cannot_write(self._destination, error) from error
        state.unlink(missing_ok=True)


class _FileBody:
    def __init__(self, part: PartFile, path: Path, descriptor: int) -> None:
        self._part = part
        self._path = path
        self._descriptor = descriptor
        self._size = 0

    def receive(self, block: bytes) -> None:
        try:
            _write_all(self._descriptor, block, self._size)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._size += len(block)

    def size(self) -> int:
        return self._size

    def head(self) -> bytes:
        return os.pread(self._descriptor, HEAD_BYTES, 0) if self._size <= HEAD_BYTES else b""

    def root(self) -> Root | None:
        if not self._size:
            return None
        step = shape.SEGMENT_BYTES
        pieces = (os.pread(self._descriptor, step, at) for at in range(0, self._size, step))
        return root_of_segments(pieces, self._size)

    def accept(self) -> None:
        self._part.take_whole(self._descriptor, self._size)


def _locked(path: Path, destination: Path) -> int:
    """The state file, open and locked: and still the one that has this name."""
    while True:
        descriptor = os.open(path, _OPEN, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise MachineError(
                f"Another process is downloading to {destination}.",
                next_step="Wait until it is done, or choose another name.",
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""


def _write_all(descriptor: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
