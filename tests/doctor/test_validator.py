"""``armlx-validator doctor``: what it finds on a healthy validator, and that it notices what is broken."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.cli.context import App, SignerChoice
from armlx_chain.cli.doctoring import keeping, operator, runner
from armlx_chain.cli.doctoring.findings import Finding, run_checks
from armlx_chain.cli.doctoring.operator import Who
from armlx_chain.cli.main import run
from armlx_chain.devnet.accounts import derive_accounts
from armlx_chain.devnet.world import Devnet
from armlx_chain.errors import EXIT_FINDING, EXIT_OK, EXIT_USAGE
from armlx_chain.formats.policy import Policy, SignedPolicy
from armlx_chain.formats.typed import Domain
from armlx_chain.signing import keystore
from armlx_chain.signing.guard import GuardKey, SingleSignGuard
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, ProposalId, Tokens
from tests.chain.chain_nodes import serving
from verifier import calibrationfile
from verifier.daemon.cli import cli
from verifier.model import Noise, bpb

NOWHERE = "http://127.0.0.1:1"
VALIDATOR = derive_accounts(4)[3]
STRANGER = derive_accounts(7)[6]


def signer_of(account: Any) -> Signer:
    return Signer.from_hex(account.private_key_hex[2:])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a registered validator's key, and a stranger's."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    place = tmp_path / "home"
    place.mkdir(mode=0o700)
    for name, account in (("validator", VALIDATOR), ("stranger", STRANGER)):
        key = account.private_key_hex[2:]
        keystore.import_key(
            place / "keystores", name, lambda key=key: key, lambda: "passphrase", work_factor=1 << 4
        )
    return place


@pytest.fixture
def app(home: Path, world: Devnet, world_folder: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("ARMLX_DEVNET", str(world_folder))
    return App("devnet", home, None, None, True)


def who(account: Any) -> Who:
    return Who(Address(account.address))


def only(findings: Iterator[Finding]) -> Finding:
    (found,) = findings
    return found


# -- the account on its network --------------------------------------------------------------------------


@pytest.mark.integration
def test_a_registered_account_is_told_from_a_stranger_without_opening_a_key(app: App) -> None:
    named = operator.who_signs(app, SignerChoice("validator", None, None))
    assert named.address == VALIDATOR.address
    assert only(operator._account(app, named)).state == "ok"
    assert only(operator._account(app, who(STRANGER))).state == "fault"
    unknown = operator.who_signs(app, SignerChoice("somebody", None, None))
    assert unknown.problem is not None
    assert unknown.problem.state == "fault"
    nobody = operator.who_signs(app, SignerChoice(None, None, None))
    assert only(operator._account(app, nobody)).state == "skipped"


@pytest.mark.integration
def test_coin_is_counted_in_verdicts(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(operator._coin(app, who(VALIDATOR))).state == "ok"
    poor = Who(Address("0x" + "12" * 20))
    found = only(operator._coin(app, poor))
    assert (found.state, found.next_step[:4]) == ("fault", "Send")
    # Enough for a handful: worth knowing, no fault.
    one = int(found.next_step.split("about ")[1].split(" ")[0].replace("0.", "").ljust(18, "0"))
    monkeypatch.setattr(type(app.rpc), "balance", lambda self, account: 5 * one)
    assert only(operator._coin(app, poor)).state == "note"


@pytest.mark.integration
def test_every_function_is_looked_for_in_the_code_on_the_chain(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(operator._selectors(app))
    assert [one.state for one in found] == ["ok"] * 3, found
    real = type(app.rpc).code
    for change in (
        lambda code: b"",
        lambda code: code.replace(b"\x63", b"\x61"),
        lambda code: bytes(len(code)),
    ):
        monkeypatch.setattr(type(app.rpc), "code", lambda rpc, at, change=change: change(real(rpc, at)))
        assert {one.state for one in operator._selectors(app)} == {"fault"}


def branched(world: Devnet, body: bytes) -> bytes:
    """What a node on another branch answers: all as it is but the hashes of blocks after the first."""
    request = urllib.request.Request(world.rpc_url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = json.loads(answer.read())
    for one in told if isinstance(told, list) else [told]:
        block = one.get("result")
        if isinstance(block, dict) and "parentHash" in block and int(block["number"], 16):
            block["hash"] = "0x" + "f0" * 32
    return json.dumps(told).encode()


@pytest.mark.integration
def test_endpoints_that_agree_and_such_as_do_not(app: App, world: Devnet, tmp_path: Path) -> None:
    assert only(operator._agreement(app)).state == "note"  # one alone

    def asked(*urls: str) -> list[Finding]:
        several = App("devnet", app.home, ",".join(urls), None, True)
        check = operator.operator_checks(several, who(VALIDATOR))[0]
        return run_checks([check]).all()

    same = asked(world.rpc_url, world.rpc_url.replace("127.0.0.1", "localhost"))
    assert [one.state for one in same] == ["ok"]
    # A node of another world with the same chain id; and one on another branch of this one.
    with Devnet.start(tmp_path / "other", chain_id=world.chain_id, with_storage=False) as other:
        assert [one.state for one in asked(world.rpc_url, other.rpc_url)] == ["fault"]
    with serving(lambda body: (200, branched(world, body), {})) as url:
        fork = asked(world.rpc_url, url)
    assert [one.state for one in fork] == ["fault"], fork
    assert len(fork[0].details) == 2
    with serving(lambda body: (200, b"nonsense", {})) as url:
        broken = asked(world.rpc_url, url)
    assert {one.state for one in broken} == {"ok", "fault"}
    dead = asked(world.rpc_url, NOWHERE)
    assert {one.state for one in dead} == {"ok", "fault"}


# -- what it keeps ---------------------------------------------------------------------------------------


def entered(app: App, number: int) -> None:
    network = app.settings.network
    key = GuardKey(
        network.chain_id, app.rpc.genesis_hash, network.proposal_ledger, ProposalId(number), VALIDATOR.address
    )
    SingleSignGuard(app.home / "guard.sqlite").check_and_insert(key, b"verdict %d" % number)


@pytest.mark.integration
def test_a_guard_that_is_gone_shrunk_or_damaged_is_a_fault(app: App) -> None:
    path = app.home / "guard.sqlite"
    assert only(keeping._guard(app.home)).state == "ok"
    assert not path.exists()  # a look makes none
    for number in (1, 2):
        entered(app, number)
    assert "2 verdicts" in only(keeping._guard(app.home)).seen
    whole = path.read_bytes()
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM verdicts WHERE proposal_id = '2'")
    database.close()
    (rolled_back,) = run_checks(keeping.keeping_checks(app, who(VALIDATOR), **OFFLINE)).faults
    assert "once had 2" in rolled_back.seen
    for name in ("", "-wal", "-shm"):
        Path(f"{path}{name}").unlink(missing_ok=True)
    gone = only(keeping._guard(app.home))
    assert (gone.state, "once had 2" in gone.seen) == ("fault", True)
    path.write_bytes(whole[:5000])
    damaged = run_checks(keeping.keeping_checks(app, who(VALIDATOR), **OFFLINE)).faults
    assert damaged
    assert all(one.next_step for one in damaged)


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
def test_in_another_accounts_home_nothing_is_opened_not_even_by_root(app: App) -> None:
    entered(app, 1)
    before = sorted(path.name for path in app.home.iterdir())
    os.chown(app.home, 12345, 12345)
    checks = keeping.keeping_checks(app, who(VALIDATOR), chain=True, calibrations=True, wall=time.time)
    (fault,) = run_checks(checks).all()
    assert (fault.state, "12345" in fault.next_step) == ("fault", True)
    assert sorted(path.name for path in app.home.iterdir()) == before


OFFLINE: dict[str, Any] = {"chain": False, "calibrations": False, "wall": time.time}


@pytest.mark.integration
def test_a_database_that_cannot_be_written_is_a_fault(app: App) -> None:
    entered(app, 1)
    path = app.home / "guard.sqlite"
    assert [one.state for one in keeping._databases(app.home)] == ["ok"]
    path.write_bytes(b"this is no database, whatever it is called" * 100)
    (broken,) = keeping._databases(app.home)
    assert broken.state == "fault"
    assert "never start with an empty one" in broken.next_step


@pytest.mark.integration
def test_a_verdict_on_the_ledger_that_the_guard_does_not_know_is_a_fault(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armlx_chain.chain.contracts import Status
    from tests.daemon.test_admission import proposal

    settled = proposal(7, status=Status.APPROVED, reviewer=Address(VALIDATOR.address))
    frontier = type("Frontier", (), {"read": lambda self: type("F", (), {"proposals": {7: settled}})()})()
    app.__dict__["frontier"] = frontier
    report = run_checks([check for check in keeping.keeping_checks(
        app, who(VALIDATOR), chain=True, calibrations=False, wall=time.time
    ) if check.title == "the guard beside the ledger"])  # fmt: skip
    assert "proposals 7" in report.faults[0].seen
    entered(app, 7)
    assert only(keeping._losses(app, who(VALIDATOR))).state == "ok"
    assert only(keeping._losses(app, who(STRANGER))).state == "ok"


def sign_policy(app: App, account: Any, target: Path) -> None:
    network = app.settings.network
    stated = Policy(
        domain=Domain(network.chain_id, network.proposal_ledger),
        validator=Address(account.address),
        minimum_stake=Tokens(5),
        largest_stake_ppm=100_000,
        open_proposals=3,
        machine_seconds=3600,
        issued_at=1_760_000_000,
    )
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(SignedPolicy(stated, signer_of(account).sign_typed_data(stated.typed_data())).encode())


@pytest.mark.integration
def test_the_policy_that_is_enforced_is_shown_and_a_foreign_one_is_a_fault(app: App) -> None:
    assert only(keeping._policy(app, who(VALIDATOR))).state == "note"
    own = app.home / "policies" / "own.json"
    sign_policy(app, VALIDATOR, own)
    found = only(keeping._policy(app, who(VALIDATOR)))
    assert (found.state, "stakes from 5" in found.seen) == ("ok", True)
    sign_policy(app, STRANGER, own)
    checks = keeping.keeping_checks(app, who(VALIDATOR), chain=True, calibrations=False, wall=time.time)
    report = run_checks([check for check in checks if check.title == "the policy"])
    assert len(report.faults) == 1


def calibrated(folder: Path, at: datetime, shortcut: str | None = None) -> None:
    noise = Noise(
        s=bpb("0.004"), seed_spread=bpb("0.001"), runs=2, reference_seconds=(1.0, 1.0),
        shortcut=shortcut, scores=(bpb("2.0"), bpb("2.0")), hardware_class="cpu, test", environment="ab" * 32,
    )  # fmt: skip
    calibrationfile.save(folder, "0g:0x1234567890abcdef", noise, now=lambda: at)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("age_days", "shortcut", "state"),
    [(1, None, "ok"), (28, None, "note"), (31, None, "fault"), (-1, None, "fault"), (1, "8 runs", "note")],
)
def test_a_calibrations_age_counts(tmp_path: Path, age_days: int, shortcut: str | None, state: str) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    calibrated(tmp_path, now - timedelta(days=age_days), shortcut)
    assert only(keeping._calibrations(tmp_path, now.timestamp)).state == state


@pytest.mark.unit
def test_no_calibration_is_a_note_and_a_damaged_one_a_fault(tmp_path: Path) -> None:
    assert only(keeping._calibrations(tmp_path, time.time)).state == "note"
    (tmp_path / "x.json").write_text("{}")
    states = [one.state for one in keeping._calibrations(tmp_path, time.time)]
    assert states == ["fault", "note"]


# -- the runner ------------------------------------------------------------------------------------------


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Any]:
    """A runner's socket whose one answer the test chooses."""
    opened: list[socket.socket] = []

    def serve(answer: bytes) -> Path:
        path = tmp_path / f"r{len(opened)}.sock"
        found = socket.socket(socket.AF_UNIX)
        found.bind(str(path))
        found.listen()
        opened.append(found)

        def talk() -> None:
            connection, _ = found.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        threading.Thread(target=talk, daemon=True).start()
        return path

    yield serve
    for one in opened:
        one.close()


