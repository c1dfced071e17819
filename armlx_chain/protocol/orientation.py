"""Whether a project was published the right way round.

The ledger accepts only greater scores. A project whose metric should go down, published with a positive
baseline, can never reward an improvement. Nothing here re-encodes anything: a wrong sign is a reason to stop.

Source: the contracts specification, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from armlx_chain.protocol.model import Direction
from armlx_chain.protocol.score import encode_score, score_text
from armlx_chain.protocol.strict_json import shorten
from armlx_chain.types import SCORE_SCALE

__all__ = ["Orientation", "OrientationKind", "classify_orientation"]


class OrientationKind(StrEnum):
    CONSISTENT = "consistent"
    SIGN_ONLY = "sign-only"
    """The sign fits the direction; the document states no baseline value to compare with."""
    WRONG_SIGN = "wrong-sign"
    OTHER_SCALE = "other-scale"
    MISMATCH = "mismatch"
    UNKNOWN_DIRECTION = "unknown-direction"


@dataclass(frozen=True, slots=True)
class Orientation:
    """The finding about one project.

    Attributes:
        kind: Which row of the table applies.
        stop: Whether buying, staking, mining and reviewing must stop here.
        sentences: What to tell a person, in order; contains the raw integers beside the decoded figures.
        expected: The score that the document's baseline value encodes to, where one is known.
    """

    kind: OrientationKind
    stop: bool
    sentences: tuple[str, ...]
    expected: int | None = None


def classify_orientation(
    *,
    direction: Direction | None,
    baseline_value: Decimal | None,
    baseline: int,
    best: int,
    metric: str = "the metric",
    scale: int = SCORE_SCALE,
) -> Orientation:
    """Compare what a project's document says with what the ledger holds.

    Args:
        direction: From the protocol document; ``None`` if the document is unavailable.
        baseline_value: The metric's value at the baseline, from the document or the baseline's own log.
        baseline: B, as recorded.
        best: C, as recorded.
        metric: The metric's name.
        scale: Raw units per unit of the metric.

    Raises:
        MetricError: if the baseline value cannot be encoded.
    """
    shown_name = metric if metric.isidentifier() and metric.isascii() else shorten(metric)
    facts = _Facts(direction, baseline, best, shown_name, scale)
    if direction is None:
        return _unknown_direction(facts)
    if baseline_value is None:
        return _by_sign(facts)
    expected = encode_score(baseline_value, direction, scale=scale)
    if baseline == expected:
        return Orientation(OrientationKind.CONSISTENT, False, (_right_way(facts),), expected)
    if direction == "minimize" and baseline == -expected and baseline > 0:
        return Orientation(OrientationKind.WRONG_SIGN, True, _wrong_sign(facts), expected)
    if _power_of_ten_apart(baseline, expected):
        return Orientation(OrientationKind.OTHER_SCALE, True, _other_scale(facts, expected), expected)
    return Orientation(OrientationKind.MISMATCH, True, _mismatch(facts, expected), expected)


@dataclass(frozen=True, slots=True)
class _Facts:
    direction: Direction | None
    baseline: int
    best: int
    metric: str
    scale: int

    def show(self, raw: int) -> str:
        return f"{score_text(raw, scale=self.scale)} (raw {raw})"


def _by_sign(facts: _Facts) -> Orientation:
    """No baseline value to compare: the sign alone decides. Metric values are never negative."""
    if facts.direction == "minimize":
        if facts.baseline > 0:
            return Orientation(OrientationKind.WRONG_SIGN, True, _wrong_sign(facts))
        if facts.baseline == 0:
            return Orientation(OrientationKind.MISMATCH, True, (_zero_minimised(facts),))
    elif facts.baseline < 0:
        return Orientation(OrientationKind.MISMATCH, True, (_negative_maximised(facts),))
    sentences = (
        _right_way(facts),
        "The document states no baseline value, so only the sign could be checked.",
    )
    return Orientation(OrientationKind.SIGN_ONLY, False, sentences)


def _right_way(facts: _Facts) -> str:
    way = "down" if facts.direction == "minimize" else "up"
    return (
        f"{facts.metric} should go {way}, and the baseline {facts.show(facts.baseline)} is recorded the "
        "right way round: a greater score is a better result."
    )


def _wrong_sign(facts: _Facts) -> tuple[str, ...]:
    first = (
        f"This project was published with the wrong sign: {facts.metric} should go down, but its baseline "
        f"was recorded as {facts.show(facts.baseline)}."
    )
    second = (
        f"The contract accepts only scores above {facts.show(facts.best)}, so a real improvement cannot be "
        "approved, and a stake on one would be lost by rejection or expiry."
    )
    way_out = (
        f"Do not buy, stake, mine or review here. The project must be published again with the negative "
        f"baseline {-facts.baseline}; a recorded baseline cannot be changed."
    )
    return (first, second, *_worse_best(facts), way_out)


def _worse_best(facts: _Facts) -> tuple[str, ...]:
    if not (facts.direction == "minimize" and facts.best > facts.baseline > 0):
        return ()
    return (
        f"The recorded best {facts.show(facts.best)} is worse than the baseline {facts.show(facts.baseline)} "
        "by the project's own metric, or it uses a private encoding that the chain does not explain.",
    )


def _other_scale(facts: _Facts, expected: int) -> tuple[str, ...]:
    sentences = [
        f"The baseline is recorded as {facts.baseline}, but the document's value encodes to {expected} at a "
        f"scale of {facts.scale}: the two differ by a power of ten.",
        "State the scale explicitly; nothing is bought, staked or sent before.",
    ]
    if (facts.baseline > 0) != (expected > 0):
        sentences.insert(1, f"The sign differs too: {facts.metric} is to be {facts.direction}d.")
    return (*sentences, *_worse_best(facts))


def _mismatch(facts: _Facts, expected: int) -> tuple[str, ...]:
    return (
        f"The recorded baseline {facts.show(facts.baseline)} does not match the protocol document, whose "
        f"value encodes to {expected}. Stop: what this project measures cannot be told from its record.",
        *_worse_best(facts),
    )


def _zero_minimised(facts: _Facts) -> str:
    return (
        f"{facts.metric} should go down and its values are never negative, but the recorded baseline is 0: "
        "no result can be greater. Stop: nothing can be approved here."
    )


def _negative_maximised(facts: _Facts) -> str:
    return (
        f"{facts.metric} should go up and its values are never negative, but the recorded baseline is "
        f"{facts.show(facts.baseline)}: it does not match the protocol document. Stop."
    )


def _unknown_direction(facts: _Facts) -> Orientation:
    sentences = [
        "The protocol document is unavailable, so it is not known whether the metric should go up or down.",
        f"The ledger holds baseline {facts.show(facts.baseline)} and best {facts.show(facts.best)}.",
    ]
    if facts.baseline > 0:
        sentences.append("If the metric should go down, no improvement can ever be approved here.")
    sentences.append("State the direction before anything is bought, staked or sent.")
    return Orientation(OrientationKind.UNKNOWN_DIRECTION, True, tuple(sentences))


def _power_of_ten_apart(one: int, other: int) -> bool:
    """Whether |one| = |other|·10^k with k ≠ 0."""
    small, large = sorted((abs(one), abs(other)))
    if small == 0 or small == large:
        return False
    ratio, rest = divmod(large, small)
    while rest == 0 and ratio % 10 == 0:
        ratio //= 10
    return rest == 0 and ratio == 1
