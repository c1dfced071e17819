"""Causality probes: what is predicted before a position may not depend on what comes from it on. Pure.

- A probe takes a real row and a drawn position p and replaces everything from p on by another real row's
  tokens, with a different token at p. Predictions at positions before p must stay where they were.
- Probes share their batches with rows that the originals did not share theirs with, in other places, so a
  model that looks across the rows of a batch moves as well.
- A model that looks ahead on a fraction φ of positions passes N probes with probability (1 − φ)^N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from verifier.harness.draw import Draw
from verifier.harness.scoring import Doubles, Floats, Tokens, block_positions, log_normalisers

TOLERANCE: Final = 2e-3
"""How far a log-probability may move, in nats (trusted evaluation, section 2; honest models move by 0)."""
_DONOR_TRIES: Final = 64


@dataclass(frozen=True, slots=True)
class Probe:
    """One altered row.

    Attributes:
        row: Index of the original among the rows of the evaluation.
        position: p, the first altered position; 1 or more.
        tokens: The altered row.
    """

    row: int
    position: int
    tokens: Tokens


def draw_probes(rows: Tokens, count: int, draw: Draw) -> list[Probe]:
    """``count`` probes over the rows, spread evenly: no row gets a second one before all have one.

    Rows that equal every donor from some position on cannot be altered there and are passed over.
    """
    total, length = rows.shape
    probes: list[Probe] = []
    order: list[int] = []
    for _ in range(count):
        order = order or draw.permutation(total)
        row = order.pop()
        position = 1 + draw.below(length - 1)
        for _ in range(_DONOR_TRIES):
            donor = draw.below(total)
            if rows[donor, position] != rows[row, position]:
                tokens = np.concatenate([rows[row, :position], rows[donor, position:]])
                probes.append(Probe(row, position, tokens))
                break
    return probes


def movement(original: Floats, altered: Floats, position: int) -> float:
    """The largest move of any log-probability before ``position``, in nats.

    Args:
        original, altered: Logits of the original and of the altered row, shape (length, outputs).

    Raises:
        LogitsNotFinite: if a logit is infinite or not a number.
    """
    step = block_positions(original.shape[1])
    blocks = (slice(start, min(start + step, position)) for start in range(0, position, step))
    return max((block_movement(original[block], altered[block]) for block in blocks), default=0.0)


def block_movement(before: Floats, after: Floats) -> float:
    """The same over all positions of a block."""
    if np.array_equal(before, after):
        return 0.0
    shift: Doubles = log_normalisers(after) - log_normalisers(before)
    # Each below its own largest logit: what is common to a position's logits must not hide how they differ.
    moved = np.subtract(after, after.max(axis=-1, keepdims=True), dtype=np.float64)
    moved -= np.subtract(before, before.max(axis=-1, keepdims=True), dtype=np.float64)
    moved -= shift[:, None]
    return float(np.abs(moved, out=moved).max())


@dataclass(slots=True)
class ProbeTally:
    """What the probes showed so far."""

    probes: int = 0
    violations: int = 0
    largest: float = 0.0
    first_row: int | None = None
    first_position: int | None = None

    def add(self, probe: Probe, moved: float) -> None:
        self.probes += 1
        self.largest = max(self.largest, moved)
        if moved > TOLERANCE:
            self.violations += 1
            if self.first_row is None:
                self.first_row, self.first_position = probe.row, probe.position

    def figures(self) -> dict[str, str]:
        """For the audit: counts, the largest move in nats, the first violation."""
        figures = {
            "probes": str(self.probes),
            "violations": str(self.violations),
            "largest-move-nats": f"{self.largest:.9g}",
            "tolerance-nats": f"{TOLERANCE:g}",
        }
        if self.first_row is not None:
            figures["first-violation"] = f"row {self.first_row}, position {self.first_position}"
        return figures
