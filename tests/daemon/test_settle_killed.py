"""``kill -9`` at every instant of settling a verdict: one signature, one settlement, one reward."""

from __future__ import annotations

import json

import pytest

from tests.daemon.settling import BROADCASTS, EVENTS, Settling
from tests.faults.processes import Launcher
from tests.faults.tinyworld import TinyWorld

pytestmark = pytest.mark.e2e


@pytest.fixture(params=[False, True], ids=["approve", "reject"])
def settling(request: pytest.FixtureRequest, world: TinyWorld) -> Settling:
    return Settling.begin(world, looks_ahead=request.param)


REJECTIONS = ("signed",)
"""Publishing and claiming are the same for both; a rejection's own transaction is the last one alone."""


@pytest.mark.parametrize(
    ("settling", "event"),
    [*((False, event) for event in EVENTS), *((True, event) for event in REJECTIONS)],
    indirect=["settling"],
    ids=lambda value: {False: "approve", True: "reject"}.get(value, value),
)
def test_killed_at_every_broadcast_in_turn_a_verdict_is_settled_once(
    settling: Settling, launcher: Launcher, event: str
) -> None:
    for number, name in enumerate(BROADCASTS, start=1):
        ended = settling.run(launcher, "--auto-reject", event=event, number=1)
        assert ended.was_killed, (name, ended.text)
        sent = number - 1 if event == "signed" else number
        assert settling.world.nonce("validator") == settling.nonce + sent, name
    ended = settling.run(launcher, "--auto-reject")
    assert ended.code == 0, ended.text
    settling.require_settled_once()


GUARD = "armlx_chain.signing.guard:SingleSignGuard.check_and_insert"
STORE = "verifier.daemon.store:FindingStore"


@pytest.mark.parametrize(
    ("settling", "call", "when"),
    [
        pytest.param(False, f"{STORE}.judged", "before", id="approve-judged-not-recorded"),
        pytest.param(False, f"{STORE}.judged", "after", id="approve-recorded"),
        pytest.param(False, GUARD, "after", id="approve-in-the-guard-not-signed"),
        pytest.param(False, f"{STORE}.signed", "before", id="approve-signed-not-kept"),
        pytest.param(False, f"{STORE}.signed", "after", id="approve-kept"),
        pytest.param(True, GUARD, "after", id="reject-in-the-guard-not-signed"),
        pytest.param(True, f"{STORE}.signed", "before", id="reject-signed-not-kept"),
    ],
    indirect=["settling"],
)
def test_killed_round_the_signature_one_verdict_is_signed(
    settling: Settling, launcher: Launcher, call: str, when: str
) -> None:
    killed = settling.run(launcher, "--auto-reject", call=call, when=when, number=1)
    assert killed.was_killed, killed.text
    assert settling.world.nonce("validator") == settling.nonce, "nothing is sent before the signature is kept"
    entered = settling.rows("guard.sqlite", "verdicts") if (settling.home / "guard.sqlite").exists() else []
    again = settling.run(launcher, "--auto-reject")
    assert again.code == 0, again.text
    signed = settling.require_settled_once()
    if entered:
        assert settling.rows("guard.sqlite", "verdicts") == entered
        assert entered[0][-1] == signed.attestation.encode()


def test_killed_before_the_end_is_noted_the_next_pass_notes_it_and_sends_nothing(
    settling: Settling, launcher: Launcher
) -> None:
    killed = settling.run(launcher, "--auto-reject", event="mined", number=len(BROADCASTS))
    assert killed.was_killed, killed.text
    again = settling.run(launcher, "--auto-reject")
    (result,) = json.loads(again.text[again.text.index("{") :])["proposals"]
    assert result["step"] in ("approved", "rejected")
    settling.require_settled_once()
    third = settling.run(launcher, "--auto-reject")
    assert json.loads(third.text[third.text.index("{") :])["proposals"] == []
    settling.require_settled_once()
