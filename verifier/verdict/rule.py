"""The paired sequential test, rule ``paired-sprt/2``.

- Pure: differences in, decision out. Decimals throughout, so that two machines agree to the last digit.
- D is the smaller of validation gain and fresh gain; positive is better.
- m = max(2s, 3 seed spreads, the project's minimum, 0.01); sigma = m/2, never smaller, whatever was measured.
- llr = Σ m(D − m/2)/(2 sigma²), each D clipped to ±4 sigma.
- Reproduced at llr 6.9, never before three pairs, and only if the differences spread no more than s explains;
  where they spread further the test goes on.
- Unimproved at llr −3.0, or when the first pair is worse than −2s.
- Undecided where the differences still spread too far at a refusal, after eight or after twenty-four pairs.
- Undecided after eight pairs; the same machine may continue the same test to twenty-four. How many pairs a
  session may run is no part of the decision: a test that was continued decides as one that was not stopped.
- A candidate that is better by the same amount in every pair never loses an acceptance; one that is better in
  every pair, by whatever amounts, is never refused where it was accepted before.

::

    test = Test.of(noise, project_minimum=Decimal("0.01"))
    state = assess(test, gains, limit=FIRST_LIMIT)
    if state.decision is Decision.ACCEPT:
        score = chained_score(current_best, state.lower_bound)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from typing import Final

from armlx_chain.types import SCORE_SCALE, ScaledScore
from verifier.model import Bpb, Noise, bpb
from verifier.verdict.constants import (
    ACCEPT_AT,
    CLEARLY_WORSE,
    CLIP_SIGMAS,
    EARLY_SPREAD_CONFIDENCE,
    LOOKS,
    MINIMUM_GAIN,
    MINIMUM_PAIRS,
    NOISE_MULTIPLE,
    REJECT_AT,
    SEED_MULTIPLE,
    SPREAD_CONFIDENCE,
)
from verifier.verdict.statistics import PRECISION, mean, spread_bound, standard_deviation

_LLR_QUANTUM: Final = Decimal("1e-9")


class Decision(StrEnum):
    """Where a test stands after some pairs."""

    CONTINUE = "continue"
    ACCEPT = "accept"
    REJECT = "reject"
    """No improvement: the likelihood ratio reached its lower bound."""
    CLEARLY_WORSE = "clearly-worse"
    TOO_NOISY = "too-noisy"
    EXHAUSTED = "exhausted"
    """All pairs of this session are used and the test has not decided."""


@dataclass(frozen=True, slots=True)
class Test:
    """The fixed numbers of one test, in bits per byte.

    Attributes:
        s: Upper 80 percent bound of one run's noise.
        m: The smallest gain the test is made to find.
        sigma: The spread the likelihood assumes: m/2.
    """

    __test__ = False  # not a test case, whatever a test runner makes of the name

    s: Decimal
    m: Decimal

    @classmethod
    def of(cls, noise: Noise, *, project_minimum: Decimal = MINIMUM_GAIN) -> Test:
        """The test for a measured noise and a project's own minimum (which can only raise m)."""
        if noise.s < 0 or noise.seed_spread < 0:
            raise ValueError("A noise is not negative.")
        m = max(
            NOISE_MULTIPLE * noise.s,
            SEED_MULTIPLE * noise.seed_spread,
            Decimal(project_minimum),
            MINIMUM_GAIN,
        )
        return cls(s=noise.s, m=bpb(m))

    @property
    def sigma(self) -> Decimal:
        return self.m / 2

    def clip(self, gain: Decimal) -> Decimal:
        bound = CLIP_SIGMAS * self.sigma
        return max(-bound, min(bound, gain))

    def increment(self, gain: Decimal) -> Decimal:
        """What one pair adds to the log-likelihood ratio."""
        with localcontext() as context:
            context.prec = PRECISION
            return self.m * (self.clip(gain) - self.sigma) / (2 * self.sigma * self.sigma)


@dataclass(frozen=True, slots=True)
class State:
    """A test after the pair that decided it, or after all pairs so far.

    Attributes:
        decision: Where it stands.
        used: How many pairs the decision rests on; later ones are not looked at.
        llr: Log-likelihood ratio after those pairs, to nine digits.
        mean_gain: Mean of the unclipped differences, ``None`` without pairs.
        lower_bound: L = mean gain − s·√(2/n), ``None`` without pairs.
        spread: Standard deviation of the differences, ``None`` for fewer than two.
        spread_bound: The most that s explains with 99 percent.
    """

    decision: Decision
    used: int
    llr: Decimal
    mean_gain: Bpb | None = None
    lower_bound: Bpb | None = None
    spread: Bpb | None = None
    spread_bound: Bpb | None = None


