"""This machine as a site, from what an operator said: fetches from storage, sets up, calibrates, runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from verifier.executors.local import machine_id
from verifier.executors.site import Say, Site

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Project
    from armlx_chain.cli.context import App
    from verifier.controls import PastBest
    from verifier.environments.choice import PythonChoice
    from verifier.executors.stopping import Brake
    from verifier.judging import Prepared
    from verifier.materials import Materials
    from verifier.model import Noise

__all__ = ["scratch_of", "site_here"]


def site_here(app: App, python: PythonChoice, calibrate: str | None) -> Site:
    """A site of this machine; nothing of the chain is read, and no key is opened.

    Raises:
        MachineError: the home cannot be used.
    """
    from armlx_chain.cli import reproduce as shared

    def prepare(project: Project, past: Sequence[PastBest], brake: Brake, say: Say) -> Prepared:
        return shared.prepare_materials(app, _materials(app, project, past, say), python, brake=brake)

    def noise(prepared: Prepared, say: Say) -> Noise:
        return shared.noise_of(prepared, calibrate=calibrate, progress=lambda progress: say(progress.message))

    return Site(machine_id(app.home), prepare=prepare, noise=noise, scratch=scratch_of(app.home))


def scratch_of(home: Path) -> Path:
    """Where runs and the cluster's own files go."""
    folder = home / "worker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _materials(app: App, project: Project, past: Sequence[PastBest], say: Say) -> Materials:
    from verifier.environments.shards import local_folder
    from verifier.materials import load_materials

    return load_materials(
        project,
        app.storage,
        data_home=app.home / "data",
        progress=say,
        local_data=local_folder(os.environ),
        earlier_bests=lambda: past,
    )
