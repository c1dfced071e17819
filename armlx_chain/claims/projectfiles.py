"""What a researcher has on disk, read into what a project is published from.

- A snapshot is all files of a folder but ``.git``, or the tree of a git revision; links are refused.
- Every data file has exactly one role, by glob.
- A baseline is measured, never typed: it is read from the control of a run folder whose control is this very
  snapshot, or from a ``baseline.json`` that names this snapshot.
- A protocol may be a template: ``${baseline}``, ``${hardware}``, ``${created}``, ``${snapshot}`` and
  ``${benchmark}`` inside its strings are filled in. Anything else that looks like a placeholder is refused.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

from armlx_chain.claims.runfolder import (
    MAX_DOCUMENT_BYTES,
    RUN_JSON,
    peek_facts,
    read_control_log,
    read_limited,
)
from armlx_chain.errors import ClaimRefused, FormatError, UsageError
from armlx_chain.formats.bundle import SNAPSHOT_LIMITS
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.protocol.globs import Glob
from armlx_chain.protocol.metric import check_metric_text, extract_metric, metric_rule
from armlx_chain.protocol.model import Protocol
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

__all__ = [
    "BASELINE_JSON",
    "Baseline",
    "fill_template",
    "git_tree",
    "measured_baseline",
    "read_baseline",
    "read_data",
    "read_snapshot",
]

Tree = dict[str, tuple[bytes, bool]]
"""Content and whether it is executable, by path."""

BASELINE_JSON = "baseline.json"
BASELINE_FORMAT = "armlx-baseline/1"
MAX_DATA_FILE_BYTES = 1 << 30
_GIT_SECONDS = 120
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_EXECUTABLE_MODE = "100755"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the unmodified snapshot scored, and the record that says how it was measured."""

    value: Decimal
    text: str
    hardware_class: str
    record: bytes


