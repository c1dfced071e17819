"""The corpus: every class is there, every recipe fits, and the source gate stops only what it should."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from armlx_chain.devnet.benchmark import candidates
from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.errors import CandidateError
from tests.attacks.load import CLASSES, ESCAPES, Variant, cheats, honest, validation_table
from verifier.gate import check_sources

pytestmark = pytest.mark.unit

KEYS = {"class", "expected", "bare", "shows", "parameters", "escape", "gate", "claim"}


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A value for every parameter of the corpus."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return {
        "TABLE": validation_table(folder),
        "WHOLE_TABLE": validation_table(folder, whole=True),
        "KEY_FILE": "/nowhere/key",
        "PORT": "9",
        "MARK": "some-mark",
        "MEGABYTES": "64",
    }


def source(variant: Variant, values: dict[str, str]) -> bytes:
    return variant.source(**{name: values[name] for name in variant.parameters})


def test_every_class_of_cheats_and_all_six_escapes_are_there() -> None:
    classes = [cheat.facts["class"] for cheat in cheats().values()]
    assert set(classes) == set(CLASSES)
    assert len(classes) >= 50
    assert sorted(cheat.facts["escape"] for cheat in cheats().values() if "escape" in cheat.facts) == sorted(
        ESCAPES
    )
    assert len(honest()) >= 8


@pytest.mark.parametrize("name", cheats())
def test_a_cheat_states_its_class_and_what_is_expected(name: str) -> None:
    facts = cheats()[name].facts
    assert set(facts) <= KEYS
    assert facts["expected"] in {"R", "N"}
    assert facts["bare"].endswith(".")
    assert name.startswith(facts["class"].replace("-", "") + "_")


@pytest.mark.parametrize("name", cheats())
def test_the_source_gate_stops_a_cheat_only_where_its_header_says_so(
    name: str, values: dict[str, str]
) -> None:
    cheat = cheats()[name]
    text = source(cheat, values)
    ast.parse(text)
    if "gate" in cheat.facts:
        with pytest.raises(CandidateError):
            check_sources({"train.py": text})
    else:
        check_sources({"train.py": text})


@pytest.mark.parametrize("name", honest())
def test_the_source_gate_lets_every_honest_variant_pass(name: str) -> None:
    text = honest()[name].source()
    assert text != snapshot_files()["train.py"]
    check_sources({"train.py": text})


@pytest.mark.parametrize("name", candidates.NAMES)
def test_the_source_gate_lets_the_demonstrations_candidates_pass(name: str) -> None:
    check_sources({"train.py": candidates.source(name)})


def test_a_missing_parameter_is_noticed() -> None:
    with pytest.raises(ValueError, match="PORT"):
        cheats()["hostile_network"].source()


def test_the_corpus_folder_holds_recipes_and_nothing_else() -> None:
    folder = Path(__file__).parent / "corpus"
    assert {path.suffix for path in folder.iterdir()} == {".recipe"}
