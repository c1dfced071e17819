"""The rows a benchmark evaluates, learned from its own unmodified ``prepare.py`` in a sandbox.

The program inside is the project's, not a miner's; still, every figure it sends is measured before use.
Its own ``evaluate_bpb`` is fed known losses and must arrive at the value our formula gives for them.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from armlx_chain.errors import ChannelError, VerifierFault
from verifier.harness.channel import Channel, Kind
from verifier.harness.constants import Constants
from verifier.harness.inside import HARNESS, Interpreter, start_python
from verifier.harness.runlog import RunLog
from verifier.harness.scoring import Rows, Tokens
from verifier.sandbox.interface import Mount, Sandbox

ROWS_SECONDS: Final = 1800.0
MAX_VOCABULARY: Final = 1 << 20
MAX_ROW_LOGITS: Final = 1 << 27
"""Logits of one row: its length times the vocabulary. The evaluation holds some two dozen rows of them."""
_MAX_TOKEN_BYTES: Final = 1 << 16
_CHECK_TOLERANCE: Final = 1e-5
"""Relative; the benchmark sums in float32, we in float64."""


@dataclass(frozen=True, slots=True)
class RowSource:
    """What one shard in the validation's place gives.

    Attributes:
        scored: The rows that ``evaluate_bpb`` scores.
        further: Rows after them, from documents not seen before; possibly none.
        table: Bytes each token stands for.
    """

    scored: Rows
    further: Rows
    table: NDArray[np.int32]


def read_rows(
    sandbox: Sandbox,
    interpreter: Interpreter,
    constants: Constants,
    *,
    mounts: Sequence[Mount],
    log_path: Path,
    further: int,
) -> RowSource:
    """Run the pinned ``prepare.py`` on the files of ``mounts`` and take its rows.

    Args:
        further: How many rows beyond the scored ones are wanted at most.

    Raises:
        VerifierFault: whatever goes wrong; a project's benchmark that does not work judges nobody.
    """
    limit = 4 * (constants.rows + further) * constants.sequence_length
    caps = dict.fromkeys((Kind.INPUTS, Kind.TARGETS, Kind.FURTHER_INPUTS, Kind.FURTHER_TARGETS), limit)
    caps |= {Kind.READY: 0, Kind.BYTE_TABLE: 4 * MAX_VOCABULARY, Kind.CHECK: 8}
    channel, theirs = Channel.open(caps)
    log = RunLog(log_path)
    try:
        arguments = [str(HARNESS / "rows.py"), str(further)]
        with (
            channel,
            start_python(
                sandbox, interpreter, arguments, child_end=theirs, log=log, mounts=mounts
            ) as process,
        ):
            end_at = time.monotonic() + ROWS_SECONDS
            payloads = {kind: _payload(channel, kind, end_at, log) for kind in caps_in_order()}
            process.wait(10.0)
    finally:
        log.close()
    return _checked(payloads, constants)


def caps_in_order() -> tuple[Kind, ...]:
    """The order in which the messages come."""
    rows = (Kind.INPUTS, Kind.TARGETS, Kind.FURTHER_INPUTS, Kind.FURTHER_TARGETS)
    return (Kind.READY, *rows, Kind.BYTE_TABLE, Kind.CHECK)


def _payload(channel: Channel, kind: Kind, end_at: float, log: RunLog) -> bytes:
    try:
        frame = channel.read(max(0.0, end_at - time.monotonic()))
    except ChannelError as problem:
        raise _fault(f"It sent what is no message: {problem.message}.") from problem
    if frame is None:
        raise _fault(f"It ended or took too long. {log.last_line()}".strip())
    if frame.kind is not kind:
        raise _fault(f"It sent {frame.kind.name} where {kind.name} was due.")
    return bytes(frame.payload)


def _checked(payloads: dict[Kind, bytes], constants: Constants) -> RowSource:
    table = _numbers(payloads[Kind.BYTE_TABLE])
    if not 2 <= table.size <= MAX_VOCABULARY or table.min() < 0 or table.max() > _MAX_TOKEN_BYTES:
        raise _fault("Its byte table makes no sense.")
    if constants.sequence_length * table.size > MAX_ROW_LOGITS:
        raise _fault(
            f"Rows of {constants.sequence_length} tokens with {table.size} logits each are more than can be "
            "evaluated."
        )
    scored = _rows(payloads, Kind.INPUTS, Kind.TARGETS, constants, table)
    further = _rows(payloads, Kind.FURTHER_INPUTS, Kind.FURTHER_TARGETS, constants, table)
    if len(scored) != constants.rows:
        raise _fault(f"It evaluates {len(scored)} rows, its constants say {constants.rows}.")
    _check_formula(struct.unpack("<d", payloads[Kind.CHECK])[0], scored, table)
    return RowSource(scored, further, table)


def _rows(
    payloads: dict[Kind, bytes], first: Kind, second: Kind, constants: Constants, table: NDArray[np.int32]
) -> Rows:
    inputs, targets = (
        _numbers(payloads[kind], constants.sequence_length).reshape(-1, constants.sequence_length)
        for kind in (first, second)
    )
    if inputs.shape != targets.shape:
        raise _fault("Its inputs and targets do not belong together.")
    for tokens in (inputs, targets):
        if tokens.size and not (tokens.min() >= 0 and tokens.max() < table.size):
            raise _fault("It gives tokens outside its own vocabulary.")
    return Rows(inputs, targets)


def _numbers(payload: bytes, multiple: int = 1) -> Tokens:
    if len(payload) % (4 * multiple):
        raise _fault("It sent a piece of a row.")
    return np.frombuffer(payload, dtype="<i4").astype(np.int32)


def _check_formula(value: float, rows: Rows, table: NDArray[np.int32]) -> None:
    """The losses ``rows.py`` feeds in: 1 + (target mod 8) / 8 nats."""
    sizes = table[rows.targets]
    losses = 1.0 + (rows.targets % 8) / 8.0
    total = int(sizes.sum(dtype=np.int64))
    expected = float(losses[sizes > 0].sum()) / (math.log(2) * total) if total else math.inf
    if not math.isclose(value, expected, rel_tol=_CHECK_TOLERANCE):
        raise _fault(f"Its formula gives {value:.9g} where bits per byte would be {expected:.9g}.")


def _fault(text: str) -> VerifierFault:
    return VerifierFault(
        f"The project's own prepare.py does not give the rows to score. {text}",
        meaning="Nobody can be judged with this benchmark on this machine.",
    )