def read_snapshot(folder: Path) -> Tree:
    """All files of a folder, without ``.git``.

    Raises:
        UsageError: it is no folder, holds a link or device, or more than a snapshot may.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    found: Tree = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if ".git" in name.parts:
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UsageError(
                f"{path} is neither a file nor a folder.", meaning="A snapshot holds nothing else."
            )
        if path.is_dir():
            continue
        data = read_limited(path, SNAPSHOT_LIMITS.file_bytes)
        total += len(data)
        if total > SNAPSHOT_LIMITS.total_bytes or len(found) >= SNAPSHOT_LIMITS.files:
            raise UsageError(
                f"{folder} is larger than a snapshot may be ({SNAPSHOT_LIMITS.files} files,"
                f" {SNAPSHOT_LIMITS.total_bytes} bytes).",
                next_step="Publish a git revision with --git, which leaves out what is not tracked.",
            )
        found[str(PurePosixPath(name))] = (data, bool(path.stat().st_mode & 0o100))
    if not found:
        raise UsageError(f"{folder} holds no files.")
    return found


def git_tree(repository: Path, revision: str) -> Tree:
    """The files of a git revision, as committed.

    Raises:
        UsageError: git does not know it, or it holds links or submodules.
    """
    listed = _git(repository, "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", revision)
    found: Tree = {}
    for line in filter(None, listed.split(b"\0")):
        facts, _, name = line.partition(b"\t")
        mode, kind, object_id = facts.decode("ascii").split(" ")
        path = name.decode("utf-8", "surrogateescape")
        if kind != "blob" or mode not in ("100644", _EXECUTABLE_MODE):
            raise UsageError(
                f"{path!r} of {revision} is a link or a submodule.", meaning="A snapshot holds files only."
            )
        if len(found) >= SNAPSHOT_LIMITS.files:
            raise UsageError(f"{revision} has more than {SNAPSHOT_LIMITS.files} files.")
        found[path] = (_git(repository, "cat-file", "blob", object_id), mode == _EXECUTABLE_MODE)
    if not found:
        raise UsageError(f"{revision} of {repository} holds no files.")
    return found


def _git(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git cannot be run ({error}).") from error
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()[:300]
        raise UsageError(f"git {arguments[0]} failed in {repository}: {words}")
    return done.stdout


def read_data(folder: Path, roles: Sequence[tuple[str, str]]) -> tuple[BenchmarkManifest, dict[str, bytes]]:
    """The benchmark's files with their manifest.

    Args:
        roles: Pairs of a role and a glob, as ``("train", "data/train_*.parquet")``.

    Raises:
        UsageError: a role or glob makes no sense, or a file matches none or several.
        FormatError: a path that a manifest cannot hold.
    """
    known = [(_role(role), _glob(glob)) for role, glob in roles]
    entries, data = [], {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        name = str(PurePosixPath(path.relative_to(folder)))
        matching = {role for role, glob in known if glob.matches(name)}
        if len(matching) != 1 or path.is_symlink() or not path.is_file():
            found = ", ".join(sorted(role.value for role in matching)) or "none"
            raise UsageError(
                f"{path} must be a plain file with exactly one role; it has: {found}.",
                next_step="Give a role for each file, as --role train='data/train_*.parquet'.",
            )
        data[name] = read_limited(path, MAX_DATA_FILE_BYTES)
        entries.append(ManifestEntry(name, len(data[name]), root_of(data[name]), matching.pop()))
    return BenchmarkManifest.of(entries), data


def _role(text: str) -> ManifestRole:
    try:
        return ManifestRole(text)
    except ValueError:
        names = ", ".join(role.value for role in ManifestRole)
        raise UsageError(f"{text!r} is no role of a data file.", next_step=f"Roles are: {names}.") from None


def _glob(text: str) -> Glob:
    try:
        return Glob.parse(text)
    except ValueError as refused:
        raise UsageError(f"{text!r} is not a glob: {refused}.") from None


def read_baseline(folder: Path, protocol: Protocol, snapshot_root: Root) -> Baseline:
    """What was measured, from a ``baseline.json`` or from the control of a run folder.

    Raises:
        ClaimRefused: it was measured on another snapshot, or the log says something else.
        UsageError, FormatError, MetricError: nothing was measured there, or it cannot be read.
    """
    if (folder / BASELINE_JSON).is_file():
        return _recorded(folder / BASELINE_JSON, protocol, snapshot_root)
    if not (folder / RUN_JSON).is_file():
        raise UsageError(
            f"{folder} holds neither {BASELINE_JSON} nor {RUN_JSON}.",
            meaning="A baseline is measured, never typed.",
            next_step="Measure one with: armlx-chain baseline",
        )
    facts = peek_facts(folder / "run.log")
    if facts.control_root != snapshot_root:
        raise ClaimRefused(
            f"The control of {folder} is {facts.control_root}, but the snapshot's root is {snapshot_root}.",
            meaning="A baseline is the score of the unmodified snapshot. Nothing was sent.",
        )
    rule = metric_rule(protocol.measurement.primary_metric)
    found = extract_metric(read_control_log(folder, facts), rule)
    return measured_baseline(
        rule.name, found.text, [found.text], facts.hardware_class, facts.environment_digest, snapshot_root
    )


def measured_baseline(
    metric: str, text: str, samples: list[str], hardware: str, environment: str, snapshot_root: Root
) -> Baseline:
    """A baseline with its record.

    Args:
        text: The metric's value, as a log would state it.
        samples: The values of the single runs behind it.

    Raises:
        MetricError: the value is none that a primary metric may have.
    """
    record = canonical_json(
        {
            "format": BASELINE_FORMAT,
            "metricName": metric,
            "metricValue": text,
            "samples": samples,
            "hardwareClass": hardware,
            "environmentDigest": environment,
            "snapshotRoot": str(snapshot_root),
        }
    )
    return Baseline(check_metric_text(text, metric), text, hardware, record)


def _recorded(path: Path, protocol: Protocol, snapshot_root: Root) -> Baseline:
    data = read_limited(path, MAX_DOCUMENT_BYTES)
    document = parse_canonical(data, what=str(path))
    name = protocol.measurement.primary_metric.name
    if not isinstance(document, dict) or document.get("format") != BASELINE_FORMAT:
        raise FormatError(f"{path} is not a document of format {BASELINE_FORMAT}.")
    if (document.get("metricName"), document.get("snapshotRoot")) != (name, str(snapshot_root)):
        raise ClaimRefused(
            f"{path} states {document.get('metricName')} of {document.get('snapshotRoot')}, not {name} of"
            f" {snapshot_root}.",
            meaning="It was measured on another snapshot, or by another metric. Nothing was sent.",
        )
    text, hardware = document.get("metricValue"), document.get("hardwareClass")
    if not isinstance(text, str) or not isinstance(hardware, str):
        raise FormatError(f"{path} states no value or no hardware class.")
    return Baseline(check_metric_text(text, name), text, hardware, data)


def fill_template(data: bytes, values: Mapping[str, str]) -> bytes:
    """A protocol document with its placeholders filled in; the same bytes where there are none.

    Raises:
        FormatError: it is not JSON, or has a placeholder that nobody knows.
    """
    if not _PLACEHOLDER.search(data.decode("utf-8", "replace")):
        return data
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The protocol's template is not JSON: {error}.") from error
    return (json.dumps(_filled(tree, values), indent=2, ensure_ascii=False) + "\n").encode()


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: _value(match.group(1), values), value)
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return value


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise FormatError(
            f"The protocol's template has the placeholder {name!r}, which nobody knows.",
            next_step=f"Known are: {', '.join(sorted(values))}.",
        )
    return values[name]
