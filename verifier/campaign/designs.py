"""Ways to judge a proposal: the rule, its earlier version, and others to compare it with, on the same runs.

- The naive ones accept or refuse; they know no undecided outcome. What they refuse is rejected, and a
  rejection slashes.
- A claim has to beat the record, or the ledger does not take it; that holds for every design that looks at
  the claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verifier.campaign.conditions import Runs
from verifier.verdict.constants import FIRST_LIMIT, NOISE_MULTIPLE
from verifier.verdict.many import ACCEPT, CLEARLY, NOISY, REJECT, Ends, Floats, Variant, decide_many

S_BPB: Final = 0.01
"""Bits per byte that one s stands for where a naive rule has a tolerance in bits per byte."""

TOLERANCE_BPB: Final = 0.03
"""Of the naive rule that compares one re-run with the claim (specification)."""

EQUALITY_BPB: Final = 0.5e-6
"""Two figures that are printed alike with six digits differ by no more."""

Accepted = NDArray[np.bool_]
Judge = Callable[[Runs, float], Accepted]


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of many proposals under the rule.

    Attributes:
        noisy, more: The two ways to end undecided: the differences spread too far, more pairs are needed.
        pairs: Pairs used by all of them together.
    """

    proposals: int = 0
    accepted: int = 0
    unimproved: int = 0
    noisy: int = 0
    more: int = 0
    pairs: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.proposals + other.proposals,
            self.accepted + other.accepted,
            self.unimproved + other.unimproved,
            self.noisy + other.noisy,
            self.more + other.more,
            self.pairs + other.pairs,
        )

    @classmethod
    def of(cls, ends: Ends) -> Tally:
        """Count how tests ended."""
        accepted = int(np.sum(ends.codes == ACCEPT))
        unimproved = int(np.sum((ends.codes == REJECT) | (ends.codes == CLEARLY)))
        noisy = int(np.sum(ends.codes == NOISY))
        rest = len(ends.codes) - accepted - unimproved - noisy
        return cls(len(ends.codes), accepted, unimproved, noisy, rest, int(np.sum(ends.used)))


def paired_test(runs: Runs, gain: float) -> Ends:
    """The rule itself, on up to 24 pairs."""
    return _sequential(runs.gains(gain), runs.s)


def _sequential(gains: Floats, s: Floats, variant: Variant | None = None) -> Ends:
    return decide_many(gains, s=s, m=NOISE_MULTIPLE * s, variant=variant or Variant())


def _accepts(ends: Ends) -> Accepted:
    return np.asarray(ends.codes == ACCEPT)


def _version_one(runs: Runs, gain: float) -> Accepted:
    return _accepts(_sequential(runs.gains(gain)[:, :FIRST_LIMIT], runs.s, Variant(go_on=False)))


def _bare(runs: Runs, gain: float) -> Accepted:
    bare = Variant(clip=False, minimum_pairs=1, spread_check=False)
    return _accepts(_sequential(runs.gains(gain)[:, :FIRST_LIMIT], runs.s, bare))


def _point_estimate(runs: Runs, gain: float) -> Accepted:
    return _accepts(_sequential(runs.gains(gain)[:, :FIRST_LIMIT], runs.point))


def _controls_first(runs: Runs, gain: float) -> Accepted:
    return _accepts(_sequential(runs.gains_controls_first(gain), runs.s))


def _rerun(runs: Runs, gain: float, claims: Floats, tolerance: float) -> Accepted:
    """One re-run is as the claim says, and the claim beats the record."""
    claim = claims.min(axis=1) - gain
    rerun = runs.candidate[:, 0] - gain
    return np.asarray((np.abs(rerun - claim) < tolerance / S_BPB) & (claim < runs.record))


def _equality(runs: Runs, gain: float) -> Accepted:
    return _rerun(runs, gain, runs.claims[:, :1], EQUALITY_BPB)


def _near_honest_claim(runs: Runs, gain: float) -> Accepted:
    return _rerun(runs, gain, runs.claims[:, :1], TOLERANCE_BPB)


def _near_lucky_claim(runs: Runs, gain: float) -> Accepted:
    return _rerun(runs, gain, runs.claims, TOLERANCE_BPB)


def _mean_of_three(runs: Runs, gain: float) -> Accepted:
    return np.asarray(runs.candidate[:, :3].mean(axis=1) - gain < runs.record)


OTHERS: Final[dict[str, Judge]] = {
    "equal to six digits": _equality,
    "one re-run near an honest claim": _near_honest_claim,
    "one re-run near a lucky claim": _near_lucky_claim,
    "mean of three beats the record": _mean_of_three,
    "controls first": _controls_first,
    "point estimate of s": _point_estimate,
    "no clip, minimum or spread check": _bare,
    "paired-sprt/1": _version_one,
}
"""What the rule is compared with, by name. All but the last are known to be wrong."""
