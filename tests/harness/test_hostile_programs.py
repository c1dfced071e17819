"""Programs that talk to the channel themselves, never hand over a model, or lie about everything."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import harness_programs as programs
import pytest
from harness_material import SEED, Run

import verifier.rerun as rerun
from armlx_chain.errors import VerifierFault
from verifier.harness.channel import Kind
from verifier.harness.evaluator import EvaluatorLimits
from verifier.harness.logfacts import LogFacts
from verifier.model import AuditKind, Ending, Role, RunRecord
from verifier.rerun import Benchmark, HarnessRunner, RunSettings
from verifier.sandbox.interface import Limits, Sandbox

pytestmark = pytest.mark.integration


def talking(body: str) -> dict[str, bytes]:
    """A program that spends its budget and then talks to the channel itself."""
    return programs.program(finish="spend()\nown = channel()\nmodel = Model()\n" + body)


def assert_without_score(record: RunRecord) -> None:
    assert record.validation is None
    assert record.fresh is None
    assert [audit.kind for audit in record.audits] == [AuditKind.CHANNEL]


def forged(record: RunRecord) -> str:
    """What the channel audit of a run says; every run has exactly one."""
    [audit] = [audit for audit in record.audits if audit.kind is AuditKind.CHANNEL]
    assert audit.passed == (audit.figures["forged"] == "none")
    return audit.figures["forged"]


@pytest.fixture
def limited(benchmark: Benchmark, sandbox: Sandbox, tmp_path: Path) -> Callable[..., RunRecord]:
    """Run one program with settings of its own."""

    def once(files: dict[str, bytes], settings: RunSettings, deadline: float | None = None) -> RunRecord:
        runner = HarnessRunner(benchmark, sandbox, settings=settings)
        return runner.run(Role.CANDIDATE, files, run_folder=tmp_path, deadline_seconds=deadline, seed=SEED)

    return once


@pytest.mark.parametrize(
    "message",
    [
        "b'GET / HTTP/1.1 and more of it'",
        "frame(0x01, b'graph', magic=b'AXH1')",
        "frame(0x99, b'no such kind')",
        "frame(0x12, b'0.100000', checksum=1)",
        "frame(0x01, graph_of(model), checksum=5)",
        "frame(0x02, b'', length=1 << 40)",
    ],
    ids=[
        "garbage",
        "other magic",
        "unknown kind",
        "value with a wrong checksum",
        "graph with a wrong checksum",
        "huge text",
    ],
)
def test_what_is_no_message_ends_the_run_as_a_bad_frame(run: Run, message: str) -> None:
    record = run(talking(f"own.sendall({message})\nspend(30)"))
    assert record.ending is Ending.BAD_FRAME, record.detail
    assert forged(record) == "none"
    assert_without_score(record)


@pytest.mark.parametrize("kind", [Kind.VALUE, Kind.LOGITS])
def test_a_whole_message_in_the_harnesss_name_fails_the_channel_audit(run: Run, kind: Kind) -> None:
    record = run(talking(f"own.sendall(frame({kind:#x}, b'0.100000'))\nspend(30)"))
    assert record.ending is Ending.BAD_FRAME, record.detail
    assert kind.name in forged(record)
    assert_without_score(record)


def test_a_forged_message_is_seen_though_the_program_crashes_right_after_it(run: Run) -> None:
    crashed = run(programs.program(finish="channel().sendall(frame(0x12, b'0.1'))\nos._exit(9)"))
    assert crashed.ending is Ending.BAD_FRAME, crashed.detail
    assert "VALUE" in forged(crashed)


def test_a_graph_announced_beyond_the_limit_is_unsupported_before_one_byte_of_it(run: Run) -> None:
    record = run(talking("own.sendall(frame(0x01, b'', length=1 << 50))\nspend(30)"))
    assert record.ending is Ending.UNSUPPORTED, record.detail
    assert "limit" in record.detail
    assert record.graph_sha256 is None


def test_a_truncated_graph_is_no_graph(run: Run) -> None:
    record = run(talking("own.sendall(frame(0x01, graph_of(model), length=1 << 22))"))
    assert record.ending is Ending.NO_GRAPH, record.detail
    assert "never completed" in record.detail
    assert_without_score(record)


def test_a_graph_that_is_begun_and_never_completed_meets_the_deadline(run: Run) -> None:
    record = run(talking("own.sendall(frame(0x01, b'x', length=1 << 20))\nspend(60)"), deadline=1.5)
    assert record.ending is Ending.DEADLINE, record.detail
    assert record.cpu_seconds < 10
    assert_without_score(record)


@pytest.mark.parametrize("graph", ["b''", "b'x'", "os.urandom(4096)", "graph_of(model)[:-700]"])
def test_bytes_that_are_no_graph_are_unsupported(run: Run, graph: str) -> None:
    record = run(talking(f"own.sendall(frame(0x01, {graph}))\nown.recv(1)"))
    assert record.ending is Ending.UNSUPPORTED, record.detail
    assert_without_score(record)


def test_a_made_up_graph_on_the_channel_is_worth_what_it_predicts(run: Run, honest: RunRecord) -> None:
    record = run(talking("own.sendall(frame(0x01, graph_of(model)))\nown.recv(1)"))
    assert record.ending is Ending.GRAPH, record.detail
    assert (record.validation, record.fresh) == (honest.validation, honest.fresh)


def test_a_graph_that_peeks_is_found_out_however_it_got_onto_the_channel(run: Run) -> None:
    peeking = """
    class Peeking(Model):
        def logits(self, x):
            following = mx.concatenate([x[:, 1:], x[:, :1]], axis=1)
            return 9.0 * (mx.arange(V) == following[..., None]).astype(mx.float32)
    own.sendall(frame(0x01, graph_of(Peeking())))
    own.recv(1)
    """
    record = run(talking(textwrap.dedent(peeking)))
    assert record.ending is Ending.GRAPH, record.detail
    assert not {audit.kind: audit.passed for audit in record.audits}[AuditKind.CAUSALITY]


def test_a_program_that_ends_without_a_model_has_none(run: Run) -> None:
    record = run({"train.py": b"print('val_bpb: 0.100000')\n"})
    assert record.ending is Ending.NO_GRAPH, record.detail
    assert record.printed_metric == "0.100000"
    assert_without_score(record)


def test_a_crash_is_told_with_its_last_line(run: Run) -> None:
    record = run({"train.py": b"raise ValueError('the\\x1b[31m reason')\n"})
    assert record.ending is Ending.CRASH, record.detail
    assert "the [31m reason" in record.detail.replace("\\x1b", " ")
    assert "\x1b" not in record.detail


def test_a_crash_after_monitoring_is_a_crash(run: Run) -> None:
    record = run(programs.program(finish="evaluate_bpb(Model(), tokenizer, 8)\nraise SystemExit(3)"))
    assert record.ending is Ending.CRASH, record.detail
    assert_without_score(record)


def test_a_model_after_the_deadline_does_not_count(run: Run) -> None:
    record = run(programs.program("spend(2.5)\n"), deadline=1.5)
    assert record.ending is Ending.DEADLINE, record.detail
    assert "1.50 s of cpu" in record.detail
    assert_without_score(record)


def test_a_program_that_sleeps_through_its_cpu_clock_meets_the_hard_limit(
    limited: Callable[..., RunRecord],
) -> None:
    record = limited({"train.py": b"import time; time.sleep(600)"}, RunSettings(hard_wall_seconds=2), 100.0)
    assert record.ending is Ending.DEADLINE, record.detail
    assert "hard limit" in record.detail
    assert record.wall_seconds < 20


def test_a_flood_of_output_ends_the_run(limited: Callable[..., RunRecord]) -> None:
    settings = RunSettings(hard_wall_seconds=60, limits=Limits(log_bytes=1 << 20))
    record = limited({"train.py": b"while True: print('x' * 10_000)"}, settings)
    assert record.ending is Ending.LOG_LIMIT, record.detail
    assert record.log_path.stat().st_size < 64 << 20


def test_a_memory_bomb_ends_the_run(limited: Callable[..., RunRecord]) -> None:
    settings = RunSettings(hard_wall_seconds=60, limits=Limits(memory_bytes=300 << 20))
    bomb = b"import time\nkept = []\nwhile True:\n    kept.append(bytearray(b'x' * (16 << 20)))\n"
    bomb += b"    time.sleep(0.02)\n"
    record = limited({"train.py": bomb}, settings)
    assert record.ending in (Ending.MEMORY, Ending.CRASH), record.detail
    assert_without_score(record)


def test_a_program_that_does_not_end_after_its_value_still_has_it(
    limited: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rerun.run_rules
    monkeypatch.setattr(
        rerun, "run_rules", lambda *parts, **named: replace(real(*parts, **named), tail_seconds=1.0)
    )
    record = limited(programs.program(finish=programs.FINISH + "\nspend(600)"), RunSettings(probes=16))
    assert record.ending is Ending.GRAPH, record.detail
    assert any("did not end" in anomaly for anomaly in record.anomalies)


BURNING = programs.program(
    """
    import threading

    def burn():
        while True:
            sum(range(1000))

    for _ in range(3):
        threading.Thread(target=burn, daemon=True).start()
    if os.fork() == 0:
        burn()
    """,
    programs.FINISH + "\nimport sys\nsys.stdout.flush()\nos._exit(0)\n",
)


def test_a_program_that_burns_time_in_threads_and_children_stands_still_while_it_is_scored(
    limited: Callable[..., RunRecord], honest: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    class Watched(rerun.Supervisor):
        def _judged(self, graph: bytearray) -> str:
            real = self._judge

            def judge(graph: bytearray) -> str:
                seen.append(self._process.usage().cpu_seconds)
                time.sleep(0.4)
                value = real(graph)
                seen.append(self._process.usage().cpu_seconds)
                return value

            self._judge = judge
            return super()._judged(graph)

    monkeypatch.setattr(rerun, "Supervisor", Watched)
    record = limited(BURNING, RunSettings(hard_wall_seconds=60, probes=16))
    assert record.ending is Ending.GRAPH, record.detail
    assert record.validation == honest.validation
    assert len(seen) == 2
    assert seen[1] - seen[0] < 0.05
    assert record.printed_metric is None
    assert b"val_bpb:" in record.log_path.read_bytes()


def test_where_a_program_cannot_be_stopped_it_is_scored_all_the_same_and_the_record_says_so(
    limited: Callable[..., RunRecord], honest: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unstoppable(rerun.Supervisor):
        def _judged(self, graph: bytearray) -> str:
            def refuse(_: object) -> None:
                raise VerifierFault("It would not stop.")

            monkeypatch.setattr(type(self._process), "freeze", refuse)
            return super()._judged(graph)

    monkeypatch.setattr(rerun, "Supervisor", Unstoppable)
    record = limited(programs.program(), RunSettings(hard_wall_seconds=60, probes=16))
    assert record.ending is Ending.GRAPH, record.detail
    assert record.validation == honest.validation
    assert any("ran on while its model was scored" in text for text in record.anomalies)


LIES = {
    "metric line": "print('val_bpb:          0.100000')",
    "value never asked for": "evaluate_bpb(Model(), tokenizer, 8); print('val_bpb: 0.100000')",
    "another graph afterwards": """
