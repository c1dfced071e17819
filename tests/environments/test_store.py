"""Kept environments: whole or not there, unchanged or not used, removed only when nobody needs them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from armlx_chain.errors import FormatError, SetupRefused, UsageError, VerifierFault
from verifier.environments import tree
from verifier.environments.store import RECORD, EnvironmentStore, Made, Record, digest_of
from verifier.environments.uvtool import PINNED, VARIABLE, find_uv, version_of

pytestmark = pytest.mark.unit

INPUTS = {"uv version": "1", "python version": "3.11.7"}
PYTHON = Path("/opt/base/bin/python3.11")


def fill(folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "lib/a.py").write_text("A = 1\n")
    (folder / "bin/tool").write_text("#!x\n")
    (folder / "bin/tool").chmod(0o700)
    (folder / "bin/python").symlink_to(PYTHON)
    (folder / "lib64").symlink_to("lib")


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(tmp_path / "environments")


def make(store: EnvironmentStore, inputs: dict[str, str] | None = None) -> Made:
    chosen = inputs or INPUTS
    digest = digest_of(chosen)
    folder = store.environment(digest)
    with store.turn(digest):
        fill(folder)
        files, size = tree.seal(folder, folder, PYTHON)
        record = Record(
            digest, chosen, {"a": "1"}, ("note",), tree.stamp(folder), tree.content(folder), files, size
        )
        return store.finish(digest, record)


def test_what_was_made_is_found_again_and_reads_back(store: EnvironmentStore) -> None:
    made = make(store)
    assert store.find(made.record.digest) == made
    assert store.check(made.record.digest) == made
    assert Record.parse(made.record.encode()) == made.record
    assert [record for record, _ in store.known()] == [made.record]


def test_sealed_files_are_read_only_and_keep_their_use(store: EnvironmentStore) -> None:
    folder = make(store).folder
    modes = {path.name: path.lstat().st_mode & 0o777 for path in folder.rglob("*") if not path.is_symlink()}
    assert modes == {"bin": 0o555, "lib": 0o555, "a.py": 0o444, "tool": 0o555}


def test_without_a_record_there_is_no_environment(store: EnvironmentStore) -> None:
    made = make(store)
    (store.place(made.record.digest) / RECORD).unlink()
    assert store.find(made.record.digest) is None
    assert store.known() == []


def _write(folder: Path) -> None:
    (folder / "lib/a.py").chmod(0o644)
    (folder / "lib/a.py").write_text("A = 2\n")


def _add(folder: Path) -> None:
    (folder / "lib").chmod(0o755)
    (folder / "lib/sitecustomize.py").write_text("")


def _relink(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "lib64").unlink()
    (folder / "lib64").symlink_to("/tmp")


@pytest.mark.parametrize("change", [_write, _add, _relink])
def test_any_change_inside_is_noticed_before_use(
    store: EnvironmentStore, change: Callable[[Path], None]
) -> None:
    made = make(store)
    change(made.folder)
    with pytest.raises(VerifierFault, match="has changed"):
        store.find(made.record.digest)


def test_a_change_that_sets_the_clock_back_is_found_by_the_full_check(store: EnvironmentStore) -> None:
    made = make(store)
    module = made.folder / "lib/a.py"
    facts = module.stat()
    _write(made.folder)
    os.utime(module, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(VerifierFault, match="has changed"):
        store.check(made.record.digest)


def test_a_touched_file_with_the_same_bytes_is_no_change(store: EnvironmentStore) -> None:
    made = make(store)
    os.utime(made.folder / "lib/a.py", ns=(1, 1))
    assert store.find(made.record.digest) == made


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"kind":"x"}', b"\xff"])
def test_a_damaged_record_is_never_believed(store: EnvironmentStore, content: bytes) -> None:
    made = make(store)
    (store.place(made.record.digest) / RECORD).write_bytes(content)
    with pytest.raises(VerifierFault, match="has changed"):
        store.find(made.record.digest)
    with pytest.raises(FormatError):
        Record.parse(content)


def test_only_what_nobody_used_for_long_is_removed(store: EnvironmentStore) -> None:
    old, new = make(store), make(store, {**INPUTS, "uv version": "2"})
    now = 1e9
    os.utime(store.place(old.record.digest) / "used", (now - 100, now - 100))
    os.utime(store.place(new.record.digest) / "used", (now - 10, now - 10))
    with store.turn(old.record.digest):
        assert store.collect(unused_seconds=50, now=now) == []
    assert store.collect(unused_seconds=50, now=now) == [old.record.digest]
    assert store.find(old.record.digest) is None and store.find(new.record.digest) == new


@pytest.mark.parametrize("text", ["", "..", "../x", "A" * 64, "a" * 63])
def test_only_digests_are_removed(store: EnvironmentStore, text: str) -> None:
    with pytest.raises(VerifierFault, match="no digest"):
        store.remove(text)


# --- what a set-up may leave --------------------------------------------------------------------------


def test_links_that_leave_the_environment_are_refused(tmp_path: Path) -> None:
    for number, target in enumerate(("/etc/passwd", "../../x", "/opt/base/lib/x", "/opt/base/bin/../x")):
        folder = tmp_path / str(number)
        fill(folder)
        (folder / "lib/leak").symlink_to(target)
        with pytest.raises(SetupRefused, match="leads out of its folder"):
            tree.seal(folder, folder, PYTHON)


def test_links_inside_and_to_the_base_interpreter_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    fill(folder)
    (folder / "bin/python3").symlink_to("python")
    (folder / "lib/own").symlink_to(folder / "bin/tool")
    assert tree.seal(folder, folder, PYTHON)[0] == 2


def test_pipes_and_sockets_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    os.mkfifo(tmp_path / "a/lib/pipe")
    with pytest.raises(SetupRefused, match="neither file, folder nor link"):
        tree.seal(tmp_path / "a", tmp_path / "a", PYTHON)
    fill(tmp_path / "b")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path / "b/lib")
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        with pytest.raises(SetupRefused, match="neither file, folder nor link"):
            tree.seal(tmp_path / "b", tmp_path / "b", PYTHON)


def test_removing_never_follows_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    folder = tmp_path / "env"
    fill(folder)
    (folder / "lib/out").symlink_to(outside)
    tree.remove(folder)
    assert not folder.exists() and (outside / "kept").exists()


# --- uv -----------------------------------------------------------------------------------------------


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_uv_that_the_tests_install_is_the_one_that_is_pinned() -> None:
    lock = Path(__file__).parents[2] / "requirements.lock"
    assert re.search(rf"^uv=={re.escape(PINNED)} ", lock.read_text(encoding="utf-8"), re.MULTILINE)


def test_a_named_uv_wins_and_must_answer(tmp_path: Path) -> None:
    good = program(tmp_path / "uv", "#!/bin/sh\necho 'uv 0.9.1 (x)'\n")
    found = find_uv(tmp_path / "tools", environ={VARIABLE: str(good)}, may_fetch=False)
    assert (found.path, found.version, found.origin) == (good, "0.9.1", VARIABLE)
    for text in ("#!/bin/sh\necho hello\n", "#!/bin/sh\necho 'uv 1.2.3'; exit 1\n", "no program"):
        bad = program(tmp_path / "bad", text)
        assert version_of(bad) is None
        with pytest.raises(UsageError, match=VARIABLE):
            find_uv(tmp_path / "tools", environ={VARIABLE: str(bad)}, may_fetch=False)


def test_on_the_path_only_the_pinned_version_counts(tmp_path: Path) -> None:
    program(tmp_path / "other/uv", "#!/bin/sh\necho 'uv 0.0.1'\n")
    pinned = program(tmp_path / "right/uv", f"#!/bin/sh\necho 'uv {PINNED}'\n")
    with pytest.raises(VerifierFault, match=f"no uv {PINNED}") as missing:
        find_uv(tmp_path / "tools", environ={"PATH": str(tmp_path / "other")}, may_fetch=False)
    assert VARIABLE in (missing.value.next_step or "")
    found = find_uv(tmp_path / "tools", environ={"PATH": str(pinned.parent)}, may_fetch=False)
    assert (found.path, found.origin) == (pinned, "PATH")


def test_the_pinned_tool_of_ours_comes_before_the_path(tmp_path: Path) -> None:
    own = program(tmp_path / f"tools/uv-{PINNED}/uv", "#!/bin/sh\n")
    on_path = program(tmp_path / "right/uv", f"#!/bin/sh\necho 'uv {PINNED}'\n")
    found = find_uv(tmp_path / "tools", environ={"PATH": str(on_path.parent)}, may_fetch=False)
    assert (found.path, found.origin) == (own, "pinned")
