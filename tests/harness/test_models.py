"""Models of every kind: which are scored, which fail an audit, which cannot be judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import harness_programs as programs
import numpy as np
import pytest
from harness_material import SEED, Run

from armlx_chain.errors import ModelUnsupported, VerifierFault
from verifier.harness import inside
from verifier.harness.accelerator import KERNELS_VARIABLE, KernelCache
from verifier.harness.evaluation import Crew, Evaluators, evaluate
from verifier.harness.evaluator import EvaluatorLimits
from verifier.harness.inside import Interpreter, Kernels
from verifier.harness.primitives import ALLOWED
from verifier.harness.processes import Processes
from verifier.model import Audit, AuditKind, Ending, Role, RunRecord
from verifier.rerun import Benchmark, HarnessRunner, RunSettings
from verifier.sandbox.interface import LogSink, Sandbox, SandboxProcess, SandboxSpec

pytestmark = pytest.mark.integration

TakeOver = Callable[..., None]

NEXT_TOKEN = "following = mx.concatenate([x[:, 1:], mx.zeros_like(x[:, :1])], axis=1)\n"
RAISED = "(mx.arange(V) == following[..., None]).astype(mx.float32)"


def audit(record: RunRecord, kind: AuditKind) -> Audit:
    [found] = [found for found in record.audits if found.kind is kind]
    return found


def test_a_model_that_sees_the_next_token_fails_the_probes_with_figures(run: Run) -> None:
    record = run(programs.with_logits(NEXT_TOKEN + f"return super().logits(x) + 9.0 * {RAISED}"))
    assert record.ending is Ending.GRAPH, record.detail
    found = audit(record, AuditKind.CAUSALITY)
    assert not found.passed
    assert int(found.figures["violations"]) > 80
    assert float(found.figures["largest-move-nats"]) > 1.0
    assert found.figures["first-violation"].startswith("row ")


def test_a_model_that_peeks_at_one_position_in_sixteen_is_found(run: Run) -> None:
    rarely = "often = (mx.arange(x.shape[1]) % 16 == 3)[None, :, None]\n"
    record = run(
        programs.with_logits(
            NEXT_TOKEN + rarely + f"return super().logits(x) + mx.where(often, 9.0 * {RAISED}, 0.0)"
        )
    )
    found = audit(record, AuditKind.CAUSALITY)
    assert not found.passed
    assert 0 < int(found.figures["violations"]) < 40


def test_a_model_that_peeks_across_the_rows_of_its_batch_is_found(run: Run) -> None:
    record = run(
        programs.with_logits(
            "return super().logits(x) + 0.5 * mx.mean(super().logits(x), axis=0, keepdims=True)"
        )
    )
    assert not audit(record, AuditKind.CAUSALITY).passed


def test_a_model_that_sums_over_the_whole_row_is_found(run: Run) -> None:
    record = run(
        programs.with_logits(
            "return super().logits(x) + 0.1 * mx.mean(super().logits(x), axis=1, keepdims=True)"
        )
    )
    assert not audit(record, AuditKind.CAUSALITY).passed


def test_a_model_that_looks_back_over_the_whole_row_is_honest(run: Run) -> None:
    record = run(
        programs.with_logits(
            "h = super().logits(x)\nreturn mx.cumsum(h, axis=1) / mx.arange(1, x.shape[1] + 1)[None, :, None]"
        )
    )
    found = audit(record, AuditKind.CAUSALITY)
    assert found.passed
    assert found.figures["violations"] == "0"


def test_constant_logits_are_worth_a_uniform_guess(run: Run, benchmark: Benchmark) -> None:
    record = run(programs.with_logits("return mx.zeros((*x.shape, V)) + 7.0"))
    sizes = benchmark.table[benchmark.validation.targets]
    uniform = math.log2(512) * int((sizes > 0).sum()) / int(sizes.sum())
    assert record.validation is not None
    assert abs(record.validation - Decimal(uniform)) < Decimal("1e-8")


@pytest.mark.parametrize("number", ["float('nan')", "float('inf')", "-float('inf')"])
def test_logits_that_are_no_numbers_have_no_score(run: Run, number: str) -> None:
    record = run(programs.with_logits(f"return mx.where(mx.arange(V) == 3, {number}, super().logits(x))"))
    assert record.ending is Ending.NO_GRAPH, record.detail
    assert "not all finite" in record.detail
    assert record.validation is None


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("return super().logits(x)[:, :-1]", "shape"),
        ("return super().logits(x)[..., 0]", "shape"),
        ("return super().logits(x)[..., :100]", "outputs"),
        ("return mx.concatenate([super().logits(x)] * 5, axis=-1)", "limit"),
        ("return super().logits(x).astype(mx.int32)", "type"),
        ("return super().logits(x) > 0", "type"),
        ("return super().logits(x).astype(mx.complex64)", "type"),
        ("return super().logits(x), x", "one array"),
        ("return super().logits(x) * x[0, 0].item()", "eval"),
        ("import numpy as np\nreturn mx.array(np.array(super().logits(x)))", "eval"),
    ],
    ids=["short", "flat", "few", "many", "int", "bool", "complex", "tuple", "item", "numpy"],
)
def test_a_model_outside_the_rule_is_unsupported_and_says_why(run: Run, body: str, word: str) -> None:
    record = run(programs.with_logits(body))
    assert record.ending is Ending.UNSUPPORTED, record.detail
    assert word in record.detail
    assert record.validation is None


def test_half_precision_logits_are_scored_as_they_are(run: Run, honest: RunRecord) -> None:
    record = run(programs.with_logits("return super().logits(x).astype(mx.bfloat16)"))
    assert record.validation is not None
    assert honest.validation is not None
    assert record.validation != honest.validation
    assert abs(record.validation - honest.validation) < Decimal("0.02")


@pytest.fixture(scope="module")
def graph(benchmark: Benchmark, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The graph of the honest model."""
    folder = tmp_path_factory.mktemp("graph")
    runner = HarnessRunner(benchmark, sandbox, settings=RunSettings(probes=16))
    runner.run(Role.BASELINE, programs.program(), run_folder=folder, deadline_seconds=None, seed=SEED)
    return (folder / "model.mlxfn").read_bytes()


