"""A simulated day of the devnet under one ``armlx-validator run``, with real MLX runs.

    scripts/campaigns/day [--runs 50] [--folder FOLDER] [--json FILE]

Three projects, three miners, twenty-four hours. At some hours miners submit: honest improvements, honest
changes that change nothing or make it worse, and cheats. The daemon is a process of its own, started once; it
finds the proposals by itself, trains, decides, signs and settles. When it has nothing left to do, the chain's
clock is put forward by an hour. What happened is read from the daemon's own log and from the ledger.

A miner's claim is not reproduced here first: its run folder is written by hand, because what the miner's disk
says proves nothing anyway. Every run counted below is one that the daemon made.

Exit codes: 0 if every proposal ended as it may and enough runs were made; 3 if not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from armlx_chain.chain.contracts import Status
from armlx_chain.claims.publish import PublishedProject
from armlx_chain.claims.runfolder import RunFacts, candidate_digest, write_run_json
from armlx_chain.cli.demonstration.project import TERMS, measure_baseline, publish
from armlx_chain.cli.demonstration.stage import Stage, set_stage
from armlx_chain.cli.wiring import control_root_of
from armlx_chain.devnet.benchmark import candidates
from armlx_chain.types import ProjectId, Root

HOUR: Final = 3600
SEED_BLOCKS: Final = 9
STAKE: Final = 10
PATIENCE_SECONDS: Final = 1200
"""How long one hour's proposals may take the daemon, on a machine that is busy with other things too."""
END_SECONDS: Final = 900
FINAL: Final = {"approved", "rejected", "left", "superseded", "known"}
REFUSED: Final = {"unimproved", "undecided"}
MAY: Final[dict[str, set[str]]] = {
    "better": {"reproduced", "undecided"},
    "lookahead": {"refuted", "undecided"},
    "printer": REFUSED,
    "noop": REFUSED,
    "comment": REFUSED,
}
"""How a program may end. Undecided is always allowed: a machine may be too noisy to say anything."""
DAY: Final = (
    (1, 0, "miner", "better"),
    (2, 0, "printer", "printer"),
    (2, 0, "peeker", "lookahead"),
    (4, 0, "printer", "comment"),
    (6, 1, "printer", "better"),
    (8, 1, "miner", "lookahead"),
    (8, 1, "peeker", "noop"),
    (10, 1, "miner", "comment"),
    (12, 2, "peeker", "better"),
    (14, 2, "miner", "printer"),
    (14, 2, "printer", "comment"),
    (16, 0, "peeker", "noop"),
    (18, 1, "printer", "comment"),
    (20, 2, "peeker", "lookahead"),
)
"""Hour, project, who, what."""


def say(text: str) -> None:
    """A line for a person."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def program(name: str, number: int) -> bytes:
    """A candidate's ``train.py``; "comment" is the better recipe with a comment of its own."""
    if name == "comment":
        return candidates.better_train() + f"\n# Tried again, the {number}th time today.\n".encode()
    return candidates.source(name)


