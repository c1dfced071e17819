"""Act two: the small benchmark becomes a project, with a baseline that was really measured here."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from armlx_chain.claims.publish import ProjectFiles, PublishedProject, TokenTerms, publish_project
from armlx_chain.cli.baseline import Amount, measure_snapshot
from armlx_chain.cli.demonstration.patience import share
from armlx_chain.cli.demonstration.stage import Stage, require, show, tell
from armlx_chain.cli.reproduce import QUICK_RUNS, QUICK_SEED_RUNS
from armlx_chain.cli.wiring import make_publisher
from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import protocol_document, snapshot_files
from armlx_chain.formats.bundle import pack_tree
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Tokens, Wei
from verifier import calibrationfile
from verifier.judging import project_key
from verifier.model import Noise, bpb

TERMS = TokenTerms("Small Text Benchmark", "SMALL", Wei(10**15), Wei(10**12), Tokens(1_000_000))
_ROWS, _FEWER_ROWS = b"EVAL_TOKENS = 32768", b"EVAL_TOKENS = 16384"
"""What the small benchmark scores, and what the demonstration does."""


@dataclass(frozen=True)
class Measured:
    """The benchmark on this machine."""

    snapshot: dict[str, bytes]
    manifest: BenchmarkManifest
    data: dict[str, bytes]
    noise: Noise
    data_folder: Path


def measure_baseline(stage: Stage) -> Measured:
    """Generate the data, run the unmodified snapshot several times in the sandbox, keep its noise."""
    folder = stage.folder / "benchmark"
    files = make_data(folder)
    data = {file.path: (folder / file.path).read_bytes() for file in files}
    manifest = BenchmarkManifest.of(
        ManifestEntry(f.path, len(data[f.path]), root_of(data[f.path]), ManifestRole(f.role)) for f in files
    )
    snapshot = shorter_evaluation(snapshot_files())
    noise = measure_snapshot(
        snapshot,
        folder,
        manifest,
        Amount(QUICK_RUNS, QUICK_SEED_RUNS, shortcut=True),
        python=Path(sys.executable),
        place=stage.folder,
    )
    key = project_key(root_of(pack_tree(snapshot)), root_of(manifest.encode()))
    calibrationfile.save(stage.folder / "calibrations", key, noise)
    share(stage, stage.folder / "calibrations")
    return Measured(snapshot, manifest, data, noise, folder)


def shorter_evaluation(snapshot: dict[str, bytes]) -> dict[str, bytes]:
    """The small benchmark with half the rows to score: more than half of a short run is evaluation."""
    prepare = snapshot["prepare.py"]
    shorter = prepare.replace(_ROWS, _FEWER_ROWS)
    require(prepare.count(_ROWS) == 1, "the small benchmark does not say how much it scores")
    return {**snapshot, "prepare.py": shorter}


def _as_shortened(protocol: bytes) -> bytes:
    """The small benchmark's document, with the rows that are scored here."""
    document = json.loads(protocol)
    document["archetypeExtensions"]["ml_train"]["evalTokens"] = int(_FEWER_ROWS.rpartition(b" ")[2])
    return (json.dumps(document, indent=2) + "\n").encode()


def publish(stage: Stage, measured: Measured, terms: TokenTerms = TERMS) -> PublishedProject:
    """Upload everything and create the project; then read the record back."""
    baseline = bpb(measured.noise.control_mean or 0)
    now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    notes = (
        f"Mean of {measured.noise.runs} runs of the unmodified snapshot on {measured.noise.hardware_class}."
    )
    sender = stage.sender("creator")
    published = publish_project(
        ProjectFiles(
            snapshot=measured.snapshot,
            protocol=_as_shortened(protocol_document(baseline_notes=notes, created_at=now)),
            manifest=measured.manifest,
            data=measured.data,
            baseline_metric=baseline,
            baseline_record={
                "format": "armlx-baseline/1",
                "metricName": "val_bpb",
                "metricValue": str(baseline),
                "samples": [str(score) for score in measured.noise.scores],
                "hardwareClass": measured.noise.hardware_class,
                "environmentDigest": measured.noise.environment,
            },
        ),
        terms,
        publisher=make_publisher(stage.settings("creator"), sender),
        sender=sender,
        registry=stage.registry(),
        progress=lambda line: tell("   " + line),
    )
    project = stage.registry().find_project(published.project_id)
    require(project is not None and project.baseline_score == published.baseline_score, "the record differs")
    require(published.baseline_score < 0, "a minimised metric must have a negative baseline score")
    show(
        [
            ("project", published.project_id),
            ("token", published.token),
            ("baseline", f"val_bpb {baseline}, on the ledger {published.baseline_score} (greater is better)"),
        ]
    )
    return published