def test_a_primitive_outside_the_list_is_refused_by_name(
    benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes
) -> None:
    place = Evaluators(sandbox, interpreter, allowed=ALLOWED - {"Gather"})
    with pytest.raises(ModelUnsupported, match="uses Gather"):
        evaluate(graph, benchmark.task(SEED, 16), place)


def test_a_custom_kernel_is_refused_before_any_program_loads_it(
    benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes
) -> None:
    named = graph + (12).to_bytes(8, "little") + b"CustomKernel"
    with pytest.raises(ModelUnsupported, match="CustomKernel"):
        evaluate(named, benchmark.task(SEED, 16), Evaluators(sandbox, interpreter))


def test_an_evaluator_that_cannot_start_is_our_fault_and_not_the_models(
    benchmark: Benchmark, sandbox: Sandbox, graph: bytes
) -> None:
    broken = Interpreter(Path("/usr/bin/false"))
    with pytest.raises(VerifierFault):
        evaluate(graph, benchmark.task(SEED, 16), Evaluators(sandbox, broken))


def test_a_graph_that_takes_too_long_is_unsupported(
    benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes
) -> None:
    place = Evaluators(sandbox, interpreter, EvaluatorLimits(seconds=0.0))
    with pytest.raises(ModelUnsupported, match="longer than its limit"):
        evaluate(graph, benchmark.task(SEED, 16), place)


