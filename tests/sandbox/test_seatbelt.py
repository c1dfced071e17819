"""The macOS back-end, as far as it can be judged without a Mac.

The profile's text, the rewritten paths, and the following and killing of a process tree (which runs here for
real). No test here starts ``sandbox-exec``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import pytest

from armlx_chain.errors import SandboxUnavailable
from verifier.sandbox.interface import Limits, Mount, SandboxSpec
from verifier.sandbox.proctable import FollowedTree, Row, parse_table, parse_time, read_table
from verifier.sandbox.seatbelt import SeatbeltSandbox, command_line, folder_bytes, rewriting
from verifier.sandbox.seatbelt_profile import ProfileParts, profile, quoted

PARTS = ProfileParts(
    readable=(Path("/private/run"), Path("/opt/python")),
    writable=(Path("/private/run/tmp"),),
    executable=(Path("/opt/python"),),
    protected=(Path("/private/run/tmp/home/cache/data"), Path("/private/run/job")),
    shader_cache=Path("/private/var/folders/a+b/C"),
)


def rules(text: str) -> list[list[object]]:
    """The profile as nested lists; fails where parentheses or strings do not match."""
    tokens = re.findall(r'#?"(?:[^"\\]|\\.)*"|[()]|[^\s()"]+', re.sub(r"^;.*$", "", text, flags=re.M))
    stack: list[list[object]] = [[]]
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            closed = stack.pop()
            stack[-1].append(closed)
        else:
            stack[-1].append(token)
    assert len(stack) == 1
    return stack[0]  # type: ignore[return-value]


def allowed(operation: str, kind: str, parts: ProfileParts = PARTS) -> list[str]:
    found = []
    for rule in rules(profile(parts)):
        if rule[:2] == ["allow", operation]:
            found += [one[1] for one in rule[2:] if isinstance(one, list) and one[0] == kind]
    return [str(text).strip('"') for text in found]


@pytest.mark.unit
def test_everything_is_denied_first_and_no_system_profile_is_imported() -> None:
    parsed = rules(profile(PARTS))
    assert parsed[0] == ["version", "1"]
    assert parsed[1] == ["deny", "default"]
    assert "import" not in profile(PARTS)
    # A rule without a filter would allow the operation everywhere.
    bare = [rule for rule in parsed if rule[0] == "allow" and len(rule) == 2]
    assert bare == []


@pytest.mark.unit
def test_writing_is_allowed_in_the_runs_own_folders_only() -> None:
    assert allowed("file-write*", "subpath") == [
        "/private/run/tmp",
        "/private/var/folders/a+b/C/com.apple.metal",
        "/private/var/folders/a+b/C/com.apple.metalfe",
    ]
    without = ProfileParts(PARTS.readable, PARTS.writable, PARTS.executable)
    assert allowed("file-write*", "subpath", without) == ["/private/run/tmp"]
    assert "metal" not in profile(without).lower()


@pytest.mark.unit
def test_protected_paths_and_the_ways_to_them_are_denied_after_every_permission() -> None:
    text = profile(PARTS)
    last_permission = text.rindex("(allow file-write*")
    denial = text.rindex("(deny file-write*")
    assert denial > last_permission
    assert '(subpath "/private/run/job")' in text[denial:]
    moves = text[text.rindex("(deny file-write-unlink") :]
    assert '(literal "/private/run/tmp/home/cache")' in moves
    assert '(literal "/private/run/tmp/home")' in moves


@pytest.mark.unit
def test_there_is_no_network_and_no_fork_at_the_end_where_the_last_rule_wins() -> None:
    lines = profile(PARTS).splitlines()
    assert "(deny network*)" in lines[-6:]
    assert lines[-1] == "(deny process-fork)"
    forking = ProfileParts(PARTS.readable, PARTS.writable, PARTS.executable, forks=True)
    assert "(deny process-fork)" not in profile(forking)
    assert "(allow process-fork)" in profile(forking)
    assert not any(line.startswith("(allow network") for line in lines)


@pytest.mark.unit
def test_homes_keychains_and_other_programs_are_not_readable() -> None:
    readable = allowed("file-read*", "subpath")
    for path in (
        "/Users/me/key",
        "/private/var/root",
        "/Library/Keychains",
        "/private/etc/passwd",
        "/private/tmp",
    ):
        assert not any(PurePosixPath(path).is_relative_to(folder) for folder in readable)
    assert allowed("file-read*", "literal") == ["/", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]


@pytest.mark.unit
def test_a_path_cannot_break_out_of_its_string() -> None:
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'
    hostile = ProfileParts((Path('/x") (allow default) ("'),), (Path("/w"),), ())
    assert ["allow", "default"] not in rules(profile(hostile))
    with pytest.raises(ValueError, match="control character"):
        quoted("/x\n(allow default)")


@pytest.mark.unit
def test_the_cache_pattern_takes_the_folder_literally() -> None:
    pattern = re.search(r'#"(\^.*?)"', profile(PARTS))
    assert pattern is not None
    expression = re.compile(pattern.group(1))
    assert expression.match("/private/var/folders/a+b/C/python3/com.apple.metal/16777235/functions.data")
    assert not expression.match("/private/var/folders/aab/C/python3/com.apple.metal/x")
    assert not expression.match("/private/var/folders/a+b/C/python3/comXapple.metal")
    assert not expression.match("/private/var/folders/a+b/C/one/two/com.apple.metal")


@pytest.mark.unit
def test_paths_of_the_specification_move_below_the_runs_folder() -> None:
    spec = SandboxSpec(
        argv=["/usr/bin/python3", "/job/train.py", "--cache=/job/x", "/jobbers"],
        mounts=[
            Mount(Path("/src"), PurePosixPath("/job")),
            Mount(Path("/d"), PurePosixPath("/tmp/home/data")),
        ],
        scratch=[PurePosixPath("/scratch")],
        limits=Limits(file_bytes=1 << 20, open_files=77),
    )
    places = rewriting(spec, Path("/run"))
    assert places.path("/job/train.py") == "/run/job/train.py"
    assert places.path("/tmp/home/data/x") == "/run/tmp/home/data/x"
    assert places.path("/jobbers") == "/jobbers"
    assert places.text("/job/a:/usr/bin:/scratch") == "/run/job/a:/usr/bin:/run/scratch"
    command = command_line(spec, places, "(version 1)")
    assert command[:2] == ["/bin/sh", "-c"]
    assert command[4:6] == ["2048", "77"]
    assert command[6:9] == ["/usr/bin/sandbox-exec", "-p", "(version 1)"]
    assert command[9:] == ["/usr/bin/python3", "/run/job/train.py", "--cache=/job/x", "/jobbers"]


@pytest.mark.integration
def test_the_shell_part_sets_its_limits_and_passes_arguments_untouched() -> None:
    spec = SandboxSpec(argv=["/bin/echo"], limits=Limits(file_bytes=1 << 20, open_files=77))
    command = command_line(spec, rewriting(spec, Path("/run")), "(version 1)")
    probe = (
        "import resource as r, sys; print(r.getrlimit(r.RLIMIT_FSIZE)[1], r.getrlimit(r.RLIMIT_NOFILE)[1], "
    )
    probe += "r.getrlimit(r.RLIMIT_CORE)[1], sys.argv[1:])"
    done = subprocess.run(
        [*command[:6], sys.executable, "-c", probe, "a b", "$HOME", "'"],
        capture_output=True,
        text=True,
        check=True,
    )
    # The shell's block is 512 or 1,024 bytes; either way it is a bound of the right size.
    size, files, core, arguments = done.stdout.split(None, 3)
    assert int(size) in (1 << 20, 1 << 21)
    assert (files, core, arguments.strip()) == ("77", "0", "['a b', '$HOME', \"'\"]")


@pytest.mark.unit
def test_the_process_table_is_read_in_both_dialects() -> None:
    mac = "  501   1   501  502   1024   0:01.25 Ss   Sat Nov 22 10:00:00 2025\n"
    linux = "  502 501   501  502   2048 01:02:03 Z    Sat Nov 22 10:00:01 2025\nbroken line\n"
    first, second = parse_table(mac + linux)
    assert first == Row(501, 1, 501, 502, 1 << 20, 1.25, "Sat Nov 22 10:00:00 2025", zombie=False)
    assert (second.cpu_seconds, second.zombie, second.resident_bytes) == (3723.0, True, 2 << 20)
    assert parse_time("2-01:00:00") == 2 * 86_400 + 3600


def row(pid: int, parent: int, group: int, *, uid: int = 5, started: str = "now") -> Row:
    return Row(pid, parent, group, uid, 1 << 20, 1.0, started, zombie=False)


@pytest.mark.unit
def test_members_are_found_by_parent_group_user_and_memory() -> None:
    table = [
        row(10, 1, 10),
        row(11, 10, 10),
        row(12, 11, 12, started="later"),
        row(13, 1, 10),
        row(14, 1, 14, uid=77),
        row(99, 1, 99),
    ]
    tree = FollowedTree(10, uid=77, memory_bytes=1 << 30, table=lambda: table)
    assert sorted(tree.pids()) == [10, 11, 12, 13, 14]
    # The daemon lost its parent and left the group: known from before, and by its start time.
    table[:] = [row(12, 1, 12, started="later"), row(99, 1, 99)]
    assert tree.pids() == [12]
    table[:] = [row(12, 1, 12, started="another process with that number"), row(99, 1, 99)]
    assert tree.pids() == []
    assert tree.sample().cpu_seconds == 5.0
    assert tree.sample().peak_memory_bytes == 5 << 20


@pytest.mark.integration
@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="no ps here")
def test_a_real_tree_with_a_daemon_is_killed_to_the_last_process() -> None:
    code = """
