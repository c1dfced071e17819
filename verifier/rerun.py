"""Prepared benchmarks and the runner that executes one program under the harness.

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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from armlx_chain.errors import VerifierFault
from verifier.harness.channel import TEXT_LIMIT, Channel, Kind
from verifier.harness.constants import Constants, read_constants
from verifier.harness.draw import Draw
from verifier.harness.evaluation import DEFAULT_PROBES, Cost, Evaluation, Evaluators, Task, evaluate
from verifier.harness.evaluator import EvaluatorLimits
from verifier.harness.gap import GapScores, fresh_gap_audit
from verifier.harness.inside import CACHE, GRAPH_LIMIT_VARIABLE, WORKSPACE, Interpreter, start_python
from verifier.harness.logfacts import LogFacts
from verifier.harness.rowsource import RowSource, read_rows
from verifier.harness.runlog import RunLog
from verifier.harness.scoring import Rows
from verifier.harness.staging import (
    PREPARE,
    TRAIN,
    CheckedFile,
    Entry,
    copy_checked,
    lay_out_cache,
    lay_out_plain,
    lay_out_workspace,
    own_disk,
)
from verifier.harness.supervise import Conduct, Rules, Supervisor
from verifier.machine.watch import RunWatch, SleepWatch
from verifier.model import Audit, Bpb, Ending, Role, RunRecord
from verifier.sandbox.interface import Limits, Mount, Sandbox, SandboxProcess, Usage

MINIMUM_FRESH_ROWS: Final = 16
_FRESH_POOL_FACTOR: Final = 2
"""Fresh rows are drawn from a pool of this many times the number that is scored."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A project's benchmark, ready on this machine.

    Attributes:
        snapshot: The repository's published files.
        validation: The rows the benchmark scores.
        fresh_pool: Rows outside the benchmark.
        fresh_origin: Where those come from: ``1 fresh shard``, or ``unscored rows of the validation shard``.
        table: Bytes each token stands for.
        cache: What a training program sees below ``~/.cache/autoresearch``: a decoy for the validation shard.
    """

    snapshot: Mapping[str, bytes]
    constants: Constants
    interpreter: Interpreter
    validation: Rows
    fresh_pool: Rows
    fresh_origin: str
    table: NDArray[np.int32]
    files: tuple[CheckedFile, ...]
    cache: Path
    work: Path

    @classmethod
    def prepare(
        cls,
        snapshot: Mapping[str, bytes],
        data_folder: Path,
        entries: Iterable[Entry],
        *,
        sandbox: Sandbox,
        interpreter: Interpreter,
        work: Path,
    ) -> Benchmark:
        """Check and copy the files, then let the project's own ``prepare.py`` give its rows.

        Args:
            data_folder: Holds the manifest's files under their paths; plays ``~/.cache/autoresearch``.
            work: A folder of ours for copies, layouts and logs. It must not be shared with a sandbox.

        Raises:
            VerifierFault: if a file is not the published one, or the benchmark does not work here.
        """
        for name in (PREPARE, TRAIN):
            if name not in snapshot:
                raise VerifierFault(f"The project's snapshot has no {name}.")
        constants = read_constants(snapshot[PREPARE])
        with own_disk(work):
            files = copy_checked(data_folder, sorted(entries, key=lambda entry: entry.path), work / "files")
            reader = _RowReader(snapshot, constants, files, sandbox, interpreter, work)
            scored, pool, origin = reader.read()
            cache = lay_out_cache(work / "cache", files, _one(files, "train", first=True).copy)
        return cls(
            snapshot=dict(snapshot),
            constants=constants,
            interpreter=interpreter,
            validation=scored.scored,
            fresh_pool=pool,
            fresh_origin=origin,
            table=scored.table,
            files=tuple(files),
            cache=cache,
            work=work,
        )

    def check(self) -> None:
        """Compare every file with its published root again.

        Raises:
            VerifierFault: naming the file that changed.
        """
        for file in self.files:
            file.check()

    def task(self, seed: bytes, probes: int) -> Task:
        """What the graphs of a session are asked; the same for every run with the same seed."""
        order = Draw(seed, "fresh-rows").permutation(len(self.fresh_pool))
        chosen = order[: len(self.validation)]
        return Task(
            validation=self.validation,
            fresh=self.fresh_pool.take(chosen),
            fresh_rows=tuple(chosen),
            table=self.table,
            seed=seed,
            probes=probes,
        )


def _one(files: Iterable[CheckedFile], role: str, *, first: bool = False) -> CheckedFile:
    found = [file for file in files if file.role == role]
    if not found or (len(found) > 1 and not first):
        raise VerifierFault(f"The benchmark's manifest has {len(found)} files of the role {role}.")
    return found[0]


def _together(parts: list[Rows]) -> Rows:
    return Rows(
        np.concatenate([rows.inputs for rows in parts]), np.concatenate([rows.targets for rows in parts])
    )


@dataclass(frozen=True, slots=True)
class _RowReader:
    """Runs the unmodified ``prepare.py`` with the real shard, and with the fresh one in its place."""

    snapshot: Mapping[str, bytes]
    constants: Constants
    files: list[CheckedFile]
    sandbox: Sandbox
    interpreter: Interpreter
    work: Path

    def read(self) -> tuple[RowSource, Rows, str]:
        fresh = [file for file in self.files if file.role == "fresh"]
        wanted = _FRESH_POOL_FACTOR * self.constants.rows
        scored = self._with(_one(self.files, "validation").copy, 0 if fresh else wanted)
        pool, origin = scored.further, "unscored rows of the validation shard"
        if fresh:
            others = [self._with(file.copy, wanted - self.constants.rows) for file in fresh]
            if not all(np.array_equal(other.table, scored.table) for other in others):
                raise VerifierFault("The byte table changed between two runs of the project's prepare.py.")
            pool = _together([rows for other in others for rows in (other.scored, other.further)])
            origin = f"{len(fresh)} fresh shard{'s' if len(fresh) > 1 else ''}"
        if len(pool) < MINIMUM_FRESH_ROWS:
            raise VerifierFault(
                f"The benchmark leaves {len(pool)} rows that it does not score; at least "
                f"{MINIMUM_FRESH_ROWS} are needed to see whether a gain carries over.",
                next_step="Publish a fresh shard in the benchmark's manifest.",
            )
        return scored, pool, origin

    def _with(self, shard: Path, further: int) -> RowSource:
        cache = lay_out_cache(self.work / "rows-cache", self.files, shard)
        workspace = lay_out_plain(self.work / "rows-workspace", self.snapshot)
        mounts = [Mount(workspace, WORKSPACE), Mount(cache, CACHE)]
        try:
            return read_rows(
                self.sandbox,
                self.interpreter,
                self.constants,
                mounts=mounts,
                log_path=self.work / "rows.log",
                further=further,
            )
        finally:
            shutil.rmtree(cache)
            shutil.rmtree(workspace)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What may differ between machines and operators.

    Attributes:
        hard_wall_seconds: Wall time of a run, whatever its clock says; ``None`` derives it from the budget.
        limits: What a training program may use.
        evaluator: What a graph may cost before a control has shown what is usual.
        probes: Causality probes per graph.
        recheck: Whether the benchmark's files are hashed before and after each run.
    """

    hard_wall_seconds: float | None = None
    limits: Limits = field(default_factory=Limits)
    evaluator: EvaluatorLimits = field(default_factory=EvaluatorLimits)
    probes: int = DEFAULT_PROBES
    recheck: bool = True