TAKEN_OVER = """
import json, mmap, os, struct, sys, threading, time
import numpy as np
import harness_wire as wire
rows, length = int(sys.argv[1]), int(sys.argv[2])
channel = wire.connect()
shared = int(os.environ[wire.LOGITS_VARIABLE])
wire.send(channel, wire.READY)
wire.receive(channel, 1 << 30)
{listing}
parts, turn = None, 0
while True:
    tokens = np.frombuffer(wire.receive(channel)[1], dtype="<i4").reshape(rows, length)
    if parts is None:
        memory = mmap.mmap(shared, os.fstat(shared).st_size)
        parts = np.frombuffer(memory, dtype="<f4").reshape(2, rows, length, 512)
    logits, turn = parts[turn % 2], turn + 1
    logits[:] = 0.0
    {answer}
"""
LISTING = 'wire.send(channel, wire.PRIMITIVES, json.dumps({"names": ["Add"], "outputs": 512}).encode())'
DONE = "wire.send(channel, wire.LOGITS, struct.pack('<I', 512))"
NEXT = "np.put_along_axis(logits[:, :-1], tokens[:, 1:, None], 9.0, -1)"


@pytest.fixture
def taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TakeOver:
    """Makes every evaluator the attacker's program, as a graph that takes over its importer would."""

    def install(answer: str, listing: str = LISTING) -> None:
        folder = tmp_path / "harness"
        folder.mkdir(mode=0o755)
        for file in inside.CHILD_FOLDER.glob("*.py"):
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "evaluator.py").write_text(TAKEN_OVER.format(answer=answer, listing=listing))
        monkeypatch.setattr(inside, "CHILD_FOLDER", folder)

    return install


def test_an_evaluator_taken_over_by_its_graph_cannot_hide_that_it_looks_ahead(
    taken_over: TakeOver, benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes
) -> None:
    taken_over(f"{NEXT}; {DONE}")
    found = evaluate(graph, benchmark.task(SEED, 96), Evaluators(sandbox, interpreter))
    assert found.scores.validation.bits_per_byte() < Decimal("0.2")
    assert not found.causality.passed
    assert int(found.causality.figures["violations"]) == 96


@pytest.mark.parametrize(
    "answer",
    [
        "wire.send(channel, wire.LOGITS, struct.pack('<I', 513))",
        "wire.send(channel, wire.LOGITS, b'')",
        "wire.send(channel, wire.LOGITS, bytes(5))",
        "wire.send(channel, wire.PRIMITIVES, b'[]')",
        "wire.send(channel, 0x77, b'')",
        "channel.sendall(os.urandom(64))",
        "logits[-1, -1, -1] = np.nan; " + DONE,
        "logits[0, 0, 0] = np.inf; " + DONE,
        "wire.send(channel, wire.FAILED, b'because')",
        "os._exit(0)",
        "os.kill(os.getpid(), 11)",
    ],
)
def test_an_evaluator_that_answers_nonsense_is_the_graphs_doing(
    taken_over: TakeOver,
    answer: str,
    benchmark: Benchmark,
    sandbox: Sandbox,
    interpreter: Interpreter,
    graph: bytes,
) -> None:
    taken_over(answer)
    with pytest.raises(ModelUnsupported):
        evaluate(graph, benchmark.task(SEED, 16), Evaluators(sandbox, interpreter))


@pytest.mark.parametrize("outputs", [511, 2049])
def test_a_listing_with_too_few_or_too_many_outputs_is_the_graphs_doing(
    taken_over: TakeOver,
    outputs: int,
    benchmark: Benchmark,
    sandbox: Sandbox,
    interpreter: Interpreter,
    graph: bytes,
) -> None:
    taken_over(DONE, LISTING.replace("512", str(outputs)))
    with pytest.raises(ModelUnsupported, match="the limit is 4 times"):
        evaluate(graph, benchmark.task(SEED, 16), Evaluators(sandbox, interpreter))


def test_two_evaluators_that_read_a_graph_differently_judge_nothing(
    taken_over: TakeOver, benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes
) -> None:
    names = [name for name in sorted(ALLOWED) if name != "Load"][:64]
    chosen = f"[name for name, bit in zip({names!r}, os.urandom(64)) if bit % 2]"
    told = f"json.dumps({{'names': {chosen}, 'outputs': 512}}).encode()"
    taken_over(DONE, f"wire.send(channel, wire.PRIMITIVES, {told})")
    with pytest.raises(ModelUnsupported, match="differently"):
        evaluate(graph, benchmark.task(SEED, 8), Evaluators(sandbox, interpreter))


