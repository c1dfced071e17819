"""Validators' policies: which documents count, and what they mean for a stake."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.claims.policies import Bid, objections, stake_for
from armlx_chain.cli.wiring import make_publisher
from armlx_chain.errors import FormatError, SigningError
from armlx_chain.formats.policy import Policy, SignedPolicy
from armlx_chain.formats.typed import Domain
from armlx_chain.signing.eip712 import check_policy_signature
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, Tokens
from tests.faults.refusal import Refusal
from tests.faults.tinyworld import TinyWorld, call

KEY = Signer.from_hex("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6")
LEDGER = Address("0x701db5f8Ed847651209A438695dfe5520adD6A5A")
PLAIN = Policy(Domain(31337, LEDGER), KEY.address, Tokens(5), 200_000, 3, 14_400, 1_800_000_000)


def signed(policy: Policy, key: Signer = KEY) -> bytes:
    return SignedPolicy(policy, key.sign_typed_data(policy.typed_data())).encode()


# --- rules --------------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize(
    ("bid", "words"),
    [
        (Bid(5, 25, 2), []),
        (Bid(4, 25, 2), ["at least 5"]),
        (Bid(6, 29, 0), ["at most 5 of a supply of 29"]),
        (Bid(6, 30, 0), []),
        (Bid(5, 25, 3), ["3 of yours are open"]),
        (Bid(4, 10, 3), ["at least 5", "at most 2", "3 of yours"]),
    ],
)
def test_objections_at_their_exact_borders(bid: Bid, words: list[str]) -> None:
    found = objections(PLAIN, bid)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))


@pytest.mark.unit
def test_a_policy_without_limits_objects_to_nothing_and_two_tokens_are_the_least() -> None:
    free = replace(PLAIN, minimum_stake=Tokens(1), largest_stake_ppm=1_000_000, open_proposals=0)
    assert objections(free, Bid(1, 1, 10_000)) == []
    assert (stake_for([]), stake_for([free]), stake_for([free, PLAIN])) == (2, 2, 5)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("member", "value"),
    [("minimumStake", "0"), ("minimumStake", 5), ("largestStakePpm", 0), ("largestStakePpm", 1_000_001),
     ("openProposals", -1), ("machineSeconds", "1"), ("validator", "0x" + "0" * 40), ("kind", "x")],
)  # fmt: skip
def test_a_policy_that_breaks_a_rule_is_refused(member: str, value: Any) -> None:
    tree = json.loads(signed(PLAIN))
    tree["policy"]["message"][member] = value
    with pytest.raises(FormatError):
        SignedPolicy.parse(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.unit
def test_a_policy_is_signed_by_its_validator_and_by_nobody_else() -> None:
    check_policy_signature(SignedPolicy.parse(signed(PLAIN)))
    other = Signer.from_hex("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
    for forged in (signed(PLAIN, other), _changed(signed(PLAIN))):
        with pytest.raises(SigningError):
            check_policy_signature(SignedPolicy.parse(forged))


def _changed(data: bytes) -> bytes:
    return data.replace(b'"minimumStake":"5"', b'"minimumStake":"6"')


# --- as miners meet them ------------------------------------------------------------------------------


@pytest.fixture
def refusal(world: TinyWorld) -> Refusal:
    return Refusal(world, world.home())


def write_policy(world: TinyWorld, path: Path, *limits: object, who: str = "validator") -> Path:
    given = ["policy", "sign", "-o", path, *limits, "--json"]
    ran = call(world.signed(given, world.home(), who))
    assert ran.code == 0, ran.err
    assert ran.document["validator"] == world.address(who)
    return path


def submission(world: TinyWorld, *extra: object) -> list[Any]:
    run_log = world.write_run(unique=False)
    key = ["--account", "miner", "--password-file", world.password_file]
    return ["submit", "--run", run_log, *world.to_oneself("miner"), *key, "--dry-run", *extra, "--json"]


@pytest.mark.e2e
def test_the_stake_left_open_is_what_the_validators_ask_for(
    refusal: Refusal, world: TinyWorld, tmp_path: Path
) -> None:
    write_policy(world, tmp_path / "one.json", "--minimum-stake", 4)
    write_policy(world, tmp_path / "two.json", "--minimum-stake", 7, who="judge")
    planned = refusal.run(submission(world, "--policy", tmp_path))
    assert planned.code == 0, planned.err
    assert planned.document["stake"] == 7
    assert {entry["validator"] for entry in planned.document["policies"]} == {
        world.address("validator"), world.address("judge"),
    }  # fmt: skip
    assert "would run this" in planned.err


@pytest.mark.e2e
def test_a_stake_that_no_validator_runs_is_refused(
    refusal: Refusal, world: TinyWorld, tmp_path: Path
) -> None:
    policy = write_policy(world, tmp_path / "policy.json", "--minimum-stake", 50)
    given = [part for part in submission(world, "--stake", 3, "--policy", policy) if part != "--json"]
    found = refusal.require(given, 3, "ClaimRefused", "at least 50", "--despite-policy", "Stake 50")
    assert found["details"] == {"least_stake": 50}
    daring = refusal.run([*given, "--despite-policy", "--json"])
    assert daring.code == 0
    assert any("would not run this" in warning for warning in daring.document["warnings"])
    other = write_policy(world, tmp_path / "other.json", "--minimum-stake", 2, who="judge")
    both = refusal.run([*given, "--policy", other, "--json"])
    assert both.code == 0, "one validator is enough"


@pytest.mark.e2e
def test_policies_that_do_not_count_change_nothing_and_are_said(
    refusal: Refusal, world: TinyWorld, tmp_path: Path
) -> None:
    stranger = write_policy(world, tmp_path / "a.json", "--minimum-stake", 90, who="stranger")
    (tmp_path / "b.json").write_bytes(signed(PLAIN))
    genuine = write_policy(world, tmp_path / "c.json", "--minimum-stake", 90).read_bytes()
    (tmp_path / "c.json").write_bytes(genuine.replace(b'"minimumStake":"90"', b'"minimumStake":"91"'))
    (tmp_path / "d.json").write_bytes(b"[]")
    planned = refusal.run(submission(world, "--policy", tmp_path))
    assert (planned.code, planned.document["stake"], planned.document["policies"]) == (0, 2, [])
    for words in ("not on the verifiers' allow-list", "another chain or ledger", "was signed by", "d.json"):
        assert words in planned.err
    shown = refusal.run(["policy", "show", stranger, "--json"])
    assert (shown.code, len(shown.document["ignored"])) == (3, 1)


@pytest.mark.e2e
def test_of_two_policies_of_one_validator_the_later_counts(
    refusal: Refusal, world: TinyWorld, tmp_path: Path
) -> None:
    domain = Domain(world.devnet.chain_id, world.ledger.address)
    key = world.signer("validator")
    early = replace(PLAIN, domain=domain, validator=key.address, minimum_stake=Tokens(40), issued_at=1)
    late = replace(early, minimum_stake=Tokens(6), issued_at=2)
    (refusal.home / "policies").mkdir()
    (refusal.home / "policies" / "z.json").write_bytes(signed(early, key))
    (refusal.home / "policies" / "a.json").write_bytes(signed(late, key))
    shown = refusal.run(["policy", "show", "--json"])
    assert [entry["minimumStake"] for entry in shown.document["policies"]] == ["6"]


@pytest.fixture
def site(world: TinyWorld, tmp_path: Path) -> Iterator[str]:
    """A validator's web page."""
    policy = write_policy(world, tmp_path / "served.json", "--minimum-stake", 8).read_bytes()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = policy if self.path == "/policy.json" else b"x" * 100_000
            self.send_response(200 if self.path != "/none" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.e2e
def test_a_policy_at_an_address_and_behind_a_root(
    refusal: Refusal, world: TinyWorld, site: str, tmp_path: Path
) -> None:
    assert refusal.run(submission(world, "--policy", f"{site}/policy.json")).document["stake"] == 8
    for path in ("none", "endless"):
        refusal.require(["policy", "show", f"{site}/{path}"], 75, "StorageUnavailable", site)
    home = world.home()
    data = write_policy(world, tmp_path / "stored.json", "--minimum-stake", 9).read_bytes()
    root = make_publisher(world.settings(home), world.sender("validator", home)).publish(data, label="policy")
    shown = refusal.run(["policy", "show", str(root), "--json"])
    assert [entry["minimumStake"] for entry in shown.document["policies"]] == ["9"]
    refusal.require(["policy", "show", tmp_path / "missing"], 2, "UsageError", "There is no policy at")
