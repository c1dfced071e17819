"""Runs commands that must be refused, and looks whether anything was sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.tinyworld import STAKE, Ran, TinyWorld, call

UNKNOWN = "0x" + "5c" * 32
NOBODY = "http://127.0.0.1:9"


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
        given = ["submit", "--run", run_log, "--stake", STAKE, "--yes", *self.world.to_oneself("miner")]
        return [*given, *self.key(who), *extra]

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
