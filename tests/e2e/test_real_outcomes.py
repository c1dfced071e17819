"""Outcomes that a score decides, by real runs: the demonstration's, whose record is read here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1600)]


@pytest.mark.parametrize(
    ("number", "outcome", "step", "sentence"),
    [
        (0, "reproduced", "approved", "Proven: code with this root"),
        (1, "unimproved", "left", "not better than the control by more than noise"),
        (2, "refuted", "rejected", "Proven: the fault named above, twice and independently"),
    ],
)
def test_real_runs_decide_and_the_report_says_what_is_proven(
    story: tuple[str, Path], number: int, outcome: str, step: str, sentence: str
) -> None:
    said, folder = story
    assert f"proposal {number}: {step} — {outcome}" in said
    # A second validator takes over where the machine changed under the first one's test.
    reports = sorted(folder.glob(f"*validator/reports/*/{number}/report.json"))
    trees = {path: json.loads(path.read_text()) for path in reports}
    report, tree = next((path, tree) for path, tree in trees.items() if tree["outcome"] == outcome)
    assert {other["outcome"] for other in trees.values()} <= {outcome, "undecided"}
    text = report.with_name("report.txt").read_text()
    assert text.startswith(f"Verdict: {outcome.upper()} (")
    assert sentence in text
    assert tree["pairs"], "something was really run"
    assert "Not proven: that the miner ran anything" in text
