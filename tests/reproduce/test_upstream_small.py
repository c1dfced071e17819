"""The small copy of upstream's benchmark: exact replacements, and the whole way where there is a checkout."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from armlx_chain.errors import DevnetError, UsageError
from tests.reproduce import upstream_small
from tests.reproduce.smallcopy import VARIANTS, insert_before, literals, make_small_copy, set_constant
from tests.reproduce.upstream_small import Standing
from verifier.model import Bpb, Ending, Outcome, Reason, Role, RunRecord, Verdict

SOURCE = "import time\nDEPTH = 4\nWIDTH = DEPTH * 2\n    DEPTH = 5\nclass AdamW:\n    pass\n"

UNSCORED = RunRecord(
    role=Role.BASELINE,
    ending=Ending.CRASH,
    detail="",
    log_path=Path("run.log"),
    log_sha256="",
    wall_seconds=1,
    cpu_seconds=1,
    peak_memory_bytes=0,
    clock="wall",
)


@pytest.mark.unit
def test_a_constant_is_set_on_its_one_line_and_nowhere_else() -> None:
    assert set_constant(SOURCE, "DEPTH", "2").splitlines()[1:4] == [
        "DEPTH = 2",
        "WIDTH = DEPTH * 2",
        "    DEPTH = 5",
    ]


@pytest.mark.unit
@pytest.mark.parametrize("source", ["", "DEPTHS = 4\n", "DEPTH = 4\nDEPTH = 8\n", "DEPTH: int = 4\n"])
def test_a_constant_that_is_not_there_exactly_once_is_refused(source: str) -> None:
    with pytest.raises(DevnetError, match="DEPTH"):
        set_constant(source, "DEPTH", "2")


@pytest.mark.unit
def test_lines_go_before_the_one_line_that_was_named() -> None:
    changed = insert_before(SOURCE, "class AdamW:", "# added\n")
    assert changed == SOURCE.replace("class AdamW:", "# added\nclass AdamW:")
    with pytest.raises(DevnetError, match="0 times"):
        insert_before(SOURCE, "class Adam:", "# added\n")
    assert literals("A = 3\nB = A * 2\nC = f()\nD = 'x'\n") == {"A": 3, "D": "x"}


@pytest.mark.unit
def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no readable"):
        make_small_copy(tmp_path, tmp_path / "place", seconds=1, python=Path(sys.executable))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        (Outcome.REFUTED, Reason.CAUSALITY_VIOLATED, Standing.RIGHT),
        (Outcome.REPRODUCED, Reason.IMPROVEMENT_CONFIRMED, Standing.WRONG),
        (Outcome.UNDECIDED, Reason.TOO_NOISY, Standing.OPEN),
        (Outcome.UNDECIDED, Reason.VERIFIER_FAULT, Standing.WRONG),
    ],
)
def test_only_a_machine_that_did_not_repeat_itself_leaves_a_program_open(
    outcome: Outcome, reason: Reason, expected: Standing
) -> None:
    verdict = Verdict(outcome, reason, "", rule="", noise=None)
    assert upstream_small.standing(VARIANTS["look-ahead"], verdict, UNSCORED) is expected


@pytest.mark.unit
def test_a_program_that_is_not_judged_is_right_if_it_has_a_score() -> None:
    assert upstream_small.standing(None, None, UNSCORED) is Standing.WRONG
    scored = replace(UNSCORED, validation=Bpb(Decimal("1.5")))
    assert upstream_small.standing(None, None, scored) is Standing.RIGHT


def _checkout() -> Path:
    """A checkout that the environment names, or one beside the shared material."""
    named = os.environ.get("ARMLX_UPSTREAM")
    places = [Path(named)] if named else []
    places.append(Path(__file__).resolve().parents[3] / "shared" / "upstream" / "autoresearch-mlx")
    for place in places:
        if (place / "prepare.py").is_file() and (place / "train.py").is_file():
            return place
    pytest.skip("no checkout of the upstream benchmark here; name one with ARMLX_UPSTREAM")


@pytest.mark.integration
def test_upstreams_own_files_run_the_whole_way(tmp_path: Path) -> None:
    bench = upstream_small.prepare_bench(
        _checkout(), tmp_path, seconds=1.0, python=Path(sys.executable), cpu_clock=True
    )
    record = bench.once(Role.BASELINE, bench.copy.snapshot["train.py"], "base")
    assert record.validation is not None, record.detail
    assert record.fresh is not None
    assert record.printed_metric is not None
    assert float(record.printed_metric) == pytest.approx(float(record.validation), abs=1e-6)
    assert all(audit.passed for audit in record.audits)
    assert record.steps
