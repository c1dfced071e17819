"""The protocol's results log (``results.tsv``): one row for each judged experiment, appended for good.

- What stands in a row is said by ``verifier.environments.columns``; here is where it goes and that it stays.
- A row is appended whole and is on disk before the function returns. A file whose last line was cut off gets
  a line break first. A file with other columns is never added to.
- The protocol's path is a stranger's: only its last part is used, in a folder of the person's.
- An undecided verdict is no ``discard``: its row says ``undecided``, which the protocol has no word for.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from armlx_chain.errors import FormatError, MachineError
from armlx_chain.protocol.model import Protocol
from verifier.environments.columns import encode, status_of
from verifier.model import Outcome, Reason, Verdict

__all__ = ["append_row", "results_path", "status_word"]

_HEAD_BYTES: Final = 1 << 16
_UNDECIDED: Final = "undecided"


def status_word(protocol: Protocol, verdict: Verdict) -> str:
    """The status of a verdict's row."""
    if verdict.outcome is Outcome.UNDECIDED:
        return _UNDECIDED
    ended = verdict.reason is not Reason.RUN_WITHOUT_MODEL
    return status_of(protocol, ended=ended, kept=verdict.outcome is Outcome.REPRODUCED)


def results_path(protocol: Protocol, folder: Path) -> Path:
    """Where the log lies: the last part of the protocol's path, in this folder."""
    return folder / PurePosixPath(protocol.provenance.results_log.path).name


def append_row(path: Path, protocol: Protocol, row: Mapping[str, str]) -> None:
    """Append a row; a new file gets its header first. Safe from several processes at once.

    Raises:
        FormatError: the file has other columns, or is no plain file.
        MachineError: it cannot be written.
    """
    log = protocol.provenance.results_log
    header = b"" if log.format == "jsonl" else encode(log.format, log.columns, []).encode()
    data = encode(log.format, log.columns, [row], header=False).encode()
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            start = file.read(_HEAD_BYTES) or b""
            _require_header(path, start, header)
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                torn = file.read(1) != b"\n"
            _write_all(file, (b"\n" if torn else b"") + data if size else header + data)
            os.fsync(file.fileno())
    except OSError as problem:
        raise MachineError(
            f"{path} cannot be written: {problem.strerror or problem}.",
            meaning="The result is in the run folder all the same.",
        ) from problem


def _write_all(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _require_header(path: Path, start: bytes, header: bytes) -> None:
    first = start.replace(b"\r\n", b"\n").partition(b"\n")[0]
    if start and header and first != header.rstrip(b"\n"):
        raise FormatError(
            f"{path} has other columns than the protocol's: {header.decode().strip()}.",
            meaning="The row was not added; the result is in the run folder all the same.",
            next_step="Move that file away.",
        )