evaluate_bpb(Model(), tokenizer, 8)
better = Model()
better.table.weight = better.table.weight * 0.0
channel().sendall(frame(0x01, graph_of(better)))
""",
    "unsupported afterwards": "evaluate_bpb(Model(), tokenizer, 8); channel().sendall(frame(0x02, b'no'))",
    "forged value afterwards": "evaluate_bpb(Model(), tokenizer, 8); channel().sendall(frame(0x12, b'0.1'))",
    "garbage afterwards": "evaluate_bpb(Model(), tokenizer, 8); channel().sendall(os.urandom(100))",
    "crash afterwards": "evaluate_bpb(Model(), tokenizer, 8); os._exit(9)",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_nothing_but_the_graph_has_any_influence_on_the_scores(
    benchmark: Benchmark, sandbox: Sandbox, tmp_path: Path, honest: RunRecord, lie: str
) -> None:
    """Whatever the child reports is replaced: log facts by invented ones, frames and lines by lies."""
    settings = RunSettings(hard_wall_seconds=60, probes=16)
    runner = HarnessRunner(
        benchmark, sandbox, settings=settings, read_log=lambda _: LogFacts("0.100000", 1_000_000)
    )
    final = "" if "evaluate_bpb" in lie else "evaluate_bpb(Model(), tokenizer, 8)"
    files = programs.program(finish=f"spend()\n{lie}\n{final}\n")
    record = runner.run(Role.CANDIDATE, files, run_folder=tmp_path, deadline_seconds=None, seed=SEED)
    assert record.ending is Ending.GRAPH, record.detail
    assert (record.validation, record.fresh) == (honest.validation, honest.fresh)
    assert record.audits[:2] == honest.audits[:2]
    assert forged(honest) == "none"
    assert ("VALUE" in forged(record)) == ("0x12" in lie)
    assert record.anomalies


def test_a_model_larger_than_a_graph_may_be_is_unsupported_with_both_sizes(
    limited: Callable[..., RunRecord],
) -> None:
    settings = RunSettings(hard_wall_seconds=60, evaluator=EvaluatorLimits(graph_bytes=100_000))
    record = limited(programs.program(), settings)
    assert record.ending is Ending.UNSUPPORTED, record.detail
    assert "the limit is 100000" in record.detail
