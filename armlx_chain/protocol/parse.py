"""From bytes to a ``Protocol``, or to one error that says where the document is wrong.

Steps, in this order: (0) size, encoding and JSON without liberties; (1) kind and version, refused by name;
(2) the model; (3) keys of the other version; (4) patterns and golden outputs. The caller still owes: that the
bytes belong to the root that was asked for.

>>> parse_protocol(data).measurement.primary_metric.name
'val_bpb'
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from armlx_chain.errors import MetricError, ProtocolInvalid
from armlx_chain.protocol.metric import extract_metric, metric_rule
from armlx_chain.protocol.model import PrimaryMetric, Protocol, SecondaryMetric
from armlx_chain.protocol.strict_json import JsonValue, member_path, read_json, shorten

__all__ = ["MAX_DOCUMENT_BYTES", "VERSIONS", "parse_protocol", "read_document"]

MAX_DOCUMENT_BYTES = 1 << 20
VERSIONS = ("1.0", "1.1")
_MAX_PROBLEMS = 20
_WHAT = "The protocol"


def read_document(data: bytes) -> dict[str, JsonValue]:
    """Steps 0 and 1: the document as a tree, of a kind and version that this build knows.

    Raises:
        ProtocolInvalid: for anything else.
    """
    tree = read_json(data, error=ProtocolInvalid, what=_WHAT, max_bytes=MAX_DOCUMENT_BYTES)
    if not isinstance(tree, dict):
        raise _invalid("it is not a JSON object.", "$")
    kind = tree.get("schemaKind")
    if kind != "protocol":
        raise _invalid(_unknown_kind(kind), "$.schemaKind")
    version = tree.get("protocolVersion")
    if version not in VERSIONS:
        shown = shorten(version) if isinstance(version, str) else "missing or no text"
        raise _invalid(f"version {shown} is not known; this build reads 1.0 and 1.1.", "$.protocolVersion")
    return tree


def parse_protocol(data: bytes) -> Protocol:
    """Read a protocol document.

    Args:
        data: The bytes, already proved to belong to their root.

    Raises:
        ProtocolInvalid: with the JSON path of the first problem in ``details["path"]`` and all problems, at
            most twenty, in ``details["problems"]``.
    """
    tree = read_document(data)
    try:
        protocol = Protocol.model_validate(tree)
    except ValidationError as broken:
        raise _from_validation(broken, tree) from None
    _check_version_keys(protocol, tree)
    _check_metrics(protocol)
    return protocol


def _invalid(problem: str, path: str, problems: list[str] | None = None) -> ProtocolInvalid:
    place = "" if path == "$" else f" at {path}"
    return ProtocolInvalid(
        f"{_WHAT} is not acceptable{place}: {problem}",
        details={"path": path, "problems": problems or [f"{path}: {problem}"]},
    )


def _unknown_kind(kind: JsonValue) -> str:
    if kind == "discoveryDraft":
        return "it is a 'discoveryDraft', an authoring aid; only published documents are read."
    return f"the kind {shorten(kind)} is not known." if isinstance(kind, str) else "schemaKind is missing."


def _from_validation(broken: ValidationError, tree: JsonValue) -> ProtocolInvalid:
    problems = []
    for item in broken.errors(include_url=False, include_context=False, include_input=False)[:_MAX_PROBLEMS]:
        path = _json_path(item["loc"], tree)
        problems.append((path, _sentence(item["type"], item["msg"])))
    path, problem = problems[0]
    return _invalid(problem, path, [f"{where}: {what}" for where, what in problems])


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "this key is not known."
    if kind == "missing":
        return "this required key is missing."
    message = message.removeprefix("Value error, ").strip()
    return f"{message}."


def _json_path(location: tuple[int | str, ...], tree: JsonValue) -> str:
    """The place in the document; names that the model alone knows (of a union's branch) are left out."""
    path, here = "$", tree
    for position, part in enumerate(location):
        in_list = isinstance(part, int) and isinstance(here, tuple) and part < len(here)
        if in_list or (isinstance(here, dict) and part in here):
            here = here[part]
        elif position < len(location) - 1 or not isinstance(here, dict):
            continue
        path = member_path(path, part)
    return path


def _check_version_keys(part: Protocol, tree: dict[str, JsonValue]) -> None:
    """Refuse keys of 1.1 in a document that calls itself 1.0."""
    if part.protocol_version != "1.0":
        return
    environment: dict[str, Any] = tree["environment"]
    for where, holder, keys in (
        ("$.environment", environment, part.environment.since_1_1),
        ("$.environment.constraints", environment["constraints"], part.environment.constraints.since_1_1),
    ):
        for key in sorted(keys & holder.keys()):
            raise _invalid("this key belongs to version 1.1; the document says 1.0.", f"{where}.{key}")
    for index, command in enumerate(environment["setupCommands"]):
        if not isinstance(command, str):
            problem = "this form of a command belongs to version 1.1; the document says 1.0."
            raise _invalid(problem, f"$.environment.setupCommands[{index}]")


def _check_metrics(protocol: Protocol) -> None:
    measurement = protocol.measurement
    eligible = protocol.meta.eligibility == "eligible"
    _check_metric(measurement.primary_metric, "$.measurement.primaryMetric", pattern_required=eligible)
    for index, metric in enumerate(measurement.secondary_metrics):
        _check_metric(metric, f"$.measurement.secondaryMetrics[{index}]", pattern_required=False)


def _check_metric(metric: PrimaryMetric | SecondaryMetric, path: str, *, pattern_required: bool) -> None:
    extract = metric.extract
    if extract is None or extract.kind != "regex":
        return
    if extract.pattern is None:
        if pattern_required:
            raise _invalid("an eligible protocol must state the pattern.", f"{path}.extract.pattern")
        return
    try:
        rule = metric_rule(metric)
    except MetricError as refused:
        raise _invalid(" ".join(refused.sentences()), f"{path}.extract.pattern") from None
    if extract.example_stdout is None:
        return
    try:
        extract_metric(extract.example_stdout.encode("utf-8"), rule)
    except MetricError as missing:
        raise _invalid(" ".join(missing.sentences()), f"{path}.extract.exampleStdout") from None
