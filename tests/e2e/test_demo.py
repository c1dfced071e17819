"""The whole story, as a new user starts it, in a process of its own."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from armlx_chain.formats.verdictpack import VerdictPack
from verifier.model import Outcome
from verifier.replay import Holds, replay

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(1600)
def test_every_act_is_played_and_holds(story: tuple[str, Path]) -> None:
    text, _ = story
    for number in range(1, 8):
        assert f"━━ {number}. " in text
    assert "The whole story held" in text


def test_the_lying_gateway_is_named(story: tuple[str, Path]) -> None:
    text, _ = story
    liar = re.search(r"A gateway at (http://127\.0\.0\.1:\d+) turns over one bit", text)
    assert liar is not None
    assert f"warning: {liar.group(1)}: wrong-bytes" in text


def test_the_honest_claim_is_approved_and_the_cheats_are_not(story: tuple[str, Path]) -> None:
    text, _ = story
    assert "proposal 0: approved — reproduced (improvement-confirmed)" in text
    assert re.search(r"proposal 1: left — unimproved \([a-z-]+\)", text)
    assert "proposal 2: rejected — refuted (causality-violated)" in text


def test_each_verdict_left_a_report_with_its_samples(story: tuple[str, Path]) -> None:
    _, folder = story
    reports = {}
    for path in sorted(folder.glob("*validator/reports/*/*/report.json"), reverse=True):
        report = json.loads(path.read_text())
        if report["outcome"] != "undecided":  # one that another validator took over
            reports[path.parent.name] = report
    assert {number: report["outcome"] for number, report in reports.items()} == {
        "0": "reproduced",
        "1": "unimproved",
        "2": "refuted",
    }
    approved = reports["0"]
    assert len(approved["pairs"]) >= 3
    assert all(pair["candidate"]["validation"] for pair in approved["pairs"])


def test_each_verdict_replays_from_what_it_left_behind(story: tuple[str, Path]) -> None:
    _, folder = story
    found = {}
    for path in sorted(folder.glob("*validator/reports/*/*/verdict.tar"), reverse=True):
        replayed = replay(VerdictPack.parse(path.read_bytes()))
        assert replayed.is_sound, [check for check in replayed.checks if check.holds is Holds.NO]
        if replayed.outcome is not Outcome.UNDECIDED:
            found[path.parent.name] = replayed
    assert {number: replayed.is_signed for number, replayed in found.items()} == {
        "0": True,
        "1": False,
        "2": True,
    }
    for replayed in found.values():
        left_open = {check.name for check in replayed.checks if check.holds is Holds.OPEN}
        assert left_open <= {"signature"}, "real runs leave logs, environment and a listed noise record"


def test_only_two_verdicts_were_signed(story: tuple[str, Path]) -> None:
    _, folder = story
    signed: list[int] = []
    for path in folder.glob("*validator/guard.sqlite"):
        with sqlite3.connect(path) as guard:
            signed += [int(row[0]) for row in guard.execute("SELECT proposal_id FROM verdicts")]
        guard.close()
    assert sorted(signed) == [0, 2]


def test_no_key_or_passphrase_is_written_where_it_does_not_belong(story: tuple[str, Path]) -> None:
    text, folder = story
    passphrase = (folder / "passphrase").read_text().strip()
    # The second and third key of the well-known test mnemonic: miner and validator.
    keys = [
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    ]
    for secret in (passphrase, *keys):
        assert secret not in text
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "passphrase" and path.stat().st_size < 8 << 20:
                assert secret.encode() not in path.read_bytes(), f"{path} holds a secret"