import os, time
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(300)
        time.sleep(300)
time.sleep(300)
"""
    popen = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    bystander = subprocess.Popen(["/bin/sleep", "300"])
    tree = FollowedTree(popen.pid, uid=None, memory_bytes=1 << 30)
    try:
        deadline = time.monotonic() + 20
        while len(tree.pids()) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        members = tree.pids()
        assert len(members) >= 5
        tree.kill()
        popen.wait(10)
        assert tree.wait_gone(10)
        alive = {found.pid for found in read_table() if not found.zombie}
        assert alive.isdisjoint(members)
        assert bystander.poll() is None
        assert popen.returncode == -signal.SIGKILL
    finally:
        bystander.kill()
        bystander.wait()
        popen.kill()


@pytest.mark.unit
def test_folder_size_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "big").write_bytes(b"x" * 10_000)
    (tmp_path / "run/file").write_bytes(b"x" * 500)
    (tmp_path / "run/link").symlink_to(tmp_path / "big")
    (tmp_path / "run/loop").symlink_to(tmp_path / "run")
    assert 500 <= folder_bytes(tmp_path / "run") < 1_000
    assert folder_bytes(tmp_path / "none") == 0


@pytest.mark.unit
@pytest.mark.skipif(sys.platform == "darwin", reason="about other systems")
def test_elsewhere_it_says_that_it_is_not_here() -> None:
    with pytest.raises(SandboxUnavailable, match="part of macOS"):
        SeatbeltSandbox().check()
    assert os.path.exists("/proc")
