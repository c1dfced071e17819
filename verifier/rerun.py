"""The runner that executes one program under the harness.

Invariants:

- scores come from the program's exported graph, the verifier's own rows, table and formula, and from nothing
  else; what the program prints or says decides nothing;
- every failure on this side is a ``VerifierFault``; an ``Ending`` is always something the program did;
- every run gets a new HOME, a new cache folder and a new workspace, all read-only but its scratch;
- the benchmark's files are checked against their published roots before and after every run.

::

    benchmark = Benchmark.prepare(snapshot, data_folder, manifest.entries, sandbox=sandbox,
                                  interpreter=Interpreter(python), work=folder)
    runner = HarnessRunner(benchmark, sandbox, read_log=ProtocolLog(protocol))
    record = runner.run(Role.CANDIDATE, {"train.py": source}, run_folder=place, deadline_seconds=310,
                        seed=seed)
"""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from verifier.harness.benchmark import Benchmark
from verifier.harness.bounds import candidate_limits, run_rules
from verifier.harness.channel import TEXT_LIMIT, Channel, Kind
from verifier.harness.evaluation import DEFAULT_PROBES, Cost, Crew, Evaluation, Evaluators, evaluate
from verifier.harness.evaluator import EvaluatorLimits
from verifier.harness.gap import GapScores, fresh_gap_audit
from verifier.harness.inside import CACHE, GRAPH_LIMIT_VARIABLE, WORKSPACE, Kernels, start_python
from verifier.harness.logfacts import LogFacts
from verifier.harness.runlog import RunLog
from verifier.harness.staging import TRAIN, lay_out_workspace, own_disk
from verifier.harness.supervise import Conduct, Rules, Supervisor, channel_audit
from verifier.machine.watch import RunWatch, SleepWatch
from verifier.model import Audit, Bpb, Ending, Role, RunRecord
from verifier.sandbox.interface import Limits, Mount, Sandbox, SandboxProcess, Usage

__all__ = ["Benchmark", "HarnessRunner", "RunSettings"]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What may differ between machines and operators.

    Attributes:
        hard_wall_seconds: Wall time of a run, whatever its clock says; ``None`` derives it from the budget.
        limits: What a training program may use.
        evaluator: What a graph may cost before a control has shown what is usual.
        probes: Causality probes per graph.
        crew: How many evaluator processes answer side by side.
        recheck: Whether the benchmark's files are hashed before and after each run.
        arguments: Of the program, as the protocol's command has them.
        protocol_wall_seconds: The protocol's own hard limit of a run; the narrower of the two counts.
    """

    hard_wall_seconds: float | None = None
    limits: Limits = field(default_factory=Limits)
    evaluator: EvaluatorLimits = field(default_factory=EvaluatorLimits)
    probes: int = DEFAULT_PROBES
    crew: Crew = field(default_factory=Crew)
    recheck: bool = True
    arguments: tuple[str, ...] = ()
    protocol_wall_seconds: float | None = None


class HarnessRunner:
    """Runs programs under the harness and remembers what controls cost and score.

    Args:
        read_log: Reads metric and steps from a finished log; ``None`` reads nothing.
        watch: Looks at the machine before and during each run; what it says is written into the record.
        on_log: Is handed the bytes of the growing run log, from another thread; see ``RunLog``.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        sandbox: Sandbox,
        *,
        settings: RunSettings | None = None,
        read_log: Callable[[Path], LogFacts] | None = None,
        watch: RunWatch | None = None,
        on_log: Callable[[bytes], None] | None = None,
    ) -> None:
        self._benchmark, self._sandbox = benchmark, sandbox
        self._settings = settings or RunSettings()
        self._read_log = read_log or (lambda _: LogFacts())
        self._watch = watch or SleepWatch()
        self._on_log = on_log
        self._usual: Cost | None = None
        self._control: GapScores | None = None

    def run(
        self,
        role: Role,
        files: Mapping[str, bytes],
        *,
        run_folder: Path,
        deadline_seconds: float | None,
        seed: bytes,
    ) -> RunRecord:
        """Run the snapshot with ``files`` in place of its own and judge the model that comes out.

        Args:
            run_folder: Is created; gets ``run.log`` and, where a model counted, ``model.mlxfn``.
            deadline_seconds: From start to the final graph, on the benchmark's clock; ``None`` for none.
            seed: Rows, positions and order are drawn from it; the same for the runs to be compared.

        Raises:
            VerifierFault: for anything that is not the program's doing.
            CandidateError: if the files cannot be put in place.
        """
        with own_disk(run_folder):
            run_folder.mkdir(parents=True, exist_ok=True)
            if self._settings.recheck:
                self._benchmark.check()
            kernels = Kernels.FILL if role is Role.BASELINE and not files else Kernels.READ
            run = _Run(self._benchmark, self._sandbox, self._settings, self._limits(role), seed, kernels)
            self._watch.settle()
            log = RunLog(run_folder / "run.log", self._on_log)
            self._watch.begin()
            try:
                conduct, usage = run.execute(files, run_folder, log, deadline_seconds)
            finally:
                log.close()
                shutil.rmtree(run_folder / "workspace", ignore_errors=True)
            disturbances = self._watch.end()
            if self._settings.recheck:
                self._benchmark.check()
            record = self._record(role, run, conduct, usage, log, run_folder)
            return replace(record, disturbances=disturbances)

    def _limits(self, role: Role) -> EvaluatorLimits:
        base = self._settings.evaluator
        return candidate_limits(base, self._usual) if role is Role.CANDIDATE else base

    def _record(
        self, role: Role, run: _Run, conduct: Conduct, usage: Usage, log: RunLog, folder: Path
    ) -> RunRecord:
        facts = self._read_log(folder / "run.log")
        counted = run.evaluation if conduct.ending is Ending.GRAPH else None
        audits: tuple[Audit, ...] = ()
        validation: Bpb | None = None
        fresh: Bpb | None = None
        if counted is not None:
            validation = counted.scores.validation.bits_per_byte()
            fresh = counted.scores.fresh.bits_per_byte()
            audits = (counted.causality, self._gap_audit(role, counted))
        audits += (channel_audit(conduct),)
        return RunRecord(
            role=role,
            ending=conduct.ending,
            detail=conduct.detail,
            log_path=folder / "run.log",
            log_sha256=log.sha256,
            wall_seconds=usage.wall_seconds,
            cpu_seconds=usage.cpu_seconds,
            peak_memory_bytes=usage.peak_memory_bytes,
            clock=self._benchmark.constants.clock,
            seconds_to_graph=conduct.seconds_to_graph,
            validation=validation,
            fresh=fresh,
            audits=audits,
            printed_metric=facts.metric,
            steps=facts.steps,
            anomalies=(*conduct.remarks, *_metric_anomaly(conduct, facts.metric)),
            graph_sha256=hashlib.sha256(conduct.graph).hexdigest() if conduct.graph is not None else None,
        )

    def _gap_audit(self, role: Role, evaluation: Evaluation) -> Audit:
        if role is not Role.CANDIDATE:
            self._usual, self._control = evaluation.cost, evaluation.scores
            return fresh_gap_audit(evaluation.scores, None, both_ways=True)
        return fresh_gap_audit(evaluation.scores, self._control)


