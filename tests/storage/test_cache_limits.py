"""The cache's limit, the evidence it keeps, and how it stands in front of a storage."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import pytest

from armlx_chain.errors import ContentMismatch
from armlx_chain.storage.cache import CachedStorage, ContentCache
from armlx_chain.storage.interface import (
    DownloadOptions,
    Evidence,
    Fault,
    ProofKind,
    VerifiedBytes,
    VerifiedFile,
)
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

pytestmark = pytest.mark.unit

SMALL = b"a document " * 100
LARGE = bytes(range(256)) * 8192
"""2 MiB: linked, not copied."""


def content(number: int, size: int = 1000) -> tuple[Root, bytes]:
    data = (b"%08d" % number) * (size // 8)
    return root_of(data), data


def find(cache: ContentCache, root: Root) -> tuple[VerifiedBytes | None, list[Fault]]:
    faults: list[Fault] = []
    return cache.find(root, max_bytes=10**8, faults=faults), faults


# --- eviction ----------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def filled(folder: Path, count: int, limit: int) -> tuple[ContentCache, list[Root], Clock]:
    clock = Clock()
    cache = ContentCache(folder, limit=limit, clock=clock)
    roots = []
    for number in range(count):
        root, data = content(number)
        cache.put(root, data)
        os.utime(cache.path_of(root), (clock(), clock.now))
        roots.append(root)
    return cache, roots, clock


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    cache, roots, _ = filled(tmp_path, 5, 5000)
    assert find(cache, roots[0])[0] is not None, "used now, so the second is the oldest"
    cache.put(*content(99))
    kept = {entry.root for entry in cache.shelf.entries()}
    assert roots[1] not in kept
    assert {roots[0], content(99)[0]} <= kept
    assert sum(entry.size for entry in cache.shelf.entries()) <= 5000


def test_the_limit_holds_after_every_write(tmp_path: Path) -> None:
    clock = Clock()
    cache = ContentCache(tmp_path, limit=10_000, clock=clock)
    for number in range(60):
        cache.put(*content(number, 800 + 8 * number))
        assert sum(entry.size for entry in cache.shelf.entries()) <= 10_000


def test_what_is_larger_than_the_whole_cache_is_not_kept_and_evicts_nothing(tmp_path: Path) -> None:
    cache, roots, _ = filled(tmp_path, 3, 5000)
    cache.put(root_of(LARGE), LARGE)
    assert {entry.root for entry in cache.shelf.entries()} == set(roots)


def test_a_limit_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, limit=0)
    cache.put(root_of(SMALL), SMALL)
    assert not cache.path_of(root_of(SMALL)).exists()


def test_half_written_files_of_killed_processes_go_after_a_day_and_not_before(tmp_path: Path) -> None:
    cache, roots, clock = filled(tmp_path, 1, 5000)
    folder = cache.path_of(roots[0]).parent
    old, young = folder / ".x.1.aa.part", folder / ".x.2.bb.part"
    for path, age in ((old, 25 * 3600.0), (young, 3600.0)):
        path.write_bytes(b"half")
        os.utime(path, (clock.now - age, clock.now - age))
    cache.shelf.shrink(5000)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_strangers_file_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    cache, roots, _ = filled(tmp_path, 1, 5000)
    note = cache.path_of(roots[0]).parent / "notes.txt"
    note.write_text("mine")
    cache.shelf.shrink(0)
    assert note.read_text() == "mine"
    assert cache.shelf.entries() == []


# --- evidence ----------------------------------------------------------------------------------------------


class Seal:
    """A scheme whose evidence is the payload reversed: enough to see what a prover is given."""

    def prove(self, root: Root, payload: object, size: int, evidence: Evidence) -> None:
        data = payload.read(size)  # type: ignore[attr-defined]
        if evidence != Evidence(ProofKind.SIGNED_ITEM, data[::-1]):
            raise ContentMismatch("the seal is broken")


SEALED = Root("irys", b"s" * 32)
EVIDENCE = Evidence(ProofKind.SIGNED_ITEM, SMALL[::-1])


def sealed(folder: Path) -> ContentCache:
    return ContentCache(folder, prover=lambda root: Seal())


def test_evidence_is_kept_and_proves_again(tmp_path: Path) -> None:
    cache = sealed(tmp_path)
    cache.put(SEALED, SMALL, EVIDENCE)
    found, faults = find(cache, SEALED)
    assert found == VerifiedBytes(SEALED, SMALL, "cache", (), ProofKind.SIGNED_ITEM, EVIDENCE)
    assert faults == []


def test_content_that_needs_evidence_is_not_kept_without(tmp_path: Path) -> None:
    with pytest.raises(ContentMismatch):
        sealed(tmp_path).put(SEALED, SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"merkle-root\n"),
        lambda path: path.write_bytes(b"no-such-kind\n" + SMALL[::-1]),
        lambda path: path.write_bytes(b"signed-item\n" + SMALL),
        lambda path: path.write_bytes(b"signed-item\n" + bytes(1 << 20)),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
)
def test_damaged_evidence_is_a_miss_and_both_are_removed(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    cache = sealed(tmp_path)
    cache.put(SEALED, SMALL, EVIDENCE)
    proof = cache.path_of(SEALED).with_name(cache.path_of(SEALED).name + ".proof")
    damage(proof)
    found, faults = find(cache, SEALED)
    assert found is None
    assert len(faults) == 1
    assert not os.path.lexists(proof)
    assert not cache.path_of(SEALED).exists()


def test_evidence_counts_towards_the_limit_and_goes_with_its_entry(tmp_path: Path) -> None:
    cache = sealed(tmp_path)
    cache.put(SEALED, SMALL, EVIDENCE)
    assert cache.shelf.entries()[0].size > 2 * len(SMALL)
    cache.shelf.shrink(0)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


# --- a storage in front ------------------------------------------------------------------------------------


class Source:
    """A storage of one content; counts."""

    def __init__(self, data: bytes) -> None:
        self.data, self.root, self.asked = data, root_of(data), 0

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        self.asked += 1
        return VerifiedBytes(root, self.data, "source")

    def download(self, root: Root, destination: Path, **options: Unpack[DownloadOptions]) -> VerifiedFile:
        self.asked += 1
        destination.write_bytes(self.data)
        return VerifiedFile(root, destination, len(self.data), "source")


def test_the_second_time_comes_from_the_cache(tmp_path: Path) -> None:
    source = Source(LARGE)
    storage = CachedStorage(source, ContentCache(tmp_path / "cache"))
    first = storage.download(source.root, tmp_path / "a", max_bytes=10**8)
    second = storage.download(source.root, tmp_path / "b", max_bytes=10**8)
    third = storage.fetch(source.root, max_bytes=10**8)
    assert (first.source, second.source, third.source) == ("source", "cache", "cache")
    assert (tmp_path / "b").read_bytes() == third.data == LARGE
    assert source.asked == 1


def test_a_corrupt_entry_is_fetched_again_and_said(tmp_path: Path) -> None:
    source = Source(SMALL)
    cache = ContentCache(tmp_path / "cache")
    storage = CachedStorage(source, cache)
    storage.fetch(source.root, max_bytes=10**8)
    cache.path_of(source.root).write_bytes(b"rubbish")
    found = storage.fetch(source.root, max_bytes=10**8)
    assert (found.source, found.data, source.asked) == ("source", SMALL, 2)
    assert [fault.endpoint for fault in found.faults] == ["cache"]
    assert storage.fetch(source.root, max_bytes=10**8).source == "cache"


def test_a_kept_entry_of_another_length_than_expected_is_not_served(tmp_path: Path) -> None:
    """A 0G root does not commit to zero bytes at the end: the trusted length decides."""
    padded = Source(b"x" * 1000 + bytes(20))
    storage = CachedStorage(padded, ContentCache(tmp_path / "cache"))
    storage.fetch(padded.root, max_bytes=10**6)
    storage.download(padded.root, tmp_path / "a", max_bytes=10**6, expected_size=1000)
    assert storage.fetch(padded.root, max_bytes=10**6, expected_size=1020).source == "cache"
    assert padded.asked == 2


def test_a_cache_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder should")
    source = Source(SMALL)
    storage = CachedStorage(source, ContentCache(tmp_path / "cache"))
    assert storage.fetch(source.root, max_bytes=10**8).data == SMALL
    assert storage.download(source.root, tmp_path / "a", max_bytes=10**8).size == len(SMALL)
    assert (tmp_path / "a").read_bytes() == SMALL
