"""Roots of files and streams: threads, memory, files that change, and streams that misbehave."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_vectors import counter_bytes, lane_engine

from armlx_chain.errors import StorageError
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.engine import PLAIN, Engine
from armlx_chain.storage.zerog.filehash import TreeHasher, root_of_file, tree_of_file
from armlx_chain.storage.zerog.merkle import ZERO_HASHES, FileTree, Frontier, root_of, verify_segment

pytestmark = pytest.mark.unit

PROJECT = Path(__file__).resolve().parents[2]
SEGMENT = 1 << 18
BATCH = 4 * SEGMENT
DATA = counter_bytes("files", 11 * BATCH + 777)
SIZES = [1, 255, 257, SEGMENT - 1, SEGMENT, SEGMENT + 1, BATCH - 1, BATCH, BATCH + 1, 9 * BATCH, len(DATA)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("size", SIZES)
def test_threads_do_not_change_the_root(tmp_path: Path, size: int, threads: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA[:size])
    want = root_of(DATA[:size], lane_engine())
    assert root_of_file(path, threads=threads) == (want, size)
    assert root_of_file(io.BytesIO(DATA[:size]), threads=threads) == (want, size)
    tree = tree_of_file(path, threads=threads)
    assert (tree.root, tree.size) == (want, size)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 3 * SEGMENT + 5), seed=st.integers(0, 1 << 30))
def test_pieces_of_any_length_give_the_tree_of_the_whole(size: int, seed: int) -> None:
    draw = random.Random(seed)
    data, hasher, at = DATA[seed % 1000 :][:size], TreeHasher(), 0
    while at < size:
        step = draw.choice([1, 2, 256, 1000, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 3])
        hasher.update(data[at : at + step])
        at += step
    tree, want = hasher.finish(), FileTree.of(data)
    assert (tree.root, tree.segment_roots, tree.size) == (want.root, want.segment_roots, size)
    assert tree.submission_nodes == want.submission_nodes


def test_pieces_may_be_reused_by_the_caller_at_once() -> None:
    hasher, buffer = TreeHasher(), bytearray(100_000)
    for at in range(0, 800_000, 100_000):
        buffer[:] = DATA[at : at + 100_000]
        hasher.update(buffer)
    buffer[:] = bytes(100_000)
    assert hasher.finish().root == root_of(DATA[:800_000])


def test_one_pass_gives_root_submission_and_proofs(file: Path) -> None:
    tree = tree_of_file(file, threads=2)
    assert tree.submission_nodes == FileTree.of(DATA).submission_nodes
    for index in (0, 17, shape.segment_count(len(DATA)) - 1):
        segment = DATA[index * SEGMENT : (index + 1) * SEGMENT]
        segment += bytes(-len(segment) % 256)
        verify_segment(tree.root, len(DATA), index, segment, tree.proof(index))


def test_a_finished_tree_takes_nothing_more() -> None:
    hasher = TreeHasher()
    hasher.update(b"x")
    hasher.finish()
    with pytest.raises(RuntimeError, match="finished"):
        hasher.update(b"y")
    with pytest.raises(RuntimeError, match="finished"):
        hasher.finish()


def test_an_empty_file_is_refused_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    for source in (path, str(path), io.BytesIO()):
        with pytest.raises(StorageError, match="empty file"):
            root_of_file(source)
    with pytest.raises(StorageError, match="empty file"):
        TreeHasher().finish()
    hasher = TreeHasher()
    hasher.update(b"")
    with pytest.raises(StorageError, match="empty file"):
        hasher.finish()


def test_progress_ends_at_the_length_and_never_goes_back(file: Path) -> None:
    for source in (file, io.BytesIO(DATA)):
        seen: list[int] = []
        callers: set[int] = set()

        def note(done: int, seen: list[int] = seen, callers: set[int] = callers) -> None:
            seen.append(done)
            callers.add(threading.get_ident())

        root_of_file(source, threads=2, progress=note)
        assert seen == sorted(set(seen))
        assert seen[-1] == len(DATA)
        assert callers == {threading.get_ident()}


def test_a_stream_is_read_from_where_it_is(file: Path) -> None:
    with file.open("rb") as stream:
        stream.seek(1000)
        assert root_of_file(stream) == (root_of(DATA[1000:]), len(DATA) - 1000)
        assert root_of_file(stream.fileno()) == (root_of(DATA), len(DATA))


def test_a_pipe_is_hashed_to_its_end() -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as end:
            end.write(DATA)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert root_of_file(reading, threads=2) == (root_of(DATA), len(DATA))
    finally:
        os.close(reading)
        writer.join()


def test_a_file_of_the_kernel_that_claims_no_length_is_read_all_the_same() -> None:
    source = Path("/proc/self/limits")
    if not source.is_file():
        pytest.skip("no such file on this system")
    assert root_of_file(source) == (root_of(source.read_bytes()), len(source.read_bytes()))


def test_a_folder_has_no_root(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        root_of_file(tmp_path)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_is_misuse(file: Path, threads: int) -> None:
    with pytest.raises(ValueError, match="thread"):
        root_of_file(file, threads=threads)


# --- files that change -------------------------------------------------------------------------------


class Meddler:
    """An engine that does something to the file when a given batch is hashed."""

    def __init__(self, inner: Engine, after: int, deed: Any) -> None:
        self._inner = inner
        self._left = after
        self._deed = deed
        self._lock = threading.Lock()

    def perfect_roots(self, data: memoryview, count: int, height: int) -> list[bytes]:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._deed()
        return self._inner.perfect_roots(data, count, height)

    def parents(self, level: Sequence[bytes]) -> list[bytes]:
        return self._inner.parents(level)


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def overwrite(path: Path) -> None:
    """The length stays; the time of the last change is set apart, as clocks of file systems are coarse."""
    with path.open("r+b") as stream:
        stream.write(b"other")
    os.utime(path, ns=(1, 1))


DEEDS = {
    "cut short": lambda path: os.truncate(path, BATCH + 5),
    "emptied": lambda path: os.truncate(path, 0),
    "appended to": append,
    "written to": overwrite,
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("batch", [1, 11])
def test_a_file_that_changes_while_it_is_read_is_refused(
    file: Path, deed: str, batch: int, threads: int
) -> None:
    meddler = Meddler(lane_engine(), batch, lambda: DEEDS[deed](file))
    with pytest.raises(StorageError, match="changed while it was read"):
        root_of_file(file, threads=threads, engine=meddler)


def test_a_file_that_is_replaced_by_name_is_read_to_its_end(file: Path, tmp_path: Path) -> None:
    """What was opened is one file, whatever happens to its name."""
    other = tmp_path / "other"
    other.write_bytes(b"other")
    meddler = Meddler(lane_engine(), 2, lambda: other.replace(file))
    assert root_of_file(file, engine=meddler) == (root_of(DATA), len(DATA))


# --- streams that misbehave --------------------------------------------------------------------------


class Breaking(io.RawIOBase):
    def __init__(self, good: int, outcome: Any) -> None:
        self._left = good
        self._outcome = outcome

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if self._left == 0:
            if isinstance(self._outcome, BaseException):
                raise self._outcome
            return self._outcome
        count = min(len(buffer), self._left, 100_000)
        self._left -= count
        return count


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("good", [0, 100, 3 * BATCH, 9 * BATCH + 1])
def test_an_error_of_a_stream_is_not_its_end(good: int, threads: int) -> None:
    before = threading.active_count()
    with pytest.raises(ConnectionResetError):
        root_of_file(Breaking(good, ConnectionResetError("gone")), threads=threads)
    with pytest.raises(BlockingIOError):
        root_of_file(Breaking(good, None), threads=threads)
    assert threading.active_count() == before


def test_an_interruption_ends_the_threads(file: Path) -> None:
    before = threading.active_count()

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        root_of_file(file, threads=3, progress=stop)
    assert threading.active_count() == before


# --- memory ------------------------------------------------------------------------------------------

CHILD = """
import json, resource, sys
from armlx_chain.storage.zerog.filehash import root_of_file
from armlx_chain.storage.zerog.kernel import shared_kernel
kernel = shared_kernel()
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = pages + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
bounded = False
try:
    bytearray(72 << 20)
