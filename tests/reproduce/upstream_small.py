"""Check compatibility with the upstream benchmark: its own two files, with small constants, the whole way.

    scripts/upstream-small CHECKOUT                a folder with upstream's prepare.py and train.py
    scripts/upstream-small CHECKOUT --seconds 3    a longer training budget: less noise
    scripts/upstream-small CHECKOUT --cpu-clock    count CPU time: for machines that do other work as well
    scripts/upstream-small CHECKOUT --keep DIR     leave data, run folders and logs there
    scripts/upstream-small CHECKOUT --only base    only the unmodified program, bare and under the harness

The two files are copied; constants are set in the copies, line by line, each of which must be there exactly
once. Data is an invented language in upstream's layout, the tokenizer a small one in the pickled form that
prepare.py loads. Then, on this machine: the unmodified program bare and under the harness; its noise from
six runs (a shortcut); and the verdict for an honest variant (smaller steps, more of them), one that changes
nothing, and one whose model looks ahead. Nothing of upstream is kept but under --keep.

Exits with 1 if a verdict is not the one that is right for its program, and with 3 if none is wrong but this
machine was too noisy to give one: it did not repeat its own controls, which says nothing of the files.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from armlx_chain.errors import ArmlxError
from tests.reproduce.smallcopy import VARIANTS, SmallCopy, Variant, make_small_copy
from verifier.capacity import interpreter_here, settings_here
from verifier.following import Expectation, LiveLine
from verifier.harness.logfacts import ProtocolLog
from verifier.judging import Folders, Prepared, prepare
from verifier.live import LivePainter
from verifier.machine.watch import SleepWatch
from verifier.model import Noise, Reason, Role, RunRecord, Verdict
from verifier.reproduction import facts_of, judge_session, write_candidate, write_report
from verifier.rerun import HarnessRunner
from verifier.runstate import COMPLETE, RUNNING, SessionKeeper
from verifier.sandbox.select import default_sandbox
from verifier.session import Progress

RUNS, SEED_RUNS = 6, 2
PROBES = 128
"""Fewer than the rule's: so small a model needs no more to be caught, and a run is short."""
HEAD = (
    "program", "steps", "printed", "eval s", "| steps", "printed", "trusted", "differ", "eval s",
    "to model s", "wall s", "verdict", "gain",
)  # fmt: skip
_BARE_SECONDS = 300.0


@dataclass(frozen=True)
class Bare:
    """A plain run, without sandbox or harness."""

    steps: int | None
    printed: str | None
    evaluation: float | None


class Standing(Enum):
    """Whether a program got what is right for it; the value is the exit status that it asks for."""

    RIGHT = 0
    WRONG = 1
    OPEN = 3
    """Nothing was decided, because the machine's own controls differed too much."""


@dataclass(frozen=True)
class Row:
    """One program: bare, under the harness, judged."""

    name: str
    bare: Bare
    record: RunRecord
    evaluation: float | None
    verdict: Verdict | None
    standing: Standing

    def cells(self) -> tuple[str, ...]:
        record, verdict = self.record, self.verdict
        printed, trusted = record.printed_metric, record.validation
        differ = "-" if printed is None or trusted is None else f"{float(printed) - float(trusted):+.6f}"
        return (
            self.name,
            _shown(self.bare.steps),
            _shown(self.bare.printed),
            _seconds(self.bare.evaluation),
            "| " + _shown(record.steps),
            _shown(printed),
            "-" if trusted is None else f"{trusted:.6f}",
            differ,
            _seconds(self.evaluation),
            _seconds(record.seconds_to_graph),
            _seconds(record.wall_seconds),
            "-" if verdict is None else f"{verdict.outcome} ({verdict.reason})",
            "-" if verdict is None or verdict.mean_gain is None else f"{verdict.mean_gain:+.4f}",
        )


