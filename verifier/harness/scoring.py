"""From logits to bits per byte, in the verifier's own hands. Pure.

- Normalised here: log-softmax over the whole output in float64, whatever the model calls its output.
- Targets, byte table and the number of rows are the verifier's own.
- A token that stands for no bytes counts in neither sum, as in the benchmark's ``evaluate_bpb``:
  bpb = Σ nats / (ln 2 · Σ bytes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from armlx_chain.errors import LogitsNotFinite, ModelUnsupported
from verifier.model import Bpb, bpb

Tokens = NDArray[np.int32]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BLOCK_LOGITS: Final = 1 << 18
"""Logits that are turned to float64 at a time: what stays in a core's cache is four times as fast."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Token rows: what the model sees, and what it must predict. Shape (count, length) both."""

    inputs: Tokens
    targets: Tokens

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def take(self, indices: list[int]) -> Rows:
        return Rows(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True, slots=True)
class RowScores:
    """Per row: the nats of its counted tokens and the bytes they stand for."""

    nats: Doubles
    sizes: NDArray[np.int64]

    def bits_per_byte(self) -> Bpb:
        """Over all rows together.

        Raises:
            ModelUnsupported: if no token stands for text.
        """
        total = int(self.sizes.sum())
        if total == 0:
            raise ModelUnsupported("No token of these rows stands for text, so there is nothing to score.")
        return bpb(math.fsum(self.nats.tolist()) / (math.log(2) * total))

    @property
    def bits(self) -> Doubles:
        return self.nats / math.log(2)


def block_positions(outputs: int) -> int:
    """How many positions make a block."""
    return max(1, BLOCK_LOGITS // outputs)


def blocks(start: int, stop: int, outputs: int) -> Iterator[tuple[int, int]]:
    """Positions from ``start`` up to ``stop``, block by block: the first of each, and where it ends."""
    step = block_positions(outputs)
    return ((place, min(place + step, stop)) for place in range(start, stop, step))


def log_normalisers(logits: Floats) -> Doubles:
    """ln Σ exp of each position's logits, *above the largest of them*, shape (positions,), in float64.

    Never less than 0 nor more than ln of the outputs. The largest logit is not added: beside one of 1e30 the
    sum's logarithm would vanish from a double, and every token would seem certain. The figure of a position
    depends on its own logits alone, not on the positions beside it.

    Raises:
        LogitsNotFinite: if a logit is infinite or not a number.
    """
    found = np.empty(logits.shape[0], dtype=np.float64)
    step = block_positions(logits.shape[1])
    for start in range(0, logits.shape[0], step):
        found[start : start + step] = _block_normalisers(logits[start : start + step])
    return found


def _block_normalisers(logits: Floats) -> Doubles:
    top, least = logits.max(axis=-1), logits.min(axis=-1)
    # The largest and the smallest of numbers are finite only if all are; of NaN nothing else comes out.
    if not (np.isfinite(top).all() and np.isfinite(least).all()):
        raise LogitsNotFinite("The model's logits are not all finite numbers, so it has no score.")
    block = np.subtract(logits, top[:, None], dtype=np.float64)
    np.exp(block, out=block)
    found: Doubles = np.log(block.sum(axis=-1))
    return found


def token_losses(logits: Floats, targets: Tokens) -> Doubles:
    """Nats of each target, shape (positions,).

    Args:
        logits: Shape (positions, outputs). Read more than once: it must be nobody else's to change.
        targets: Shape (positions,), each below the number of outputs.

    Raises:
        LogitsNotFinite: if a logit is infinite or not a number.
    """
    normalisers = log_normalisers(logits)
    chosen = logits[np.arange(targets.size), targets].astype(np.float64)
    losses: Doubles = normalisers + (logits.max(axis=-1).astype(np.float64) - chosen)
    return losses


def counted_nats(losses: Doubles, sizes: NDArray[np.int32]) -> float:
    """The exact sum of the losses of those tokens that stand for text."""
    return math.fsum(losses[sizes > 0].tolist())


def row_score(logits: Floats, targets: Tokens, table: NDArray[np.int32]) -> tuple[float, int]:
    """Nats and bytes of one row.

    Args:
        logits: Shape (length, outputs), outputs at least the size of the table.
        targets: Shape (length,), each below the size of the table.

    Raises:
        LogitsNotFinite: if a logit is infinite or not a number.
    """
    sizes = table[targets]
    return counted_nats(token_losses(logits, targets), sizes), int(sizes.sum(dtype=np.int64))
