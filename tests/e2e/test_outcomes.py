"""One test per outcome, through the real commands on the local world with its real storage.

The condition itself is made real (a missing sandbox, a lying endpoint, a best that moves), and the machine
that would train is simulated at the runner's interface. Where a score decides, real runs decide it: see
``test_real_outcomes``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.chain.sender import Intent
from armlx_chain.formats.bundle import Authorship, pack_candidate
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import ProjectId
from tests.daemon.crafted import Crafted
from tests.daemon.test_pass import close_all
from tests.faults import simulated
from tests.faults.faultproxy import FaultProxy
from tests.faults.processes import Job, Launcher
from tests.faults.tinyworld import SEED_BLOCKS, Ran, TinyWorld, call
from verifier.judging import Prepared
from verifier.model import Ending, Role, RunRecord
from verifier.sandbox import select
from verifier.sandbox.bubblewrap import BubblewrapSandbox
from verifier.session import Runner

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1600)]

_REAL_PREPARE = armlx_chain.cli.reproduce.prepare_here


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    simulated.runs.clear()
    yield
    if "world" in request.fixturenames:
        close_all(request.getfixturevalue("world"))


@dataclass
class Judged:
    """A proposal after one pass of a validator with a home of its own."""

    world: TinyWorld
    proposal: Proposal
    home: Path
    ran: Ran
    before: tuple[int, int]

    @classmethod
    def by(cls, world: TinyWorld, proposal: Proposal, *extra: str, home: Path | None = None) -> Judged:
        home = home or world.home()
        before = (world.nonce("validator"), world.token(int(proposal.project_id)).total_supply())
        arguments = world.validate_arguments(home, "--json", "--auto-reject", *extra)
        return cls(world, proposal, home, call(arguments, validator=True), before)

    @property
    def result(self) -> dict[str, Any]:
        assert self.ran.code == 0, self.ran.err
        (found,) = [r for r in self.ran.document["proposals"] if r["proposal"] == self.proposal.id]
        return dict(found)

    def require(self, outcome: str, reason: str, *sentences: str) -> str:
        """The verdict, and that nothing was sent, slashed or signed for it."""
        result = self.result
        assert (result["step"], result["outcome"], result["reason"]) == ("left", outcome, reason), result
        supply = self.world.token(int(self.proposal.project_id)).total_supply()
        assert (self.world.nonce("validator"), supply) == self.before, "nothing is sent or slashed"
        assert self.world.proposal(self.proposal.id).status is Status.SUBMITTED
        assert armlx_guard(self.home) == 0
        (folder,) = (self.home / "reports").glob(f"*/{self.proposal.id}")
        text = (folder / "report.txt").read_text()
        tree = json.loads((folder / "report.json").read_text())
        assert (tree["outcome"], tree["reason"]) == (outcome, reason)
        assert text.startswith(f"Verdict: {outcome.upper()} ({reason})")
        for sentence in (*sentences, "What would change this verdict: "):
            assert sentence in text
        return text


def armlx_guard(home: Path) -> int:
    """How many verdicts a home has signed, as its command says."""
    ran = call(["guard", "show", "--json", "--home", str(home)], validator=True)
    assert ran.code == 0, ran.err
    return len(ran.document["entries"])


def judged_runs() -> int:
    return sum(len(runner.calls) for runner in simulated.runs)


class Altered:
    """The simulated machine with something changed in every record."""

    def __init__(self, runner: Runner, change: Callable[[RunRecord], RunRecord]) -> None:
        self._runner = runner
        self._change = change

    def run(self, role: Role, files: Mapping[str, bytes], **options: Any) -> RunRecord:
        return self._change(self._runner.run(role, files, **options))


def altered(monkeypatch: pytest.MonkeyPatch, change: Callable[[RunRecord], RunRecord]) -> None:
    def prepare(*arguments: Any) -> Prepared:
        prepared = simulated.prepare(*arguments)
        return replace(prepared, runner=Altered(prepared.runner, change))  # type: ignore[arg-type]

    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", prepare)


def test_unimproved_where_the_gain_is_noise(world: TinyWorld) -> None:
    run, number = world.write_run(gain="0.000001"), world.ledger.proposal_count()
    assert world.submit(run, world.home(), "--despite-verdict").code == 0
    world.devnet.mine(SEED_BLOCKS)
    judged = Judged.by(world, world.proposal(number))
    judged.require("unimproved", "no-improvement", "That is no fault of the miner's")
    again = Judged.by(world, world.proposal(number), home=judged.home)
    assert again.result["step"] == "known"


def test_undecided_without_a_sandbox(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proposal = world.submitted()
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", _REAL_PREPARE)
    # The real back-end, on a machine whose folders of programs hold no bubblewrap.
    monkeypatch.setattr(select, "default_sandbox", lambda: BubblewrapSandbox(search_path=str(tmp_path)))
    judged = Judged.by(world, proposal)
    text = judged.require("undecided", "verifier-fault", "A repaired verifier.")
    assert "bubblewrap" in text or "bwrap" in text
    monkeypatch.undo()
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    assert Judged.by(world, proposal, home=judged.home).result["step"] == "approved", "no pair had counted"


@pytest.mark.parametrize("what", ["the machine slept for 40 seconds", "something else used 2 processors"])
def test_undecided_on_a_machine_that_slept_grew_hot_or_had_other_work(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    proposal = world.submitted()
    altered(monkeypatch, lambda record: replace(record, disturbances=(what,)))
    judged = Judged.by(world, proposal)
    judged.require("undecided", "too-noisy", what, "voided")
    assert judged_runs() == 4, "two voided pairs are the end"


class LyingAboutABlock(FaultProxy):
    """Gives one block another hash than the chain does."""

    number = -1

    def answer(self, body: bytes) -> tuple[int, bytes]:
        status, data = super().answer(body)
        asked, told = json.loads(body), json.loads(data)
        pairs = zip(asked, told, strict=True) if isinstance(asked, list) else [(asked, told)]
        for request, answer in pairs:
            about = request["method"] == "eth_getBlockByNumber" and request["params"][0] == hex(self.number)
            if about and answer.get("result"):
                answer["result"]["hash"] = "0x" + hashlib.sha256(b"another block").hexdigest()
        return status, json.dumps(told).encode()


def test_undecided_where_two_endpoints_give_the_seeds_block_another_hash(world: TinyWorld) -> None:
    proposal = world.submitted()
    submitted_in = world.ledger.submission_block(proposal.id)
    assert submitted_in is not None
    with LyingAboutABlock(world.devnet.rpc_url) as liar:
        liar.number = submitted_in + 8
        urls = f"{world.devnet.rpc_url},{liar.url}"
        judged = Judged.by(world, proposal, "--rpc-url", urls)
        judged.require("undecided", "seed-unavailable", "no other seed that every validator would draw alike")
        assert judged_runs() == 0
        liar.number = -1
        honest = Judged.by(world, proposal, "--rpc-url", urls, home=judged.home)
        assert honest.result["step"] == "approved", "nothing had been run"


def test_a_seed_block_that_is_not_mined_yet_is_waited_for(world: TinyWorld) -> None:
    number = world.ledger.proposal_count()
    assert world.submit(world.write_run(unique=False), world.home()).code == 0
    waiting = Judged.by(world, world.proposal(number)).result
    assert (waiting["step"], waiting["outcome"]) == ("waiting", None), "no verdict at all"


def test_undecided_where_the_model_cannot_be_exported(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = world.submitted()

    def unsupported(record: RunRecord) -> RunRecord:
        if record.role is not Role.CANDIDATE:
            return record
        detail = "The model asks for the value of an array while it is traced."
        return replace(
            record, ending=Ending.UNSUPPORTED, detail=detail, validation=None, fresh=None, audits=()
        )

    altered(monkeypatch, unsupported)
    judged = Judged.by(world, proposal)
    judged.require(
        "undecided", "unsupported", "This is final for the rule and no fault", "while it is traced"
    )
    again = Judged.by(world, proposal, home=judged.home)
    assert again.result["step"] == "known"


def test_undecided_where_the_source_gate_refuses(world: TinyWorld) -> None:
    author = Authorship(world.address("miner"), ProjectId(0), world.devnet.chain_id)
    header = b"# /// script\n# dependencies = ['left-pad']\n# ///\nLEVEL = 1.0\n"
    proposal = Crafted(world).submit(bundle=pack_candidate({"train.py": header}, author))
    judged = Judged.by(world, proposal)
    judged.require("undecided", "gate", "script metadata (PEP 723) is not allowed")
    assert judged_runs() == 0


def test_undecided_where_the_log_has_another_digest_than_the_claim_signs(world: TinyWorld) -> None:
    proposal = Crafted(world).submit(run_log=b"another log\nval_bpb:          1.000000\n")
    judged = Judged.by(world, proposal)
    judged.require("undecided", "evidence", "does not have the digest that the claim signs")
    assert judged_runs() == 0


def test_artifacts_that_are_not_there_give_no_verdict_at_all(world: TinyWorld) -> None:
    proposal = Crafted(world).submit(publish=False)
    judged = Judged.by(world, proposal)
    assert (judged.result["step"], judged.result["outcome"]) == ("waiting", None)
    assert not list((judged.home / "reports").glob("*/*"))


# --- the control ------------------------------------------------------------------------------------------


def bare_project(world: TinyWorld, symbol: str, **hashes: bytes) -> int:
    """A project whose record is another's but for these hashes."""
    project = world.registry.find_project(int(world.project.project_id))
    assert project is not None
    project = replace(project, **hashes)  # type: ignore[arg-type]
    number, sender = world.registry.project_count(), world.sender("creator")
    data = world.registry.encode(
        "createProject", project.protocol_hash, project.repo_snapshot_hash, project.benchmark_hash,
        int(project.baseline_score), project.baseline_metrics_hash, symbol, symbol, 10**15, 10**12, 10**6,
    )  # fmt: skip
    sender.execute(Intent(key=f"create/{symbol}", to=world.registry.address, data=data))
    return number


