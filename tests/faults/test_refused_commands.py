"""Bad input through the real command line: a clear error and its exit code, with nothing sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.devnet.rpc.embedded import EmbeddedChain
from armlx_chain.storage.zerog.localnode.faulty import GatewayFault, LyingGateway
from armlx_chain.types import Root
from tests.faults.processes import ROOT
from tests.faults.refusal import NOBODY, UNKNOWN, Refusal
from tests.faults.tinyworld import TinyWorld, call

pytestmark = pytest.mark.e2e


@pytest.fixture
def refusal(world: TinyWorld) -> Refusal:
    return Refusal(world, world.home())


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


def test_an_irys_id_where_no_irys_server_is_configured(refusal: Refusal) -> None:
    refusal.require(["fetch", "irys:" + "1" * 32], 2, "UsageError", "No Irys server is configured")


def test_storage_that_is_down(refusal: Refusal, world: TinyWorld) -> None:
    given = ["fetch", world.project.protocol_root, "--storage-url", NOBODY]
    refusal.require(given, 75, "StorageUnavailable")


def test_a_file_that_cannot_be_written(refusal: Refusal, world: TinyWorld, tmp_path: Path) -> None:
    given = ["fetch", world.project.protocol_root, "-o", tmp_path / "missing" / "protocol.json"]
    refusal.require(given, 1, "MachineError", "No such file or directory")


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
    given = ["submit", "--run", run_log, *world.to_oneself("miner"), *refusal.key("miner")]
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
