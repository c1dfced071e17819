"""A log without a record: its value is shown, the missing control is named, and only a flag goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.signing.eip712 import check_evidence_signature
from armlx_chain.types import Root
from tests.faults import simulated
from tests.faults.processes import Job, Launcher
from tests.faults.refusal import Refusal
from tests.faults.tinyworld import STAKE, TinyWorld, call
from verifier.daemon.dossier import read_dossier

pytestmark = pytest.mark.e2e


@pytest.fixture
def bare(world: TinyWorld, tmp_path: Path) -> Path:
    """``run.log`` and ``train.py`` in a folder, and nothing else."""
    run_log = world.write_run(gain="0.040000")
    shutil.copy(run_log, tmp_path / "run.log")
    shutil.copy(run_log.parent / "candidate" / "train.py", tmp_path / "train.py")
    return tmp_path / "run.log"


def submission(world: TinyWorld, run_log: Path, *extra: object) -> list[Any]:
    code = ["--project", 0, "--candidate", run_log.parent / "train.py"]
    key = ["--account", "miner", "--password-file", world.password_file]
    return [
        "submit",
        "--run",
        run_log,
        "--stake",
        STAKE,
        "--yes",
        *code,
        *world.to_oneself("miner"),
        *key,
        *extra,
    ]


def test_without_the_flag_the_value_is_shown_and_the_control_named(world: TinyWorld, bare: Path) -> None:
    refusal = Refusal(world, world.home())
    found = refusal.require(
        submission(world, bare), 3, "ClaimRefused", "val_bpb 8.96", "was not reproduced", "--unreproduced",
        f"armlx-chain reproduce --project 0 {bare.parent / 'train.py'}",
    )  # fmt: skip
    assert found["details"] == {"metric": "val_bpb", "value": "8.960000"}
    assert not (refusal.home / "unreproduced").exists()


def test_without_the_code_that_ran_the_flag_is_not_enough(world: TinyWorld, bare: Path) -> None:
    given = submission(world, bare, "--unreproduced")
    at = given.index("--candidate")
    Refusal(world, world.home()).require(given[:at] + given[at + 2 :], 2, "UsageError", "--candidate PATH")


def test_with_the_flag_it_is_staked_and_says_in_the_claim_what_it_is(world: TinyWorld, bare: Path) -> None:
    count = world.ledger.proposal_count()
    given = submission(world, bare, "--unreproduced", "--json")
    ran = call(world.unsigned(given, home := world.home()))
    assert ran.code == 0, ran.err
    assert "was not reproduced and has no control" in ran.err
    proposal = world.proposal(count)
    evidence = world.evidence(proposal)
    check_evidence_signature(evidence)
    claim = evidence.claim
    assert (claim.hardware_class, claim.metric_value) == ("unreproduced", "8.960000")
    assert claim.control_value == simulated.BASELINE
    assert (claim.current_best, claim.claimed_score) == (-9_000_000, -8_960_000)
    control = world.storage().fetch(evidence.control_log_root, max_bytes=1 << 20).data
    assert control.startswith(b"No control was run.")
    protocol = _protocol(world)
    assert read_dossier(proposal, protocol, claim.domain, world.storage()).claim == claim, "its papers hold"
    again = call(world.unsigned(given, home))
    assert (again.code, again.error["details"]) == (3, {"proposal": count})


def _protocol(world: TinyWorld) -> Any:
    from armlx_chain.protocol.parse import parse_protocol

    project = world.registry.find_project(0)
    assert project is not None
    return parse_protocol(world.storage().fetch(Root.zerog(project.protocol_hash), max_bytes=1 << 20).data)


def test_killed_in_the_middle_it_goes_on_although_the_best_has_moved(
    world: TinyWorld, launcher: Launcher, bare: Path
) -> None:
    """The control's place is taken by the best: another best must not make another submission of it."""
    home, count = world.home(), world.ledger.proposal_count()
    arguments = world.unsigned(submission(world, bare, "--unreproduced"), home)
    (killed,) = launcher.run(Job(arguments, stop={"event": "mined", "number": 3}))
    assert killed.was_killed, killed.text
    world.move_best()
    moved = world.ledger.proposal_count()
    assert moved == count + 2
    (again,) = launcher.run(Job(arguments))
    assert again.code == 0, again.text
    assert world.ledger.proposal_count() == moved, "nothing was submitted a second time"
    assert world.evidence(world.proposal(count)).claim.current_best == -9_000_000
