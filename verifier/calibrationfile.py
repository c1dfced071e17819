"""Calibrations as documents: one file per project, hardware class and environment.

- A calibration is found by all three and by nothing less, so it ends with any change of system, driver, MLX,
  Python or lock file; and it ends with its age.
- A document of another version is refused by name: what it means may have changed with the rule.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import FormatError, VerifierFault
from verifier.model import AuditKind, Noise, bpb
from verifier.verdict.constants import CALIBRATION_DAYS

VERSION: Final = 2
_FIRST_VERSION: Final = 1
_MAX_FILE_BYTES: Final = 1 << 20
_MAX_NOISE_BYTES: Final = 64 << 10
"""Of another machine's calibration: it stands in every verdict's bundle."""
_TOO_MANY: Final = 1 << 63
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_AHEAD: Final = timedelta(minutes=10)
"""A calibration from further in the future than clocks differ was stamped by a clock that was wrong."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored calibration.

    Attributes:
        project: What names the project and its snapshot and data.
        measured_at: When it was measured; kept so that it can end with its age.
        cold_seconds: Start to model of the first run, before any cache was warm.
    """

    project: str
    noise: Noise
    measured_at: datetime
    cold_seconds: tuple[float, ...]

    @property
    def ends_at(self) -> datetime:
        return self.measured_at + timedelta(days=CALIBRATION_DAYS)

    def age_problem(self, now: datetime) -> str | None:
        """Why its age alone makes it useless, as a sentence; ``None`` if it does not."""
        if now >= self.ends_at:
            days = (now - self.measured_at).days
            return f"The calibration is {days} days old; after {CALIBRATION_DAYS} days it is measured again."
        if self.measured_at > now + _AHEAD:
            return "The calibration is dated in the future: this machine's clock was or is wrong."
        return None


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


def calibration_path(
    folder: Path, project: str, hardware_class: str, environment: str, version: int = VERSION
) -> Path:
    """Where a calibration lies: one file per project, class and environment."""
    key = json.dumps([version, project, hardware_class, environment])
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def save(
    folder: Path,
    project: str,
    noise: Noise,
    *,
    cold_seconds: tuple[float, ...] = (),
    now: Callable[[], datetime] = _utc_now,
) -> Path:
    """Store a calibration, replacing an older one of the same key as a whole.

    Args:
        project: What names the project and its snapshot, such as the snapshot's root.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = calibration_path(folder, project, noise.hardware_class, noise.environment)
    head = {
        "version": VERSION,
        "project": project,
        "measured_at": now().astimezone(UTC).strftime(_TIME),
        "cold_seconds": [repr(seconds) for seconds in cold_seconds],
    }
    write_whole(path, json.dumps(head | encode_noise(noise), sort_keys=True, indent=1) + "\n")
    return path


def write_whole(path: Path, text: str) -> None:
    """Replace a file by another as a whole, safe from a crash in between."""
    draft = path.with_suffix(f".{os.getpid()}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load(
    folder: Path,
    project: str,
    *,
    hardware_class: str,
    environment: str,
    now: Callable[[], datetime] = _utc_now,
) -> Noise:
    """The stored calibration for exactly this project, class and environment.

    Raises:
        VerifierFault: if there is none, it is too old or for another environment by now, or it is damaged.
    """
    stored = find(folder, project, hardware_class=hardware_class, environment=environment)
    problem = stored.age_problem(now())
    if problem is not None:
        raise VerifierFault(
            problem, meaning="Machines change without saying so.", next_step="Calibrate the machine again."
        )
    return stored.noise


def find(folder: Path, project: str, *, hardware_class: str, environment: str) -> Stored:
    """The stored calibration of whatever age.

    Raises:
        VerifierFault: see ``load``.
    """
    path = calibration_path(folder, project, hardware_class, environment)
    try:
        data = path.read_bytes()
    except FileNotFoundError as problem:
        older = calibration_path(folder, project, hardware_class, environment, _FIRST_VERSION).exists()
        raise (_too_old(path.name, _FIRST_VERSION) if older else _missing()) from problem
    except OSError as problem:
        raise VerifierFault(f"The calibration {path.name} cannot be read: {problem.strerror}.") from problem
    stored = decode(data, name=path.name, project=project)
    if (stored.noise.hardware_class, stored.noise.environment) != (hardware_class, environment):
        raise VerifierFault(
            f"The calibration {path.name} is for another class or environment than its name says."
        )
    return stored


def _missing() -> VerifierFault:
    return VerifierFault(
        "This machine has no calibration for the project in its present environment.",
        meaning="It was never measured, or system, driver, MLX, Python or lock file changed since.",
        next_step="Calibrate the machine for the project: armlx-chain calibrate --project N",
    )


def _too_old(name: str, version: object) -> VerifierFault:
    return VerifierFault(
        f"The calibration {name} has the format version {version}; this program reads version {VERSION}.",
        meaning="What its figures mean may have changed with the rule, so it is not used.",
        next_step="Calibrate the machine for the project again.",
    )


