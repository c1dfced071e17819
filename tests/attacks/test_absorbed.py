"""Logits so large that a double loses the normaliser beside them buy nothing, and hide nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.harness.probes import TOLERANCE, movement
from verifier.harness.scoring import token_losses

pytestmark = pytest.mark.unit

OUTPUTS = 512
LARGE = st.sampled_from([1e8, 1e16, 1e17, 1e30, 3e38, -1e30, -3e38])


@settings(deadline=None)
@given(LARGE)
def test_equal_logits_cost_the_logarithm_of_the_vocabulary_however_large_they_are(size: float) -> None:
    logits = np.full((4, OUTPUTS), size, dtype=np.float32)
    losses = token_losses(logits, np.arange(4, dtype=np.int32))
    assert losses == pytest.approx([math.log(OUTPUTS)] * 4)


@settings(deadline=None)
@given(LARGE, st.integers(0, 2**32 - 1))
def test_the_probabilities_of_all_tokens_add_up_to_one(size: float, seed: int) -> None:
    drawn = np.random.default_rng(seed)
    logits = (drawn.normal(size=(1, 40)) + np.where(drawn.random((1, 40)) < 0.5, size, 0)).astype(np.float32)
    losses = [token_losses(logits, np.array([token], dtype=np.int32))[0] for token in range(40)]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1.0)
    assert min(losses) >= 0


@settings(deadline=None)
@given(LARGE, LARGE)
def test_a_probability_that_moves_is_seen_beside_any_constant(before: float, after: float) -> None:
    flat = np.full((2, OUTPUTS), before, dtype=np.float32)
    half = np.full((2, OUTPUTS), after, dtype=np.float32)
    half[1, : OUTPUTS // 2] = -3e38 if after > 0 else 3e38
    assert movement(flat, half, 2) > TOLERANCE
    assert movement(flat, np.full_like(flat, after), 2) <= TOLERANCE
