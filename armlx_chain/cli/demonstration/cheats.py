"""Act seven: two people who would rather not improve anything.

Each really runs a cheating ``train.py``, bare, keeps the log it prints, and writes a run folder round it that
says what they would like a validator to believe. That takes no skill: files on one's own disk prove nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from armlx_chain.claims.runfolder import (
    CANDIDATE,
    CONTROL_LOG,
    RUN_LOG,
    candidate_digest,
    peek_facts,
    write_run_json,
)
from armlx_chain.cli.demonstration.project import Measured
from armlx_chain.cli.demonstration.stage import Stage, require
from armlx_chain.cli.wiring import control_root_of
from armlx_chain.protocol.metric import extract_metric, metric_rule
from armlx_chain.protocol.parse import parse_protocol

_BARE_SECONDS = 120


def bare_run(train: bytes, measured: Measured, place: Path) -> bytes:
    """What a naive validator does: run the file, take its log. Only our own demonstration files run so.

    Returns:
        The log.
    """
    cache = place / "home" / ".cache" / "autoresearch"
    shutil.copytree(measured.data_folder, cache)
    workspace = place / "workspace"
    workspace.mkdir(parents=True)
    for name, data in {**measured.snapshot, "train.py": train}.items():
        (workspace / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=workspace,
        env={"HOME": str(place / "home"), "PATH": "/usr/bin:/bin", "MLX_DISABLE_COMPILE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_BARE_SECONDS,
        check=False,
    )
    require(done.returncode == 0, f"the cheat did not run: {done.stdout[-300:]!r}")
    return done.stdout


def bare_runs(stage: Stage, measured: Measured, programs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The logs of several people's programs, run side by side: nobody measures anything with them."""
    with ThreadPoolExecutor(len(programs)) as pool:
        runs = {
            who: pool.submit(bare_run, train, measured, stage.folder / "runs" / who / "bare")
            for who, train in programs.items()
        }
        return {who: run.result() for who, run in runs.items()}


def forge(stage: Stage, *, train: bytes, log: bytes, who: str, honest_folder: Path) -> tuple[Path, str]:
    """A run folder round a cheat's own log.

    Returns:
        The folder and the value its log prints.
    """
    folder = stage.folder / "runs" / who
    project = stage.registry().find_project(0)
    if project is None:
        raise RuntimeError("the demonstration's project is gone")
    protocol = parse_protocol(_protocol_bytes(stage))
    value = extract_metric(log, metric_rule(protocol.measurement.primary_metric)).text
    (folder / CANDIDATE).mkdir(parents=True)
    (folder / CANDIDATE / "train.py").write_bytes(train)
    (folder / RUN_LOG).write_bytes(log)
    for name in (CONTROL_LOG, "environment.json"):
        shutil.copyfile(honest_folder / name, folder / name)
    facts = peek_facts(honest_folder / RUN_LOG)
    write_run_json(
        folder,
        replace(
            facts,
            value=value,
            run_log_sha256=hashlib.sha256(log).hexdigest(),
            candidate_sha256=candidate_digest({"train.py": train}),
            current_best=project.best_score,
            control_root=control_root_of(project),
        ),
    )
    return folder, value


def _protocol_bytes(stage: Stage) -> bytes:
    from armlx_chain.storage.fetch import open_storage
    from armlx_chain.types import Root

    project = stage.registry().find_project(0)
    if project is None:
        raise RuntimeError("the demonstration's project is gone")
    storage = open_storage([stage.world.storage_url or ""], None)
    return storage.fetch(Root.zerog(project.protocol_hash), max_bytes=1 << 20).data