def stored_for(folder: Path, project: str) -> list[Stored]:
    """Every readable calibration of a project, the latest first; of whatever class, environment and age."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            stored = decode(path.read_bytes(), name=path.name)
        except (VerifierFault, OSError):
            continue
        if stored.project == project:
            found.append(stored)
    return sorted(found, key=lambda stored: stored.measured_at, reverse=True)


def encode_noise(noise: Noise) -> dict[str, Any]:
    """A noise as a tree without floats: figures are text."""
    return {
        "s": str(noise.s),
        "seed_spread": str(noise.seed_spread),
        "runs": noise.runs,
        "reference_seconds": [repr(seconds) for seconds in noise.reference_seconds],
        "shortcut": noise.shortcut,
        "point": None if noise.point is None else str(noise.point),
        "scores": [str(score) for score in noise.scores],
        "seed_scores": [str(score) for score in noise.seed_scores],
        "control_mean": None if noise.control_mean is None else str(noise.control_mean),
        "steps": list(noise.steps),
        "calibrated_audits": [kind.value for kind in noise.calibrated_audits],
        "hardware_class": noise.hardware_class,
        "environment": noise.environment,
    }


def decode_noise(data: bytes, *, name: str = "calibration", project: str | None = None) -> Noise:
    """The noise of what ``save`` wrote; see ``decode``."""
    return decode(data, name=name, project=project).noise


def read_noise(tree: Any) -> Noise:
    """What ``encode_noise`` made.

    Raises:
        VerifierFault: it is not that.
    """
    try:
        found = _noise(tree)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as problem:
        raise VerifierFault(f"A calibration is damaged ({problem}).") from problem
    if not _has_texts(found):
        raise VerifierFault("A calibration is damaged: it names no class or environment.")
    if len(json.dumps(encode_noise(found))) > _MAX_NOISE_BYTES:
        raise VerifierFault("A calibration is damaged: it is longer than that of any machine.")
    return found


def decode(data: bytes, *, name: str = "calibration", project: str | None = None) -> Stored:
    """Read what ``save`` wrote.

    Raises:
        VerifierFault: if it is not that, is of another version, or is for another project.
    """
    try:
        return _stored(_checked(data, name, project))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise VerifierFault(
            f"The calibration {name} is damaged ({problem}).", next_step="Calibrate the machine again."
        ) from problem


def _checked(data: bytes, name: str, project: str | None) -> dict[str, Any]:
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError("it is too large")
    tree: dict[str, Any] = json.loads(data)
    version = tree["version"]
    if type(version) is not int:
        raise ValueError("it names no version")
    if version != VERSION:
        raise _too_old(name, version)
    if project is not None and tree["project"] != project:
        raise ValueError("it is for another project")
    return tree


def _stored(tree: dict[str, Any]) -> Stored:
    if not isinstance(tree["project"], str):
        raise TypeError("it names no project")
    return Stored(
        project=tree["project"],
        noise=_noise(tree),
        measured_at=datetime.strptime(tree["measured_at"], _TIME).replace(tzinfo=UTC),
        cold_seconds=tuple(float(text) for text in tree["cold_seconds"]),
    )


def recorded_noise(tree: Mapping[str, Any]) -> Noise:
    """The noise of a verdict's record, from whatever machine, and whatever it lists of the runs behind it.

    Raises:
        FormatError: it is none.
    """
    try:
        noise = _figures(tree)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as problem:
        raise FormatError(f"The noise record is damaged ({problem}).") from problem
    if noise.s < 0 or noise.seed_spread < 0 or not _has_texts(noise):
        raise FormatError("The noise record's figures contradict each other.")
    return noise


def _has_texts(noise: Noise) -> bool:
    """Whether what should be text is; a shortcut may also be ``None``, but not merely false."""
    texts = (noise.hardware_class, noise.environment, "" if noise.shortcut is None else noise.shortcut)
    return all(isinstance(text, str) for text in texts)


def _noise(tree: dict[str, Any]) -> Noise:
    noise = _figures(tree)
    if noise.s < 0 or noise.seed_spread < 0 or len(noise.scores) != noise.runs:
        raise ValueError("its figures contradict each other")
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in noise.reference_seconds):
        raise ValueError("its runs took no time that there is")
    if not all(0 <= count < _TOO_MANY for count in noise.steps):
        raise ValueError("its runs made no number of steps that there is")
    return noise


def _figures(tree: Mapping[str, Any]) -> Noise:
    return Noise(
        s=bpb(tree["s"]),
        seed_spread=bpb(tree["seed_spread"]),
        runs=int(tree["runs"]),
        reference_seconds=tuple(float(text) for text in tree["reference_seconds"]),
        shortcut=tree["shortcut"],
        point=None if tree["point"] is None else bpb(tree["point"]),
        scores=tuple(bpb(text) for text in tree["scores"]),
        seed_scores=tuple(bpb(text) for text in tree["seed_scores"]),
        control_mean=None if tree["control_mean"] is None else bpb(tree["control_mean"]),
        steps=tuple(int(count) for count in tree["steps"]),
        calibrated_audits=tuple(AuditKind(text) for text in tree["calibrated_audits"]),
        hardware_class=tree["hardware_class"],
        environment=tree["environment"],
    )