def test_undecided_where_not_even_the_snapshot_can_be_had(world: TinyWorld) -> None:
    number = bare_project(world, "GONE", repo_snapshot_hash=b"\x0b" * 32)
    proposal = Crafted(world, number).careless()
    Judged.by(world, proposal).require(
        "undecided", "control-unavailable", "A provable copy of the current best's code."
    )
    assert judged_runs() == 0


def approve_unseen(world: TinyWorld, project_id: int, *, above: int) -> None:
    """A verifier that does not look approves code that nobody can fetch."""
    project = world.registry.find_project(project_id)
    assert project is not None
    sender, score = world.sender("rival", world.home()), int(project.best_score) + above
    code = hashlib.sha256(f"{project_id}/{score}".encode()).digest()
    proposal = world.stake(sender, project_id, code, b"\x01" * 32, score, sender.address)
    world.send("judge", "claimReview", int(proposal.id))
    world.send("judge", "approve", int(proposal.id), score, b"\x01" * 32)


@pytest.mark.parametrize(("level", "step"), [("8.900000", "approved"), ("8.985000", "left")])
def test_where_the_bests_code_is_gone_the_snapshot_serves_at_the_recorded_disadvantage(
    world: TinyWorld, level: str, step: str
) -> None:
    number = bare_project(world, f"LOST{level[2:4]}")
    approve_unseen(world, number, above=20_000)
    project = world.registry.find_project(number)
    assert project is not None
    author = Authorship(world.address("miner"), ProjectId(number), world.devnet.chain_id)
    bundle = pack_candidate({"train.py": simulated.program(level, "after a loss")}, author)
    proposal = submit_against(world, number, bundle)
    judged = Judged.by(world, proposal)
    assert judged.result["step"] == step, judged.result
    (folder,) = (judged.home / "reports").glob(f"*/{proposal.id}")
    text = (folder / "report.txt").read_text()
    assert "the unmodified snapshot served as control" in text
    assert "0.02 bits per byte, counted against the candidate" in text
    after = world.registry.find_project(number)
    assert after is not None
    if step == "approved":
        gain = 9_000_000 - int(level.replace(".", "")) - 20_000
        assert int(after.best_score) - int(project.best_score) <= gain, "the disadvantage is taken off"
        assert after.best_code_hash == root_of(bundle).digest
        found = world.storage().fetch(root_of(bundle), max_bytes=1 << 20)
        assert found.data == bundle, "the winner's bundle is there for the next control"
    else:
        judged.require("unimproved", "no-improvement")


