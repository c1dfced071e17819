"""A process that makes runs holds no secret, and neither does anything that it starts."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from armlx_chain.errors import MachineError, UsageError
from tests.executors.processes import until
from tests.faults.tinyworld import call
from verifier.daemon.executing import nearness
from verifier.executors.keyless import KEPT, clear_environment, require_no_keys
from verifier.executors.local import machine_id

CANARIES = {
    "ETH_PASSWORD": "/canary/passphrase-7f3a",
    "ETH_KEYSTORE": "/canary/keystore-7f3a",
    "ETH_KEYSTORE_ACCOUNT": "canary-account-7f3a",
    "ETH_RPC_URL": "https://node.example/canary-key-7f3a",
    "AWS_SECRET_ACCESS_KEY": "canary-7f3a",
    "PRIVATE_KEY": "0xcanary7f3a",
    "LD_PRELOAD_CANARY": "canary-7f3a",
    "CREDENTIALS_DIRECTORY": "/canary/credentials-7f3a",
}


@pytest.mark.unit
def test_everything_that_is_not_on_the_list_is_dropped() -> None:
    environment = {**CANARIES, "PATH": "/bin", "ARMLX_HOME": "/home", "ARMLX_SOMETHING": "1"}
    dropped = clear_environment(environment)
    assert environment == {"PATH": "/bin", "ARMLX_HOME": "/home"}
    assert set(dropped) == {*CANARIES, "ARMLX_SOMETHING"}
    assert not {name for name in KEPT if name.startswith("ETH_") or "KEY" in name.replace("KEYLESS", "")}


@pytest.mark.unit
@pytest.mark.parametrize("name", ["keystores/a.json", "guard.sqlite", "journal.sqlite"])
def test_a_home_in_which_somebody_signs_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "keystores").mkdir()
    require_no_keys(tmp_path)
    (tmp_path / name).write_text("canary-7f3a")
    with pytest.raises(UsageError, match="no business there") as refused:
        require_no_keys(tmp_path)
    assert "canary" not in str(refused.value)
    given = ["worker", "--socket", str(tmp_path / "s"), "--home", str(tmp_path), "--network", "devnet"]
    assert call(given, validator=True).code == 2
    assert not (tmp_path / "s").exists()


@pytest.mark.unit
def test_a_machine_keeps_its_id_and_does_not_take_another_file_for_one(tmp_path: Path) -> None:
    first = machine_id(tmp_path / "a")
    assert machine_id(tmp_path / "a") == first != machine_id(tmp_path / "b")
    (tmp_path / "a" / "machine-id").write_text("../../x\n")
    with pytest.raises(MachineError, match="does not hold"):
        machine_id(tmp_path / "a")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("owner", "folder", "mode", "near"),
    [
        (501, 501, 0o700, None),
        (501, 0, 0o755, None),
        (501, 1000, 0o750, None),
        (1000, 1000, 0o700, "the account that holds the key"),
        (0, 0, 0o755, "under root"),
        (501, 0, 0o1777, "Anybody"),
        (501, 501, 0o770, "Anybody"),
        (501, 666, 0o755, "Anybody"),
    ],
)
def test_what_is_measured_by_whom_nobody_knows_or_beside_the_key_is_not_signed(
    owner: int, folder: int, mode: int, near: str | None
) -> None:
    def known(uid: int, mode: int) -> os.stat_result:
        return os.stat_result((mode, 1, 1, 1, uid, uid, 0, 0, 0, 0))

    found = nearness(known(owner, 0o140660), known(folder, 0o040000 | mode), 1000)
    assert (found is None) if near is None else (found is not None and near in found)


@pytest.mark.unit
def test_commands_refuse_what_makes_no_sense(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "h"), "--network", "devnet"]
    for given in (["worker", *home], ["worker", "--socket", "s", "--scheduler", "tls://a:1", *home]):
        ran = call([*given, "--json"], validator=True)
        assert (ran.code, "one place" in ran.error["message"]) == (2, True)
    made = call(["certificates", str(tmp_path / "c"), "--json"], validator=True)
    assert made.code == 0
    assert set(made.document["certificates"]) == {"scheduler", "worker"}
    assert call(["certificates", str(tmp_path / "c"), "--json"], validator=True).code == 2
    wrong = ["scheduler", "--socket", str(tmp_path / "s"), "--listen", "nowhere", *home]
    ran = call([*wrong, "--certificates", str(tmp_path / "c" / "scheduler"), "--json"], validator=True)
    assert (ran.code, "HOST:PORT" in ran.error["message"]) == (2, True)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process was started with")
def test_a_workers_process_and_what_it_starts_hold_no_canary(tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "s"
    secret = tmp_path / "secret"
    secret.write_text("canary-file-7f3a")
    handle = os.open(secret, os.O_RDONLY)  # open here, and not passed on
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from verifier.daemon.cli import main; main()", "worker"),
            *("--socket", str(path), "--home", str(home), "--network", "devnet", "--json"),
        ],
        env={**os.environ, **CANARIES, "ARMLX_DEVNET": _devnet(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=True,
    )
    try:
        until(lambda: path.exists() or process.poll() is not None)
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        started_with = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert b"7f3a" not in started_with
        assert b"PATH=" in started_with
        opened = [os.readlink(entry) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert str(secret) not in opened
        files = [file.read_bytes() for file in home.rglob("*") if file.is_file()]
        assert not [data for data in files if b"7f3a" in data]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        os.close(handle)
        process.kill()
        shown, said = process.communicate()
    assert b"7f3a" not in said
    assert json.loads(shown) == {"ok": True, "served": str(path)}


def _devnet(folder: Path) -> str:
    """A description of a local world that is never reached."""
    path = folder / "devnet.json"
    path.write_text(json.dumps({}))
    return str(path)
