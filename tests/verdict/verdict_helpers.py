"""Shared by the verdict's tests: a calibrated noise, runs and cases in few words."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from verifier.model import Audit, AuditKind, Bpb, Ending, Noise, Pair, Role, RunRecord, bpb
from verifier.session import Settings
from verifier.simulate import Machine, SimRunner, record
from verifier.verdict.case import Rules

LEVEL = "2.000000"
BETTER = {"train.py": b"better"}


def noise(
    s: str = "0.01",
    *,
    seed_spread: str = "0.001",
    calibrated: tuple[AuditKind, ...] = tuple(AuditKind),
    centre: str | None = LEVEL,
    steps: tuple[int, ...] = (),
) -> Noise:
    return Noise(
        s=bpb(s),
        seed_spread=bpb(seed_spread),
        runs=20,
        reference_seconds=(10.0, 10.1, 9.9),
        control_mean=None if centre is None else bpb(centre),
        steps=steps,
        calibrated_audits=calibrated,
        hardware_class="cpu, test, 2 cores, 8 GiB",
        environment="ab" * 32,
    )


def audits(**results: bool) -> tuple[Audit, ...]:
    """``causality=False`` and the like; the two that are required pass unless named."""
    named = {"causality": True, "fresh_gap": True} | results
    return tuple(
        Audit(AuditKind(name.replace("_", "-")), passed, {"probes": "64"}) for name, passed in named.items()
    )


def run(
    role: Role,
    score: str | None = LEVEL,
    *,
    fresh: str | None = None,
    ending: Ending = Ending.GRAPH,
    checks: tuple[Audit, ...] | None = None,
    disturbed: str | None = None,
    steps: int | None = None,
) -> RunRecord:
    return record(
        role,
        ending=ending,
        validation=None if score is None else bpb(score),
        fresh=None if score is None else bpb(fresh if fresh is not None else score),
        audits=checks,
        disturbances=(disturbed,) if disturbed else (),
        steps=steps,
    )


def control(score: str | None = LEVEL, **more: object) -> RunRecord:
    return run(Role.CONTROL, score, **more)  # type: ignore[arg-type]


def candidate(score: str | None = LEVEL, **more: object) -> RunRecord:
    return run(Role.CANDIDATE, score, **more)  # type: ignore[arg-type]


def pair_of(gain: str, *, level: str = LEVEL) -> Pair:
    """A pair with exactly this difference on both sets of rows."""
    return Pair(control(level), candidate(str(Decimal(level) - Decimal(gain))))


def gains_of(*figures: str) -> list[Bpb]:
    return [bpb(text) for text in figures]


def settings(**rules: object) -> Settings:
    return Settings(
        run_folder=Path("simulated"),
        deadline_seconds=12.0,
        rules=Rules(**rules),  # type: ignore[arg-type]
    )


def quiet(gain: float = 0.0, **more: object) -> SimRunner:
    """A machine without any noise, on which ``better`` is better by ``gain``."""
    return SimRunner(Machine(noise=0.0), gains={"better": gain}, **more)  # type: ignore[arg-type]
