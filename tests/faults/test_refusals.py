"""Bad input through the real command line: a clear error, its exit code, nothing sent, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.contracts import VerifierRegistry
from armlx_chain.chain.sender import Intent
from armlx_chain.devnet.rpc.embedded import EmbeddedChain
from armlx_chain.signing import keystore
from armlx_chain.storage.zerog.localnode.faulty import GatewayFault, LyingGateway
from armlx_chain.types import Root
from tests.faults.processes import ROOT
from tests.faults.tinyworld import PASSPHRASE, STAKE, Ran, TinyWorld, call

pytestmark = pytest.mark.e2e

UNKNOWN = "0x" + "5c" * 32
NOBODY = "http://127.0.0.1:9"
METRIC = "val_bpb:          {}\n"


@dataclass
class Refusal:
    """Runs commands that must be refused, and looks whether anything was sent."""

    world: TinyWorld
    home: Path

    def require(
        self, given: list[Any], code: int, error: str, *words: str, validator: bool = False
    ) -> dict[str, Any]:
        """The command ends with this exit code and error, says these words, and sends nothing."""
        ran = self.run([*given, "--json"], validator=validator)
        assert ran.code == code, ran.err
        found = ran.error
        assert found["code"] == error
        said = " ".join(part for part in (found["message"], found["meaning"], found["next"]) if part)
        for word in words:
            assert word in said
        assert found["message"] in ran.err, "people see the same sentence"
        assert "Traceback" not in ran.err
        return found

    def run(self, given: list[Any], *, validator: bool = False) -> Ran:
        before = self._state()
        ran = call(self.world.unsigned(given, self.home), validator=validator)
        assert self._state() == before, "something was sent"
        return ran

    def submit(
        self, run_log: Path, *extra: object, code: int, error: str, words: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """A submission of this run is refused, and neither the run nor the home is changed by it."""
        folder = {path: path.read_bytes() for path in run_log.parent.rglob("*") if path.is_file()}
        found = self.require(self.submission(run_log, *extra), code, error, *words)
        after = {path: path.read_bytes() for path in run_log.parent.rglob("*") if path.is_file()}
        assert after == folder, "the run folder is as it was"
        assert not (self.home / "submissions").exists(), "no claim was signed"
        return found

    def submission(self, run_log: Path, *extra: object, who: str = "miner") -> list[Any]:
        return ["submit", "--run", run_log, "--stake", STAKE, "--yes", *self.key(who), *extra]

    def key(self, who: str) -> list[Any]:
        return ["--account", who, "--password-file", self.world.password_file]

    def _state(self) -> tuple[object, ...]:
        world, token = self.world, self.world.token()
        people = ("miner", "validator", "rival")
        return (
            [world.nonce(who) for who in people],
            [token.balance_of(world.address(who)) for who in people],
            token.total_supply(),
            world.ledger.proposal_count(),
        )


@pytest.fixture
def refusal(world: TinyWorld) -> Refusal:
    return Refusal(world, world.home())


@pytest.fixture(scope="module")
def wrong_sign(world: TinyWorld) -> int:
    """A project whose minimised metric was published with a positive baseline."""
    return world.publish_raw(baseline=9_000_000)


# --- fetch --------------------------------------------------------------------------------------------


def test_a_malformed_root(refusal: Refusal) -> None:
    refusal.require(["fetch", "0x1234"], 2, "RootFormatError", "is not a root", "64 hex digits")


def test_an_unknown_root(refusal: Refusal) -> None:
    refusal.require(["fetch", UNKNOWN], 75, "ContentNotFound")


@pytest.mark.parametrize("fault", [GatewayFault.FLIP, GatewayFault.TRUNCATE])
def test_a_file_served_with_a_wrong_byte_or_cut_short(
    refusal: Refusal, world: TinyWorld, fault: GatewayFault, tmp_path: Path
) -> None:
    target = tmp_path / "protocol.json"
    root = world.project.protocol_root
    with LyingGateway(world.devnet.storage_url, fault) as liar:
        found = refusal.require(
            ["fetch", root, "-o", target, "--storage-url", liar.url], 3, "ContentMismatch"
        )
        assert liar.url in json.dumps(found), "the liar is named"
    assert not target.exists()
    honest = refusal.run(["fetch", root, "-o", target, "--json"])
    assert honest.document["bytes"] == target.stat().st_size


def test_bytes_that_are_no_protocol(refusal: Refusal, world: TinyWorld) -> None:
    broken = world.registry.find_project(world.publish_raw(protocol=b'{"schemaKind": 7}', baseline=-1))
    assert broken is not None
    root = Root.zerog(broken.protocol_hash)
    refusal.require(["fetch", root], 1, "ProtocolInvalid", "schemaKind", "--output")


def test_a_scheme_that_cannot_be_proven_yet(refusal: Refusal) -> None:
    refusal.require(["fetch", "irys:" + "1" * 32], 1, "SchemeUnsupported", "not yet")


def test_storage_that_is_down(refusal: Refusal, world: TinyWorld) -> None:
    given = ["fetch", world.project.protocol_root, "--storage-url", NOBODY]
    refusal.require(given, 75, "StorageUnavailable")


def test_a_file_that_cannot_be_written(refusal: Refusal, world: TinyWorld, tmp_path: Path) -> None:
    given = ["fetch", world.project.protocol_root, "-o", tmp_path / "missing" / "protocol.json"]
    refusal.require(given, 1, "ArmlxError", "No such file or directory")


# --- run folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (b"step 1\nno figure here\n", "val_bpb"),
        ((METRIC.format("8.95") + METRIC.format("8.94")).encode(), "val_bpb"),
        (METRIC.format("nan").encode(), "val_bpb"),
        (METRIC.format("-8.95").encode(), "val_bpb"),
    ],
    ids=["without-metric", "with-two-metrics", "nan", "negative"],
)
def test_a_run_log_that_does_not_state_one_metric(
    refusal: Refusal, world: TinyWorld, log: bytes, words: str
) -> None:
    refusal.submit(world.write_run(log=log), code=3, error="MetricError", words=(words,))


def test_a_run_log_that_is_not_there(refusal: Refusal, tmp_path: Path) -> None:
    given = refusal.submission(tmp_path / "run.log")
    refusal.require(given, 2, "UsageError", "There is no run log")


def test_a_run_log_without_a_control(refusal: Refusal, world: TinyWorld) -> None:
    run_log = world.write_run()
    (run_log.parent / "run.json").unlink()
    refusal.submit(run_log, code=2, error="UsageError", words=("no control", "armlx-chain reproduce"))


def test_a_log_that_was_changed(refusal: Refusal, world: TinyWorld) -> None:
    run_log = world.write_run()
    run_log.write_bytes(run_log.read_bytes().replace(b"8.95", b"1.95"))
    refusal.submit(run_log, code=3, error="ClaimRefused", words=("has changed since it was measured",))


def test_a_candidate_that_was_changed(refusal: Refusal, world: TinyWorld) -> None:
    run_log = world.write_run()
    (run_log.parent / "candidate" / "train.py").write_text("LEVEL = 1.0\n")
    refusal.submit(run_log, code=3, error="ClaimRefused", words=("not the code that was measured",))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"value": "1.000000"}, "but 1.000000 is claimed"),
        ({"control_value": "99.000000"}, "but 99.000000 is claimed"),
        ({"metric": "loss"}, "the protocol's metric is val_bpb"),
        ({"chain_id": 16602}, "made for chain 16602"),
        ({"ledger": "0x" + "11" * 20}, "ledger 0x1111"),
        ({"protocol_root": Root.parse(UNKNOWN)}, "another protocol"),
        ({"control_root": Root.parse(UNKNOWN)}, "another control"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_run_that_states_something_else(
    refusal: Refusal, world: TinyWorld, facts: dict[str, Any], words: str
) -> None:
    refusal.submit(world.write_run(**facts), code=3, error="ClaimRefused", words=(words,))


@pytest.mark.parametrize(
    "damage",
    [
        b"no json",
        b"[]",
        b'{"format":"armlx-run/1"}',
        b'{"format":"armlx-run/1","chainId":31337}\n',
    ],
)
def test_a_damaged_run_document(refusal: Refusal, world: TinyWorld, damage: bytes) -> None:
    run_log = world.write_run()
    (run_log.parent / "run.json").write_bytes(damage)
    refusal.submit(run_log, code=1, error="FormatError")


@pytest.mark.parametrize("member", ["controlRoot", "environmentDigest", "value"])
def test_a_member_of_the_run_document_that_makes_no_sense(
    refusal: Refusal, world: TinyWorld, member: str
) -> None:
    run_log = world.write_run()
    path = run_log.parent / "run.json"
    document = json.loads(path.read_bytes())
    path.write_bytes(
        json.dumps({**document, member: "nonsense"}, separators=(",", ":"), sort_keys=True).encode()
    )
    refusal.submit(run_log, code=1, error="FormatError", words=("run.json",))


# --- claims that would lose their stake ---------------------------------------------------------------


@pytest.mark.parametrize("gain", ["0.000000", "-0.100000"], ids=["equal", "worse"])
def test_no_gain(refusal: Refusal, world: TinyWorld, gain: str) -> None:
    run_log = world.write_run(gain=gain)
    refusal.submit(run_log, code=3, error="ClaimRefused", words=("is no improvement", "never sent"))
    refusal.submit(run_log, "--despite-verdict", code=3, error="ClaimRefused", words=("never sent",))


def test_a_verdict_that_was_not_reproduced(refusal: Refusal, world: TinyWorld) -> None:
    run_log = world.write_run(outcome="unimproved", reason="no-improvement")
    refusal.submit(run_log, code=3, error="ClaimRefused", words=("said unimproved", "--despite-verdict"))
    dared = refusal.run([*refusal.submission(run_log, "--despite-verdict", "--dry-run"), "--json"])
    assert dared.code == 0


def test_a_stake_beyond_the_pool(refusal: Refusal, world: TinyWorld) -> None:
    small = world.publish(symbol="SMALL", pool=STAKE - 1)
    run_log = world.write_run(project_id=small.project_id)
    refusal.submit(run_log, code=3, error="ClaimRefused", words=("has room for", f"at most {STAKE - 1}"))


def test_a_best_that_moved_since(refusal: Refusal, world: TinyWorld) -> None:
    other = int(world.publish(symbol="MOVED").project_id)
    run_log = world.write_run(project_id=other)
    world.move_best(other)
    refusal.submit(run_log, code=3, error="ClaimRefused", words=("best moved", "reproduce again"))


def test_nobody_to_review(refusal: Refusal, world: TinyWorld) -> None:
    verifiers = VerifierRegistry(world.rpc, world.devnet.addresses.verifier_registry)  # type: ignore[arg-type]
    for who in ("validator", "judge"):
        data = verifiers.encode("removeVerifier", world.address(who))
        world.sender("deployer").execute(Intent(key="remove", to=verifiers.address, data=data))
    try:
        refusal.submit(world.write_run(), code=3, error="ClaimRefused", words=("No verifier is registered",))
    finally:
        world.register("validator")
        world.register("judge")


def test_a_project_published_the_wrong_way_round(refusal: Refusal, world: TinyWorld, wrong_sign: int) -> None:
    run_log = world.write_run(project_id=wrong_sign)
    found = refusal.submit(run_log, code=3, error="ClaimRefused", words=("9000000",))
    assert "negative baseline" in found["message"]
    for command in ("price", "status"):
        shown = refusal.run([command, "--project", wrong_sign, "--json"])
        assert (shown.code, shown.document["warning"]) == (0, found["message"])


def test_the_same_candidate_from_another_home(world: TinyWorld) -> None:
    run_log, number = world.write_run(), world.ledger.proposal_count()
    assert world.submit(run_log, world.home()).code == 0
    elsewhere = Refusal(world, world.home())
    found = elsewhere.submit(
        run_log, code=3, error="ClaimRefused", words=(f"already submitted as proposal {number}",)
    )
    assert found["details"] == {"proposal": number}


# --- money --------------------------------------------------------------------------------------------


def test_more_than_the_bound(refusal: Refusal, world: TinyWorld) -> None:
    refusal.submit(
        world.write_run(), "--max-spend", 1, code=1, error="MarketError", words=("bound of 1 wei",)
    )
    given = ["buy", "--project", 0, "--count", 5, "--max-spend", 1, "--yes", *refusal.key("miner")]
    refusal.require(given, 1, "MarketError", "bound of 1 wei")


def test_no_funds(refusal: Refusal, world: TinyWorld) -> None:
    keystore.import_key(
        refusal.home / "keystores", "empty", lambda: "0x" + "42" * 32, lambda: PASSPHRASE, work_factor=1 << 4
    )
    submission = refusal.submission(world.write_run(), who="empty")
    refusal.require(submission, 1, "InsufficientFunds", "holds 0 wei", "Fund the account")
    given = ["buy", "--project", 0, "--count", 1, "--yes", *refusal.key("empty")]
    refusal.require(given, 1, "InsufficientFunds", "holds 0 wei")


@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=["no-terminal", "dry-run"])
def test_without_consent_nothing_is_sent(refusal: Refusal, world: TinyWorld, option: list[str]) -> None:
    for given in (
        ["submit", "--run", world.write_run(), *refusal.key("miner")],
        ["buy", "--project", 0, "--count", 1, *refusal.key("miner")],
        ["sell", "--project", 0, "--count", 1, *refusal.key("miner")],
    ):
        ran = refusal.run([*given, *option, "--json"])
        if option:
            assert ran.code == 0, ran.err
            assert ran.document["dry_run"] is True
        else:
            assert ran.code == 2, ran.err
            assert "--yes" in ran.error["message"]
        assert "This will happen:" in ran.err, "the plan is shown in any case"


# --- keys ---------------------------------------------------------------------------------------------


def test_a_wrong_passphrase(refusal: Refusal, world: TinyWorld, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not this one\n")
    wrong.chmod(0o600)
    given = ["submit", "--run", world.write_run(), "--yes", "--account", "miner", "--password-file", wrong]
    refusal.require(given, 4, "KeystoreError", "passphrase does not open")


def test_an_unknown_account(refusal: Refusal, world: TinyWorld) -> None:
    given = ["submit", "--run", world.write_run(), "--yes", *refusal.key("nobody")]
    refusal.require(given, 4, "KeystoreError", "nobody", "Known accounts")


def test_no_account(refusal: Refusal, world: TinyWorld) -> None:
    given = ["submit", "--run", world.write_run(), "--yes"]
    refusal.require(given, 2, "UsageError", "No key was named", "--account", "--keystore")


def test_a_reward_recipient_that_is_no_address(refusal: Refusal, world: TinyWorld) -> None:
    given = refusal.submission(world.write_run(), "--reward-recipient", "0x12")
    refusal.require(given, 2, "UsageError", "not an address")


def test_a_validator_that_is_not_on_the_list(refusal: Refusal) -> None:
    given = ["once", *refusal.key("stranger")]
    refusal.require(given, 2, "UsageError", "allow-list", validator=True)


# --- chains and ids -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedChain]:
    chain = EmbeddedChain(tmp_path_factory.mktemp("other"), chain_id=424242, balances={})
    yield chain
    chain.stop()


def test_an_endpoint_of_another_chain(refusal: Refusal, world: TinyWorld, other_chain: EmbeddedChain) -> None:
    given = refusal.submission(world.write_run(), "--rpc-url", other_chain.url)
    found = refusal.require(given, 1, "WrongChain", "chain 424242", "31337")
    assert found["details"] == {"actual": 424242, "expected": 31337}
    validator = ["once", *refusal.key("validator"), "--rpc-url", other_chain.url]
    refusal.require(validator, 1, "WrongChain", "chain 424242", validator=True)


def test_an_endpoint_that_is_down(refusal: Refusal, world: TinyWorld) -> None:
    for given, validator in (
        (refusal.submission(world.write_run(), "--rpc-url", NOBODY), False),
        (["status", "--project", 0, "--rpc-url", NOBODY], False),
        (["once", *refusal.key("validator"), "--rpc-url", NOBODY], True),
    ):
        refusal.require(given, 75, "RpcUnavailable", "cannot be reached", "--rpc-url", validator=validator)


@pytest.mark.parametrize("number", [999, 2**256], ids=["unknown", "beyond-uint256"])
def test_a_project_that_does_not_exist(refusal: Refusal, tmp_path: Path, number: int) -> None:
    candidate = tmp_path / "train.py"
    candidate.write_text("LEVEL = 1.0\n")
    for given in (
        ["status", "--project", number],
        ["price", "--project", number],
        ["buy", "--project", number, "--count", 1, "--yes", *refusal.key("miner")],
        ["reproduce", "--project", number, "--out", tmp_path / "run", candidate],
    ):
        refusal.require(given, 2, "UsageError", f"no project {number}", "ids run from 0")


def test_a_proposal_that_does_not_exist(refusal: Refusal) -> None:
    refusal.require(["status", "--proposal", 999], 2, "UsageError", "no proposal 999")


def test_a_network_that_does_not_exist(refusal: Refusal) -> None:
    ran = call(["status", "--project", "0", "--network", "moon", "--json"])
    assert (ran.code, ran.error["code"]) == (2, "UsageError")
    assert "galileo" in ran.error["next"]


@pytest.mark.parametrize(
    "given",
    [
        ["price"],
        ["price", "--project", "one"],
        ["buy", "--project", 0, "--count", 0],
        ["status"],
        ["submit", "--run"],
        ["no-such-command"],
        ["validate"],
    ],
    ids=lambda given: " ".join(map(str, given)),
)
def test_usage_errors_are_json_too(refusal: Refusal, given: list[Any]) -> None:
    ran = refusal.run([*given, "--json"])
    assert ran.code == 2
    assert ran.error["message"]
    assert ran.err


# --- as processes -------------------------------------------------------------------------------------


def run_process(*given: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from armlx_chain.cli.main import main; main()", *map(str, given)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=dict(os.environ),
    )


def test_as_a_process_errors_are_on_stderr_and_json_on_stdout(refusal: Refusal, world: TinyWorld) -> None:
    plain = run_process("fetch", "0x12")
    assert (plain.returncode, plain.stdout) == (2, "")
    assert plain.stderr.startswith("error: '0x12' is not a root.")
    found = run_process(*world.unsigned(["fetch", UNKNOWN, "--json"], refusal.home))
    assert found.returncode == 75
    assert json.loads(found.stdout)["error"]["code"] == "ContentNotFound"


def test_as_a_process_without_a_terminal_nothing_is_sent(refusal: Refusal, world: TinyWorld) -> None:
    nonce, run_log = world.nonce(), world.write_run()
    given = ["submit", "--run", run_log, *refusal.key("miner")]
    ended = run_process(*world.unsigned(given, refusal.home))
    assert ended.returncode == 2
    assert "pass --yes to go ahead" in ended.stderr
    given[given.index("--password-file") + 1] = run_log
    assert run_process(*world.unsigned([*given, "--yes"], refusal.home)).returncode == 4
    assert world.nonce() == nonce


HELP = """
import contextlib, io, sys
from armlx_chain.cli.main import cli, run
from verifier.daemon.cli import cli as validator

def walk(command, path):
    yield path
    for name in getattr(command, "list_commands", lambda _: [])(None):
        yield from walk(command.get_command(None, name), [*path, name])

seen = 0
for command, program in ((cli, "armlx-chain"), (validator, "armlx-validator")):
    for path in walk(command, []):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = run(command, [*path, "--help"], name=program)
        assert code == 0 and "Usage: " + " ".join([program, *path]) in out.getvalue(), (path, out.getvalue())
        seen += 1
heavy = {"web3", "mlx", "pyarrow", "eth_tester", "eth", "eth_account", "requests", "numpy"}
print(seen, sorted(heavy & set(sys.modules)))
"""


def test_the_help_of_every_command_works_and_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    seen, _, heavy = done.stdout.partition(" ")
    assert int(seen) >= 21
    assert heavy.strip() == "[]"
