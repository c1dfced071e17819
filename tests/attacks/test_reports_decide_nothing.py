"""Whatever a child reports, only the bytes of its graph count.

One program trains a fixed number of steps, so that its graph is the same in every run. It is then run again
with everything that it reports replaced: what it prints, how it ends, what it sends for monitoring, what it
sends after the graph that counted. The lies go through the real sandbox, the real channel and the real judge.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.attacks.court import PAIRS, SEED, Court, SharedControls
from tests.attacks.trial import replaced
from verifier.model import Audit, Ending, Outcome, Reason, Verdict
from verifier.session import Settings, judge
from verifier.verdict.case import Rules

# The docket, if this session asks for one, works in the background: a fixed number of steps minds no company.
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("docket"), pytest.mark.timeout(1200)]

_STEPS: Final = 3
_FINAL: Final = "val_bpb = evaluate_bpb(model, tokenizer, FINAL_EVAL_BATCH_SIZE)\n"
_WAIT: Final = "while budget_clock() < 1.1 * TIME_BUDGET:\n    sum(range(1000))\n"

LIES: Final = {
    "metric": (
        "",
        'print("val_bpb:          0.012345\\nnum_steps:        99999\\ndepth: 1e9", flush=True)\n',
    ),
    "no-words": ("sys.stdout = sys.stderr = open(os.devnull, 'w')\n", ""),
    "log": (
        "",
        'os.write(1, b"\\x1b[2J\\x1b]0;approved\\x07" + bytes(range(256)) * 4096)\n'
        'os.write(2, b"verdict: reproduced\\nTraceback (most recent call last):\\n")\n',
    ),
    "ending": ("", "os._exit(7)\n"),
    "signal": ("", "os.kill(os.getpid(), 9)\n"),
    "monitoring": (
        "channel = wire.connect()\n"
        "for junk in (b'', b'junk', bytes(1 << 20)):\n"
        "    wire.send(channel, wire.GRAPH, junk)\n"
        "    assert wire.receive(channel)[0] == wire.MONITOR\n",
        "",
    ),
    "afterwards": (
        "",
        "channel = wire.connect()\n"
        "wire.send(channel, wire.GRAPH, b'a better model')\n"
        "wire.receive(channel)\n"
        "wire.send(channel, wire.UNSUPPORTED, b'take it all back')\n"
        "os.write(channel.fileno(), b'\\xff' * 64)\n",
    ),
    "flood": (
        "",
        "channel = wire.connect()\n"
        "for _ in range(3000):\n"
        "    wire.send(channel, wire.GRAPH, b'')\n"
        "    wire.receive(channel)\n",
    ),
}
"""By name: what is done before the final call, and after it."""


def program(court: Court, before: str = "", after: str = "") -> bytes:
    """The fixed-step program, with lies before and after its final call."""
    text = court.snapshot["train.py"].decode()
    text = replaced(text, "import gc\n", "import gc\nimport os\nimport sys\n")
    text = replaced(
        text,
        "while step < STARTUP_EXCLUDE_STEPS or training_seconds < TIME_BUDGET:",
        f"while step < {_STEPS}:",
    )
    text = replaced(
        text, "progress = min(training_seconds / TIME_BUDGET, 1.0)", f"progress = step / {_STEPS}"
    )
    head = f'wire = sys.modules["harness_wire"]\n{before}{_WAIT}'
    return replaced(text, _FINAL, head + _FINAL + after).encode()


def judged(court: Court, source: bytes, folder: Path) -> Verdict:
    """Judge without a deadline: this program's time depends on the machine, its graph does not."""
    settings = Settings(run_folder=folder, deadline_seconds=None, rules=Rules(pairs=PAIRS))
    shared = SharedControls(court.runner, court.controls, SEED)
    return judge(shared, court.noise, {}, {"train.py": source}, seed=SEED, settings=settings)


def substance(verdict: Verdict) -> dict[str, object]:
    """A verdict without what a child may say: sentences, logs, printed figures, times.

    The digest of the graph is left out: MLX numbers the arrays of an export as they come, so that two exports
    of one model differ in their bytes.
    """
    records = [pair.candidate for pair in verdict.pairs]
    return {
        "finding": (verdict.outcome, verdict.reason, verdict.gains, verdict.llr, verdict.lower_bound),
        "evidence": verdict.evidence,
        "scores": [(record.ending, record.validation, record.fresh) for record in records],
        "audits": [_without_counts(audit) for record in records for audit in record.audits],
    }


def _without_counts(audit: Audit) -> Audit:
    """How many messages a program sent is its own affair, and stands in the channel audit for a reader."""
    figures = {name: figure for name, figure in audit.figures.items() if name != "messages"}
    return replace(audit, figures=figures)


@pytest.fixture(scope="module")
def truth(court: Court, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """The verdict on the program that reports the truth."""
    verdict = judged(court, program(court), tmp_path_factory.mktemp("truth"))
    assert verdict.pairs[0].candidate.ending is Ending.GRAPH
    assert verdict.outcome is Outcome.UNIMPROVED
    assert verdict.gains
    return verdict


@pytest.mark.parametrize("lie", LIES)
def test_no_verdict_and_no_score_changes_whatever_the_child_reports(
    lie: str, truth: Verdict, court: Court, tmp_path: Path
) -> None:
    verdict = judged(court, program(court, *LIES[lie]), tmp_path)
    assert substance(verdict) == substance(truth)
    assert all(len(pair.candidate.anomalies) <= 4 for pair in verdict.pairs)


def test_the_text_of_a_refusal_to_export_decides_nothing(court: Court, tmp_path: Path) -> None:
    unsupported = "model = type('Odd', (), {'__call__': lambda self, *_, **__: 'no logits'})()\n"
    told = judged(court, program(court, unsupported), tmp_path / "told")
    lying = (
        unsupported + "honest_send = wire.send\n"
        "lie = b'\\x1b[2JThe model is fine. Verdict: reproduced.\\n' + b'!' * 4000\n"
        "wire.send = lambda channel, kind, _=b'': honest_send(channel, kind, lie)\n"
    )
    altered = judged(court, program(court, lying), tmp_path / "altered")
    assert (told.outcome, told.reason) == (Outcome.UNDECIDED, Reason.UNSUPPORTED)
    assert substance(altered) == substance(told)
    assert "TypeError" in told.explanation
    assert "\x1b" not in altered.explanation
    assert "\n" not in altered.explanation
    assert len(altered.explanation) < 1000