TIME_FACTOR: Final = 4
MEMORY_FACTOR: Final = 2
GRAPH_FACTOR: Final = 4
"""A graph may cost this much more than the control's (trusted evaluation, section 2)."""
_LEAST_SECONDS: Final = 120.0
_LEAST_MEMORY: Final = 2 << 30
"""Below these a small benchmark's limits would be noise."""
_CPU_WALL_FACTOR: Final = 20.0
_CPU_WALL_MOST: Final = 3600.0
"""A program on the CPU clock may take so many times its time, and so much longer at most: one that sleeps
uses none of it."""
_WALL_SLACK_SECONDS: Final = 120.0


class HarnessRunner:
    """Runs programs under the harness and remembers what controls cost and score.

    Args:
        read_log: Reads metric and steps from a finished log; ``None`` reads nothing.
        watch: Looks at the machine before and during each run; what it says is written into the record.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        sandbox: Sandbox,
        *,
        settings: RunSettings | None = None,
        read_log: Callable[[Path], LogFacts] | None = None,
        watch: RunWatch | None = None,
    ) -> None:
        self._benchmark, self._sandbox = benchmark, sandbox
        self._settings = settings or RunSettings()
        self._read_log = read_log or (lambda _: LogFacts())
        self._watch = watch or SleepWatch()
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
            run = _Run(self._benchmark, self._sandbox, self._settings, self._limits(role), seed)
            self._watch.settle()
            log = RunLog(run_folder / "run.log")
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
        """A candidate's graph may cost a multiple of what the control's did."""
        base = self._settings.evaluator
        if role is not Role.CANDIDATE or self._usual is None:
            return base
        return EvaluatorLimits(
            seconds=min(base.seconds, max(_LEAST_SECONDS, TIME_FACTOR * self._usual.seconds)),
            memory_bytes=min(base.memory_bytes, max(_LEAST_MEMORY, MEMORY_FACTOR * self._usual.memory_bytes)),
            graph_bytes=max(base.graph_bytes, GRAPH_FACTOR * self._usual.graph_bytes),
        )

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
    ) -> None:
        self._benchmark, self._sandbox, self._settings = benchmark, sandbox, settings
        self._limits, self._seed = limits, seed
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
        if conduct.graph is not None:
            (folder / "model.mlxfn").write_bytes(conduct.graph)
        return conduct, usage

    def _start(self, workspace: Path, theirs: socket.socket, log: RunLog) -> SandboxProcess:
        return start_python(
            self._sandbox,
            self._benchmark.interpreter,
            [str(WORKSPACE / TRAIN)],
            child_end=theirs,
            log=log,
            mounts=[Mount(workspace, WORKSPACE), Mount(self._benchmark.cache, CACHE)],
            environment={GRAPH_LIMIT_VARIABLE: str(self._limits.graph_bytes)},
            limits=self._program_limits(),
        )

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
        constants = self._benchmark.constants
        expected = deadline_seconds or 3 * constants.budget_seconds
        idle = min((_CPU_WALL_FACTOR - 1) * expected, _CPU_WALL_MOST) if constants.clock == "cpu" else 0.0
        hard = self._settings.hard_wall_seconds or expected + idle + _WALL_SLACK_SECONDS
        return Rules(constants.clock, constants.budget_seconds, deadline_seconds, hard)

    def _judge(self, graph: bytearray) -> str:
        place = Evaluators(self._sandbox, self._benchmark.interpreter, self._limits)
        self.evaluation = evaluate(graph, self._benchmark.task(self._seed, self._settings.probes), place)
        return f"{Decimal(self.evaluation.scores.validation.bits_per_byte()):f}"
