"""The checks of ``/readyz``: whether a proposal that arrived now could be judged.

They ask the same as ``doctor``, with connections and files of their own: they run in a thread of the health
server, beside the daemon, and must not share what the daemon works with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.errors import VerifierFault
from verifier.daemon.health import Look, Standing

if TYPE_CHECKING:
    from armlx_chain.cli.context import App
    from armlx_chain.cli.doctoring.findings import Check

__all__ = ["calibration_look", "network_looks", "sandbox_look", "seldom"]

SANDBOX_SECONDS: Final = 600.0
"""A sandbox that started a program is not tried again so soon."""


def network_looks(app: App) -> dict[str, Look]:
    """Chain and storage, as ``doctor`` looks at them; with connections of their own."""
    from armlx_chain.cli.doctoring.network import network_checks

    looks: dict[str, Look] = {}
    for check in network_checks(replace(app)):  # nothing that the daemon opened is cached in a copy
        looks[check.title] = _look(check)
    return looks


def sandbox_look(now: Callable[[], float] = time.monotonic) -> Look:
    """A first program in the sandbox; a success counts for a while."""

    def look() -> Standing:
        from verifier.sandbox.select import default_sandbox

        sandbox = default_sandbox()
        sandbox.check()
        return Standing(True, f"{sandbox.name} starts a program without rights")

    return seldom(look, SANDBOX_SECONDS, now)


def calibration_look(folder: Path, now: Callable[[], datetime] = lambda: datetime.now(tz=UTC)) -> Look:
    """Whether any calibration of this machine still holds; which one a project needs is not known before."""

    def look() -> Standing:
        from verifier.calibrationfile import decode

        said = "this machine was never calibrated: armlx-validator calibrate --project N"
        for path in sorted(folder.glob("*.json")):
            try:
                stored = decode(path.read_bytes(), name=path.name)
            except VerifierFault as error:
                said = error.message
                continue
            problem = stored.age_problem(now())
            if problem is None:
                return Standing(True, f"{stored.noise.hardware_class}: holds until {stored.ends_at:%Y-%m-%d}")
            said = problem
        return Standing(False, said)

    return look


def seldom(look: Look, seconds: float, now: Callable[[], float] = time.monotonic) -> Look:
    """A look whose good answers count for a while; bad ones are always looked at again."""
    turn = threading.Lock()
    known: list[tuple[float, Standing]] = []

    def answer() -> Standing:
        with turn:
            if known and now() - known[0][0] < seconds:
                return known[0][1]
            known.clear()
            found = look()
            if found.is_ready:
                known.append((now(), found))
            return found

    return answer


def _look(check: Check) -> Look:
    def look() -> Standing:
        found = list(check.look())
        faults = [one for one in found if one.state == "fault"]
        shown = faults or found
        return Standing(not faults, _sentence((one.name, one.seen, one.next_step) for one in shown))

    return look


def _sentence(parts: Iterable[tuple[str, str, str]]) -> str:
    return "; ".join(f"{name}: {seen}" + (f" ({step})" if step else "") for name, seen, step in parts)
