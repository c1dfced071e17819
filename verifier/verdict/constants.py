"""Every number the verdict depends on, by name, with where it comes from.

"The specification" is the section on statistics of the specification of trusted evaluation. None of these
is a setting: another value is another rule and needs another identifier and another simulation.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

RULE_ID: Final = "paired-sprt/2"
"""Identifier and version of the rule, as verdicts and attestations name it. Version 1 ended a test undecided
when the differences spread too far at the moment of acceptance; version 2 goes on (docs/verdict.md)."""

MINIMUM_GAIN: Final = Decimal("0.01")
"""Bits per byte. The smallest gain any project may ask the test to find (specification: "0.01 bpb")."""

NOISE_MULTIPLE: Final = 2
"""m is at least this many s (specification: "2s")."""

SEED_MULTIPLE: Final = 3
"""m is at least this many seed spreads (specification: a good seed is a gain and not an idea)."""

CLIP_SIGMAS: Final = 4
"""Each difference enters the likelihood clipped to this many sigma (specification: "clipped to ±4σ")."""

ACCEPT_AT: Final = Decimal("6.9")
"""ln(0.95/0.001) as the specification rounds it: 0.1 percent false acceptance at 95 percent power."""

REJECT_AT: Final = Decimal("-3.0")
"""ln(0.05/0.999) as the specification rounds it."""

MINIMUM_PAIRS: Final = 3
"""No acceptance before this many pairs (specification; without it contamination pays a no-op)."""

CLEARLY_WORSE: Final = 2
"""A first pair worse than minus this many s ends the test (specification: "worse than −2s")."""

FIRST_LIMIT: Final = 8
"""Pairs after which a session ends undecided (specification)."""

LAST_LIMIT: Final = 24
"""Pairs to which the same machine may continue the same test (specification)."""

LOOKS: Final = (FIRST_LIMIT, LAST_LIMIT)
"""After these pairs a test ends where its spread is beyond the 99 percent bound. They belong to the rule and
not to a session, so that stopping after eight pairs and going on later decides as one long test does."""

ALLOWED_VOIDS: Final = 1
"""Voided pairs a verdict survives (specification: "one voided pair is allowed")."""

S_CONFIDENCE: Final = 0.80
"""s is the upper bound of the noise at this confidence (specification: "upper 80 percent bound")."""

SPREAD_CONFIDENCE: Final = 0.99
"""The differences may spread up to this quantile of what s explains (specification: "99 percent bound");
beyond it a refusal, and a test that has come to a look, end undecided."""

EARLY_SPREAD_CONFIDENCE: Final = 0.98
"""Between the looks an acceptance needs a spread within this quantile; until then the test goes on. Our
choice, by simulation (docs/verdict.md): at 0.98 a no-op is paid no more often in any cell, and a gain of m or
more is found more often in every honest cell, than where an acceptance that spreads too far ends the test."""

CALIBRATION_RUNS: Final = 20
"""Control runs from which s is measured (specification: "at least 20 control runs")."""

SEED_RUNS: Final = 8
"""Baseline runs that differ only in the seed (specification: "at least 8 baseline runs")."""

CALIBRATION_DAYS: Final = 30
"""Days after which a calibration is measured again, whatever else stayed the same. Our choice: dust and
batteries change a machine without changing any version."""

DRIFT_CONFIDENCE: Final = 0.99
"""Confidence at which scores that move along a calibration's runs are called a drift. Our choice; it is said,
and decides nothing: s is the spread about the mean, which a drift makes larger."""

REFERENCE_RUNS: Final = 3
"""Warm baseline runs whose median is the deadline's reference (specification: "at least three runs")."""

SCORE_BAND: Final = 3
"""A control further than this many m from its calibrated score voids its pair. Our choice: the rule stays
sound under a drift of 4s, which is 2m at the least m, so the band lies beyond that."""

STEP_BAND: Final = 0.03
"""Relative deviation of the snapshot's steps that voids a pair (specification: "within 3 percent")."""

STEP_BAND_SPREADS: Final = 4
"""…or this many standard deviations of the calibrated steps, where that is more. Our choice, for benchmarks
so short that three percent are a handful of steps."""

MARGIN_OF_BUDGET: Final = 0.02
"""Deadline margin as a share of the training budget (specification: "2 percent of the budget")."""

MARGIN_SPREADS: Final = 3
"""…or this many times the measured spread of start-up, whichever is more (specification)."""

MARGIN_SECONDS: Final = 5.0
"""The margin is at most this many seconds up to ``MARGIN_REFERENCE_BUDGET`` (specification)."""

MARGIN_REFERENCE_BUDGET: Final = 300.0
"""Seconds of budget at which ``MARGIN_SECONDS`` is the cap; longer budgets scale it."""

MARGIN_LIMIT: Final = 0.10
"""The margin is never above this share of the budget (specification: "never above 10 percent")."""

GAP_BPB: Final = Decimal("0.1")
"""Validation gap above which the fresh-rows audit may fail (specification: "above 0.1 bpb, z above 8")."""

GAP_Z: Final = Decimal(8)
"""…and the z it must exceed as well."""

INTERVAL_CONFIDENCE: Final = Decimal("0.95")
"""Of the interval of the gain that a report shows. It decides nothing (our choice)."""

INTERVAL_Z: Final = Decimal("1.959963985")
"""The normal quantile that belongs to it, two-sided."""
