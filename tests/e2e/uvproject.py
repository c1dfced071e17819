"""A project whose protocol says ``uv sync``, from publication to a settled verdict, on the local world.

    scripts/campaigns/uv-project [--wheels FOLDER] [--folder FOLDER] [--until reproduce|settled]

The small benchmark is published with a ``uv.lock`` and the set-up of upstream. A miner's ``reproduce`` makes
the locked environment in the sandbox, calibrates in it, runs control and candidate in pairs until the
rule decides, and submits; a validator with a home of its own makes the environment again, judges and settles.

The packages are fetched once with this machine's own pip, or taken from --wheels; everything else comes from
an index on this machine. The baseline on the ledger is stated, not measured: only differences are judged.

Exit codes: 0 if the improvement is reproduced (and approved), 3 if it ended otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from armlx_chain.chain.contracts import Status
from armlx_chain.claims.publish import ProjectFiles, PublishedProject, publish_project
from armlx_chain.cli.demonstration.patience import share
from armlx_chain.cli.demonstration.project import TERMS, shorter_evaluation
from armlx_chain.cli.demonstration.stage import Stage, set_stage
from armlx_chain.cli.wiring import make_publisher
from armlx_chain.devnet.benchmark import candidates
from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import protocol_document, snapshot_files
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.storage.zerog.merkle import root_of
from tests.environments.local_index import Index, locked, serve
from tests.environments.whole_path import PACKAGES, say, timed, wheels

SEED_BLOCKS = 9
ATTEMPTS = 3
"""Passes of the validator: a test that wants more pairs is continued."""


def document(eval_tokens: int) -> bytes:
    """The small benchmark's protocol with upstream's set-up."""
    now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    tree: dict[str, Any] = json.loads(
        protocol_document(baseline_notes="Stated, not measured.", created_at=now)
    )
    tree["environment"]["setupCommands"] = ["uv sync"]
    tree["environment"]["constraints"]["networkPolicy"] = "full"
    tree["execution"]["command"] = "uv run train.py"
    tree["archetypeExtensions"]["ml_train"]["evalTokens"] = eval_tokens
    return (json.dumps(tree, indent=2) + "\n").encode()


def _eval_tokens(prepare: bytes) -> int:
    """How much is scored, as the snapshot says it."""
    found = re.search(rb"(?m)^EVAL_TOKENS = ([0-9]+)", prepare)
    if found is None:
        raise SystemExit("The small benchmark does not say how much it scores.")
    return int(found[1])


def publish(stage: Stage, uv: Path, index: Index) -> PublishedProject:
    """The small benchmark with a lock, and a baseline that is only stated."""
    lock = locked(uv, index, stage.folder / "locking", list(PACKAGES))
    snapshot = {**shorter_evaluation(snapshot_files()), **lock}
    folder = stage.folder / "benchmark"
    files = make_data(folder)
    data = {file.path: (folder / file.path).read_bytes() for file in files}
    manifest = BenchmarkManifest.of(
        ManifestEntry(f.path, len(data[f.path]), root_of(data[f.path]), ManifestRole(f.role)) for f in files
    )
    sender = stage.sender("creator")
    return publish_project(
        ProjectFiles(
            snapshot=snapshot,
            protocol=document(_eval_tokens(snapshot["prepare.py"])),
            manifest=manifest,
            data=data,
            baseline_metric=Decimal("1.5"),
            baseline_record={"format": "armlx-baseline/1", "metricValue": "1.5"},
        ),
        TERMS,
        publisher=make_publisher(stage.settings("creator"), sender),
        sender=sender,
        registry=stage.registry(),
        progress=lambda line: say("   " + line),
    )


def walk(stage: Stage, uv: Path, index: Index, *, settle: bool) -> str | None:
    """Every step; what did not hold, if anything."""
    with timed("published, with a lock"):
        publish(stage, uv, index)
    train, run = stage.folder / "train.py", stage.folder / "run"
    train.write_bytes(candidates.better_train())
    given = ["--project", 0, "--allow-network", "--calibrate", "quick", "--out", run]
    with timed("reproduce: environment, calibration, pairs, verdict"):
        code = stage.run("miner", "reproduce", train, *given)
    report = json.loads((run / "report.json").read_text()) if (run / "report.json").exists() else {}
    say(f"   {report.get('outcome')} ({report.get('reason')}), {len(report.get('pairs', []))} pairs")
    kept = json.loads((run / "environment.json").read_text())
    say(f"   environment record: {json.dumps(kept.get('settings', kept))[:300]}")
    if code != 0 or report.get("outcome") != "reproduced":
        return f"reproduce ended with exit code {code}, outcome {report.get('outcome')}"
    return _settled(stage, run) if settle else None


def _settled(stage: Stage, run: Path) -> str | None:
    """Submit, and let a validator judge and settle."""
    given = ["--run", run / "run.log", "--stake", 10, "--reward-recipient", stage.cold, "--yes"]
    if stage.run("miner", "submit", *given, sign=True) != 0:
        return "the submission failed"
    stage.world.mine(SEED_BLOCKS)
    share(stage, stage.home("miner") / "calibrations")
    for _ in range(ATTEMPTS):
        with timed("validate: the environment made anew, pairs, verdict, settlement"):
            stage.run("validator", "validate", "--once", "--allow-network", sign=True)
        proposal = stage.ledger().find_proposal(0)
        if proposal is not None and proposal.status is Status.APPROVED:
            return None
    return f"the proposal is {None if proposal is None else proposal.status} on the ledger"


def uv_here() -> Path:
    """The uv of the development environment."""
    found = Path(sys.executable).with_name("uv")
    if not found.exists():
        raise SystemExit("uv was not found beside this interpreter: run scripts/setup.")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, help="a folder of ready wheels, instead of fetching them")
    parser.add_argument("--folder", type=Path, help="a new folder that is kept [a temporary one]")
    parser.add_argument("--until", choices=["reproduce", "settled"], default="settled")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="armlx-uv-project-"))
    began, uv = time.monotonic(), uv_here()
    os.environ |= {"ARMLX_UV": str(uv), "NO_PROXY": "127.0.0.1"}
    with serve() as index, set_stage(folder, engine="auto") as stage:
        ready = options.wheels
        if ready is None:
            ready = folder / "wheels"
            ready.mkdir(exist_ok=True)
            with timed("wheels fetched with pip"):
                wheels(ready)
        for path in sorted(ready.glob("*.whl")):
            index.add((path.name, path.read_bytes()))
        say(f"the index holds {len(index.files)} wheels; uv is {_version(uv)}; everything is in {folder}")
        wrong = walk(stage, uv, index, settle=options.until == "settled")
    say(f"{time.monotonic() - began:8.2f} s  in all")
    say("The whole path held." if wrong is None else f"FINDING: {wrong}")
    return 0 if wrong is None else 3


def _version(uv: Path) -> str:
    return subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