def submit_against(world: TinyWorld, number: int, bundle: bytes) -> Proposal:
    """A client of somebody else's, for whom a control that cannot be fetched is no reason to stop."""
    crafted = Crafted(world, number)
    world_level = world.level
    world.level = lambda _=None: simulated_level()  # type: ignore[assignment,method-assign]
    try:
        return crafted.submit(bundle=bundle)
    finally:
        world.level = world_level  # type: ignore[method-assign]


def simulated_level() -> Any:
    from decimal import Decimal

    return Decimal(simulated.BASELINE)


# --- superseded -------------------------------------------------------------------------------------------


def test_superseded_where_the_best_moves_between_verdict_and_settlement(
    world: TinyWorld, launcher: Launcher
) -> None:
    proposal, home = world.submitted(), world.home()
    stop = {"call": "verifier.daemon.store:FindingStore.signed", "when": "after", "number": 1}
    job = Job(world.validate_arguments(home, "--json"), validator=True, simulate=True, stop=stop)
    (killed,) = launcher.run(job)
    assert killed.was_killed, killed.text
    assert armlx_guard(home) == 1
    world.move_best()
    late = Judged.by(world, proposal, home=home)
    assert (late.result["step"], late.result["outcome"]) == ("superseded", "reproduced")
    assert world.nonce("validator") == late.before[0], "nothing is sent"
    assert world.proposal(proposal.id).status is Status.SUBMITTED
    again = Judged.by(world, proposal, home=home)
    assert again.result["step"] == "known"
    assert (armlx_guard(home), judged_runs()) == (1, 0), "no second verdict is signed with that key"
