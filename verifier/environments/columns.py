"""A run as a row of the protocol's results log: columns to values. Pure.

Known columns are the metric, the secondary metrics, ``commit``, ``memory_gb`` (from outside, by the sandbox's
own measurement), ``status`` and ``description``; any other column stays empty and is named by
``unknown_columns``.

::

    log = protocol.provenance.results_log
    values = row(protocol, RowFacts(code="383abb4", metric="2.213268", peak_memory_bytes=2 << 30,
                                    status=status_of(protocol, ended=True, kept=True)))
    encode(log.format, log.columns, [values])
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.text import is_hidden

_COMMIT_DIGITS: Final = 7
_NO_METRIC: Final = "0.000000"
"""What a crashed run's row says in the metric's column: upstream's own convention."""
_GIB: Final = 1 << 30
_COMMIT: Final = ("commit", "code", "candidate")
_MEMORY: Final = ("memory_gb", "peak_memory_gb")
_STATUS: Final = ("status",)
_DESCRIPTION: Final = ("description", "notes")


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is known of a run.

    Attributes:
        code: Digest or root of the candidate's code; its first seven digits are shown.
        metric: The trusted value as text; ``None`` where no model counted.
        peak_memory_bytes: Of the whole process tree.
        status: One of ``status_of``'s.
        secondary: Secondary metrics by name, as the log states them.
    """

    code: str
    metric: str | None
    peak_memory_bytes: int
    status: str
    description: str = ""
    secondary: Mapping[str, str] = field(default_factory=dict)


def status_of(protocol: Protocol, *, ended: bool, kept: bool) -> str:
    """The status word of a run.

    Args:
        ended: Whether the run ended with a model that counted.
        kept: Whether it beat the control beyond noise.

    Returns:
        ``keep`` or ``discard`` for runs that ended; else what ``safety.crashStatus`` names (``crash`` where
        it is silent).
    """
    if ended:
        return "keep" if kept else "discard"
    return protocol.safety.crash_status or "crash"


def row(protocol: Protocol, facts: RowFacts) -> dict[str, str]:
    """Every column of the protocol's results log with its value, in the log's order."""
    known = {protocol.measurement.primary_metric.name: facts.metric or _NO_METRIC}
    known |= {name: value for name, value in facts.secondary.items() if name not in known}
    code = facts.code.removeprefix("0g:").removeprefix("sha256:").removeprefix("0x")
    known |= dict.fromkeys(_COMMIT, code[:_COMMIT_DIGITS])
    known |= dict.fromkeys(_MEMORY, f"{facts.peak_memory_bytes / _GIB:.1f}" if facts.metric else "0.0")
    known |= dict.fromkeys(_STATUS, facts.status)
    known |= dict.fromkeys(_DESCRIPTION, facts.description)
    return {column: _cell(known.get(column, "")) for column in protocol.provenance.results_log.columns}


def unknown_columns(protocol: Protocol) -> tuple[str, ...]:
    """Columns that this build has nothing to write into."""
    measurement = protocol.measurement
    known = {measurement.primary_metric.name, *(item.name for item in measurement.secondary_metrics)}
    known.update(_COMMIT, _MEMORY, _STATUS, _DESCRIPTION)
    return tuple(name for name in protocol.provenance.results_log.columns if name not in known)


def encode(
    form: str, columns: Sequence[str], rows: Iterable[Mapping[str, str]], *, header: bool = True
) -> str:
    """Rows as text in the log's format: tab-separated, comma-separated, or one JSON object per line."""
    if form == "jsonl":
        return "".join(json.dumps({name: each[name] for name in columns}) + "\n" for each in rows)
    target = io.StringIO()
    writer = csv.writer(target, delimiter="\t" if form == "tsv" else ",", lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([each[name] for name in columns] for each in rows)
    return target.getvalue()


def _cell(text: str) -> str:
    """One line without control characters: a cell must stay a cell, and text must stay text.

    A leading ``=``, ``+``, ``-`` or ``@`` would make it a formula where a spreadsheet opens the log; figures
    keep their sign.
    """
    shown = "".join(" " if is_hidden(char) else char for char in text).strip()
    formula = shown[:1] in ("=", "+", "@") or (
        shown[:1] == "-" and not shown[1:].replace(".", "", 1).isdigit()
    )
    return "'" + shown if formula else shown
