"""Marks of unproven documents, sizes as people write them, and the progress bar."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.claims.runfolder import read_run_folder
from armlx_chain.cli.marks import candidate_paths, require_verified, write_run_marks
from armlx_chain.cli.progress import Bar
from armlx_chain.cli.sizes import parse_size, show_size
from armlx_chain.errors import ClaimRefused, ContentUnproven, UsageError
from armlx_chain.storage.interface import UnverifiedBytes
from armlx_chain.storage.unverified import UnverifiedRegister, sidecar_of
from armlx_chain.types import Root

pytestmark = pytest.mark.unit

ROOT = Root("irys", b"r" * 32)
DATA = b"print('who knows')\n"
FOUND = UnverifiedBytes(ROOT, DATA, "https://gateway.example/x", "no server gave the signed item's fields")
DIGEST = hashlib.sha256(DATA).hexdigest()


# --- marks -------------------------------------------------------------------------------------------------


def test_a_mark_is_known_by_the_bytes_and_by_the_file(tmp_path: Path) -> None:
    register = UnverifiedRegister(tmp_path / "marks")
    assert register.is_empty()
    mark = register.write(FOUND, tmp_path / "train.py")
    assert (mark.root, mark.sha256, mark.source) == (ROOT, DIGEST, FOUND.source)
    assert register.find(DATA) == mark, "the same bytes anywhere"
    assert register.find(b"edited", tmp_path / "train.py") == mark, "the same file, edited"
    assert register.find(b"edited", tmp_path / "other.py") is None
    assert UnverifiedRegister(tmp_path / "another home").find(DATA, tmp_path / "train.py") == mark


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "endless"])
def test_a_mark_that_is_no_plain_file_is_a_damaged_mark_and_keeps_nobody_waiting(
    tmp_path: Path, kind: str
) -> None:
    """Candidates come from strangers, and so does what lies beside their files."""
    beside = sidecar_of(tmp_path / "train.py")
    if kind == "pipe":
        os.mkfifo(beside)
    elif kind == "link":
        beside.symlink_to("/dev/tty")
    elif kind == "folder":
        beside.mkdir()
    else:
        beside.symlink_to("/dev/zero")
    found: list[object] = []
    asking = threading.Thread(
        target=lambda: found.append(UnverifiedRegister(tmp_path / "marks").find(DATA, tmp_path / "train.py")),
        daemon=True,
    )
    asking.start()
    asking.join(60)
    assert found and "damaged" in str(found[0])


def test_the_mark_is_there_before_the_bytes(tmp_path: Path) -> None:
    """The folder in the file's place stops the second write, as a kill between the two would."""
    (tmp_path / "train.py").mkdir()
    with pytest.raises(Exception, match="cannot be written"):
        UnverifiedRegister(tmp_path / "marks").write(FOUND, tmp_path / "train.py")
    assert sidecar_of(tmp_path / "train.py").exists()
    assert UnverifiedRegister(tmp_path / "marks").find(DATA) is not None


def test_only_a_proof_for_the_same_root_takes_the_mark_of_the_bytes_away(tmp_path: Path) -> None:
    register = UnverifiedRegister(tmp_path / "marks")
    register.note(FOUND)
    register.proven(Root("0g", b"r" * 32), DIGEST)
    assert register.find(DATA) is not None
    register.proven(ROOT, DIGEST)
    assert register.find(DATA) is None


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[1]", b"\xff", b"[" * 10_000, b'{"root": "x"}', bytes(20_000)]
)
def test_a_damaged_mark_is_still_a_mark(tmp_path: Path, damage: bytes) -> None:
    register = UnverifiedRegister(tmp_path / "marks")
    sidecar_of(tmp_path / "train.py").write_bytes(damage)
    found = register.find(DATA, tmp_path / "train.py")
    assert found is not None
    assert found.root is None


def test_marked_files_are_refused_or_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "candidate"
    folder.mkdir()
    UnverifiedRegister(tmp_path / "unverified").write(FOUND, folder / "train.py")
    files = candidate_paths(folder, {"train.py": DATA, "model.py": b"fine"})
    assert set(files) == {folder / "train.py", folder / "model.py"}
    with pytest.raises(ContentUnproven) as caught:
        require_verified(tmp_path, files, allowed=False)
    assert caught.value.details["root"] == str(ROOT)
    recorded = require_verified(tmp_path, files, allowed=True)
    assert [(entry["file"], entry["sha256"]) for entry in recorded] == [(str(folder / "train.py"), DIGEST)]
    assert "UNVERIFIED" in capsys.readouterr().err
    assert require_verified(tmp_path, {folder / "model.py": b"fine"}, allowed=False) == []


def test_no_claim_is_made_from_a_marked_run(tmp_path: Path) -> None:
    for name in ("run.log", "run.json"):
        (tmp_path / name).write_text("{}")
    write_run_marks(tmp_path, [{"file": "train.py"}])
    with pytest.raises(ClaimRefused, match="nobody could prove"):
        read_run_folder(tmp_path / "run.log", None)  # type: ignore[arg-type]
    write_run_marks(tmp_path, [])
    assert not (tmp_path / "unverified.json").exists()


# --- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("12 B", 12),
        ("500 kB", 500_000),
        ("500K", 500_000),
        ("64MiB", 64 << 20),
        ("64Mi", 64 << 20),
        ("10G", 10**10),
        ("10GiB", 10 << 30),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "-1", "1.5G", "GB", "1XB", "0x10", "1 000", "9" * 16, "1e9", "\u0661"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_a_shown_size_is_never_more_than_the_size(count: int) -> None:
    number, unit = show_size(count).split(" ")
    scale = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
    whole, _, tenth = number.partition(".")
    shown = int(whole) * scale + int(tenth or 0) * scale // 10
    assert shown <= count < shown + scale


# --- the bar -----------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_on_a_terminal_the_bar_shows_share_and_rate() -> None:
    terminal, clock = Terminal(), Clock()
    bar = Bar("shard", stream=terminal, clock=clock)
    bar.start(100 << 20)
    clock.now = 1.0
    bar.advance(25 << 20)
    assert "25% of 100.0 MiB 25.0 MiB/s" in terminal.getvalue()
    clock.now = 2.0
    bar.advance(75 << 20)
    assert "100%" in terminal.getvalue()
    bar.finish()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_the_bar_is_not_drawn_more_often_than_it_can_be_seen() -> None:
    terminal, clock = Terminal(), Clock()
    bar = Bar("shard", stream=terminal, clock=clock)
    bar.start(1_000_000)
    for _ in range(1000):
        clock.now += 0.001
        bar.advance(100)
    assert terminal.getvalue().count("\r") < 15


def test_where_there_is_no_terminal_only_notes_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    bar = Bar("shard", stream=stream)
    bar.start(None)
    bar.advance(10)
    bar.note("a node was set aside")
    bar.finish()
    assert stream.getvalue() == ""
    assert capsys.readouterr().err == "a node was set aside\n"


def test_a_transfer_of_unknown_length_shows_what_arrived() -> None:
    terminal, clock = Terminal(), Clock()
    bar = Bar("shard", stream=terminal, clock=clock)
    bar.start(None)
    clock.now = 2.0
    bar.advance(4 << 20)
    assert "shard 4.0 MiB 2.0 MiB/s" in terminal.getvalue()