@dataclass
class Daemon:
    """The validator's process, and what its log says."""

    process: subprocess.Popen[bytes]
    log: Path
    _read: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def look(self) -> list[dict[str, Any]]:
        """Lines written since the last look; whole lines only."""
        data = self.log.read_bytes()[self._read :]
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        fresh = [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        self.events += fresh
        return fresh

    def of(self, message: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["message"] == message]

    def ends(self) -> dict[int, dict[str, Any]]:
        """The last word on each proposal."""
        found = {}
        for event in self.of("proposal ended"):
            known = event["fields"]["step"] == "known"
            if not (known and event["proposal"] in found):
                found[int(event["proposal"])] = event["fields"]
        return found

    def is_done(self, number: int) -> bool:
        end = self.ends().get(number)
        return end is not None and end["step"] in FINAL and end["reason"] != "more-pairs-needed"

    def wait_for(self, numbers: list[int]) -> bool:
        """Wait until proposals are at their end for today; whether they are."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            self.look()
            if all(self.is_done(number) for number in numbers):
                return True
            if self.process.poll() is not None:
                raise SystemExit(f"The daemon ended by itself; its log is {self.log}.")
            time.sleep(0.5)
        return False

    def own_cpu_seconds(self) -> float:
        """CPU time of the daemon's process alone, as ps says it: not of what it started."""
        shown = subprocess.run(
            ["ps", "-o", "time=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True
        ).stdout.strip()
        days, _, clock = shown.rpartition("-")
        seconds = 0.0
        for part in clock.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds + 86_400 * int(days or 0)


@contextlib.contextmanager
def daemon(stage: Stage) -> Iterator[Daemon]:
    """``armlx-validator run``, started once for the whole day, told to stop at its end."""
    log = stage.folder / "daemon.log"
    command = [
        sys.executable, "-c", "from verifier.daemon.cli import main; main()", "run",
        "--network", "devnet", "--home", str(stage.home("validator")),
        "--account", "validator", "--password-file", str(stage.password_file),
        "--auto-reject", "--max-rejections", "100", "--health-port", "0", "--poll", "15", "--look", "0.5",
        "--calibrate", "quick",
    ]  # fmt: skip
    with log.open("wb") as target:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=target, stderr=target, cwd=stage.folder
        )
    running = Daemon(process, log)
    try:
        yield running
        process.terminate()
        process.wait(END_SECONDS)
        running.look()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(60)


@dataclass(frozen=True)
class Handed:
    """A proposal of the day."""

    number: int
    hour: int
    project: int
    who: str
    what: str


class Day:
    """Projects, miners and what they hand in."""

    def __init__(self, stage: Stage, projects: list[PublishedProject]) -> None:
        self._stage = stage
        self._projects = projects
        self._talk = stage.folder / "miners.log"
        self.handed: list[Handed] = []

    def submit(self, hour: int, place: int, who: str, what: str) -> Handed:
        """Hand in one candidate through the real command."""
        number = self._stage.ledger().proposal_count()
        run_log = self._run_folder(place, program(what, number), number)
        given = ["--run", run_log, "--stake", STAKE, "--reward-recipient", self._stage.cold]
        with self._talk.open("a") as talk, contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
            code = self._stage.run(who, "submit", *given, "--despite-open", "--yes", sign=True)
        if code != 0 or self._stage.ledger().proposal_count() != number + 1:
            raise SystemExit(f"A submission failed with exit code {code}; see {self._talk}.")
        self.handed.append(Handed(number, hour, place, who, what))
        return self.handed[-1]

    def _run_folder(self, place: int, train: bytes, number: int) -> Path:
        """What a miner's disk would say of a run; the claim is a tenth of a bit per byte."""
        project = self._stage.registry().find_project(int(self._projects[place].project_id))
        if project is None:
            raise SystemExit("A project is gone.")
        value, control = "1.900000", "2.000000"
        folder = self._stage.folder / "runs" / str(number)
        (folder / "candidate").mkdir(parents=True)
        logs = {name: f"run {number}\nval_bpb: {text}\n".encode() for name, text in
                (("run.log", value), ("control.log", control))}  # fmt: skip
        for name, log in logs.items():
            (folder / name).write_bytes(log)
        (folder / "candidate" / "train.py").write_bytes(train)
        (folder / "environment.json").write_text(f'{{"format":"armlx-environment/1","run":{number}}}')
        facts = RunFacts(
            chain_id=self._stage.world.chain_id,
            ledger=self._stage.ledger().address,
            project_id=ProjectId(int(project.id)),
            protocol_root=Root.zerog(project.protocol_hash),
            snapshot_root=Root.zerog(project.repo_snapshot_hash),
            control_root=control_root_of(project),
            current_best=project.best_score,
            metric="val_bpb",
            value=value,
            control_value=control,
            hardware_class="cpu, stated",
            environment_digest="sha256:" + "ab" * 32,
            run_log_sha256=sha256(logs["run.log"]).hexdigest(),
            control_log_sha256=sha256(logs["control.log"]).hexdigest(),
            candidate_sha256=candidate_digest({"train.py": train}),
            outcome="reproduced",
            reason="improvement-confirmed",
        )
        write_run_json(folder, facts)
        return folder / "run.log"


def live(stage: Stage, running: Daemon, day: Day, least: int) -> None:
    """The twenty-four hours; after the plan, no-ops until there were enough runs."""
    due: dict[int, list[tuple[int, str, str]]] = {}
    for hour, place, who, what in DAY:
        due.setdefault(hour, []).append((place, who, what))
    for hour in range(24):
        if hour == 23 and len(running.of("run ended")) < least:
            due[hour] = [(place, "peeker", "comment") for place in range(3)]
        handed = [day.submit(hour, *one) for one in due.get(hour, [])]
        if handed:
            stage.world.mine(SEED_BLOCKS)
            at_rest = running.wait_for([one.number for one in handed])
            for one in handed:
                end = running.ends().get(one.number, {})
                say(f"{hour:02}:00  proposal {one.number:2}, project {one.project}, {one.what:9} "
                    f"{end.get('outcome')} ({end.get('reason')}), {end.get('step')}")  # fmt: skip
            if not at_rest:
                say(f"{hour:02}:00  the daemon is not at rest; the day goes on")
        stage.world.advance_time(HOUR)


def findings(stage: Stage, running: Daemon, day: Day, least: int) -> list[str]:
    """What did not end as it may."""
    wrong = []
    ledger, ends = stage.ledger(), running.ends()
    settled = {"reproduced": Status.APPROVED, "refuted": Status.REJECTED}
    for one in day.handed:
        end, proposal = ends.get(one.number), ledger.find_proposal(one.number)
        outcome = None if end is None else end["outcome"]
        if outcome not in MAY[one.what]:
            wrong.append(f"proposal {one.number} ({one.what}) ended as {outcome}")
        status = None if proposal is None else proposal.status
        if status is not settled.get(str(outcome), Status.SUBMITTED):
            wrong.append(f"proposal {one.number} ({outcome}) is {status} on the ledger")
    for event in running.of("cycle ended"):
        if event["fields"]["outcome"] not in ("done", "drained"):
            wrong.append(f"{event['cycle']} ended: {event['fields']['outcome']}")
    if running.process.returncode != 0:
        wrong.append(f"the daemon ended with exit code {running.process.returncode}")
    runs = len(running.of("run ended"))
    return wrong if runs >= least else [*wrong, f"only {runs} runs were made, not {least}"]


def figures(running: Daemon, handed: Sequence[Handed], wall: float, own_cpu: float) -> dict[str, Any]:
    """What it did, and what it cost beside the training."""
    runs = [event["fields"] for event in running.of("run ended")]
    cycles = [event["fields"]["seconds"] for event in running.of("cycle ended")]
    in_runs, ends = sum(run["seconds"] for run in runs), running.ends()
    return {
        "proposals": len(handed),
        "outcomes": dict(Counter(str(ends[one.number]["outcome"]) for one in handed if one.number in ends)),
        "cycles": len(cycles),
        "runs": len(runs),
        "run_wall_s": round(in_runs, 1),
        "run_cpu_s": round(sum(run["cpu_seconds"] for run in runs), 1),
        "cycles_wall_s": round(sum(cycles), 1),
        "overhead_wall_s": round(sum(cycles) - in_runs, 1),
        "overhead_share": round((sum(cycles) - in_runs) / in_runs, 3) if in_runs else None,
        "daemon_cpu_s": round(own_cpu, 1),
        "wall_s": round(wall, 1),
    }


_WORDS: Final[Mapping[str, str]] = {
    "proposals": "proposals handed in",
    "outcomes": "outcomes",
    "cycles": "cycles of the daemon",
    "runs": "MLX runs made by the daemon",
    "run_wall_s": "seconds in those runs (training and trusted evaluation)",
    "run_cpu_s": "CPU seconds of the sandboxed programs",
    "cycles_wall_s": "seconds in cycles",
    "overhead_wall_s": "seconds in cycles outside runs: the daemon's own overhead",
    "overhead_share": "the same, as a share of the time in runs",
    "daemon_cpu_s": "CPU seconds of the daemon's own process (evaluators and programs not counted)",
    "wall_s": "seconds of wall time for the simulated day",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50, help="real runs at least [50]")
    parser.add_argument("--folder", type=Path, help="keep everything here [a temporary folder]")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="armlx-day-"))
    with set_stage(folder, engine="auto") as stage:
        say(f"everything is in {folder}")
        talk = (folder / "setting-up.log").open("w")
        with talk, contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
            measured = measure_baseline(stage)
            projects = [
                publish(stage, measured, replace(TERMS, symbol=f"SMALL{place}")) for place in range(3)
            ]
        say(f"three projects; baseline {projects[0].baseline_score}")
        day, began = Day(stage, projects), time.monotonic()
        with daemon(stage) as running:
            live(stage, running, day, options.runs)
            own_cpu = running.own_cpu_seconds()
        shown = figures(running, day.handed, time.monotonic() - began, own_cpu)
        wrong = findings(stage, running, day, options.runs)
    say("")
    for name, value in shown.items():
        say(f"{value!s:>12}  {_WORDS[name]}")
    for sentence in wrong:
        say(f"FINDING: {sentence}")
    if options.json:
        options.json.write_text(json.dumps({**shown, "findings": wrong}, indent=1) + "\n")
    return 3 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
