"""A benchmark made ready on this machine: its checked files, its constants, the rows it scores.

Invariants:

- only bytes with the published roots are ever shown or read; the tokenizer, a pickle, is loaded inside only;
- the rows are those that the project's own, unmodified ``prepare.py`` gives;
- a benchmark that does not work here judges nobody: every failure is a ``VerifierFault``.

::

    benchmark = Benchmark.prepare(snapshot, data_folder, manifest.entries, sandbox=sandbox,
                                  interpreter=Interpreter(python), work=folder)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from armlx_chain.errors import VerifierFault
from verifier.harness.constants import Constants, read_constants
from verifier.harness.draw import Draw
from verifier.harness.evaluation import Task
from verifier.harness.inside import CACHE, WORKSPACE, Interpreter
from verifier.harness.published import CheckedFile, Entry, copy_checked
from verifier.harness.rowsource import RowSource, read_rows
from verifier.harness.scoring import Rows
from verifier.harness.staging import PREPARE, TRAIN, lay_out_cache, lay_out_plain, own_disk
from verifier.sandbox.interface import Mount, Sandbox

MINIMUM_FRESH_ROWS: Final = 16
_FRESH_POOL_FACTOR: Final = 2
"""Fresh rows are drawn from a pool of this many times the number that is scored."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A project's benchmark, ready on this machine.

    Attributes:
        snapshot: The repository's published files.
        validation: The rows the benchmark scores.
        fresh_pool: Rows outside the benchmark.
        fresh_origin: Where those come from: ``1 fresh shard``, or ``unscored rows of the validation shard``.
        table: Bytes each token stands for.
        cache: What a training program sees below ``~/.cache/autoresearch``: a decoy for the validation shard.
    """

    snapshot: Mapping[str, bytes]
    constants: Constants
    interpreter: Interpreter
    validation: Rows
    fresh_pool: Rows
    fresh_origin: str
    table: NDArray[np.int32]
    files: tuple[CheckedFile, ...]
    cache: Path
    work: Path

    @classmethod
    def prepare(
        cls,
        snapshot: Mapping[str, bytes],
        data_folder: Path,
        entries: Iterable[Entry],
        *,
        sandbox: Sandbox,
        interpreter: Interpreter,
        work: Path,
    ) -> Benchmark:
        """Check and copy the files, then let the project's own ``prepare.py`` give its rows.

        Args:
            data_folder: Holds the manifest's files under their paths; plays ``~/.cache/autoresearch``.
            work: A folder of ours for copies, layouts and logs. It must not be shared with a sandbox.

        Raises:
            VerifierFault: if a file is not the published one, or the benchmark does not work here.
        """
        for name in (PREPARE, TRAIN):
            if name not in snapshot:
                raise VerifierFault(f"The project's snapshot has no {name}.")
        constants = read_constants(snapshot[PREPARE])
        with own_disk(work):
            files = copy_checked(data_folder, sorted(entries, key=lambda entry: entry.path), work / "files")
            reader = _RowReader(snapshot, constants, files, sandbox, interpreter, work)
            scored, pool, origin = reader.read()
            cache = lay_out_cache(work / "cache", files, _one(files, "train", first=True).copy)
        return cls(
            snapshot=dict(snapshot),
            constants=constants,
            interpreter=interpreter,
            validation=scored.scored,
            fresh_pool=pool,
            fresh_origin=origin,
            table=scored.table,
            files=tuple(files),
            cache=cache,
            work=work,
        )

    def check(self) -> None:
        """Compare every file with its published root again.

        Raises:
            VerifierFault: naming the file that changed.
        """
        for file in self.files:
            file.check()

    def task(self, seed: bytes, probes: int) -> Task:
        """What the graphs of a session are asked; the same for every run with the same seed."""
        order = Draw(seed, "fresh-rows").permutation(len(self.fresh_pool))
        chosen = order[: len(self.validation)]
        return Task(
            validation=self.validation,
            fresh=self.fresh_pool.take(chosen),
            fresh_rows=tuple(chosen),
            table=self.table,
            seed=seed,
            probes=probes,
        )


def _one(files: Iterable[CheckedFile], role: str, *, first: bool = False) -> CheckedFile:
    found = [file for file in files if file.role == role]
    if not found or (len(found) > 1 and not first):
        raise VerifierFault(f"The benchmark's manifest has {len(found)} files of the role {role}.")
    return found[0]


def _together(parts: list[Rows]) -> Rows:
    return Rows(
        np.concatenate([rows.inputs for rows in parts]), np.concatenate([rows.targets for rows in parts])
    )


@dataclass(frozen=True, slots=True)
class _RowReader:
    """Runs the unmodified ``prepare.py`` with the real shard, and with the fresh one in its place."""

    snapshot: Mapping[str, bytes]
    constants: Constants
    files: list[CheckedFile]
    sandbox: Sandbox
    interpreter: Interpreter
    work: Path

    def read(self) -> tuple[RowSource, Rows, str]:
        fresh = [file for file in self.files if file.role == "fresh"]
        wanted = _FRESH_POOL_FACTOR * self.constants.rows
        scored = self._with(_one(self.files, "validation").copy, 0 if fresh else wanted)
        pool, origin = scored.further, "unscored rows of the validation shard"
        if fresh:
            others = [self._with(file.copy, wanted - self.constants.rows) for file in fresh]
            if not all(np.array_equal(other.table, scored.table) for other in others):
                raise VerifierFault("The byte table changed between two runs of the project's prepare.py.")
            pool = _together([rows for other in others for rows in (other.scored, other.further)])
            origin = f"{len(fresh)} fresh shard{'s' if len(fresh) > 1 else ''}"
        if len(pool) < MINIMUM_FRESH_ROWS:
            raise VerifierFault(
                f"The benchmark leaves {len(pool)} rows that it does not score; at least "
                f"{MINIMUM_FRESH_ROWS} are needed to see whether a gain carries over.",
                next_step="Publish a fresh shard in the benchmark's manifest.",
            )
        return scored, pool, origin

    def _with(self, shard: Path, further: int) -> RowSource:
        # Of its own: another process may be reading the same project's rows.
        place = Path(tempfile.mkdtemp(prefix="rows-", dir=self.work))
        cache = lay_out_cache(place / "cache", self.files, shard)
        workspace = lay_out_plain(place / "workspace", self.snapshot)
        mounts = [Mount(workspace, WORKSPACE), Mount(cache, CACHE)]
        try:
            return read_rows(
                self.sandbox,
                self.interpreter,
                self.constants,
                mounts=mounts,
                log_path=self.work / "rows.log",
                further=further,
            )
        finally:
            shutil.rmtree(place)
