"""From logits to bits per byte, in the verifier's own hands. Pure.

- Normalised here: log-softmax over the whole output in float64, whatever the model calls its output.
- Targets, byte table and the number of rows are the verifier's own.
- A token that stands for no bytes counts in neither sum, as in the benchmark's ``evaluate_bpb``:
  bpb = Σ nats / (ln 2 · Σ bytes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from armlx_chain.errors import LogitsNotFinite, ModelUnsupported
from verifier.model import Bpb, bpb

Tokens = NDArray[np.int32]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_BLOCK: Final = 256
"""Positions that are turned to float64 at a time, to bound memory."""


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


def log_normalisers(logits: Floats) -> Doubles:
    """ln Σ exp of each position's logits, shape (length,), in float64.

    Raises:
        LogitsNotFinite: if a logit is infinite or not a number.
    """
    if not np.isfinite(logits).all():
        raise LogitsNotFinite("The model's logits are not all finite numbers, so it has no score.")
    found = np.empty(logits.shape[0], dtype=np.float64)
    for start in range(0, logits.shape[0], _BLOCK):
        block = logits[start : start + _BLOCK].astype(np.float64)
        top = block.max(axis=-1)
        block -= top[:, None]
        np.exp(block, out=block)
        found[start : start + _BLOCK] = top + np.log(block.sum(axis=-1))
    return found


def row_score(logits: Floats, targets: Tokens, table: NDArray[np.int32]) -> tuple[float, int]:
    """Nats and bytes of one row.

    Args:
        logits: Shape (length, outputs), outputs at least the size of the table.
        targets: Shape (length,), each below the size of the table.

    Raises:
        LogitsNotFinite: if a logit is infinite or not a number.
    """
    sizes = table[targets]
    losses = log_normalisers(logits) - logits[np.arange(targets.size), targets].astype(np.float64)
    return math.fsum(losses[sizes > 0].tolist()), int(sizes.sum(dtype=np.int64))
