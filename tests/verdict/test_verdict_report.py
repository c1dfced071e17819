"""The report: complete, readable, and safe to print."""

from __future__ import annotations

from dataclasses import replace

import pytest
from verdict_helpers import BETTER, noise, quiet, settings

from armlx_chain.formats.canonical import canonical_json
from verifier.model import Reason, RunRecord, Verdict
from verifier.report import absolute_means, plain, to_text, to_tree
from verifier.session import judge

pytestmark = pytest.mark.unit


def reproduced(**more: object) -> Verdict:
    runner = quiet(0.05, **more)
    return judge(runner, noise(), {}, BETTER, seed=b"s", settings=settings())


def test_the_tree_holds_every_sample_and_the_figures_of_the_decision():
    tree = to_tree(reproduced())
    assert (tree["outcome"], tree["reason"], tree["rule"]) == (
        "reproduced",
        "improvement-confirmed",
        "paired-sprt/2",
    )
    assert tree["gains"] == ["0.050000000"] * 3
    assert tree["mean_gain"] == "0.050000000"
    assert tree["lower_bound"] == "0.041835034"
    assert (tree["control_mean"], tree["candidate_mean"]) == ("2.000000000", "1.950000000")
    assert tree["test"]["minimum_gain"] == "0.020000000"
    assert len(tree["pairs"]) == 3
    run = tree["pairs"][0]["candidate"]
    assert run["validation"] == "1.950000000"
    assert {audit["kind"] for audit in run["audits"]} == {"causality", "fresh-gap"}
    assert b"0.050000000" in canonical_json(tree)


def test_the_same_verdict_gives_the_same_bytes():
    assert canonical_json(to_tree(reproduced())) == canonical_json(to_tree(reproduced()))


def test_the_text_shows_rule_noise_pairs_and_limits():
    text = to_text(reproduced())
    for part in (
        "Verdict: REPRODUCED (improvement-confirmed)",
        "Rule paired-sprt/2",
        "s = 0.010000",
        "m = 0.020000",
        "2.000000  2.000000",
        "Mean gain 0.050000, lower bound 0.041835",
        "Audits: 12 carried out, 0 failed.",
        "Not proven: that the miner ran anything",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) < 400


def test_a_shortcut_is_shown_in_every_report():
    weak = replace(noise(), shortcut="A demonstration's shortcut: six runs.")
    verdict = judge(quiet(0.05), weak, {}, BETTER, seed=b"s", settings=settings())
    assert "A demonstration's shortcut: six runs." in to_text(verdict)
    assert to_tree(verdict)["noise"]["shortcut"] == "A demonstration's shortcut: six runs."


def test_voided_pairs_are_shown_and_left_out_of_the_means():
    def hot(record: RunRecord, before: int) -> RunRecord:
        if before:
            return record
        return replace(record, validation=record.validation and record.validation + 9, disturbances=("hot",))

    verdict = reproduced(twists={"better": hot})
    assert "voided" in to_text(verdict)
    assert [pair["voided"] for pair in to_tree(verdict)["pairs"]] == [True, False, False, False]
    assert str(absolute_means(verdict)[1]) == "1.950000000"


def test_a_strangers_text_moves_no_cursor_and_stays_short():
    def shout(record: RunRecord, before: int) -> RunRecord:
        evil = "\x1b[2J\u202eevil\r\n" + "x" * 10_000
        return replace(record, printed_metric=evil, anomalies=(evil,), detail=evil)

    verdict = reproduced(twists={"better": shout})
    text = to_text(verdict)
    assert all(char == "\n" or char.isprintable() for char in text)
    assert len(text) < 10_000
    tree = canonical_json(to_tree(verdict))
    assert b"\\u001b" not in tree
    assert len(tree) < 100_000


def test_plain_keeps_ordinary_text():
    assert plain("Ein schöner Satz.") == "Ein schöner Satz."
    assert plain("a\nb") == "a\N{REPLACEMENT CHARACTER}b"
    assert len(plain("x" * 1000, 10)) == 10


def test_a_verdict_without_runs_has_no_empty_tables():
    from verifier.verdict.plain import without_runs

    text = to_text(without_runs(Reason.GATE, "train.py line 3 is too long."))
    assert "candidate   " not in text
    assert "Mean gain" not in text
    assert "Audits" not in text
    assert to_tree(without_runs(Reason.GATE, "x"))["control_mean"] is None
