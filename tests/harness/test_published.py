"""Private copies of published files: checked as they stand, of any size, kept while they stay the same."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import VerifierFault
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root
from verifier.harness import published
from verifier.harness.published import copy_checked

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Listed:
    path: str
    size: int
    root: Root
    role: str = "train"


def put(folder: Path, path: str, content: bytes) -> Listed:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return Listed(path, len(content), root_of(content))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is hashed, in order."""
    seen: list[Path] = []
    real = published._root

    def watched(path: Path) -> Root | None:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(published, "_root", watched)
    return seen


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3 << 18), st.booleans())
def test_a_copy_is_the_file_byte_for_byte_whatever_its_length_and_however_it_is_made(
    tmp_path_factory: pytest.TempPathFactory, size: int, cloned: bool
) -> None:
    folder = tmp_path_factory.mktemp("files")
    content = os.urandom(min(size, 997)) * (size // min(size, 997))
    entry = put(folder, "data/shard.parquet", content)
    with pytest.MonkeyPatch.context() as patch:
        if not cloned:
            patch.delattr(os, "copy_file_range", raising=False)
        [file] = copy_checked(folder, [entry], folder / "copies")
    assert file.copy.read_bytes() == content
    assert file.copy.stat().st_ino != (folder / entry.path).stat().st_ino
    assert file.copy.stat().st_mode & 0o777 == 0o644


def test_a_file_system_that_cannot_share_bytes_gets_them_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    entry = put(tmp_path, "a.bin", b"content" * 1000)
    [file] = copy_checked(tmp_path, [entry], tmp_path / "copies")
    assert file.copy.read_bytes() == b"content" * 1000


def test_a_large_file_is_never_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put(tmp_path, "large.bin", bytes(range(256)) * (1 << 18))
    for clone in (True, False):
        if not clone:
            monkeypatch.delattr(os, "copy_file_range", raising=False)
        tracemalloc.start()
        [file] = copy_checked(tmp_path, [entry], tmp_path / f"copies-{clone}")
        file.check()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < entry.size / 2


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"x",
        lambda content: content[:-1],
        lambda content: content[:-1] + b"\x01",
        lambda content: b"",
    ],
    ids=["longer", "shorter", "another last byte", "empty"],
)
def test_what_is_not_the_published_file_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    entry = put(tmp_path, "a.bin", bytes(5000))
    (tmp_path / "a.bin").write_bytes(change(bytes(5000)))
    with pytest.raises(VerifierFault, match="not the published file"):
        copy_checked(tmp_path, [entry], tmp_path / "copies")


def test_a_pipe_or_a_folder_in_a_files_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "missing"):
        with pytest.raises(VerifierFault, match=name):
            copy_checked(tmp_path, [Listed(name, 10, root_of(b"x" * 10))], tmp_path / "copies")


def test_a_copy_from_an_earlier_session_serves_again_without_hashing(
    tmp_path: Path, hashed: list[Path]
) -> None:
    entries = [put(tmp_path, f"shard-{number}.bin", os.urandom(3000)) for number in range(3)]
    first = copy_checked(tmp_path, entries, tmp_path / "copies")
    assert len(hashed) == 3
    again = copy_checked(tmp_path, entries, tmp_path / "copies")
    assert len(hashed) == 3
    assert again == first
    for file in again:
        file.check()
    assert len(hashed) == 3


def test_a_copy_that_changed_meanwhile_is_made_anew(tmp_path: Path, hashed: list[Path]) -> None:
    entry = put(tmp_path, "a.bin", os.urandom(3000))
    [file] = copy_checked(tmp_path, [entry], tmp_path / "copies")
    file.copy.write_bytes(bytes(3000))
    with pytest.raises(VerifierFault, match="has changed"):
        file.check()
    [fresh] = copy_checked(tmp_path, [entry], tmp_path / "copies")
    assert fresh.copy.read_bytes() == (tmp_path / "a.bin").read_bytes()


def test_a_copy_whose_time_moved_and_whose_bytes_did_not_is_hashed_and_kept(
    tmp_path: Path, hashed: list[Path]
) -> None:
    entry = put(tmp_path, "a.bin", os.urandom(3000))
    [file] = copy_checked(tmp_path, [entry], tmp_path / "copies")
    os.utime(file.copy, ns=(1, 1))
    file.check()
    assert len(hashed) == 2


def test_a_copy_of_one_root_never_serves_for_another(tmp_path: Path) -> None:
    entry = put(tmp_path, "a.bin", bytes(3000))
    copy_checked(tmp_path, [entry], tmp_path / "copies")
    other = put(tmp_path, "a.bin", b"\x01" * 3000)
    [file] = copy_checked(tmp_path, [other], tmp_path / "copies")
    assert file.copy.read_bytes() == b"\x01" * 3000


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"7", b"\xff", b"9" * 5000])
def test_a_note_that_cannot_be_read_only_costs_the_time_to_hash(
    tmp_path: Path, hashed: list[Path], note: bytes
) -> None:
    entry = put(tmp_path, "a.bin", os.urandom(3000))
    copy_checked(tmp_path, [entry], tmp_path / "copies")
    [place] = (tmp_path / "copies.checked").iterdir()
    place.write_bytes(note)
    copy_checked(tmp_path, [entry], tmp_path / "copies")
    assert len(hashed) == 2
