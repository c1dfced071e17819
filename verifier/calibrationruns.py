"""Finished runs of a calibration, kept on disk until all of them are there.

- A run is used again only by the very same calibration: equal project, class, environment, program and number
  of the run, under the one seed that was drawn when it began, measured by the same code of this verifier.
  Anything else begins anew.
- A run counts only with its log: the record holds its digest.
- What is half written does not exist: records appear under their names when they are complete.
- Runs of another day do not go on: a machine is not the same machine for ever.

::

    kept = KeptRuns.open(folder, project=key, hardware_class=…, environment=…, program=train)
    measured = measure(runner, train, plan=Plan(run_folder=kept.runs, …), seed=kept.seed, kept=kept)
    kept.finish()
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import FormatError
from verifier.calibrationfile import write_whole
from verifier.model import Ending, Role, RunRecord
from verifier.records import check_log, read_record, record_tree

_FORMAT: Final = "armlx-calibration-session/1"
_SESSION: Final = "session.json"
_MAX_BYTES: Final = 1 << 20
_PACKAGE: Final = Path(__file__).parent
RESUME_SECONDS: Final = 24 * 3600.0
"""A calibration that was cut off longer ago begins anew."""


@dataclass(frozen=True, slots=True)
class KeptRuns:
    """The finished runs of one calibration.

    Attributes:
        folder: The calibration's own.
        seed: Drawn when it began; fixes probes and fresh rows of all its runs.
    """

    folder: Path
    seed: bytes

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        project: str,
        hardware_class: str,
        environment: str,
        program: bytes,
        again: bool = False,
        now: Callable[[], float] = time.time,
        package: Path = _PACKAGE,
    ) -> KeptRuns:
        """Go on with a calibration that was cut off, or begin one.

        Args:
            root: Where calibrations keep their runs.
            program: The snapshot's program that holds the seed.
            again: Begin anew in any case.
            package: This verifier's code, which measures.
        """
        known = [project, hardware_class, environment, hashlib.sha256(program).hexdigest()]
        conditions = [*known, code_digest(package)]
        folder = root / hashlib.sha256(json.dumps(conditions).encode()).hexdigest()[:32]
        seed = None if again else _seed_of(folder, conditions, now())
        if seed is None:
            seed = secrets.token_bytes(32)
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "runs").mkdir(parents=True)
            session = {"format": _FORMAT, "conditions": conditions, "seed": seed.hex(), "began": int(now())}
            write_whole(folder / _SESSION, json.dumps(session, indent=1) + "\n")
        return cls(folder, seed)

    @property
    def runs(self) -> Path:
        """Where the runs themselves lie."""
        return self.folder / "runs"

    def find(self, label: str) -> RunRecord | None:
        """See ``calibration.Kept``: nothing that is damaged, disturbed or without its log is found."""
        try:
            tree = _read(self._place(label))
            record = read_record(tree["record"], self.runs / str(tree["folder"]) / "run.log")
            if record.log_path.parent.parent != self.runs:
                return None
            check_log(record)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, FormatError):
            return None
        whole = record.role is Role.BASELINE and record.ending is Ending.GRAPH and not record.disturbances
        return record if whole and tree.get("label") == label else None

    def keep(self, label: str, record: RunRecord) -> None:
        """See ``calibration.Kept``."""
        tree = {"label": label, "folder": record.log_path.parent.name, "record": record_tree(record)}
        write_whole(self._place(label), json.dumps(tree, indent=1) + "\n")

    def finish(self) -> None:
        """All runs are measured and the result is stored: the next calibration begins anew."""
        (self.folder / _SESSION).unlink(missing_ok=True)

    def _place(self, label: str) -> Path:
        return self.folder / f"{label}.json"


def code_digest(package: Path) -> str:
    """SHA-256 over the names and contents of a package's modules: an update in between measures otherwise."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path.name} is too large")
    tree = json.loads(data)
    if not isinstance(tree, dict):
        raise TypeError(f"{path.name} is no object")
    return tree


def _seed_of(folder: Path, conditions: list[str], now: float) -> bytes | None:
    """The seed of a calibration that may go on; ``None`` if there is none."""
    try:
        tree = _read(folder / _SESSION)
        seed, began = bytes.fromhex(tree["seed"]), int(tree["began"])
        same = (tree["format"], tree["conditions"]) == (_FORMAT, conditions)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return seed if same and len(seed) == 32 and 0 <= now - began < RESUME_SECONDS else None
