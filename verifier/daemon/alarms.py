"""What a person should hear at once, noticed by comparing how things stand after each cycle."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence

from armlx_chain.errors import GuardRefused
from verifier.daemon.logs import about
from verifier.daemon.mode import Mode, ModeKeeper
from verifier.daemon.observer import Alarm, Observer, Silent
from verifier.daemon.rejections import Rejections
from verifier.daemon.results import Result

__all__ = ["Bell"]

log = logging.getLogger(__name__)


class Bell(Silent):
    """An observer that rings the others.

    Args:
        others: Who is told.
        refusals: How often the guard refused a second verdict; may raise ``GuardRefused``.
    """

    def __init__(
        self,
        others: Observer,
        modes: ModeKeeper,
        rejections: Rejections,
        refusals: Callable[[], int] = lambda: 0,
    ) -> None:
        self._others = others
        self._count = refusals
        self._refusals = self._refused() or 0
        self._modes = modes
        self._rejections = rejections
        self._mode = modes.current()
        self._pending = {asked.proposal_id for asked in rejections.pending()}
        self._golds = set(modes.golds())
        self._is_spent = rejections.is_spent()

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        try:
            mode = self._modes.current()
            pending = {asked.proposal_id for asked in self._rejections.pending()}
            golds, is_spent = set(self._modes.golds()), self._rejections.is_spent()
        except sqlite3.Error as error:
            log.warning("alarms could not be looked for: %s", error)
            return
        if mode is Mode.DRY and self._mode is Mode.LIVE:
            self._others.alarm(Alarm.DRY_MODE, self._modes.why())
        for number in sorted(pending - self._pending):
            with about(cycle=cycle_id, proposal=number):
                self._others.alarm(
                    Alarm.REJECTION_WAITS,
                    f"proposal {number} is refuted; look at its report, then: armlx-validator confirm"
                    f" {number}",
                )
        for gold in golds - self._golds:
            if not gold.passed:
                self._others.alarm(Alarm.GOLD_FAILED, gold.sentence)
        if is_spent and not self._is_spent:
            self._others.alarm(
                Alarm.REJECTIONS_SPENT, "as many proposals were rejected today as may be (--max-rejections)"
            )
        refusals = self._refused()
        if refusals is not None and refusals > self._refusals:
            self._others.alarm(
                Alarm.GUARD_REFUSED,
                "the guard refused a second verdict: this key is used elsewhere, or a record was lost; see:"
                " armlx-validator guard show",
            )
        self._refusals = self._refusals if refusals is None else refusals
        self._mode, self._pending = mode, pending
        self._golds, self._is_spent = golds, is_spent

    def _refused(self) -> int | None:
        """``None`` where the guard cannot say; a cycle that needs it stops on that."""
        try:
            return self._count()
        except GuardRefused as error:
            log.warning("the guard's refusals cannot be counted: %s", error.message)
            return None