@pytest.mark.integration
def test_a_runner_answers_or_is_a_fault_with_how_to_start_one(listening: Any, tmp_path: Path) -> None:
    path = listening(b'{"kind":"machines","machines":[{"id":"0123456789abcdef","free":true}]}\n')
    path.chmod(0o660)
    states = {one.name: one for one in run_checks(runner.runner_checks(path)).all()}
    assert states["runner"].state == "ok"
    assert states["separation"].state == "note"  # it is this very account's
    (missing,) = run_checks(runner.runner_checks(tmp_path / "none.sock")).faults
    assert "worker --socket" in missing.next_step


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a socket away")
@pytest.mark.parametrize(("mode", "state"), [(0o660, "ok"), (0o666, "fault"), (0o600, "ok")])
def test_a_runner_that_everybody_may_order_about_is_a_fault(listening: Any, mode: int, state: str) -> None:
    path = listening(b'{"kind":"machines","machines":[]}\n')
    os.chown(path, 12345, 12345)
    path.chmod(mode)
    states = {one.name: one.state for one in run_checks(runner.runner_checks(path)).all()}
    assert states == {"runner": "note", "separation": state}


@pytest.mark.integration
@pytest.mark.parametrize(
    "answer", [b"\x1b[2J\n", b'{"kind":"machines","machines":7}\n', b'{"kind":"x"}\n', b""]
)
def test_a_runner_that_talks_nonsense_is_a_fault_and_no_crash(listening: Any, answer: bytes) -> None:
    report = run_checks(runner.runner_checks(listening(answer)))
    assert len(report.faults) == 1
    assert "\x1b" not in "".join(report.lines())