except MemoryError:
    bounded = True
root, size = root_of_file(sys.argv[1])
print(json.dumps({"root": root.hex, "size": size, "bounded": bounded, "kernel": kernel is not None}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded by the kernel of Linux")
def test_a_gibibyte_is_hashed_within_64_mib(tmp_path: Path) -> None:
    """The address space is bounded: a byte more than the kernel had already plus 64 MiB ends the child."""
    lane_engine()
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
        stream.seek(700 << 20)
        stream.write(DATA)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], cwd=PROJECT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    frontier = Frontier()
    frontier.add_zero_segments(2800)
    tail = FileTree.of(DATA)
    full = len(DATA) // SEGMENT
    frontier.extend(tail.segment_roots[:full])
    frontier.add(root_of(DATA[full * SEGMENT :].ljust(SEGMENT, b"\0")).digest, 10)
    frontier.add_zero_segments(4096 - 2800 - full - 1)
    want = frontier.close(1 << 30, ())
    assert found == {"root": "0x" + want.hex(), "size": 1 << 30, "bounded": True, "kernel": True}


def test_a_frontier_refuses_a_subtree_out_of_place() -> None:
    frontier = Frontier()
    frontier.add(bytes(32), 10)
    with pytest.raises(ValueError, match="does not begin"):
        frontier.add(bytes(32), 11)


def test_zero_segments_are_added_in_as_few_steps_as_possible_and_rightly() -> None:
    for before in range(20):
        for zeros in range(40):
            quick, slow = Frontier(), Frontier()
            for frontier in (quick, slow):
                frontier.extend([bytes([7]) * 32] * before)
            quick.add_zero_segments(zeros)
            for _ in range(zeros):
                slow.add(ZERO_HASHES[10], 10)
            assert quick.nodes == slow.nodes


def test_the_plain_engine_hashes_files_too(file: Path) -> None:
    assert root_of_file(file, threads=2, engine=PLAIN) == (root_of(DATA), len(DATA))
