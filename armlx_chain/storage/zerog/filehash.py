"""Trees and roots of files and streams: one pass, little memory, several threads.

- A file is read in batches of 1 MiB, each by the thread that hashes it, so that it is hashed while it is in
  the cache. A thread holds one batch; :func:`root_of_file` keeps nothing else, :func:`tree_of_file` a hash
  for each 256 KiB of the file.
- A file is never mapped: a mapped file that is cut short would end the process.
- A file that is changed while it is read is refused: its root would belong to bytes that never were one file.

Usage::

    root, size = root_of_file(path, threads=2)
    tree = tree_of_file(path)                 # root, proofs and submission nodes
    hasher = TreeHasher()                     # for bytes that come in pieces
    hasher.update(piece)
    tree = hasher.finish()
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from armlx_chain.errors import StorageError
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.engine import Engine, best_engine
from armlx_chain.storage.zerog.merkle import FileTree, Frontier, SubmissionNode, empty_file, segment_nodes
from armlx_chain.types import Root

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ByteSource", "TreeHasher", "root_of_file", "tree_of_file"]

_BATCH_SEGMENTS = 4
_BATCH_BYTES = _BATCH_SEGMENTS * shape.SEGMENT_BYTES
_THREADS_FROM = 8 * _BATCH_BYTES
"""Files smaller than this are hashed by the calling thread: starting others would cost more."""


class ByteSource(Protocol):
    """What can be read in order: ``open(…, "rb")``, ``sys.stdin.buffer``, ``io.BytesIO``."""

    def readinto(self, buffer: Buffer, /) -> int | None:
        """Fill some of ``buffer``; 0 at the end."""
        ...


class TreeHasher:
    """The tree of bytes that come in pieces of any length. Not for several threads at once.

    Attributes:
        size: Bytes taken in so far.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self.size = 0
        self._engine = engine
        self._roots: list[bytes] = []
        self._rest = bytearray()
        self._finished = False

    def update(self, data: Buffer) -> None:
        """Take in the next bytes. Whole segments are hashed where they lie, the rest is copied.

        Raises:
            RuntimeError: after :meth:`finish`.
        """
        if self._finished:
            raise RuntimeError("this tree is finished")
        view = memoryview(data).cast("B")
        self.size += len(view)
        if self._rest:
            missing = shape.SEGMENT_BYTES - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < shape.SEGMENT_BYTES:
                return
            self._take(memoryview(self._rest))
            self._rest = bytearray()
        whole = len(view) - len(view) % shape.SEGMENT_BYTES
        self._take(view[:whole])
        self._rest += view[whole:]

    def _take(self, segments: memoryview) -> None:
        if segments:
            engine = self._engine or best_engine(len(segments))
            self._roots += _full_roots(segments, engine)

    def finish(self) -> FileTree:
        """The tree of everything that was taken in.

        Raises:
            StorageError: if that was nothing.
            RuntimeError: at the second call.
        """
        if self._finished:
            raise RuntimeError("this tree is finished")
        self._finished = True
        engine = self._engine or best_engine(len(self._rest))
        return FileTree(self.size, self._roots, _tail_nodes(self.size, self._rest, engine), engine)


def root_of_file(
    source: str | os.PathLike[str] | int | ByteSource,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    engine: Engine | None = None,
) -> tuple[Root, int]:
    """Content address and length in bytes of a file; memory does not depend on the length.

    Args:
        source: A path, the descriptor of an open file (read from its start if it is a regular one), or an
            open stream, which is read from where it is to its end.
        threads: How many hash at once.
        progress: Told how many bytes are done, by the calling thread.
        engine: Who hashes, instead of the one that suits the length.

    Raises:
        StorageError: if it is empty or is changed meanwhile.
        OSError: if it cannot be read.
    """
    frontier = Frontier()
    size, tail = _scan(source, threads, progress, engine, frontier.extend)
    return Root.zerog(frontier.close(size, tail)), size


def tree_of_file(
    source: str | os.PathLike[str] | int | ByteSource,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    engine: Engine | None = None,
) -> FileTree:
    """The tree of a file, for submission and proofs. Arguments and errors as for :func:`root_of_file`."""
    roots: list[bytes] = []
    size, tail = _scan(source, threads, progress, engine, roots.extend)
    return FileTree(size, roots, tail, engine or best_engine(0))


# --- batches -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Batch:
    """What hashing a batch gave: roots of its full segments, and the bytes after them (at the end only)."""

    roots: list[bytes]
    rest: bytes
    length: int


_Job = Callable[[], _Batch]


