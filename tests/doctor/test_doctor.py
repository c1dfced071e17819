"""``doctor``: what it finds on a healthy machine, and that it notices what is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from armlx_chain.cli.context import App
from armlx_chain.cli.doctoring import account, machine, network
from armlx_chain.cli.doctoring.findings import Check, Finding, run_checks
from armlx_chain.cli.main import cli, run
from armlx_chain.devnet.world import Devnet
from armlx_chain.errors import EXIT_FINDING, EXIT_OK, SandboxUnavailable
from armlx_chain.signing import keystore
from tests.chain.chain_nodes import serving

NOWHERE = "http://127.0.0.1:1"


def app_at(home: Path, **changes: str) -> App:
    return App(changes.get("network", "galileo"), home, changes.get("rpc"), changes.get("storage"), True)


# -- findings -----------------------------------------------------------------------------------------


@pytest.mark.unit
def test_an_unexpected_error_is_a_fault_with_a_next_step_and_hides_nothing() -> None:
    def breaks() -> Iterator[Finding]:
        yield Finding("first", "ok", "seen before")
        raise SandboxUnavailable("no bubblewrap", next_step="install it")

    def misses() -> Iterator[Finding]:
        yield Finding("file", "ok", Path("/no/such/file").read_text(encoding="utf-8"))

    titles: list[str] = []
    checks = [Check("A", "a part", breaks), Check("B", "a file", misses), Check("A", "more", list)]
    report = run_checks(checks, begun=titles.append)
    assert titles == ["a part", "a file", "more"]
    assert [(one.name, one.state) for one in report.all()] == [
        ("first", "ok"), ("a part", "fault"), ("a file", "fault"),
    ]  # fmt: skip
    assert all(fault.next_step for fault in report.faults)
    assert report.as_json()["healthy"] is False
    shown = "\n".join(report.lines())
    assert "FAULT" in shown
    assert "-> install it" in shown


@pytest.mark.unit
def test_a_note_does_not_make_a_machine_unhealthy() -> None:
    report = run_checks([Check("A", "a", lambda: [Finding("x", "note", "odd", "look"), _skipped()])])
    assert report.as_json()["healthy"] is True
    assert [line.split()[0] for line in report.lines()[1:]] == ["note", "->", "skipped"]


def _skipped() -> Finding:
    return Finding("y", "skipped", "not looked at")


# -- this machine -------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize(
    ("mode", "state"), [(0o700, "ok"), (0o755, "note"), (0o770, "fault"), (0o777, "fault")]
)
def test_a_home_that_others_can_write_is_a_fault(tmp_path: Path, mode: int, state: str) -> None:
    tmp_path.chmod(mode)
    (found,) = machine._home(tmp_path)
    tmp_path.chmod(0o700)
    assert found.state == state
    assert state == "ok" or "chmod 700" in found.next_step


@pytest.mark.unit
def test_a_home_that_is_a_file_or_belongs_to_somebody_else_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = machine._home(tmp_path / "file")
    assert found.state == "fault"
    (missing,) = machine._home(tmp_path / "not" / "yet")
    assert missing.state == "ok"
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
        (foreign,) = machine._home(tmp_path)
        assert "belongs to user 12345" in foreign.seen


@pytest.mark.unit
@pytest.mark.parametrize(("value", "state"), [(1, "fault"), (3 << 30, "note"), (20 << 30, "ok")])
def test_too_little_room_is_a_fault_and_little_room_a_note(value: int, state: str) -> None:
    found = machine._amount("disk", value, machine.DISK_NEEDED, machine.DISK_WISHED, "some", "make room")
    assert found.state == state


@pytest.mark.integration
def test_keystores_that_others_can_read_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (none,) = account._keystores(app_at(tmp_path))
    assert none.state == "note"
    path = keystore.create(
        tmp_path / "keystores", "me", lambda: "a long passphrase", work_factor=1 << 12
    ).path
    states = {}
    for mode in (0o600, 0o644):
        path.chmod(mode)
        states[mode] = [found.state for found in account._keystores(app_at(tmp_path))]
    assert states == {0o600: ["ok"], 0o644: ["fault"]}


@pytest.mark.integration
def test_an_interpreter_without_mlx_is_noted_and_one_with_it_computes_inside(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the interpreter's path is Linux's")
    (here,) = machine._mlx(Path(sys.executable))
    assert here.state == "ok"
    assert "inside the sandbox" in here.seen
    bare = Path("/usr/bin/python3")
    if not bare.exists() or subprocess.run([bare, "-c", "import mlx"], capture_output=True).returncode == 0:
        pytest.skip("no interpreter without MLX here")
    (without,) = machine._mlx(bare)
    assert without.state == "note"


# -- the network --------------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_whole_healthy_machine_gives_nought(world: Devnet, world_folder: Path, tmp_path: Path) -> None:
    given = ["doctor", "--quick", "--network", "devnet", "--home", str(tmp_path), "--json"]
    tmp_path.chmod(0o700)
    ran = CliRunner(env={"ARMLX_DEVNET": str(world_folder)}).invoke(cli, given, standalone_mode=False)
    assert ran.exception is None
    document = json.loads(ran.stdout)
    assert ran.return_value == EXIT_OK, document
    assert document["healthy"] is True
    states = {one["name"]: one["state"] for one in document["groups"]["Network"]}
    assert {states[name] for name in ("chain", "contracts", "clock", "storage")} == {"ok"}
    assert set(document["groups"]) == {"Sandbox", "Machine", "Home", "Keys", "Network"}


@pytest.mark.integration
def test_endpoints_out_of_reach_are_faults_and_what_needs_them_is_skipped(tmp_path: Path) -> None:
    app = app_at(tmp_path, rpc=NOWHERE, storage=NOWHERE)
    found = {one.name: one for one in run_checks(network.network_checks(app)).all()}
    assert found["the chain's endpoints"].state == "fault"
    assert found["storage"].state == "fault"
    assert {found["contracts"].state, found["clock"].state} == {"skipped"}
    assert all(one.next_step for one in found.values() if one.state == "fault")


@pytest.mark.integration
def test_another_chain_is_a_fault(world: Devnet, tmp_path: Path) -> None:
    app = app_at(tmp_path, rpc=world.rpc_url, storage=NOWHERE)
    first = run_checks(network.network_checks(app)).faults[0]
    assert "chain" in first.seen


@pytest.mark.integration
def test_a_clock_behind_or_far_ahead_of_the_chain_is_a_fault(
    world: Devnet, world_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setenv("ARMLX_DEVNET", str(world_folder))
    app = app_at(tmp_path, network="devnet")
    head = app.rpc.block().timestamp
    settings = replace(app.settings, network=replace(app.settings.network, max_head_age_seconds=600.0))
    app.__dict__["settings"] = settings
    states = {}
    for seconds in (-3600, -5, 20, 3600):
        now = float(head + seconds)
        (found,) = network._clock(app, lambda: now)  # noqa: B023 (called at once)
        states[seconds] = found.state
    assert states == {-3600: "fault", -5: "ok", 20: "ok", 3600: "fault"}


@pytest.mark.integration
def test_a_server_that_talks_nonsense_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    with serving(lambda body: (200, b"<html>\x1b[2J</html>", {})) as url:
        app = app_at(tmp_path, rpc=url, storage=url)
        report = run_checks(network.network_checks(app))
    assert len(report.faults) == 2
    assert "\x1b" not in "".join(fault.seen for fault in report.faults)


@pytest.mark.integration
def test_a_fault_gives_exit_code_three_and_offline_asks_nobody(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    given = ["doctor", "--quick", "--offline", "--rpc-url", NOWHERE, "--home", str(tmp_path), "--json"]
    started = time.monotonic()
    assert run(cli, given, name="armlx-chain") == EXIT_FINDING
    tmp_path.chmod(0o700)
    assert run(cli, given, name="armlx-chain") == EXIT_OK
    assert time.monotonic() > started


@pytest.mark.unit
def test_its_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from armlx_chain.cli.main import main; sys.argv = ['armlx-chain', 'doctor', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'mlx', 'web3', 'pyarrow', 'verifier.sandbox.selfcheck'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--offline" in done.stdout
