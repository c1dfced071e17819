"""What a candidate may replace, and the tricks with paths."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.devnet.benchmark.project import protocol_document
from armlx_chain.errors import CandidateError
from armlx_chain.protocol.globs import Glob
from armlx_chain.protocol.parse import parse_protocol
from verifier.workspace import MAX_FILE_BYTES, Surface, check_candidate, merge, read_files

pytestmark = pytest.mark.unit

SNAPSHOT = {
    "train.py": b"old",
    "prepare.py": b"fixed",
    "pyproject.toml": b"",
    "src/model.py": b"",
    "uv.lock": b"",
}


def surface(
    *allowed: str, forbidden: tuple[str, ...] = (), immutable: tuple[str, ...] = (), **more
) -> Surface:
    return Surface(
        allowed=tuple(map(Glob.parse, allowed)),
        forbidden=tuple(map(Glob.parse, forbidden)),
        immutable=tuple(map(Glob.parse, immutable)),
        **more,
    )


REAL = surface(
    "train.py",
    forbidden=("prepare.py", "pyproject.toml", "uv.lock"),
    immutable=("prepare.py",),
    kinds=frozenset({"code_edit"}),
)
WIDE = surface("**", forbidden=("prepare.py", "secret"), immutable=("src/**",))


def refused(files: dict[str, bytes], where: Surface = WIDE) -> str:
    with pytest.raises(CandidateError) as found:
        check_candidate(where, SNAPSHOT.keys(), files)
    assert found.value.message.isascii()
    assert found.value.message.isprintable()
    return found.value.message


def test_the_one_mutable_file_may_be_replaced_and_everything_else_stays():
    files = {"train.py": b"new"}
    check_candidate(REAL, SNAPSHOT.keys(), files)
    assert merge(SNAPSHOT, files) == {**SNAPSHOT, "train.py": b"new"}
    assert SNAPSHOT["train.py"] == b"old"


def test_a_published_protocol_gives_the_surface_it_describes():
    document = protocol_document(baseline_notes="measured", created_at="2026-01-01T00:00:00Z")
    found = Surface.of(parse_protocol(document))
    check_candidate(found, SNAPSHOT.keys(), {"train.py": b"new"})
    for path in ("prepare.py", "pyproject.toml", "other.py", "src/model.py"):
        assert refused({path: b""}, found)


@pytest.mark.parametrize("path", ["prepare.py", "PREPARE.PY", "Prepare.py", "ｐrepare.py", "prepare.ｐy"])
def test_the_harness_cannot_be_replaced_however_it_is_spelled(path):
    refused({path: b"evil"})
    refused({path: b"evil"}, REAL)


@pytest.mark.parametrize("path", ["src/model.py", "src/new.py", "SRC/new.py", "src/deep/er.py"])
def test_naming_a_folder_forbids_what_is_in_it(path):
    assert "immutable harness" in refused({path: b""}) or "one path" in refused({path: b""})


def test_a_forbidden_name_is_forbidden_as_a_folder_too():
    assert "forbidden" in refused({"secret/x.py": b""})


def test_what_is_not_on_the_surface_is_refused_with_what_is():
    with pytest.raises(CandidateError) as found:
        check_candidate(REAL, SNAPSHOT.keys(), {"other.py": b""})
    assert found.value.next_step == "A candidate may change: 'train.py'."


def test_a_configuration_file_needs_leave_to_be_edited():
    only_code = surface("**", kinds=frozenset({"code_edit"}))
    assert "config_edit" in refused({"settings.toml": b""}, only_code)
    only_config = surface("**", kinds=frozenset({"config_edit"}))
    assert "code_edit" in refused({"more.py": b""}, only_config)


TRICKS = [
    "/etc/passwd",
    "../train.py",
    "a/../train.py",
    "a/..",
    "..",
    ".",
    "",
    " ",
    "./train.py",
    "a//b.py",
    "a/",
    "~/x.py",
    "C:/x.py",
    "c:x.py",
    "a\\b.py",
    "..\\train.py",
    "train.py\x00",
    "train\n.py",
    "tra\u200bin.py",
    "tra\u00adin.py",
    "\ufefftrain.py",
    "train\u202e.py",
    "cafe\u0301.py",
    "train.py.",
    "train.py ",
    " train.py",
    "a /b.py",
    "a./b.py",
    ".git/config",
    ".GIT/hooks/post-checkout",
    "a/.git/config",
    "authorship.json",
    "Authorship.JSON",
    "x" * 201,
    "a/" * 17 + "b.py",
    "a" * 2000,
    "\ud800.py",
    "train.py/x",
    "src",
    "src/model.py/x",
    "TRAIN.py",
    "Train.py",
    "ＴＲＡＩＮ.py",
    "Src2/../src/x",
]


@pytest.mark.parametrize("path", TRICKS, ids=ascii)
def test_a_trick_with_the_path_is_refused(path):
    refused({path: b""})


def test_two_paths_that_some_file_system_takes_for_one_are_refused():
    assert "one path" in refused({"new/a.py": b"", "New/b.py": b""})
    assert "one path" in refused({"straße.py": b"", "STRASSE.py": b""})
    assert "file and a folder" in refused({"x": b"", "x/y.py": b""})


def test_too_much_is_refused():
    assert "no files" in refused({})
    assert "files" in refused({f"f{n}.py": b"" for n in range(65)})
    assert "bytes" in refused({"a.py": b"x" * (MAX_FILE_BYTES + 1)})
    assert "bytes" in refused({f"f{n}.py": b"x" * MAX_FILE_BYTES for n in range(5)})


pieces = st.sampled_from(
    [
        "train.py",
        "prepare.py",
        "src",
        "..",
        ".",
        "/",
        "//",
        "\\",
        "~",
        "\x00",
        "\u200b",
        "é",
        "e\u0301",
        "A",
        "a",
        " ",
        "*",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(pieces, max_size=6).map("".join)))
def test_any_path_passes_or_ends_in_the_one_error(path):
    try:
        check_candidate(WIDE, SNAPSHOT.keys(), {path: b""})
    except CandidateError as error:
        assert error.message.isascii()
        return
    # What passed stays below the folder and is no second spelling of anything that is there.
    assert os.path.normpath(path) == path
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert path in SNAPSHOT or path.casefold() not in {name.casefold() for name in SNAPSHOT}
    assert path.casefold().split("/")[0] not in ("prepare.py", "src", "secret")


def test_files_are_read_from_a_folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_bytes(b"a")
    (tmp_path / "train.py").write_bytes(b"t")
    assert read_files(tmp_path, ["train.py", "src/a.py"]) == {"train.py": b"t", "src/a.py": b"a"}


def test_links_devices_and_folders_are_not_read(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key.py").write_bytes(b"secret")
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "link.py").symlink_to(outside / "key.py")
    (folder / "linked").symlink_to(outside)
    (folder / "dangling.py").symlink_to(tmp_path / "nothing")
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "pipe.py")
    (folder / "large.py").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    for path in (
        "link.py",
        "linked/key.py",
        "dangling.py",
        "folder.py",
        "pipe.py",
        "large.py",
        "none.py",
        "../repo/x",
    ):
        with pytest.raises(CandidateError) as found:
            read_files(folder, [path])
        assert "secret" not in found.value.message