def test_flipped_bits_in_a_graph_are_scored_or_unsupported_and_nothing_else(
    benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes
) -> None:
    generator = np.random.default_rng(5)
    seen = set()
    for _ in range(6):
        flipped = bytearray(graph)
        for place in generator.integers(0, min(len(graph), 1500), 4):
            flipped[place] ^= 1 << int(generator.integers(0, 8))
        try:
            evaluate(
                flipped,
                benchmark.task(SEED, 16),
                Evaluators(sandbox, interpreter, EvaluatorLimits(seconds=20)),
            )
            seen.add("scored")
        except ModelUnsupported:
            seen.add("unsupported")
    assert seen <= {"scored", "unsupported"}
    assert "unsupported" in seen


@pytest.mark.parametrize("crew", [Crew(rows=3), Crew(rows=2, probes=3)])
def test_scores_and_probes_do_not_depend_on_how_many_evaluators_answer_or_processes_score(
    crew: Crew, benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes
) -> None:
    task = benchmark.task(SEED, 48)
    alone = evaluate(graph, task, Evaluators(sandbox, interpreter))
    several = evaluate(graph, task, Evaluators(sandbox, interpreter, crew=crew), scoring=lambda: Processes(2))
    assert several.cost.scoring_cpu_seconds > 0 == alone.cost.scoring_cpu_seconds
    assert several.scores.validation.nats.tolist() == alone.scores.validation.nats.tolist()
    assert several.scores.fresh.nats.tolist() == alone.scores.fresh.nats.tolist()
    assert several.causality.figures["probes"] == alone.causality.figures["probes"] == "48"
    assert several.causality.passed and alone.causality.passed


@dataclass
class Compiling:
    """Whatever may keep kernels in it keeps one, as a compiling backend does; it notes each start."""

    inner: Sandbox
    starts: list[str] = field(default_factory=list)
    name = "compiling"

    def check(self) -> None:
        self.inner.check()

    def start(self, spec: SandboxSpec, log: LogSink) -> SandboxProcess:
        kernels = [mount for mount in spec.mounts if mount.target.name == "kernels"]
        for mount in kernels:
            if mount.writable:
                (mount.source / "kernel.ptx").write_text("compiled")
        shown = "".join(f"{mount.source.parent.name}/{mount.source.name}" for mount in kernels)
        self.starts.append(shown if KERNELS_VARIABLE in spec.env else "none")
        return self.inner.start(spec, log)


def test_evaluators_keep_kernels_of_the_snapshots_graph_alone_and_never_see_a_programs(
    benchmark: Benchmark, sandbox: Sandbox, interpreter: Interpreter, graph: bytes, tmp_path: Path
) -> None:
    programs_own = KernelCache(tmp_path / "kernels")
    programs_own.filling(["true"])
    (tmp_path / "kernels" / "draft" / "program.ptx").write_text("compiled by a program")
    assert programs_own.keep()
    watched = Compiling(sandbox)
    place = Evaluators(watched, replace(interpreter, kernels=programs_own), crew=Crew(rows=2))
    task = benchmark.task(SEED, 8)

    evaluate(graph, task, replace(place, kernels=Kernels.READ))
    assert watched.starts == ["none"] * 3, "a candidate's graph fills nothing"
    with pytest.raises(ModelUnsupported):
        evaluate(b"no graph", task, replace(place, kernels=Kernels.FILL))
    assert not programs_own.of_evaluators.filled, "nothing is kept of a graph that was not scored"
    watched.starts.clear()
    evaluate(graph, task, replace(place, kernels=Kernels.FILL))
    assert watched.starts == ["evaluators/draft", "none", "none"]
    kept = programs_own.of_evaluators.folder / "whole"
    assert [path.name for path in kept.iterdir()] == ["kernel.ptx"]
    watched.starts.clear()
    evaluate(graph, task, replace(place, kernels=Kernels.READ))
    assert watched.starts == ["evaluators/whole"] * 3
