"""One project on this machine: its files, its harness, and whether its noise was measured here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from armlx_chain.cli.doctoring.findings import Check, Finding
from armlx_chain.errors import VerifierFault

if TYPE_CHECKING:
    from armlx_chain.cli.context import App
    from verifier.environments.providing import PythonChoice


def project_checks(app: App, project_id: int, python: PythonChoice) -> list[Check]:
    """Everything that judging a candidate of this project needs."""
    return [
        Check(f"Project {project_id}", "its files and calibration", lambda: _look(app, project_id, python))
    ]


def _look(app: App, project_id: int, python: PythonChoice) -> Iterator[Finding]:
    from armlx_chain.cli.reproduce import materials_here, prepare_materials
    from armlx_chain.types import ProjectId

    materials = materials_here(app, ProjectId(project_id))
    yield Finding("files", "ok", "protocol, snapshot, baseline and control are proven against their roots")
    prepared = prepare_materials(app, materials, python)
    yield Finding(
        "harness", "ok", "the benchmark's own files load inside the sandbox", details=prepared.notices
    )
    yield Finding("hardware class", "ok", prepared.machine.hardware_class)
    yield Finding("environment", "ok", prepared.environment.digest[:16])
    try:
        noise = prepared.stored_noise()
    except VerifierFault as missing:
        step = f"armlx-validator calibrate --project {project_id}, or reproduce --calibrate quick"
        yield Finding("calibration", "fault", missing.message, step)
        return
    weak = f"; a shortcut: {noise.shortcut}" if noise.shortcut else ""
    yield Finding(
        "calibration", "note" if weak else "ok", f"noise at most {noise.s} bpb from {noise.runs} runs{weak}"
    )