def _metric_anomaly(conduct: Conduct, printed: str | None) -> list[str]:
    """The value that a program printed must be the one it was given, to the printed digits."""
    if printed is None or not conduct.answered or conduct.value is None:
        return []
    digits = len(printed.partition(".")[2])
    given = f"{float(conduct.value):.{digits}f}"
    if given == printed:
        return []
    return [f"The program printed {printed} as its metric, the verifier had told it {given}."]


class _Run:
    """One execution."""

    def __init__(
        self,
        benchmark: Benchmark,
        sandbox: Sandbox,
        settings: RunSettings,
        limits: EvaluatorLimits,
        seed: bytes,
        kernels: Kernels,
    ) -> None:
        self._benchmark, self._sandbox, self._settings = benchmark, sandbox, settings
        self._limits, self._seed, self._kernels = limits, seed, kernels
        self.evaluation: Evaluation | None = None

    def execute(
        self, files: Mapping[str, bytes], folder: Path, log: RunLog, deadline_seconds: float | None
    ) -> tuple[Conduct, Usage]:
        """Start the program, watch it to its end, keep its graph."""
        workspace = lay_out_workspace(folder / "workspace", self._benchmark.snapshot, files)
        channel, theirs = Channel.open({Kind.GRAPH: self._limits.graph_bytes, Kind.UNSUPPORTED: TEXT_LIMIT})
        with channel, self._start(workspace, theirs, log) as process:
            conduct = Supervisor(process, channel, log, self._rules(deadline_seconds), self._judge).run()
            usage = process.usage()
        self._keep_kernels(conduct)
        if conduct.graph is not None:
            (folder / "model.mlxfn").write_bytes(conduct.graph)
        return conduct, usage

    def _start(self, workspace: Path, theirs: socket.socket, log: RunLog) -> SandboxProcess:
        return start_python(
            self._sandbox,
            self._benchmark.interpreter,
            [str(WORKSPACE / TRAIN), *self._settings.arguments],
            child_end=theirs,
            log=log,
            mounts=[Mount(workspace, WORKSPACE), Mount(self._benchmark.cache, CACHE)],
            environment={GRAPH_LIMIT_VARIABLE: str(self._limits.graph_bytes)},
            limits=self._program_limits(),
            kernels=self._kernels,
        )

    def _keep_kernels(self, conduct: Conduct) -> None:
        """After the program is gone: what the unmodified snapshot compiled serves later runs."""
        cache = self._benchmark.interpreter.kernels
        if cache is None or self._kernels is not Kernels.FILL:
            return
        if conduct.ending is Ending.GRAPH:
            cache.keep()
        else:
            cache.drop()

    def _program_limits(self) -> Limits:
        """The program writes its graph to its temporary folder before it sends it."""
        limits, graph = self._settings.limits, self._limits.graph_bytes
        return Limits(
            memory_bytes=limits.memory_bytes,
            processes=limits.processes,
            open_files=limits.open_files,
            file_bytes=max(limits.file_bytes, graph + (1 << 20)),
            scratch_bytes=max(limits.scratch_bytes, graph + (64 << 20)),
            log_bytes=limits.log_bytes,
        )

    def _rules(self, deadline_seconds: float | None) -> Rules:
        return run_rules(
            self._benchmark.constants,
            deadline_seconds=deadline_seconds,
            hard_wall_seconds=self._settings.hard_wall_seconds,
            protocol_wall_seconds=self._settings.protocol_wall_seconds,
        )

    def _judge(self, graph: bytearray) -> str:
        place = Evaluators(
            self._sandbox,
            self._benchmark.interpreter,
            self._limits,
            crew=self._settings.crew,
            kernels=self._kernels,
        )
        self.evaluation = evaluate(graph, self._benchmark.task(self._seed, self._settings.probes), place)
        return f"{Decimal(self.evaluation.scores.validation.bits_per_byte()):f}"
