"""A validator's machine without MLX: the real materials, rule and session over simulated runs.

A program says in its own text how good it is (``LEVEL``) and whether its model looks ahead (``LOOKAHEAD``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from armlx_chain.cli.reproduce import earlier_bests
from verifier.hardware import Machine as Hardware
from verifier.hardware import environment
from verifier.judging import Folders, Prepared
from verifier.materials import load_materials
from verifier.model import Audit, AuditKind, Noise, RunRecord, bpb
from verifier.simulate import Machine, SimRunner, Twist

BASELINE = "9.000000"
"""What the unmodified snapshot scores, bits per byte."""
_LEVEL = re.compile(r"^LEVEL = ([0-9.]+)$", re.MULTILINE)
_LOOKAHEAD = "LOOKAHEAD = True"


def program(level: str, name: str, *, looks_ahead: bool = False) -> bytes:
    """A ``train.py`` that scores ``level``."""
    lines = [f"# {name}", f"LEVEL = {level}", *([_LOOKAHEAD] if looks_ahead else [])]
    return ("\n".join(lines) + "\n").encode()


def level_of(source: str) -> str:
    """What a program scores."""
    found = _LEVEL.search(source)
    return BASELINE if found is None else found.group(1)


class _Gains(Mapping[str, float]):
    """How much better than the baseline a program is."""

    def __getitem__(self, source: str) -> float:
        return float(BASELINE) - float(level_of(source))

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Twists(Mapping[str, Twist]):
    """A program whose model looks ahead fails the causality audit."""

    def __getitem__(self, source: str) -> Twist:
        if _LOOKAHEAD not in source:
            raise KeyError(source)
        digest = sha256(source.encode()).hexdigest()  # no two reports are alike, as in life
        return lambda record, _before: _fail_causality(record, digest)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _fail_causality(record: RunRecord, digest: str) -> RunRecord:
    audits = tuple(
        replace(audit, passed=False, figures={"probes": "64", "violations": "64", "program": digest})
        if audit.kind is AuditKind.CAUSALITY
        else audit
        for audit in record.audits
    )
    return replace(record, audits=audits)


runs: list[SimRunner] = []
"""The machines of this process, in order: how often a validator really judged."""


def prepare(app: Any, project: Any, _python: Path, _brake: object = None) -> Prepared:
    """In place of ``armlx_chain.cli.reproduce.prepare_here``."""
    materials = load_materials(
        project,
        app.storage,
        data_home=app.home / "data",
        progress=lambda _: None,
        earlier_bests=lambda: earlier_bests(app, project),
    )
    runner = SimRunner(Machine(level=float(BASELINE), noise=0.0), gains=_Gains(), twists=_Twists())
    runs.append(runner)
    return Prepared(
        materials=materials,
        benchmark=SimpleNamespace(constants=SimpleNamespace(budget_seconds=3.0)),  # type: ignore[arg-type]
        runner=runner,
        machine=Hardware.here(),
        environment=environment(lock=b"", command=lambda *_: None, settings={}),  # type: ignore[arg-type]
        folders=Folders(work=app.home / "work", calibrations=app.home / "calibrations"),
    )


def noise(prepared: Prepared, **_: object) -> Noise:
    """In place of ``armlx_chain.cli.reproduce.noise_of``."""
    return Noise(
        s=bpb("0.01"),
        seed_spread=bpb("0.001"),
        runs=20,
        reference_seconds=(3.0, 3.1, 2.9),
        point=bpb("0.008"),
        scores=(bpb(BASELINE),) * 20,
        seed_scores=(bpb(BASELINE),) * 8,
        control_mean=bpb(BASELINE),
        calibrated_audits=tuple(AuditKind),
        hardware_class=prepared.machine.hardware_class,
        environment=prepared.environment.digest,
    )


__all__ = ["BASELINE", "Audit", "level_of", "noise", "prepare", "program", "runs"]
