"""What several test files of the harness share."""

from __future__ import annotations

from collections.abc import Callable

from armlx_chain.devnet.benchmark.project import snapshot_files
from verifier.model import RunRecord

SEED = b"the seed of these tests"

Run = Callable[..., RunRecord]


def short_snapshot() -> dict[str, bytes]:
    """The small benchmark with half a second of budget and 64 rows to score."""
    snapshot = snapshot_files()
    prepare = snapshot["prepare.py"]
    for old, new in (
        (b"TIME_BUDGET = 3 ", b"TIME_BUDGET = 0.5 "),
        (b"EVAL_TOKENS = 32768", b"EVAL_TOKENS = 4096"),
    ):
        assert prepare.count(old) == 1
        prepare = prepare.replace(old, new)
    return {**snapshot, "prepare.py": prepare}