def pair_gain(
    control: tuple[Decimal, Decimal],
    candidate: tuple[Decimal, Decimal],
    *,
    disadvantage: Decimal = Decimal(0),
) -> Bpb:
    """D of one pair: the smaller of validation gain and fresh gain, less the control's disadvantage.

    Args:
        control, candidate: (validation, fresh) bits per byte; less is better.
        disadvantage: By how much the best on the ledger is better than this control, where an earlier best
            had to serve as control.
    """
    gains = (before - after for before, after in zip(control, candidate, strict=True))
    return bpb(min(gains) - disadvantage)


def lower_bound(gains: Sequence[Decimal], s: Decimal) -> Bpb:
    """L = D̄ − s·√(2/n): what of the mean gain enters the ledger."""
    with localcontext() as context:
        context.prec = PRECISION
        return bpb(mean(gains) - s * (Decimal(2) / len(gains)).sqrt())


def chained_score(current_best: ScaledScore, lower: Decimal) -> ScaledScore:
    """C + max(1, ⌊10⁶·L⌋): the score an accepted candidate gets on the ledger."""
    return ScaledScore(current_best + max(1, scaled_gain(lower)))


def scaled_gain(gain: Decimal) -> int:
    """⌊10⁶·gain⌋, as a claim adds it to the current best."""
    with localcontext() as context:
        context.prec = PRECISION
        return int((gain * SCORE_SCALE).to_integral_value(rounding=ROUND_FLOOR))


def assess(test: Test, gains: Sequence[Decimal], *, limit: int) -> State:
    """Apply the rule to the differences in order; the first decision stands.

    Args:
        gains: D of each pair that counts, oldest first.
        limit: Pairs after which the session stops without a decision (8, continued up to 24).
    """
    total = Decimal(0)
    for used, gain in enumerate(gains[:limit], start=1):
        with localcontext() as context:
            context.prec = PRECISION
            total += test.increment(gain)
        llr = total.quantize(_LLR_QUANTUM, rounding=ROUND_HALF_EVEN)
        seen = gains[:used]
        decision = _decide(test, seen, llr)
        if decision is Decision.CONTINUE and used == limit:
            decision = Decision.EXHAUSTED
        if decision is not Decision.CONTINUE:
            return _state(test, decision, seen, llr)
    llr = total.quantize(_LLR_QUANTUM, rounding=ROUND_HALF_EVEN)
    return _state(test, Decision.CONTINUE, gains[:limit], llr)


def _decide(test: Test, seen: Sequence[Decimal], llr: Decimal) -> Decision:
    """What the rule says after these pairs; it does not know how many more this session may run."""
    if len(seen) == 1 and seen[0] < -CLEARLY_WORSE * test.s:
        return Decision.CLEARLY_WORSE
    look = len(seen) in LOOKS
    rejected = llr <= REJECT_AT
    # At every pair a spread beyond the bound would be found in three percent of honest tests, not in one.
    if (rejected or look) and _spreads_too_far(test, seen, SPREAD_CONFIDENCE):
        return Decision.TOO_NOISY
    if rejected:
        return Decision.REJECT
    accepted = llr >= ACCEPT_AT and len(seen) >= MINIMUM_PAIRS
    if accepted and (look or not _spreads_too_far(test, seen, EARLY_SPREAD_CONFIDENCE)):
        return Decision.ACCEPT
    return Decision.CONTINUE


def _spreads_too_far(test: Test, gains: Sequence[Decimal], confidence: float) -> bool:
    bound = spread_bound(test.s, len(gains), confidence) if len(gains) >= 2 else None
    return bound is not None and standard_deviation(gains) > bound


def _state(test: Test, decision: Decision, gains: Sequence[Decimal], llr: Decimal) -> State:
    several = len(gains) >= 2
    return State(
        decision=decision,
        used=len(gains),
        llr=llr,
        mean_gain=mean(gains) if gains else None,
        lower_bound=lower_bound(gains, test.s) if gains else None,
        spread=bpb(standard_deviation(gains)) if several else None,
        spread_bound=spread_bound(test.s, len(gains)) if several else None,
    )
