"""One training at a time on an accelerator, and a machine that stays awake."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from armlx_chain.errors import AcceleratorBusy, VerifierFault
from verifier.machine.awake import awake, command_for
from verifier.machine.exclusive import device_name, exclusive, lock_folder
from verifier.machine.turn import Turn

pytestmark = pytest.mark.integration

HOLDER = """
import sys
from pathlib import Path
from verifier.machine.exclusive import exclusive
with exclusive("metal", doing="calibrate \\x1b[2J", folder=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=-1, stdout=-1, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(60)


def test_another_process_is_named_and_not_waited_for_if_so_wished(holder, tmp_path: Path) -> None:
    refusal = pytest.raises(AcceleratorBusy, match=f"process {holder.pid}")
    with refusal as caught, exclusive("metal", doing="reproduce", wait=False, folder=tmp_path):
        pytest.fail("two at once")
    assert "calibrate" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert caught.value.exit_code == 75
    with exclusive("cuda", doing="reproduce", wait=False, folder=tmp_path):
        pass  # another device is another lock


def test_who_waits_is_told_for_whom_and_goes_on_when_the_holder_is_killed(holder, tmp_path: Path) -> None:
    said: list[str] = []

    def kill(_: float) -> None:
        holder.kill()
        holder.wait(60)

    with exclusive("metal", doing="reproduce", say=said.append, sleep=kill, folder=tmp_path):
        assert len(said) == 1
        assert f"held by process {holder.pid}" in said[0]


def test_a_session_within_a_session_takes_the_lock_once_and_another_thread_does_not(tmp_path: Path) -> None:
    refused = threading.Event()

    def other() -> None:
        try:
            with exclusive("metal", doing="b", wait=False, folder=tmp_path):
                pass
        except AcceleratorBusy:
            refused.set()

    with exclusive("metal", doing="a", folder=tmp_path):
        with exclusive("metal", doing="a", wait=False, folder=tmp_path):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
    assert refused.is_set()
    with exclusive("metal", doing="c", wait=False, folder=tmp_path):
        pass


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_lies_in_the_locks_place_is_not_followed(tmp_path: Path, kind: str) -> None:
    place, victim = tmp_path / "metal.lock", tmp_path / "victim"
    victim.write_text("untouched")
    {"link": lambda: place.symlink_to(victim), "folder": place.mkdir, "pipe": lambda: os.mkfifo(place)}[
        kind
    ]()
    refusal = pytest.raises(VerifierFault, match="lock of the accelerator")
    with refusal, exclusive("metal", doing="x", folder=tmp_path):
        pytest.fail("it was taken")
    assert victim.read_text() == "untouched"


@pytest.mark.parametrize("note", [b"", b"\xff\xfe", b"[" * 300, b'{"pid": "x"}', b'{"pid": 1}'])
def test_a_note_that_makes_no_sense_is_no_hindrance(tmp_path: Path, note: bytes) -> None:
    (tmp_path / "metal.lock").write_bytes(note)
    with exclusive("metal", doing="a", folder=tmp_path):
        (tmp_path / "metal.lock").write_bytes(note)
        thread_said: list[BaseException] = []

        def other() -> None:
            try:
                with exclusive("metal", doing="b", wait=False, folder=tmp_path):
                    pass
            except AcceleratorBusy as busy:
                thread_said.append(busy)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
        assert "a process that did not say" in str(thread_said[0])


def test_a_device_is_named_by_its_backend_and_visible_gpus() -> None:
    assert device_name("metal", "") == "metal"
    assert device_name("cuda", "0,1") == "cuda-0_1"
    assert device_name("cuda", "") == "cuda"
    assert device_name("cpu", "0") == "cpu"
    assert "/" not in device_name("cuda", "../../etc")


def test_the_machine_is_kept_awake_by_its_own_tool_only_while_the_block_runs() -> None:
    mac = command_for("why", system="darwin", which=lambda name: f"/usr/bin/{name}")
    assert mac == ["/usr/bin/caffeinate", "-i", "-m", "-s", "/bin/cat"]
    linux = command_for("why", system="linux", which=lambda name: f"/usr/bin/{name}")
    assert linux is not None
    assert linux[0].endswith("systemd-inhibit")
    assert command_for("why", system="linux", which=lambda name: None) is None
    with awake("why", command=["/bin/cat"]) as started:
        assert started
    with awake("why", command=["/nonexistent/tool"]) as started:
        assert not started
    with pytest.raises(KeyError), awake("why", command=["/bin/cat"]):
        raise KeyError


def test_a_private_lock_is_private_and_the_machines_own_is_everybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with exclusive("calibration", doing="x", folder=tmp_path / "home"):
        assert (tmp_path / "home" / "calibration.lock").stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "home").stat().st_mode & 0o002
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "mine"))
    monkeypatch.setattr("verifier.machine.exclusive._COMMON", tmp_path)
    assert lock_folder().parent == tmp_path, "another TMPDIR is no other machine"
    with exclusive("metal", doing="x"):
        assert (lock_folder() / "metal.lock").stat().st_mode & 0o777 == 0o666
        assert lock_folder().stat().st_mode & 0o1777 == 0o1777


def test_sessions_take_turns_where_they_would_disturb_each_other(tmp_path: Path) -> None:
    busy = []
    for backend, clock in (("metal", "wall"), ("cuda", "cpu"), ("cpu", "wall"), ("cpu", "cpu")):
        turn = Turn(backend, clock, wait=False, folder=tmp_path)  # type: ignore[arg-type]
        held = threading.Event()

        def other(turn: Turn = turn, held: threading.Event = held) -> None:
            try:
                with turn("b"):
                    pass
            except AcceleratorBusy:
                held.set()

        with turn("a"):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(60)
        busy.append(held.is_set())
    assert busy == [True, True, True, False]
