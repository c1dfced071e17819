"""How sure a verdict is, in words and for ``--json``."""

from __future__ import annotations

from typing import Any

from verifier.model import Reason, Verdict
from verifier.report import short
from verifier.verdict.prospect import Chances, Prospect, of_verdict

__all__ = ["how_sure", "prospect_tree"]


def how_sure(verdict: Verdict) -> list[str]:
    """How sure that is, in a sentence; nothing where no pair counted."""
    view = of_verdict(verdict)
    if view is not None:
        return [
            f"How sure: the true gain lies between {short(view.gain.low)} and {short(view.gain.high)} with"
            f" {view.gain.confidence:.0%} confidence; another session like this one would say reproduced in"
            f" {view.fresh.reproduced:.1%} of cases, unimproved in {view.fresh.unimproved:.1%}."
        ]
    if verdict.reason is Reason.TOO_NOISY:
        return ["How sure: nobody can say; the runs differ by more than the noise that was calibrated here."]
    return []


def prospect_tree(view: Prospect) -> dict[str, Any]:
    """The same for ``--json``; figures are text."""

    def chances(found: Chances) -> dict[str, str]:
        return {
            "reproduced": str(found.reproduced),
            "unimproved": str(found.unimproved),
            "undecided": str(found.undecided),
            "pairs": str(found.pairs),
        }

    return {
        "pairs": view.pairs,
        "gain": {"low": str(view.gain.low), "high": str(view.gain.high), "formula": view.gain.formula},
        "fresh": chances(view.fresh),
        "continued": chances(view.continued),
        "more_pairs": str(view.more_pairs),
    }