def _full_roots(segments: memoryview, engine: Engine) -> list[bytes]:
    return engine.perfect_roots(segments, len(segments) // shape.SEGMENT_BYTES, shape.SEGMENT_HEIGHT)


def _tail_nodes(size: int, rest: Buffer, engine: Engine) -> list[SubmissionNode]:
    """The subtrees of a file's last segment, which is not a full one; none if there are no bytes left.

    Raises:
        StorageError: if the file is empty.
    """
    if size < 1:
        raise empty_file()
    index, length = divmod(size, shape.SEGMENT_BYTES)
    return segment_nodes(rest, shape.segment_leaves(size, index), engine) if length else []


class _Buffers:
    """Batches' memory, used again and again: fresh memory would cost a tenth of the time."""

    def __init__(self) -> None:
        self._free: deque[bytearray] = deque()

    def take(self) -> bytearray:
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(_BATCH_BYTES)

    def hash(self, buffer: bytearray, length: int, engine: Engine) -> _Batch:
        """Hash the first ``length`` bytes of ``buffer``, and take it back."""
        with memoryview(buffer) as view:
            whole = length - length % shape.SEGMENT_BYTES
            roots = _full_roots(view[:whole], engine) if whole else []
            batch = _Batch(roots, bytes(view[whole:length]), length)
        self._free.append(buffer)
        return batch


class _RegularFile:
    """A file whose length is known and must not change."""

    def __init__(self, descriptor: int, name: str, engine: Engine | None) -> None:
        self._descriptor = descriptor
        self._name = name
        self._before = os.fstat(descriptor)
        self.size = self._before.st_size
        self._engine = engine or best_engine(self.size)
        self._buffers = _Buffers()

    def jobs(self) -> Iterator[_Job]:
        for at in range(0, self.size, _BATCH_BYTES):
            yield partial(self._job, at, min(_BATCH_BYTES, self.size - at))

    def _job(self, at: int, length: int) -> _Batch:
        buffer = self._buffers.take()
        with memoryview(buffer) as view:
            done = 0
            while done < length:
                got = os.preadv(self._descriptor, [view[done:length]], at + done)
                if got == 0:
                    raise self._changed()
                done += got
        return self._buffers.hash(buffer, length, self._engine)

    def check(self) -> None:
        """After everything was read.

        Raises:
            StorageError: if it is longer now, or was written to since it was opened.
        """
        after = os.fstat(self._descriptor)
        same = (after.st_size, after.st_mtime_ns) == (self.size, self._before.st_mtime_ns)
        if not same or os.pread(self._descriptor, 1, self.size):
            raise self._changed()

    def _changed(self) -> StorageError:
        return StorageError(
            f"{self._name} was changed while it was read.",
            meaning="A root would belong to bytes that never were one file.",
            next_step="Wait until nothing writes to it, and try again.",
        )


class _Stream:
    """Bytes that come in order, until they end. They are read by the calling thread."""

    def __init__(self, source: ByteSource, engine: Engine | None) -> None:
        self._source = source
        self._engine = engine
        self._buffers = _Buffers()

    def jobs(self) -> Iterator[_Job]:
        length = _BATCH_BYTES
        while length == _BATCH_BYTES:
            buffer = self._buffers.take()
            length = self._fill(buffer)
            engine = self._engine or best_engine(length)
            yield partial(self._buffers.hash, buffer, length, engine)

    def _fill(self, buffer: bytearray) -> int:
        with memoryview(buffer) as view:
            done = 0
            while done < len(view):
                with view[done:] as free:
                    got = self._source.readinto(free)
                if got is None:
                    raise BlockingIOError("a stream that does not wait for its bytes cannot be hashed")
                if got == 0:
                    break
                done += got
            return done

    def check(self) -> None:
        """Nothing is known of a stream beforehand."""


@contextmanager
def _opened(
    source: str | os.PathLike[str] | int | ByteSource, engine: Engine | None
) -> Iterator[_RegularFile | _Stream]:
    if isinstance(source, (str, os.PathLike)):
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _source_of(descriptor, str(Path(source)), engine)
        finally:
            os.close(descriptor)
    elif isinstance(source, int):
        yield _source_of(source, f"descriptor {source}", engine)
    else:
        yield _Stream(source, engine)


class _Descriptor:
    """A pipe or device as a :class:`ByteSource`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readinto(self, buffer: Buffer, /) -> int:
        """See :class:`ByteSource`."""
        return os.readv(self._descriptor, [buffer])


def _source_of(descriptor: int, name: str, engine: Engine | None) -> _RegularFile | _Stream:
    facts = os.fstat(descriptor)
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(f"{name} is a folder; a root belongs to one file")
    if stat.S_ISREG(facts.st_mode) and facts.st_size:  # the kernel's own files say 0, and have content
        return _RegularFile(descriptor, name, engine)
    return _Stream(_Descriptor(descriptor), engine)


def _in_order(jobs: Iterator[_Job], threads: int) -> Iterator[_Batch]:
    """The results of ``jobs``, in order; at most twice as many as ``threads`` are under way."""
    if threads == 1:
        for job in jobs:
            yield job()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool:
        waiting: deque[Future[_Batch]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) == 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _scan(
    source: str | os.PathLike[str] | int | ByteSource,
    threads: int,
    progress: Callable[[int], None] | None,
    engine: Engine | None,
    take: Callable[[list[bytes]], None],
) -> tuple[int, list[SubmissionNode]]:
    """Hash everything; the length, and the nodes of the last segment if it is not a full one."""
    if threads < 1:
        raise ValueError("at least one thread hashes")
    size, rest = 0, b""
    with _opened(source, engine) as opened:
        if isinstance(opened, _RegularFile) and opened.size < _THREADS_FROM:
            threads = 1
        for batch in _in_order(opened.jobs(), threads):
            take(batch.roots)
            rest = batch.rest
            size += batch.length
            if progress is not None:
                progress(size)
        opened.check()
    return size, _tail_nodes(size, rest, engine or best_engine(len(rest)))
