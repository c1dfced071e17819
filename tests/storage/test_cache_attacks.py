"""The cache against whoever can write into its folder, a full disk, and its own limit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from armlx_chain.errors import ContentMismatch, ContentTooLarge, MachineError, StorageError
from armlx_chain.storage.cache import CachedStorage, ContentCache
from armlx_chain.storage.interface import (
    Evidence,
    Fault,
    FaultKind,
    Progress,
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


# --- forged entries ----------------------------------------------------------------------------------------


def _link_to_secret(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _link_to_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def _dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name("nothing"))


def _itself(path: Path, outside: Path) -> None:
    path.symlink_to(path)


def _pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _empty(path: Path, outside: Path) -> None:
    path.touch()


def _truncated(path: Path, outside: Path) -> None:
    path.write_bytes(SMALL[:-1])


def _longer(path: Path, outside: Path) -> None:
    path.write_bytes(SMALL + b"x")


def _swapped(path: Path, outside: Path) -> None:
    path.write_bytes(content(1)[1])


def _sparse(path: Path, outside: Path) -> None:
    path.write_bytes(SMALL)
    os.truncate(path, 50 << 20)


FORGERIES = [
    _link_to_secret, _link_to_device, _dangling, _itself, _pipe, _empty, _truncated, _longer, _swapped,
    _sparse,
]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_entry_is_a_named_miss_and_is_removed(
    tmp_path: Path, forge: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"a secret of somebody else")
    cache = ContentCache(tmp_path / "cache")
    root = root_of(SMALL)
    cache.put(root, SMALL)
    cache.path_of(root).unlink()
    forge(cache.path_of(root), outside)
    found, faults = find(cache, root)
    assert found is None
    assert [(fault.endpoint, fault.kind) for fault in faults] == [("cache", FaultKind.WRONG_BYTES)]
    assert not os.path.lexists(cache.path_of(root))
    assert outside.read_bytes() == b"a secret of somebody else"
    cache.put(root, SMALL)
    assert find(cache, root)[0] is not None, "the place is usable again"


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_entry_never_reaches_a_destination(
    tmp_path: Path, forge: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(LARGE)
    cache = ContentCache(tmp_path / "cache")
    root = root_of(SMALL)
    cache.put(root, SMALL)
    cache.path_of(root).unlink()
    forge(cache.path_of(root), outside)
    target = tmp_path / "target"
    target.write_bytes(b"before")
    assert cache.deliver(root, target, max_bytes=10**8) is None
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "outside", "target"]


def test_a_folder_in_an_entrys_place_is_a_miss_and_a_write_says_so(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    root = root_of(SMALL)
    cache.path_of(root).mkdir(parents=True)
    found, faults = find(cache, root)
    assert found is None
    assert "no regular file" in faults[0].detail
    with pytest.raises(StorageError, match="cannot be written"):
        cache.put(root, SMALL)


def test_a_linked_folder_is_not_written_into_and_not_emptied(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    root = root_of(SMALL)
    (outside / root.digest.hex()[:2]).mkdir(parents=True)
    stranger = outside / root.digest.hex()[:2] / ("ab" * 32)
    stranger.write_bytes(b"not ours")
    cache = ContentCache(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "0g").symlink_to(outside)
    with pytest.raises(StorageError):
        cache.put(root, SMALL)
    assert cache.shelf.entries() == []
    cache.shelf.shrink(0)
    assert [path.name for path in outside.rglob("*") if path.is_file()] == [stranger.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_entry_without_permission_is_a_miss_and_can_be_replaced(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    root = root_of(SMALL)
    cache.put(root, SMALL)
    cache.path_of(root).chmod(0)
    assert find(cache, root)[0] is None
    cache.put(root, SMALL)
    assert find(cache, root)[0] is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_entry_of_another_user_is_removed(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    root = root_of(SMALL)
    cache.put(root, SMALL)
    os.chown(cache.path_of(root), 12345, 12345)
    found, faults = find(cache, root)
    assert found is None
    assert "another user" in faults[0].detail


def test_the_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache")
    cache.put(root_of(SMALL), SMALL)
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


# --- large files -------------------------------------------------------------------------------------------


def test_a_large_file_goes_in_and_out_without_a_second_copy(tmp_path: Path) -> None:
    root = root_of(LARGE)
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    cache = ContentCache(tmp_path / "cache")
    cache.put_file(root, source)
    found = cache.deliver(root, tmp_path / "target", max_bytes=len(LARGE))
    assert found is not None
    assert (found.size, found.source) == (len(LARGE), "cache")
    assert (tmp_path / "target").read_bytes() == LARGE
    assert (tmp_path / "target").stat().st_ino == source.stat().st_ino
    again = cache.deliver(root, tmp_path / "target", max_bytes=len(LARGE))
    assert again is not None
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["cache", "source", "target"], "nothing is left beside them"


def test_a_linked_file_that_was_edited_in_place_is_found_out(tmp_path: Path) -> None:
    root = root_of(LARGE)
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    cache = ContentCache(tmp_path / "cache")
    cache.put_file(root, source)
    with source.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"edited")
    assert cache.deliver(root, tmp_path / "target", max_bytes=len(LARGE)) is None
    assert not (tmp_path / "target").exists()
    assert source.read_bytes()[1_000_000:1_000_006] == b"edited", "the person's own file is left alone"


def test_reading_does_not_change_the_time_of_a_linked_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    os.utime(source, ns=(10**9, 2 * 10**9))
    cache = ContentCache(tmp_path / "cache")
    cache.put_file(root_of(LARGE), source)
    assert find(cache, root_of(LARGE))[0] is not None
    assert source.stat().st_mtime_ns == 2 * 10**9


def test_a_file_beyond_the_limit_asked_for_is_too_large(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache")
    cache.put(root_of(LARGE), LARGE)
    with pytest.raises(ContentTooLarge):
        cache.deliver(root_of(LARGE), tmp_path / "target", max_bytes=len(LARGE) - 1)
    assert not (tmp_path / "target").exists()


def test_a_destination_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache")
    cache.put(root_of(SMALL), SMALL)
    with pytest.raises(MachineError, match="cannot be written"):
        cache.deliver(root_of(SMALL), tmp_path / "no" / "such" / "folder", max_bytes=10**6)


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

    def download(
        self,
        root: Root,
        destination: Path,
        *,
        max_bytes: int,
        expected_size: int | None = None,
        progress: Progress | None = None,
    ) -> VerifiedFile:
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


FULL_DISK = """
import resource, sys
from pathlib import Path
from armlx_chain.errors import MachineError, StorageError
from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.files import write_file
from armlx_chain.storage.zerog.merkle import root_of
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
small, large = b"small " * 100, bytes(range(256)) * 8192
cache = ContentCache(folder / "cache")
cache.put(root_of(small), small)
(folder / "source").write_bytes(large)
(folder / "kept").write_bytes(b"before")
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for attempt in (lambda: cache.put(root_of(large), large), lambda: write_file(folder / "kept", large)):
    try:
        attempt()
    except (StorageError, MachineError) as error:
        print(type(error).__name__)
assert cache.get(root_of(small), max_bytes=10**6) == small
assert (folder / "kept").read_bytes() == b"before"
"""


def test_a_full_disk_is_an_error_of_its_own_and_loses_nothing(tmp_path: Path) -> None:
    """The system refuses to let files grow beyond 64 KiB, as a full disk does in the middle of a write."""
    assert resource.RLIMIT_FSIZE >= 0
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), "65536"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["StorageError", "MachineError"]), done.stderr
    assert not list(tmp_path.rglob("*.part"))
