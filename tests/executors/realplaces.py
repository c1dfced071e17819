"""The small benchmark on a shelf, and machines that really train on it, in the sandbox.

Its noise is stated, not measured: these machines show how long sessions take, and judge nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from armlx_chain.chain.contracts import Project
from armlx_chain.devnet.benchmark.candidates import better_train
from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.formats.bundle import pack_tree
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from tests.executors.places import Place, Shelf, noise_here, published
from verifier.controls import PastBest
from verifier.executors.site import Site
from verifier.executors.stopping import Brake
from verifier.harness.inside import Interpreter
from verifier.judging import Folders, Prepared, prepare
from verifier.model import Noise, bpb
from verifier.sandbox.select import default_sandbox

IDEA = {"train.py": better_train()}


def real_project(shelf: Shelf) -> Project:
    """The devnet's benchmark as a project's record."""
    data = shelf.folder.parent / "made"
    entries = []
    for file in make_data(data):
        content = (data / file.path).read_bytes()
        entries.append(ManifestEntry(file.path, len(content), shelf.put(content), ManifestRole(file.role)))
    snapshot, manifest = shelf.put(pack_tree(snapshot_files())), BenchmarkManifest.of(entries)
    return replace(
        published(shelf),
        repo_snapshot_hash=snapshot.digest,
        benchmark_hash=shelf.put(manifest.encode()).digest,
    )


class RealPlace(Place):
    """A machine that trains."""

    def prepare(
        self, project: Project, past: Sequence[PastBest], brake: Brake, _say: object = None
    ) -> Prepared:
        return prepare(
            self.load(project, past, with_data=True),
            sandbox=brake.sandbox(default_sandbox()),
            interpreter=Interpreter(Path(sys.executable)),
            folders=Folders(work=self.home / "work", calibrations=self.home / "calibrations"),
        )

    def site(self) -> Site:
        return Site(self.machine, prepare=self.prepare, noise=_stated, scratch=self.home / "scratch")


def _stated(prepared: Prepared, _say: object) -> Noise:
    return replace(
        noise_here(prepared), s=bpb("0.02"), control_mean=None, reference_seconds=(9.0, 10.0, 11.0)
    )
