"""Whether a bundle's measurements can be what they are said to be, as far as they themselves tell. Pure.

- The noise record must list the runs that its figures come from, as many as the rule demands, or say in which
  way it is weaker.
- No run counts twice. Runs that left the same log, which states times, are named. Equal models are counted:
  the same number of steps from one seed can give them, and so can a copied run.
- A model that came later than any deadline from these reference times would allow is named.
"""

from __future__ import annotations

import statistics as basic
from collections.abc import Collection, Hashable, Iterator, Sequence

from verifier.model import Ending, Noise, RunRecord, bpb
from verifier.report import plain
from verifier.verdict.constants import CALIBRATION_RUNS, MARGIN_LIMIT, SEED_RUNS
from verifier.verdict.statistics import mean, standard_deviation, upper_bound

__all__ = ["Named", "alike", "late", "noise_problem", "noise_words", "one_run_twice", "runs_words"]

Named = Sequence[tuple[str, RunRecord]]
"""Runs with their names, as a case lists them."""


def noise_problem(noise: Noise) -> str | None:
    """Why the noise record contradicts itself or the rule; ``None`` where it does not."""
    if len(noise.scores) != noise.runs or noise.runs < 2:
        return f"the scores of its {noise.runs} runs are not listed"
    if noise.shortcut is None and (noise.runs < CALIBRATION_RUNS or len(noise.seed_scores) < SEED_RUNS):
        return (
            f"it lists {noise.runs} control runs and {len(noise.seed_scores)} seed runs, where the rule "
            f"demands {CALIBRATION_RUNS} and {SEED_RUNS}, and does not say so"
        )
    try:
        return _figures_problem(noise)
    except (ValueError, ArithmeticError):
        return "its figures are none"


def _figures_problem(noise: Noise) -> str | None:
    least = upper_bound(noise.scores)
    if noise.s < least:
        return f"s is {noise.s}, its own runs bound it by {least}"
    if noise.control_mean != mean(noise.scores):
        return "the controls' mean is not that of its runs"
    if len(noise.seed_scores) >= 2:
        spread = bpb(standard_deviation(noise.seed_scores))
        if noise.seed_spread < spread:
            return f"the seed spread is {noise.seed_spread}, its own runs spread by {spread}"
    return None


def noise_words(noise: Noise) -> str:
    """What a sound noise record says. Fresh scores, which can only raise s, are not in it."""
    weak = "" if noise.shortcut is None else f"; weaker than the rule demands: {plain(noise.shortcut, 300)}"
    least = upper_bound(noise.scores)
    more = "" if noise.s == least else f", whose validation scores alone bound it by {least}"
    return f"s = {noise.s} from {noise.runs} listed runs{more}{weak}"


def one_run_twice(runs: Named, kept: Collection[str]) -> str | None:
    """Two entries of one run: no two runs have the same log and the same times to the last digit."""
    keys = [(name, (run.log_sha256, run.wall_seconds, run.cpu_seconds)) for name, run in runs if name in kept]
    return next((f"{first} and {second} are one and the same run" for first, second in _equal(keys)), None)


def alike(runs: Named, kept: Collection[str]) -> str | None:
    """Runs that left the same log, as a sentence."""
    found = list(_equal([(name, run.log_sha256) for name, run in runs if name in kept]))
    if not found:
        return None
    first, second = found[0]
    return f"{first} and {second} left the same log ({len(found)} such): one may be a copy"


def runs_words(runs: Named) -> str:
    """What is said of runs that are not listed twice."""
    models = len(list(_equal([(name, run.graph_sha256) for name, run in runs if run.graph_sha256])))
    same = f"; {models} left a model that an earlier one left, bit for bit" if models else ""
    return f"{len(runs)} runs, none of them listed twice{same}"


def late(runs: Named, noise: Noise | None) -> str | None:
    """A run whose model came later than the widest margin allows, as a sentence.

    The deadline itself follows from the benchmark's budget, which a bundle does not hold; the snapshot's own
    time is at least that budget in any benchmark that uses it up.
    """
    if noise is None or not noise.reference_seconds:
        return None
    most = basic.median(noise.reference_seconds) * (1 + MARGIN_LIMIT)
    for name, run in runs:
        seconds = run.seconds_to_graph
        if run.ending is Ending.GRAPH and seconds is not None and not seconds <= most:
            return (
                f"{name} took {seconds:.1f} s to its model, the snapshot with every margin {most:.1f} s: "
                "whether that was within the deadline is not in the bundle"
            )
    return None


def _equal(keys: Sequence[tuple[str, Hashable]]) -> Iterator[tuple[str, str]]:
    """Each name whose key an earlier one had, with the first that had it."""
    first: dict[Hashable, str] = {}
    for name, key in keys:
        if first.setdefault(key, name) != name:
            yield first[key], name
