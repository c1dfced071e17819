"""The demonstration on a machine that changes: measured anew, judged again, and never for ever."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from armlx_chain.cli.demonstration import patience
from armlx_chain.cli.demonstration.stage import Stage, StepFailed
from armlx_chain.devnet.world import Devnet

pytestmark = pytest.mark.unit

LEDGER = "0x00000000000000000000000000000000000000aa"
PAIR, VOID = {"voided": False}, {"voided": True}


class Scripted(Stage):
    """A stage whose people's commands leave the reports of a script."""

    def play(self, *script: tuple[int, str, str, list[dict[str, bool]]]) -> Scripted:
        self.script, self.told, self.appointed = list(script), [], []
        return self

    def run(self, who: str, command: str, *arguments: object, sign: bool = False) -> int:
        self.told.append(f"{who} {command}")
        if command == "calibrate":
            (self.home(who) / "calibrations").mkdir(parents=True, exist_ok=True)
            (self.home(who) / "calibrations" / "new.json").write_text("measured anew")
            return 0
        code, outcome, reason, pairs = self.script.pop(0)
        folder = self.home(who) / "reports" / LEDGER / "0"
        if command == "reproduce":
            folder = Path(str(arguments[-1]))
        folder.mkdir(parents=True, exist_ok=True)
        report = {"outcome": outcome, "reason": reason, "pairs": pairs}
        (folder / "report.json").write_text(json.dumps(report))
        return code

    def appoint(self, who: str) -> None:
        self.appointed.append(who)


@pytest.fixture
def stage(tmp_path: Path) -> Scripted:
    world = SimpleNamespace(addresses=SimpleNamespace(proposal_ledger=LEDGER))
    return Scripted(folder=tmp_path, world=world, started=0.0)  # type: ignore[arg-type]


GOOD = (0, "reproduced", "improvement-confirmed", [PAIR] * 3)
NOISY = (5, "undecided", "too-noisy", [VOID, VOID])
LATE = (5, "undecided", "too-noisy", [PAIR, VOID, VOID])
MORE = (5, "undecided", "more-pairs-needed", [PAIR] * 8)


def test_a_calm_machine_is_judged_once(stage: Scripted) -> None:
    assert patience.reproduce(stage.play(GOOD), Path("train.py")).name == "better"
    assert stage.told == ["miner reproduce"]


def test_a_machine_that_changed_is_calibrated_for_everybody_and_judged_again(stage: Scripted) -> None:
    assert patience.reproduce(stage.play(NOISY, GOOD), Path("train.py")).name == "better-2"
    assert stage.told == ["miner reproduce", "miner calibrate", "miner reproduce"]
    assert (stage.home("validator") / "calibrations" / "new.json").read_text() == "measured anew"


@pytest.mark.parametrize(
    "found",
    [
        (3, "unimproved", "no-improvement", [PAIR]),
        (3, "refuted", "causality-violated", [PAIR]),
        (5, "undecided", "gate", []),
        (5, "undecided", "unsupported", [PAIR]),
    ],
)
def test_a_verdict_is_not_drawn_again_because_it_is_unwelcome(stage: Scripted, found) -> None:
    with pytest.raises(StepFailed, match="was not reproduced"):
        patience.reproduce(stage.play(found, GOOD), Path("train.py"))
    assert stage.told == ["miner reproduce"]


def test_a_validator_begins_anew_only_where_no_pair_counted(stage: Scripted) -> None:
    assert patience.validate(stage.play((0, *NOISY[1:]), (0, *GOOD[1:])), [0]) == "validator"
    assert stage.appointed == []
    assert patience.validate(stage.play((0, *LATE[1:]), (0, *GOOD[1:])), [0]) == "second-validator"
    assert stage.appointed == ["second-validator"]
    assert stage.told == ["validator validate", "miner calibrate", "second-validator validate"]


def test_a_test_that_wants_pairs_is_continued_without_another_calibration(stage: Scripted) -> None:
    assert patience.validate(stage.play((0, *MORE[1:]), (0, *GOOD[1:])), [0]) == "validator"
    assert stage.told == ["validator validate", "validator validate"]


@pytest.mark.parametrize("found", [NOISY, LATE, MORE])
def test_patience_ends(stage: Scripted, found) -> None:
    with pytest.raises(StepFailed, match="changed under"):
        patience.reproduce(stage.play(*[found] * 9), Path("train.py"))
    with pytest.raises(StepFailed, match="changed under"):
        patience.validate(stage.play(*[(0, *found[1:])] * 9), [0])


def test_a_second_validator_is_appointed_on_the_real_contracts(tmp_path: Path) -> None:
    with Devnet.start(tmp_path / "devnet", engine="embedded") as world:
        real = Stage(folder=tmp_path, world=world, started=0.0)
        registry = patience_registry(real)
        account = real.signer("second-validator").address
        assert not registry.is_verifier(account)
        real.appoint("second-validator")
        real.appoint("second-validator")
        assert registry.is_verifier(account)
        assert registry.verifier_count() == 2


def patience_registry(stage: Stage):
    from armlx_chain.chain.contracts import VerifierRegistry

    return VerifierRegistry(stage.rpc(), stage.world.addresses.verifier_registry)
