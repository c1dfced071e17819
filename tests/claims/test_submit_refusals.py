"""Each reason for which a claim is refused: its code, its sentence, and nothing sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.sender import Intent
from armlx_chain.claims.runfolder import candidate_digest, peek_facts, write_run_json
from armlx_chain.errors import ContentNotFound
from armlx_chain.formats.bundle import Authorship, pack_candidate, read_candidate
from armlx_chain.signing import keystore
from armlx_chain.signing.preferences import set_reward
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root
from tests.faults.refusal import Refusal
from tests.faults.tinyworld import PASSPHRASE, STAKE, TERMS, TinyWorld

pytestmark = pytest.mark.e2e


@pytest.fixture
def refusal(world: TinyWorld) -> Refusal:
    return Refusal(world, world.home())


@pytest.fixture(scope="module")
def project(world: TinyWorld) -> int:
    """A project of its own: what is open here was opened by these tests."""
    return world.publish_raw(baseline=-9_000_000)


def plainly(world: TinyWorld, run_log: Path, *extra: object, stake: int = STAKE) -> list[Any]:
    """A submission without any of the daring flags."""
    key = ["--account", "miner", "--password-file", world.password_file]
    recipient = ["--reward-recipient", world.address("second")]
    return ["submit", "--run", run_log, "--stake", stake, "--yes", *recipient, *key, *extra]


def refused(
    refusal: Refusal, given: list[Any], *words: str, code: int = 3, error: str = "ClaimRefused"
) -> Any:
    found = refusal.require(given, code, error, *words)
    assert not (refusal.home / "submissions").exists(), "no claim was signed"
    return found


# --- who is paid --------------------------------------------------------------------------------------


def test_nobody_is_named_to_receive_the_reward(refusal: Refusal, world: TinyWorld) -> None:
    given = plainly(world, world.write_run())
    at = given.index("--reward-recipient")
    refused(refusal, given[:at] + given[at + 2 :], "Nobody is named", "--reward-recipient", "set-reward")


def test_a_recipient_set_for_the_account_is_taken(refusal: Refusal, world: TinyWorld, project: int) -> None:
    set_reward(refusal.home, world.address("miner"), world.address("rival"))
    given = plainly(world, world.write_run(project_id=project), "--dry-run", "--json")
    at = given.index("--reward-recipient")
    planned = refusal.run(given[:at] + given[at + 2 :])
    assert planned.code == 0, planned.err
    assert planned.document["reward_recipient"] == world.address("rival")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (str.lower, "checksum"),
        (lambda address: address[:-1] + ("0" if address[-1] != "0" else "1"), "checksum"),
        (lambda _: "0x" + "0" * 40, "zero address"),
        (lambda _: "me", "checksum"),
    ],
    ids=["without-checksum", "one-digit-wrong", "zero", "no-address"],
)
def test_a_recipient_that_is_not_certain(refusal: Refusal, world: TinyWorld, change: Any, words: str) -> None:
    given = plainly(world, world.write_run())
    given[given.index("--reward-recipient") + 1] = change(str(world.address("second")))
    refused(refusal, given, words, code=2, error="UsageError")


# --- stakes -------------------------------------------------------------------------------------------


def test_a_single_token_of_which_expiry_returns_nothing(
    refusal: Refusal, world: TinyWorld, project: int
) -> None:
    run_log = world.write_run(project_id=project)
    given = plainly(world, run_log, stake=1)
    refused(refusal, given, "Nothing of a stake of 1 comes back", "--accept-total-loss", "2 or more")
    planned = refusal.run([*given, "--accept-total-loss", "--dry-run", "--json"])
    assert (planned.code, planned.document["stake"]) == (0, 1)


def test_left_open_the_stake_is_the_least_of_which_something_comes_back(
    refusal: Refusal, world: TinyWorld, project: int
) -> None:
    given = plainly(world, world.write_run(project_id=project), "--dry-run", "--json")
    at = given.index("--stake")
    planned = refusal.run(given[:at] + given[at + 2 :])
    assert (planned.code, planned.document["stake"]) == (0, 2)


def test_an_account_that_could_pay_the_stake_but_not_its_uploads(
    refusal: Refusal, world: TinyWorld, project: int
) -> None:
    planned = refusal.run(plainly(world, world.write_run(project_id=project), "--dry-run", "--json"))
    costs = {name: int(text) for name, text in planned.document["costs_wei"].items()}
    assert costs["total"] == costs["purchase"] + costs["gas"] + costs["storage"]
    key = "0x" + "43" * 32
    keystore.import_key(
        refusal.home / "keystores", "tight", lambda: key, lambda: PASSPHRASE, work_factor=1 << 4
    )
    account = Signer.from_hex(key).address
    have = costs["purchase"] + costs["gas"]
    world.sender("deployer").execute(Intent(key="fund", to=account, data=b"", value=have))  # type: ignore[arg-type]
    given = plainly(world, world.write_run(project_id=project))
    given[given.index("miner")] = "tight"
    found = refused(refusal, given, "for uploads", "Nothing was sent", code=1, error="InsufficientFunds")
    assert found["details"]["have"] == have
    assert world.rpc.nonce(account, pending=True) == 0


# --- what is known already ----------------------------------------------------------------------------


def test_overtaken_by_an_open_proposal(refusal: Refusal, world: TinyWorld) -> None:
    project = world.publish_raw(baseline=-9_000_000)
    number = world.ledger.proposal_count()
    assert world.submit(world.write_run(project_id=project, gain="0.060000"), world.home()).code == 0
    for gain in ("0.050000", "0.060000"):
        given = plainly(world, world.write_run(project_id=project, gain=gain))
        found = refused(refusal, given, f"Proposal {number}", "overtaken", "--despite-open")
        assert found["details"] == {"proposal": number, "ahead": [number]}
    daring = refusal.run([*given, "--despite-open", "--dry-run", "--json"])
    assert daring.code == 0
    assert "claim as much or more" in daring.document["warnings"][0]
    better = plainly(world, world.write_run(project_id=project, gain="0.070000"), "--dry-run")
    assert refusal.run(better).code == 0


def test_the_root_of_the_candidate_in_somebody_elses_proposal(refusal: Refusal, world: TinyWorld) -> None:
    project = world.publish_raw(baseline=-9_000_000)
    run_log = world.write_run(project_id=project)
    author = Authorship(
        world.address("miner"), world.registry.find_project(project).id, world.devnet.chain_id
    )  # type: ignore[union-attr]
    bundle = pack_candidate({"train.py": (run_log.parent / "candidate" / "train.py").read_bytes()}, author)
    rival, root = world.sender("rival"), root_of(bundle).digest
    copy = world.stake(rival, project, root, b"\x01" * 32, -8_990_000, rival.address)
    found = refused(
        refusal, plainly(world, run_log), f"proposal {copy.id} of {world.address('rival')}", "is a copy"
    )
    assert found["details"] == {"proposal": int(copy.id)}


def test_the_same_files_under_another_author(refusal: Refusal, world: TinyWorld) -> None:
    project = world.publish_raw(baseline=-9_000_000)
    run_log = world.write_run(project_id=project)
    assert world.submit(run_log, world.home(), who="rival").code == 0
    given = plainly(world, run_log, "--despite-open")
    refused(refusal, given, "same files are known", world.address("rival"), "code of your own")


def test_the_code_of_the_current_best(refusal: Refusal, world: TinyWorld) -> None:
    project = world.publish_raw(baseline=-9_000_000)
    world.move_best(project)
    run_log = world.write_run(project_id=project, gain="0.010000")
    best = world.registry.find_project(project)
    assert best is not None
    bundle = world.storage().fetch(Root.zerog(best.best_code_hash), max_bytes=1 << 20).data
    _, files = read_candidate(bundle)
    (run_log.parent / "candidate" / "train.py").write_bytes(files["train.py"])
    facts = replace(peek_facts(run_log), candidate_sha256=candidate_digest(files))
    write_run_json(run_log.parent, facts)
    refused(refusal, plainly(world, run_log), "same files are known", "the current best")


def test_an_own_candidate_that_nobody_judged_may_be_tried_again(refusal: Refusal, world: TinyWorld) -> None:
    project = world.publish_raw(baseline=-9_000_000)
    run_log, number = world.write_run(project_id=project), world.ledger.proposal_count()
    assert world.submit(run_log, world.home()).code == 0
    given = plainly(world, run_log, "--dry-run", "--json")
    refused(refusal, given, f"already submitted as proposal {number}, which is still open")
    world.devnet.advance_time(604_800)
    world.send("miner", "expire", number)
    assert refusal.run(given).code == 0


# --- project 1 of Galileo -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def armlx(world: TinyWorld) -> int:
    """The real figures: 12 tokens bought, one approval with stake 1, baseline 2213268, best 4138928."""
    number = world.registry.project_count()
    terms = replace(TERMS, miner_pool_cap=10**24)
    data = world.registry.encode(
        "createProject", *_hashes(world), 2_213_268, b"\x02" * 32, "Autoresearch MLX", "ARMLX",
        int(terms.base_price), int(terms.slope), int(terms.miner_pool_cap),
    )  # fmt: skip
    world.sender("creator").execute(Intent(key="armlx", to=world.registry.address, data=data))
    world.buy("rival", 12, number)
    token = world.token(number)
    sender = world.sender("rival")
    sender.execute(Intent(key="a", to=token.address, data=token.encode("approve", world.ledger.address, 1)))
    submit = world.ledger.encode("submit", number, b"\x03" * 32, b"\x04" * 32, 4_138_928, 1, sender.address)
    proposal = world.ledger.proposal_count()
    sender.execute(Intent(key="s", to=world.ledger.address, data=submit))
    world.send("judge", "claimReview", proposal)
    world.send("judge", "approve", proposal, 4_138_928, b"\x05" * 32)
    return number


def _hashes(world: TinyWorld) -> tuple[bytes, bytes, bytes]:
    project = world.registry.find_project(world.project.project_id)
    assert project is not None
    return project.protocol_hash, project.repo_snapshot_hash, project.benchmark_hash


def test_project_1_as_published_is_what_the_former_page_showed(world: TinyWorld, armlx: int) -> None:
    token, project = world.token(armlx), world.registry.find_project(armlx)
    assert project is not None
    assert (project.baseline_score, project.best_score) == (2_213_268, 4_138_928)
    assert (token.total_supply(), token.pool_minted(), token.pool_cap()) == (13, 1, 10**24)
    assert token.base_price() + token.slope() * 13 == 1_013_000_000_000_000
    assert token.reserve() == 12_072_000_000_000_000


@pytest.mark.parametrize("value", ["1.981456", "2.213267", "4.138929"])
def test_on_project_1_as_published_nothing_is_ever_sent(
    refusal: Refusal, world: TinyWorld, armlx: int, value: str
) -> None:
    run_log = world.write_run(log=f"val_bpb:          {value}\n".encode(), value=value)
    project = world.registry.find_project(armlx)
    assert project is not None
    facts = replace(peek_facts(run_log), project_id=project.id, current_best=project.best_score)
    write_run_json(run_log.parent, facts)
    found = refused(refusal, plainly(world, run_log, "--despite-open", "--despite-verdict"), "wrong sign")
    for words in ("2213268", "4138928", "-2213268", "a real improvement cannot be approved"):
        assert words in found["message"]


def test_publishing_it_again_with_the_right_sign_is_offered(
    refusal: Refusal, world: TinyWorld, armlx: int
) -> None:
    shown = refusal.run(["status", "--project", armlx, "--json"])
    assert "must be published again with the negative baseline -2213268" in shown.document["warning"]


# --- unproven documents -------------------------------------------------------------------------------


def test_a_protocol_that_nobody_serves_is_not_guessed(refusal: Refusal, world: TinyWorld) -> None:
    data = world.registry.encode(
        "createProject", b"\x09" * 32, *_hashes(world)[1:], -9_000_000, b"\x02" * 32, "Unserved", "NONE",
        10**15, 10**12, 10**6,
    )  # fmt: skip
    number = world.registry.project_count()
    world.sender("creator").execute(Intent(key="none", to=world.registry.address, data=data))
    run_log = world.write_run(project_id=number)
    refused(refusal, plainly(world, run_log), code=75, error="ContentNotFound")


def test_uploading_what_was_never_staked_is_not_possible(refusal: Refusal, world: TinyWorld) -> None:
    """The publisher is reached only after the receipt; a refused submission leaves no file behind."""
    run_log = world.write_run(gain="-0.100000")
    refused(refusal, plainly(world, run_log), "never sent as an improvement")
    with pytest.raises(ContentNotFound):
        world.storage().fetch(root_of(run_log.read_bytes()), max_bytes=1 << 20)