@pytest.mark.unit
def test_a_key_or_a_signers_folder_in_the_runners_reach_is_a_fault(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App("devnet", home, None, None, True)
    monkeypatch.setattr(runner, "_SIGNER_HOMES", (tmp_path / "secret",))
    states = [one.state for one in runner._keyless(app, {})]
    assert states == ["fault", "fault"]
    clean = App("devnet", tmp_path / "runner", None, None, True)
    assert [one.state for one in runner._keyless(clean, {})] == ["ok"]
    (tmp_path / "secret").mkdir()
    found = list(runner._keyless(clean, {"ETH_RPC_URL": "https://x/canary-secret"}))
    assert [one.state for one in found] == ["ok", "fault", "note"]
    assert "canary" not in str(found)


# -- the command -----------------------------------------------------------------------------------------


def doctor(*words: str) -> int:
    return run(cli, ["doctor", "--network", "devnet", "--json", *words], name="armlx-validator")


@pytest.mark.integration
def test_a_healthy_validator_gives_nought_and_a_stranger_three(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--quick", "--home", str(app.home), "--account")
    assert doctor(*given, "validator") == EXIT_OK
    document = json.loads(capsys.readouterr().out)
    assert set(document["groups"]) == {
        "Sandbox", "Machine", "Home", "Keys", "Network", "Validator", "Records"
    }  # fmt: skip
    names = {one["name"]: one["state"] for group in document["groups"].values() for one in group}
    assert names["registration"] == names["coin"] == names["guard"] == names["ProposalLedger"] == "ok"
    before = sorted(path.name for path in app.home.iterdir())
    assert doctor(*given, "stranger") == EXIT_FINDING
    document = json.loads(capsys.readouterr().out)
    every = [one for group in document["groups"].values() for one in group]
    assert [one["name"] for one in every if one["state"] == "fault"] == ["registration"]
    assert sorted(path.name for path in app.home.iterdir()) == before == ["keystores"]


@pytest.mark.integration
def test_with_a_runner_the_machine_is_examined_there_and_no_sandbox_here(
    app: App, listening: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = listening(b'{"kind":"machines","machines":[{"id":"0123456789abcdef","free":true}]}\n')
    assert doctor("--home", str(app.home), "--account", "validator", "--runner", str(path)) == EXIT_OK
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert "Sandbox" not in groups
    assert groups["Runner"][0]["state"] == "ok"


@pytest.mark.integration
def test_the_runners_account_is_examined_without_chain_or_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(runner, "_SIGNER_HOMES", ())
    words = ("--keyless", "--quick", "--offline", "--home", str(tmp_path / "home"), "--rpc-url", NOWHERE)
    assert doctor(*words) == EXIT_OK
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert set(groups) == {"Sandbox", "Machine", "Home", "Runner", "Network"}
    assert groups["Network"][0]["state"] == "skipped"


@pytest.mark.unit
@pytest.mark.parametrize(
    "words",
    [
        ("--gold",),
        ("--gold", "--project", "0", "--offline"),
        ("--gold", "--project", "0", "--keyless"),
        ("--go-live", "--project", "0"),
        ("--keyless", "--runner", "/run/x.sock"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    assert doctor("--home", str(tmp_path), *words) == EXIT_USAGE
