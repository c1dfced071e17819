"""What the fields of the two real documents mean here, and that no field is forgotten."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from shared_material import shared_bytes

from armlx_chain.devnet.benchmark.project import protocol_document, snapshot_files
from armlx_chain.errors import SetupRefused
from armlx_chain.protocol.model import Protocol
from armlx_chain.protocol.parse import parse_protocol
from verifier.environments.columns import RowFacts, encode, row, status_of, unknown_columns
from verifier.environments.commands import Run, Sync, read_setup
from verifier.environments.fields import Place, Terms, memory_advice, terms_of
from verifier.harness.constants import Constants, read_constants
from verifier.sandbox.interface import Limits
from verifier.workspace import Surface, check_candidate

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
REAL = ("armlx-irys", "armlx-0g-galileo")
UPSTREAM = Constants(sequence_length=2048, budget_seconds=300.0, evaluation_tokens=1_572_864, clock="wall")
MAC = Place("darwin", "arm64", 64 << 30)
LINUX = Place("linux", "x86_64", 16 << 30)


def real(name: str) -> Protocol:
    return parse_protocol(shared_bytes(f"fixtures/protocols/{name}.json"))


def small(**changes: Any) -> Protocol:
    """The small benchmark's document with some values replaced, by dotted name with ``__``."""
    tree: dict[str, Any] = json.loads(
        protocol_document(baseline_notes="-", created_at="2026-11-22T00:00:00Z")
    )
    for name, value in changes.items():
        *above, last = name.split("__")
        here = tree
        for part in above:
            here = here.setdefault(part, {})
        here[last] = value
    return parse_protocol(json.dumps(tree).encode())


def terms(protocol: Protocol, place: Place = LINUX, **facts: Any) -> Terms:
    snapshot = snapshot_files()
    constants = read_constants(snapshot["prepare.py"])
    return terms_of(protocol, snapshot, constants, place=place, **facts)


# --- the two real documents ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_the_real_documents_set_up_and_run_what_upstream_says(name: str) -> None:
    protocol = real(name)
    assert read_setup(protocol) == (Sync(), Run("prepare.py"))
    found = terms_of(protocol, {"train.py": b"", "prepare.py": b""}, UPSTREAM, place=MAC)
    assert found.program == Run("train.py")
    assert found.hard_wall_seconds == 900
    assert found.notices == ()


@pytest.mark.parametrize("name", REAL)
def test_on_another_system_the_real_documents_are_followed_with_a_notice(name: str) -> None:
    found = terms_of(real(name), {"train.py": b""}, UPSTREAM, place=LINUX)
    assert len(found.notices) == 1
    assert "darwin-arm64" in found.notices[0]


def test_one_real_document_has_network_for_set_up_and_one_has_none() -> None:
    assert real("armlx-0g-galileo").environment.constraints.allows_network
    assert not real("armlx-irys").environment.constraints.allows_network


@pytest.mark.parametrize("name", REAL)
def test_a_row_of_the_real_results_log(name: str) -> None:
    protocol = real(name)
    facts = RowFacts("0g:0x383abb4f00", "2.534000", 28_866_000_000, "keep", "halve the batch\tsize")
    log = protocol.provenance.results_log
    text = encode(log.format, log.columns, [row(protocol, facts)])
    head = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
    assert text == head + "383abb4\t2.534000\t26.9\tkeep\thalve the batch size\n"
    assert unknown_columns(protocol) == ()


def test_a_crash_has_the_status_of_its_protocol() -> None:
    found = {name: status_of(real(name), ended=False, kept=False) for name in REAL}
    assert found == {"armlx-irys": "crash", "armlx-0g-galileo": "discard"}
    assert status_of(small(safety__crashStatus="retry"), ended=False, kept=False) == "retry"
    assert status_of(small(safety={}), ended=False, kept=False) == "crash"
    assert status_of(small(), ended=True, kept=True) == "keep"
    assert status_of(small(), ended=True, kept=False) == "discard"
    crashed = row(real("armlx-irys"), RowFacts("ab", None, 1 << 30, "crash"))
    assert (crashed["val_bpb"], crashed["memory_gb"]) == ("0.000000", "0.0")


