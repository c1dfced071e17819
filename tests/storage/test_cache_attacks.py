"""The cache against whoever can write into its folder, a full disk, and its own limit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from armlx_chain.errors import ContentTooLarge, MachineError, StorageError
from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.interface import (
    Fault,
    FaultKind,
    VerifiedBytes,
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
    written = source.stat().st_ino
    assert cache.path_of(root).stat().st_ino == written
    source.unlink()
    found = cache.deliver(root, tmp_path / "target", max_bytes=len(LARGE))
    assert found is not None
    assert (found.size, found.source) == (len(LARGE), "cache")
    assert (tmp_path / "target").read_bytes() == LARGE
    assert (tmp_path / "target").stat().st_ino == written
    again = cache.deliver(root, tmp_path / "target", max_bytes=len(LARGE))
    assert again is not None
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["cache", "target"], "nothing is left beside them"


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


def test_editing_one_delivered_file_changes_no_other(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache")
    root = root_of(LARGE)
    source = tmp_path / "downloaded"
    source.write_bytes(LARGE)
    cache.put_file(root, source)
    others = [tmp_path / name for name in ("first", "second")]
    for path in others:
        assert cache.deliver(root, path, max_bytes=1 << 30) is not None
    with source.open("r+b") as file:
        file.write(b"edited")
    assert [path.read_bytes() == LARGE for path in others] == [True, True]
    with others[0].open("r+b") as file:
        file.write(b"edited too")
    assert others[1].read_bytes() == LARGE


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


def test_a_wrong_entry_beyond_the_limit_is_a_miss_and_does_not_stand_in_the_way(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache")
    cache.put(root_of(SMALL), SMALL)
    for ask in (
        lambda: cache.find(root_of(SMALL), max_bytes=len(SMALL)),
        lambda: cache.deliver(root_of(SMALL), tmp_path / "target", max_bytes=len(SMALL)),
    ):
        cache.path_of(root_of(SMALL)).write_bytes(SMALL + b"more")
        assert ask() is None
        assert not cache.path_of(root_of(SMALL)).exists()


def test_a_destination_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache")
    cache.put(root_of(SMALL), SMALL)
    with pytest.raises(MachineError, match="cannot be written"):
        cache.deliver(root_of(SMALL), tmp_path / "no" / "such" / "folder", max_bytes=10**6)


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