@dataclass(frozen=True)
class Bench:
    """The small copy, prepared on this machine."""

    copy: SmallCopy
    prepared: Prepared
    line: LiveLine
    place: Path
    python: Path

    def bare(self, source: bytes, name: str) -> Bare:
        """Run a program as anybody would; only its HOME is another."""
        workspace = self.place / "bare" / name
        workspace.mkdir(parents=True)
        for path, data in {**self.copy.snapshot, "train.py": source}.items():
            (workspace / path).write_bytes(data)
        environment = {**os.environ, "HOME": str(self.copy.home), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= dict(interpreter_here(self.python).environment)
        ended = subprocess.run(
            [str(self.python), "train.py"],
            cwd=workspace,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BARE_SECONDS,
            check=False,
        )
        (workspace / "run.log").write_bytes(ended.stdout)
        text = ended.stdout.decode(errors="replace").replace("\r", "\n")
        steps, printed = stated(text, "num_steps"), stated(text, "val_bpb")
        return Bare(int(steps) if steps is not None else None, printed, evaluation_seconds(text))

    def once(self, role: Role, source: bytes, name: str) -> RunRecord:
        """One run under the harness."""
        files = {} if role is Role.BASELINE else {"train.py": source}
        self.line.progress(Progress(f"{name} starts.", 1, role))
        record = self.prepared.runner.run(
            role, files, run_folder=self.place / "once" / name, deadline_seconds=None, seed=b"once"
        )
        self.line.progress(Progress(f"{name} ended, {record.validation}.", 1, role, record))
        return record

    def noise(self) -> Noise:
        with self.line:
            self.line.expect(Expectation(1 + RUNS + SEED_RUNS))
            return self.prepared.measure_noise(
                runs=RUNS,
                seed_runs=SEED_RUNS,
                shortcut=True,
                progress=self.line.progress,
            )

    def judged(self, source: bytes, name: str, noise: Noise) -> Verdict:
        """The verdict, by the code that ``reproduce`` runs; leaves a run folder."""
        folder, seed, files = self.place / "runs" / name, secrets.token_bytes(32), {"train.py": source}
        write_candidate(folder, files)
        facts = facts_of(self.prepared, files, chain_id=0, ledger=self.copy.nobody, seed=seed)
        keeper = SessionKeeper(folder, facts, runs=0)
        keeper.place.mkdir(parents=True)
        keeper.mark(RUNNING)
        refused = self.prepared.precheck(files)
        if refused is not None:
            return refused
        with self.line:
            self.line.expect(Expectation(8, noise.reference_seconds[0]))
            judged = judge_session(
                self.prepared,
                files,
                noise=noise,
                keeper=keeper,
                seed=seed,
                runs=0,
                progress=self.line.progress,
            )
        write_report(folder, judged.verdict)
        keeper.mark(COMPLETE)
        return judged.verdict


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/upstream-small",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", type=Path, help="folder with upstream's prepare.py and train.py")
    parser.add_argument("--seconds", type=float, default=3.0, help="training budget of a run (default 3)")
    parser.add_argument("--cpu-clock", action="store_true", help="count CPU time instead of wall time")
    parser.add_argument("--keep", type=Path, help="folder for all that is made (default: none is kept)")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter with MLX")
    parser.add_argument(
        "--only", nargs="*", choices=["base", *VARIANTS], help="only these programs (default: all)"
    )
    options = parser.parse_args()
    try:
        if options.keep is not None:
            options.keep.mkdir(parents=True)
            return report(options.checkout, options.keep, options)
        with tempfile.TemporaryDirectory(prefix="upstream-small-") as folder:
            return report(options.checkout, Path(folder), options)
    except (ArmlxError, FileExistsError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


def report(checkout: Path, place: Path, options: argparse.Namespace) -> int:
    """Run everything and print the table."""
    started = time.monotonic()
    bench = prepare_bench(
        checkout,
        place,
        seconds=options.seconds,
        python=options.python.absolute(),
        cpu_clock=options.cpu_clock,
    )
    for sentence in bench.copy.notes:
        say(sentence)
    names = options.only or ["base", *VARIANTS]
    noise = bench.noise() if set(names) - {"base"} else None
    if noise is not None:
        say(f"noise: s = {noise.s}, seed spread {noise.seed_spread}, from {noise.runs} runs (a shortcut)")
    rows = []
    for name in names:
        rows.append(row_of(bench, name, noise))
        say("  ".join(rows[-1].cells()))
    print(table([HEAD, *(row.cells() for row in rows)]))
    wrong = [row.name for row in rows if row.standing is Standing.WRONG]
    undecided = [row.name for row in rows if row.standing is Standing.OPEN]
    print(
        "\nLeft of the bar a bare run, right of it a run under the harness; each trained by itself, so their"
        " figures differ by noise.\n'differ' is what the run under the harness printed less the trusted value"
        " of its graph."
    )
    print(f"{len(wrong)} verdicts not as they should be{': ' + ', '.join(wrong) if wrong else ''}."
          f" {time.monotonic() - started:.0f} s in all.")  # fmt: skip
    if undecided:
        print(
            f"Left open, because this machine did not repeat its own controls: {', '.join(undecided)}."
            " Try again when it does nothing else, or with --cpu-clock or more --seconds."
        )
    return (Standing.WRONG if wrong else Standing.OPEN if undecided else Standing.RIGHT).value


def prepare_bench(
    checkout: Path, place: Path, *, seconds: float, python: Path, cpu_clock: bool = False
) -> Bench:
    """Make the small copy and prepare it in this machine's sandbox.

    Raises:
        DevnetError: a constant is not where it was expected.
        SandboxUnavailable: nothing is judged without one.
        VerifierFault: the benchmark does not work here.
    """
    copy = make_small_copy(checkout, place, seconds=seconds, python=python, cpu_clock=cpu_clock)
    line = LiveLine(LivePainter(sys.stderr))
    interpreter = interpreter_here(python)
    folders = Folders(work=place / "work", calibrations=place / "calibrations")
    sandbox = line.observe(default_sandbox())
    prepared = prepare(copy.materials, sandbox=sandbox, interpreter=interpreter, folders=folders)
    runner = HarnessRunner(
        prepared.benchmark,
        sandbox,
        settings=replace(settings_here(interpreter), probes=PROBES),
        read_log=ProtocolLog(copy.materials.protocol),
        watch=SleepWatch(),
        on_log=line.on_log,
    )
    prepared = replace(prepared, runner=runner)
    return Bench(copy, prepared, line, place, python)


def row_of(bench: Bench, name: str, noise: Noise | None) -> Row:
    """One program of the table."""
    variant = VARIANTS.get(name)
    source = bench.copy.snapshot["train.py"] if variant is None else variant.apply(bench.copy)
    bare = bench.bare(source, name)
    if variant is None or noise is None:
        record, verdict = bench.once(Role.BASELINE, source, name), None
    else:
        verdict = bench.judged(source, name, noise)
        record = verdict.pairs[0].candidate if verdict.pairs else bench.once(Role.CANDIDATE, source, name)
    return Row(name, bare, record, bench.line.scoring_seconds, verdict, standing(variant, verdict, record))


def standing(variant: Variant | None, verdict: Verdict | None, record: RunRecord) -> Standing:
    """What became of a program: its verdict, or its plain run where it is not judged."""
    if variant is None or verdict is None:
        return Standing.WRONG if record.validation is None else Standing.RIGHT
    if verdict.outcome.value in variant.outcomes:
        return Standing.RIGHT
    return Standing.OPEN if verdict.reason is Reason.TOO_NOISY else Standing.WRONG


def stated(text: str, name: str) -> str | None:
    """The number on the line ``name: number``."""
    found = re.findall(rf"^{name}:[ ]+([0-9]+(?:\.[0-9]+)?)[ ]*$", text, re.MULTILINE)
    return found[-1] if found else None


def evaluation_seconds(text: str) -> float | None:
    """What the program itself says its final evaluation took; under the harness, ours is in it."""
    found = re.findall(r"^Final eval completed in ([0-9]+\.[0-9]+)s", text, re.MULTILINE)
    return float(found[-1]) if found else None


def table(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(row.rstrip() for row in rows)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
