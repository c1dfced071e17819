"""Submissions that are refused: a clear error, its exit code, nothing signed, nothing sent, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.contracts import VerifierRegistry
from armlx_chain.chain.sender import Intent
from armlx_chain.signing import keystore
from armlx_chain.types import Root
from tests.faults.refusal import UNKNOWN, Refusal
from tests.faults.tinyworld import PASSPHRASE, STAKE, TinyWorld

pytestmark = pytest.mark.e2e

METRIC = "val_bpb:          {}\n"


@pytest.fixture
def refusal(world: TinyWorld) -> Refusal:
    return Refusal(world, world.home())


@pytest.fixture(scope="module")
def wrong_sign(world: TinyWorld) -> int:
    """A project whose minimised metric was published with a positive baseline."""
    return world.publish_raw(baseline=9_000_000)


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


def test_a_project_whose_protocol_does_not_parse(refusal: Refusal, world: TinyWorld) -> None:
    broken = world.publish_raw(protocol=b"{}", baseline=-9_000_000)
    refusal.submit(
        world.write_run(project_id=broken), code=1, error="ProtocolInvalid", words=("schemaKind is missing",)
    )


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
        ["submit", "--run", world.write_run(), *world.to_oneself("miner"), *refusal.key("miner")],
        ["buy", "--project", 0, "--count", 1, *refusal.key("miner")],
    ):
        ran = refusal.run([*given, *option, "--json"])
        if option:
            assert ran.code == 0, ran.err
            assert ran.document["dry_run"] is True
        else:
            assert ran.code == 2, ran.err
            assert "--yes" in ran.error["message"]
        assert "This will happen:" in ran.err, "the plan is shown in any case"
