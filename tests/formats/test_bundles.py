"""Attacks on bundles: what an archive may hold besides files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import FormatError
from armlx_chain.formats.bundle import (
    CANDIDATE_LIMITS,
    Authorship,
    TreeLimits,
    pack_candidate,
    pack_tree,
    read_candidate,
    read_tree,
    unpack_tree,
)
from armlx_chain.types import Address, ProjectId

pytestmark = pytest.mark.unit

AUTHOR = Authorship(Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"), ProjectId(1), 31337)


def archive(*members: tuple[str, bytes, dict[str, object]]) -> bytes:
    """A tar as the ordinary tool writes it, with header fields changed at will."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, changes in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def trimmed(data: bytes) -> bytes:
    """Without the ordinary tool's padding: two zero blocks at the end."""
    return data.rstrip(b"\0").ljust(-(-len(data.rstrip(b"\0")) // 512) * 512, b"\0") + bytes(1024)


def test_the_ordinary_tool_can_write_a_bundle_and_only_this_one() -> None:
    assert unpack_tree(trimmed(archive(("a.py", b"x", {})))) == {"a.py": b"x"}
    with pytest.raises(FormatError):
        unpack_tree(archive(("a.py", b"x", {})))


LINK = {"linkname": "/etc/passwd", "size": 0}
HOSTILE: dict[str, Callable[[], bytes]] = {
    "symbolic link": lambda: archive(("a", b"", {**LINK, "type": tarfile.SYMTYPE})),
    "hard link": lambda: archive(("a", b"", {**LINK, "type": tarfile.LNKTYPE})),
    "device": lambda: archive(("a", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})),
    "fifo": lambda: archive(("a", b"", {"type": tarfile.FIFOTYPE})),
    "folder": lambda: archive(("a", b"", {"type": tarfile.DIRTYPE})),
    "absolute": lambda: archive(("/etc/passwd", b"x", {})),
    "escape": lambda: archive(("../x", b"x", {})),
    "escape inside": lambda: archive(("a/../../x", b"x", {})),
    "dot": lambda: archive(("./a", b"x", {})),
    "git hook": lambda: archive((".git/hooks/pre-commit", b"x", {})),
    "git hook in capitals": lambda: archive(("a/.GIT/config", b"x", {})),
    "twice": lambda: archive(("a", b"x", {}), ("a", b"y", {})),
    "twice but for case": lambda: archive(("A", b"x", {}), ("a", b"y", {})),
    "twice but for composition": lambda: archive(("e\u0301", b"x", {}), ("\u00e9", b"y", {})),
    "file and folder": lambda: archive(("a", b"x", {}), ("a/b", b"y", {})),
    "file and folder but for case": lambda: archive(("A", b"x", {}), ("a/b", b"y", {})),
    "folders in two cases": lambda: archive(("A/x", b"x", {}), ("a/y", b"y", {})),
    "unsorted": lambda: archive(("b", b"x", {}), ("a", b"y", {})),
    "time": lambda: archive(("a", b"x", {"mtime": 1})),
    "owner": lambda: archive(("a", b"x", {"uid": 1})),
    "owner's name": lambda: archive(("a", b"x", {"uname": "root"})),
    "set-user-id": lambda: archive(("a", b"x", {"mode": 0o4755})),
    "world-writable": lambda: archive(("a", b"x", {"mode": 0o666})),
    "backslash": lambda: archive(("a\\..\\b", b"x", {})),
    "drive": lambda: archive(("C:x", b"x", {})),
    "line end in a name": lambda: archive(("a\nb", b"x", {})),
    "reading direction in a name": lambda: archive(("a\u202eb", b"x", {})),
    "trailing dot": lambda: archive(("a.", b"x", {})),
    "trailing blank": lambda: archive(("a ", b"x", {})),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_with_more_than_plain_files_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        unpack_tree(trimmed(HOSTILE[name]()))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_extension_headers_are_refused(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        info = tarfile.TarInfo("d/" * 100 + "x" * 120)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(FormatError):
        unpack_tree(trimmed(out.getvalue()))


def test_a_bundle_does_not_depend_on_the_order_it_was_given_in() -> None:
    assert pack_tree({"b": b"1", "a/c": b"2"}) == pack_tree({"a/c": b"2", "b": b"1"})


def test_modes_survive() -> None:
    entries = read_tree(pack_tree({"run": (b"x", True), "lib": (b"y", False)}))
    assert [(entry.path, entry.executable) for entry in entries] == [("lib", False), ("run", True)]


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/a", "a/", "a//b", "a/./b", "~x", "e\u0301", "\ud800", "x" * 256, "/".join("a" * 40)],
)
def test_paths_that_no_bundle_can_hold_are_refused(path: str) -> None:
    with pytest.raises(FormatError):
        pack_tree({path: b"x"})


@given(cut=st.integers(0, 4_000), flip=st.integers(0, 4_000), bit=st.integers(1, 255))
@settings(max_examples=400, deadline=None)
def test_a_bundle_that_was_cut_or_changed_in_a_header_is_refused_or_another(
    cut: int, flip: int, bit: int
) -> None:
    data = pack_tree({"train.py": b"x" * 700, "lib/a.py": b"y"})
    with pytest.raises(FormatError):
        unpack_tree(data[: min(cut, len(data) - 1)])
    changed = bytearray(data)
    changed[flip % len(data)] ^= bit
    try:
        assert pack_tree({e.path: (e.data, e.executable) for e in read_tree(bytes(changed))}) == changed
    except FormatError:
        return


@given(data=st.binary(max_size=1_100))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_one_error_or_are_the_empty_bundle(data: bytes) -> None:
    try:
        assert unpack_tree(data) == {}
    except FormatError:
        return
    assert data == bytes(1024)


names = st.from_regex(r"[a-zäβ]{1,6}(/[a-z0-9]{1,60}){0,5}", fullmatch=True)


@given(files=st.dictionaries(names, st.binary(max_size=600), max_size=6))
@settings(max_examples=200, deadline=None)
def test_what_is_packed_is_unpacked(files: dict[str, bytes]) -> None:
    try:
        data = pack_tree(files)
    except FormatError as refused:
        assert any(word in refused.message for word in ("both a file", "normal form", "too long", "twice"))
        return
    assert unpack_tree(data) == files


def test_limits_hold_before_anything_is_read() -> None:
    limits = TreeLimits(files=2, file_bytes=10, total_bytes=15)
    for files in ({"a": b"x" * 11}, {"a": b"x" * 8, "b": b"x" * 8}, {"a": b"", "b": b"", "c": b""}):
        with pytest.raises(FormatError):
            pack_tree(files, limits)
        with pytest.raises(FormatError):
            unpack_tree(pack_tree(files), limits)


def test_a_stated_size_beyond_the_archive_is_refused() -> None:
    data = bytearray(pack_tree({"a": b"x"}))
    data[124:135] = b"77777777777"
    with pytest.raises(FormatError):
        unpack_tree(bytes(data))


def test_a_candidate_carries_its_author() -> None:
    assert read_candidate(pack_candidate({"train.py": b"x"}, AUTHOR)) == (AUTHOR, {"train.py": b"x"})


def test_the_same_code_by_another_author_is_another_bundle() -> None:
    other = Authorship(Address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"), AUTHOR.project_id, 31337)
    assert pack_candidate({"train.py": b"x"}, AUTHOR) != pack_candidate({"train.py": b"x"}, other)


@pytest.mark.parametrize("files", [{}, {"authorship.json": b"{}"}, {"AUTHORSHIP.json": b"{}"}])
def test_files_that_no_candidate_can_hold(files: dict[str, bytes]) -> None:
    with pytest.raises(FormatError):
        pack_candidate(files, AUTHOR)


@pytest.mark.parametrize(
    "record",
    [
        None,
        b"",
        b"{}",
        b'{"chainId":31337,"kind":"armlx-authorship","miner":"0x70997970c51812dc3a010c7d01b50e0d17dc79c8",'
        b'"projectId":"1","version":1}',
        b'{"chainId":31337,"kind":"armlx-authorship","miner":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8",'
        b'"projectId":"01","version":1}',
        b'{"chainId":31337,"kind":"armlx-authorship","miner":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8",'
        b'"projectId":1,"version":1}',
        b'{"chainId":31337,"kind":"armlx-authorship","miner":"0x0000000000000000000000000000000000000000",'
        b'"projectId":"1","version":1}',
    ],
)
def test_a_candidate_without_a_proper_author_is_refused(record: bytes | None) -> None:
    files = {"train.py": b"x"} | ({} if record is None else {"authorship.json": record})
    with pytest.raises(FormatError):
        read_candidate(pack_tree(files, CANDIDATE_LIMITS))


def test_an_executable_candidate_is_refused() -> None:
    good = unpack_tree(pack_candidate({"train.py": b"x"}, AUTHOR))
    with pytest.raises(FormatError):
        read_candidate(pack_tree({**good, "train.py": (b"x", True)}))
    with pytest.raises(FormatError):
        read_candidate(pack_tree({"authorship.json": good["authorship.json"]}))