# --- single fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"meta__archetype": "rl_loop"}, "meta.archetype"),
        ({"execution__cwd": "sub"}, "execution.cwd"),
        ({"execution__stopCondition": {"type": "max_steps", "maxSteps": 5}}, "execution.stopCondition.type"),
        ({"measurement__primaryMetric__direction": "maximize"}, "measurement.primaryMetric.direction"),
        ({"execution__command": "uv run other.py"}, "execution.command"),
        ({"meta__eligibility": "needs_harness"}, "meta.eligibility"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_the_fields_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SetupRefused, match=field.replace(".", r"\.")):
        terms(small(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"execution__stopCondition__trainingSecondsBudget": 300}, "budget of 300 s"),
        ({"execution__stopCondition__excludeCompilationFromBudget": False}, "bills compilation"),
        ({"execution__hardTimeoutSeconds": 2}, "no run can end in time"),
        ({"execution__determinism": {"seedPolicy": "required"}}, "fixed seed"),
        ({"archetypeExtensions__ml_train__evalTokens": 7}, "7 evaluation tokens"),
        ({"agentRules__logRedirectExample": "x > out/other.log"}, "other.log"),
        ({"provenance__resultsLog__columns": ["val_bpb", "mood"]}, "column mood"),
        ({"environment__packageManagers": ["conda"]}, "conda"),
        ({"environment__osHints": ["windows"]}, "meant for windows"),
        ({"environment__setupCommands": ["make"]}, "is not carried out"),
        ({"miningLoop": {"maxTrials": 9, "stopAfterSuccessfulPr": True}}, "9 trials, or the first accepted"),
        ({"miningLoop": {"onChainProjectId": 4}}, "names project 4"),
    ],
)
def test_what_a_person_should_know_is_said(changes: dict[str, Any], words: str) -> None:
    plain = terms(small(), project_id=1)
    found = terms(small(**changes), project_id=1)
    assert plain.notices == ()
    assert len(found.notices) == 1 and words in found.notices[0]


def test_advice_on_the_sandbox_gives_room_and_never_takes_any() -> None:
    advised = small(protocolVersion="1.1", environment__sandbox={"memory": "64g", "pids": 500, "image": "x"})
    found = terms(advised)
    assert found.limits(Limits(processes=64)).processes == 500
    assert found.limits(Limits(processes=900)).processes == 900
    assert found.limits(Limits(memory_bytes=123)).memory_bytes == 123
    assert any("advises 65536 MiB" in notice for notice in found.notices)
    assert not any(
        "advises" in notice for notice in terms(advised, Place("linux", "x86_64", 128 << 30)).notices
    )


def test_the_commands_arguments_reach_the_program() -> None:
    assert terms(small(execution__command="python train.py --depth 4")).program.arguments == ("--depth", "4")


def test_the_advice_on_memory_follows_the_policy() -> None:
    texts = {memory_advice(small(safety__oomPolicy=policy)) for policy in ("reduce_batch", "fail", "unknown")}
    assert len(texts) == 3
    assert memory_advice(small(safety={})) == memory_advice(small(safety__oomPolicy="unknown"))


@pytest.mark.parametrize("path", ["pyproject.toml", "sub/UV.lock", "requirements-dev.txt", ".python-version"])
def test_without_new_dependencies_no_candidate_touches_the_files_that_name_them(path: str) -> None:
    everything = {
        "mutableSurface": {
            "allowedGlobs": ["**"],
            "forbiddenGlobs": [],
            "allowedKinds": ["code_edit", "config_edit"],
        }
    }
    open_surface = Surface.of(small(**everything, environment__constraints={"noNewDependencies": False}))
    check_candidate(open_surface, ["train.py"], {path: b"x"})
    closed = Surface.of(small(**everything))
    with pytest.raises(Exception, match="dependencies"):
        check_candidate(closed, ["train.py"], {path: b"x"})


@pytest.mark.parametrize("text", ["=1+1", "+x", "@x", "-x", "a\nb", "a\x1b[2Jb"])
def test_a_cell_of_the_log_is_one_line_and_no_formula(text: str) -> None:
    cell = row(small(), RowFacts("ab", "1.0", 1, "keep", text))["description"]
    assert cell[0] not in "=+-@" and cell.isprintable()


def test_figures_in_the_log_keep_their_sign_and_formats_their_shape() -> None:
    protocol = small(
        provenance__resultsLog={"format": "jsonl", "path": "r.jsonl", "columns": ["val_bpb", "num_steps"]}
    )
    values = row(protocol, RowFacts("ab", "-1.5", 1, "keep", secondary={"num_steps": "67"}))
    assert json.loads(encode("jsonl", ["val_bpb", "num_steps"], [values])) == {
        "val_bpb": "-1.5",
        "num_steps": "67",
    }
    assert encode("csv", ["val_bpb", "num_steps"], [values]) == "val_bpb,num_steps\n-1.5,67\n"


# --- the table ----------------------------------------------------------------------------------------


def test_every_field_of_the_model_stands_in_the_table_once_and_no_other() -> None:
    rows = dict(_rows())
    assert sorted(rows) == sorted(set(_fields(Protocol)))
    for name, (meaning, where) in rows.items():
        assert len(meaning) >= 5, name
        assert (ROOT / where).is_file(), (name, where)


def _rows() -> Iterator[tuple[str, tuple[str, str]]]:
    seen = set()
    for line in (ROOT / "docs/protocol-fields.md").read_text().splitlines():
        if line.startswith("| `"):
            name, meaning, where = (cell.strip() for cell in line.strip("|").split(" | "))
            assert name not in seen, name
            seen.add(name)
            yield name.strip("`"), (meaning, where.strip("|` "))


def _fields(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        full = above + (field.alias or name)
        parts = list(dict.fromkeys(_models(field.annotation)))
        if not parts or full == "environment.setupCommands":
            yield full
        for part in parts:
            yield from _fields(part, full + ".")


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in typing.get_args(kind):
        yield from _models(part)
