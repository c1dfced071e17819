"""The campaign's result for people and for programs. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

from verifier.campaign.designs import OTHERS, Tally
from verifier.campaign.run import Campaign, Cell, Finding, interval
from verifier.verdict.constants import FIRST_LIMIT, LAST_LIMIT, RULE_ID

_NAME: Final = 40
_SHORT: Final = {
    "equal to six digits": "equal",
    "one re-run near an honest claim": "re-run",
    "one re-run near a lucky claim": "re-run*",
    "mean of three beats the record": "mean-3",
    "controls first": "c-first",
    "point estimate of s": "point",
    "no clip, minimum or spread check": "bare",
    "paired-sprt/1": "/1",
}
LEGEND: Final = (
    "equal: one re-run prints the claim to six digits · re-run: one re-run within 0.03 bpb of an honest claim"
    " (s = 0.01) · re-run*: of the best of ten own runs",
    "mean-3: the mean of three re-runs beats the record · c-first: the rule, but all controls first ·"
    " point: the rule with the plain estimate of s",
    "bare: the likelihood ratio without clip, three pairs and spread check · /1: the rule's earlier version;"
    " all of them on the same runs, at most eight pairs",
)


def text(campaign: Campaign, findings: Sequence[Finding]) -> str:
    """Both tables and the requirements, aligned."""
    return (
        "\n".join((*_rule_lines(campaign), "", *_other_lines(campaign), "", *_check_lines(findings))) + "\n"
    )


def _rule_lines(campaign: Campaign) -> Iterator[str]:
    yield (
        f"{RULE_ID}, m = 2s, {campaign.proposals} proposals per cell, seed {campaign.seed}. Shares in "
        "percent, ± half of the 95 percent interval."
    )
    half = f"{'accepted':>8} {'±':>6} {'unimpr.':>8} {'noisy':>6} {'more':>6} {'pairs':>6}"
    yield f"{'':{_NAME + 6}} | {f'up to {FIRST_LIMIT} pairs':^45} | continued to {LAST_LIMIT} pairs"
    yield f"{'condition':{_NAME}} {'gain':>5} | {half} | {half}"
    for name, cell in _named(campaign):
        yield f"{name:{_NAME}} {cell.gain:>4g}s | {_half(cell.first)} | {_half(cell.whole)}"


def _named(campaign: Campaign) -> Iterator[tuple[str, Cell]]:
    """Cells with their condition's name where it is a new one; the plot's half steps are left out."""
    before = ""
    for cell in campaign.cells:
        if cell.gain % 1 == 0.5 or cell.gain == 4.0:
            continue
        yield ("" if cell.condition == before else cell.condition), cell
        before = cell.condition


def _half(tally: Tally) -> str:
    low, high = interval(tally.accepted, tally.proposals)
    share = 100 / tally.proposals
    return (
        f"{tally.accepted * share:8.3f} {50 * (high - low):6.3f} {tally.unimproved * share:8.2f} "
        f"{tally.noisy * share:6.2f} {tally.more * share:6.2f} {tally.pairs / tally.proposals:6.2f}"
    )


def _other_lines(campaign: Campaign) -> Iterator[str]:
    yield "Accepted by other designs, in percent, on the same runs."
    heads = "".join(f"{_SHORT[name]:>9}" for name in OTHERS)
    yield f"{'condition':{_NAME}} {'gain':>5} |{'rule':>9}{heads}"
    for name, cell in _named(campaign):
        share = 100 / cell.first.proposals
        figures = (cell.first.accepted, *cell.others.values())
        yield f"{name:{_NAME}} {cell.gain:>4g}s |" + "".join(f"{count * share:9.3f}" for count in figures)
    yield from LEGEND


def _check_lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield "Requirements:"
    yield from (finding.line() for finding in findings)


def tree(campaign: Campaign, findings: Sequence[Finding]) -> dict[str, Any]:
    """The same as text, integers, lists and mappings: counts, not rounded shares."""
    return {
        "rule": RULE_ID,
        "proposals": campaign.proposals,
        "seed": campaign.seed,
        "cells": [
            {
                "condition": cell.condition,
                "gain": f"{cell.gain:g}",
                "pairs8": _counts(cell.first),
                "pairs24": _counts(cell.whole),
                "othersAccepted": dict(cell.others),
            }
            for cell in campaign.cells
        ],
        "requirements": [
            {
                "condition": one.requirement.condition,
                "gain": f"{one.requirement.gain:g}",
                "pairs": one.pairs,
                "accepted": one.accepted,
                "bound": f"{one.requirement.bound:g}",
                "atLeast": one.requirement.at_least,
                "holds": one.holds,
            }
            for one in findings
        ],
        "holds": all(one.holds for one in findings),
    }


def _counts(tally: Tally) -> dict[str, int]:
    return {
        "accepted": tally.accepted,
        "unimproved": tally.unimproved,
        "tooNoisy": tally.noisy,
        "morePairs": tally.more,
        "pairsUsed": tally.pairs,
    }


def csv_text(campaign: Campaign) -> str:
    """One line per cell and length; counts of ``proposals``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = ("accepted", "unimproved", "tooNoisy", "morePairs", "pairsUsed")
    writer.writerow(("condition", "gain", "limit", "proposals", *fields, *OTHERS))
    for cell in campaign.cells:
        for limit, tally in ((FIRST_LIMIT, cell.first), (LAST_LIMIT, cell.whole)):
            others = list(cell.others.values()) if limit == FIRST_LIMIT else [""] * len(OTHERS)
            row = (cell.condition, f"{cell.gain:g}", limit, tally.proposals)
            writer.writerow((*row, *_counts(tally).values(), *others))
    return out.getvalue()
