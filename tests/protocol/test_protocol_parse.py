"""Attacks on the protocol parser: each ends in one error that says where."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_documents import BASE, REMOVED, document, tree
from pydantic import ValidationError
from shared_material import shared_bytes

from armlx_chain.errors import ProtocolInvalid
from armlx_chain.protocol.model import SetupStep
from armlx_chain.protocol.parse import parse_protocol
from armlx_chain.storage.zerog.merkle import root_of

pytestmark = pytest.mark.unit


def refused(data: bytes) -> ProtocolInvalid:
    with pytest.raises(ProtocolInvalid) as caught:
        parse_protocol(data)
    return caught.value


def test_the_base_document_is_valid_and_frozen() -> None:
    protocol = parse_protocol(document())
    assert protocol.measurement.primary_metric.direction == "minimize"
    assert protocol.execution.hard_timeout_seconds == 900
    with pytest.raises(ValidationError):
        protocol.execution.command = "rm -rf ."  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "policy"), [("armlx-0g-galileo", "full"), ("armlx-irys", "offline")], ids=["0g", "irys"]
)
def test_the_real_documents_parse(name: str, policy: str) -> None:
    protocol = parse_protocol(shared_bytes(f"fixtures/protocols/{name}.json"))
    assert protocol.meta.repo is not None
    assert protocol.meta.repo.clone_url == "https://github.com/trevin-creator/autoresearch-mlx"
    assert protocol.environment.constraints.network_policy == policy
    assert protocol.environment.constraints.allows_network is (policy == "full")
    assert protocol.measurement.secondary_metrics[0].name == "peak_vram_mb"
    assert protocol.may_change("train.py")
    assert not any(
        protocol.may_change(path) for path in ("prepare.py", "Prepare.py", "uv.lock", "a/train.py")
    )


def test_the_real_document_has_the_root_recorded_on_galileo() -> None:
    data = shared_bytes("fixtures/protocols/armlx-0g-galileo.json")
    assert root_of(data).hex == "0xe4c1bb3a70f36fe29132775cfeb1b8dcadd65e9e61bccd40bb0cfd648499b6b3"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"schemaKind": "discoveryDraft"}, "$.schemaKind"),
        ({"schemaKind": REMOVED}, "$.schemaKind"),
        ({"protocolVersion": "1.2"}, "$.protocolVersion"),
        ({"protocolVersion": 1.0}, "$.protocolVersion"),
        ({"surprise": 1}, "$.surprise"),
        ({"meta__repo__stars": 3}, "$.meta.repo.stars"),
        ({"meta__odd key": 3}, '$.meta["odd key"]'),
        ({"meta__archetype": "mine"}, "$.meta.archetype"),
        ({"meta__purposeStatement": REMOVED}, "$.meta.purposeStatement"),
        ({"meta__purposeStatement": "a\x1b[2Jb"}, "$.meta.purposeStatement"),
        ({"meta__purposeStatement": "a\u202eb"}, "$.meta.purposeStatement"),
        ({"meta__createdAt": "yesterday"}, "$.meta.createdAt"),
        ({"meta__createdAt": "2026-13-03T15:04:16Z"}, "$.meta.createdAt"),
        ({"meta__repo__cloneUrl": "ext::sh -c id"}, "$.meta.repo.cloneUrl"),
        ({"meta__repo__cloneUrl": "file:///etc/passwd"}, "$.meta.repo.cloneUrl"),
        ({"environment__setupCommands": "uv sync"}, "$.environment.setupCommands"),
        ({"environment__setupCommands": [3]}, "$.environment.setupCommands[0]"),
        ({"environment__constraints__networkPolicy": "open"}, "$.environment.constraints.networkPolicy"),
        ({"environment__constraints__noNewDependencies": 1}, "$.environment.constraints.noNewDependencies"),
        ({"mutableSurface__allowedGlobs": []}, "$.mutableSurface.allowedGlobs"),
        ({"mutableSurface__allowedGlobs": ["/etc/passwd"]}, "$.mutableSurface.allowedGlobs[0]"),
        ({"mutableSurface__allowedGlobs": ["../x"]}, "$.mutableSurface.allowedGlobs[0]"),
        ({"mutableSurface__allowedGlobs": ["a/../../x"]}, "$.mutableSurface.allowedGlobs[0]"),
        ({"mutableSurface__allowedGlobs": ["~/x"]}, "$.mutableSurface.allowedGlobs[0]"),
        ({"mutableSurface__allowedGlobs": ["C:/x"]}, "$.mutableSurface.allowedGlobs[0]"),
        ({"mutableSurface__allowedGlobs": ["a\\..\\b"]}, "$.mutableSurface.allowedGlobs[0]"),
        ({"mutableSurface__allowedGlobs": ["{train,prepare}.py"]}, "$.mutableSurface.allowedGlobs[0]"),
        ({"mutableSurface__allowedGlobs": ["*.py"]}, "$.mutableSurface"),
        ({"mutableSurface__allowedGlobs": ["PREPARE.py"]}, "$.mutableSurface"),
        ({"mutableSurface__allowedKinds": []}, "$.mutableSurface.allowedKinds"),
        ({"immutableHarness__paths": ["/prepare.py"]}, "$.immutableHarness.paths[0]"),
        ({"execution__command": "a\nb"}, "$.execution.command"),
        ({"execution__command": " "}, "$.execution.command"),
        ({"execution__cwd": "/tmp"}, "$.execution.cwd"),
        ({"execution__cwd": "a/.."}, "$.execution.cwd"),
        ({"execution__hardTimeoutSeconds": 0}, "$.execution.hardTimeoutSeconds"),
        ({"execution__hardTimeoutSeconds": "900"}, "$.execution.hardTimeoutSeconds"),
        ({"execution__stopCondition__maxSteps": 0}, "$.execution.stopCondition.maxSteps"),
        ({"execution__stopCondition__epochs": 1.5}, "$.execution.stopCondition.epochs"),
        ({"execution__stopCondition__trainingSecondsBudget": -1},
         "$.execution.stopCondition.trainingSecondsBudget"),
        ({"measurement__primaryMetric__direction": "down"}, "$.measurement.primaryMetric.direction"),
        ({"measurement__primaryMetric__extract__pattern": REMOVED},
         "$.measurement.primaryMetric.extract.pattern"),
        ({"measurement__primaryMetric__extract__pattern": "val_bpb"},
         "$.measurement.primaryMetric.extract.pattern"),
        ({"measurement__primaryMetric__extract__pattern": "(?<=x)([0-9]+)"},
         "$.measurement.primaryMetric.extract.pattern"),
        ({"measurement__primaryMetric__extract__pattern": r"([0-9])\1"},
         "$.measurement.primaryMetric.extract.pattern"),
        ({"measurement__primaryMetric__extract__pattern": "(x{1001})"},
         "$.measurement.primaryMetric.extract.pattern"),
        ({"measurement__primaryMetric__extract__exampleStdout": "nothing"},
         "$.measurement.primaryMetric.extract.exampleStdout"),
        ({"measurement__primaryMetric__extract__exampleStdout": "val_bpb: 2.5\nval_bpb: 2.5"},
         "$.measurement.primaryMetric.extract.exampleStdout"),
        ({"measurement__secondaryMetrics": [{"name": "n", "direction": "maximize", "extract":
          {"kind": "regex", "pattern": "^n: ([0-9]+)$", "exampleStdout": "n: -1"}}]},
         "$.measurement.secondaryMetrics[0].extract.exampleStdout"),
        ({"provenance__resultsLog__path": "../results.tsv"}, "$.provenance.resultsLog.path"),
        ({"provenance__resultsLog__columns": []}, "$.provenance.resultsLog.columns"),
        ({"archetypeExtensions": {"other": {}}}, "$.archetypeExtensions.other"),
        ({"archetypeExtensions": {"rl_loop": {"numSeeds": 0}}}, "$.archetypeExtensions.rl_loop.numSeeds"),
        ({"miningLoop": {"onChainProjectId": -1}}, "$.miningLoop.onChainProjectId"),
        ({"environment__sandbox": {"pids": 4}}, "$.environment.sandbox"),
        ({"environment__constraints__networkAllowlist": ["a:1"]},
         "$.environment.constraints.networkAllowlist"),
        ({"environment__setupCommands": [{"kind": "uv", "args": ["sync"]}]},
         "$.environment.setupCommands[0]"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_a_broken_rule_is_refused_at_its_place(changes: dict[str, Any], path: str) -> None:
    error = refused(document(**changes))
    assert error.details["path"] == path
    assert error.details["problems"]
    assert len(error.message) < 1_000
    assert error.message.isprintable()


def test_version_1_1_knows_its_additional_fields() -> None:
    protocol = parse_protocol(
        document(
            protocolVersion="1.1",
            environment__setupCommands=["uv sync", {"kind": "uv", "args": ["run", "prepare.py"]}],
            environment__constraints__networkAllowlist=["example.org:443", "example.org"],
            environment__sandbox={"image": "x", "cpus": "2", "memory": "4g", "pids": 64},
        )
    )
    assert protocol.environment.setup_commands[1] == SetupStep(kind="uv", args=("run", "prepare.py"))
    assert (
        refused(
            document(protocolVersion="1.1", environment__setupCommands=[{"kind": "curl", "args": []}])
        ).details["path"]
        == "$.environment.setupCommands[0].kind"
    )


def test_extensions_keep_keys_that_nobody_knows() -> None:
    protocol = parse_protocol(document(archetypeExtensions={"ml_train": {"evalTokens": 5, "mine": [1, "x"]}}))
    assert protocol.archetype_extensions is not None
    assert protocol.archetype_extensions.ml_train is not None
    assert protocol.archetype_extensions.ml_train.model_extra == {"mine": (1, "x")}


@pytest.mark.parametrize("policy", ["sandbox", "offline", "unknown", None])
def test_only_full_means_network(policy: str | None) -> None:
    protocol = parse_protocol(document(environment__constraints={"networkPolicy": policy} if policy else {}))
    assert not protocol.environment.constraints.allows_network


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"protocol"',
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + document(),
        document()[:-1],
        document() + b"x",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        document()[:-1] + b',"schemaKind":"protocol"}',
        json.dumps(tree()).replace("900", "NaN").encode(),
        json.dumps(tree()).replace("900", "1e999").encode(),
        json.dumps(tree()).replace("900", "-Infinity").encode(),
        json.dumps(tree()).replace("900", "9" * 5_000).encode(),
        document(meta__purposeStatement="\ud800"),
        document(meta__purposeStatement="x" * 65_537),
        document(environment__osHints=["x"] * 1_001),
        document(archetypeExtensions={"ml_train": {"x": ["y" * 65_537]}}),
        document(archetypeExtensions={"ml_train": {"k" * 300: 1}}),
        b" " * (1 << 20) + document(),
    ],
    ids=lambda data: ascii(data[:24]),
)
def test_bytes_that_are_no_document_end_in_one_error(data: bytes) -> None:
    assert refused(data).details["path"].startswith("$")


def test_very_many_long_globs_are_refused_instead_of_compared_for_ever() -> None:
    globs = [f"{'a*' * 200}{n}" for n in range(300)]
    error = refused(
        document(
            mutableSurface__allowedGlobs=globs, mutableSurface__forbiddenGlobs=["b" + glob for glob in globs]
        )
    )
    assert "too many and too long" in error.message


@pytest.mark.parametrize("pattern", [r"\pL{900}(x)", r"(?:[01]{30}){30}([0-9])", r"[01]*1[01]{999}([0-9])"])
def test_patterns_with_a_large_program_are_refused(pattern: str) -> None:
    error = refused(document(measurement__primaryMetric__extract__pattern=pattern))
    assert error.details["path"] == "$.measurement.primaryMetric.extract.pattern"
    assert "too large" in error.message or "too complicated" in error.message


def test_the_most_expensive_document_is_affordable() -> None:
    """A megabyte of golden output, read by patterns that defeat the engine's fast path."""
    digits = "".join(format(k * 2654435761 % 2**32, "b") for k in range(220)) + "1" * 400 + "9"
    metrics = [
        {"name": "n", "direction": "maximize",
         "extract": {"kind": "regex", "pattern": f"[01]*1[01]{{{380 - n}}}x?([0-9])$",
                     "exampleStdout": digits}}
        for n in range(140)
    ]  # fmt: skip
    started = time.process_time()
    parsed = parse_protocol(document(measurement__secondaryMetrics=metrics))
    assert len(parsed.measurement.secondary_metrics) == 140
    assert time.process_time() - started < 30


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
sections = sorted(BASE)


@given(section=st.sampled_from(sections), value=json_values)
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_section_parses_or_ends_in_one_error(section: str, value: object) -> None:
    try:
        parse_protocol(json.dumps({**BASE, section: value}).encode("utf-8", "surrogatepass"))
    except ProtocolInvalid:
        return


@given(place=st.integers(0, len(document()) - 1), patch=st.binary(max_size=6), cut=st.integers(0, 40))
@settings(max_examples=500, deadline=None)
def test_any_change_of_bytes_parses_or_ends_in_one_error(place: int, patch: bytes, cut: int) -> None:
    data = document()
    try:
        parse_protocol(data[:place] + patch + data[place + cut :])
    except ProtocolInvalid:
        return


@given(data=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_one_error(data: bytes) -> None:
    refused(data)
