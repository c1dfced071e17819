"""The corpus: every class is there, every recipe fits, and the gate stops only what it should."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.errors import CandidateError
from tests.attacks import knowledge
from tests.attacks.court import PROTOCOL, WIDE
from tests.attacks.docket import SHOWS
from tests.attacks.load import CLASSES, ESCAPES, TRAIN, cheats, honest
from tests.attacks.trial import allowed
from verifier.gate import check_sources
from verifier.model import Outcome
from verifier.workspace import Surface, check_candidate

pytestmark = pytest.mark.unit

KEYS = {"class", "expected", "bare", "shows", "parameters", "escape", "gate", "claim", "verdict", "surface"}
KEYS |= {"bytes"}
CHEATS = cheats()


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A value for every parameter of the corpus."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    rows = np.random.default_rng(0).integers(0, 512, (192, 65), dtype=np.int32)
    fixed = snapshot_files()["prepare.py"].decode()
    return {
        "TABLE": knowledge.validation_table(folder),
        "WHOLE_TABLE": knowledge.validation_table(folder, whole=True),
        "COMMENTS": knowledge.comments(folder),
        "ROWS": knowledge.rows(rows[:64]),
        "FEW_ROWS": knowledge.rows(rows[:2]),
        "ALL_ROWS": knowledge.rows(rows),
        "PREPARE": fixed,
        "PYC": knowledge.stale_bytecode(fixed),
        "TAG": "cpython-311",
        "DATA_FOLDER": "/nowhere/data",
        "KEY_FILE": "/nowhere/key",
        "PORT": "9",
        "SOCKET": "some-socket",
        "VICTIM": "999999",
        "MARK": "some-mark",
        "MEGABYTES": "64",
    }


def test_every_class_of_cheats_and_all_six_escapes_are_there() -> None:
    assert {cheat.kind for cheat in CHEATS.values()} == set(CLASSES)
    assert len(CHEATS) >= 75
    escapes = [cheat.facts["escape"] for cheat in CHEATS.values() if "escape" in cheat.facts]
    assert sorted(escapes) == sorted(ESCAPES)
    assert len(honest()) >= 18


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_states_its_class_what_is_expected_and_what_it_shows(name: str) -> None:
    facts = CHEATS[name].facts
    assert set(facts) <= KEYS
    assert facts["expected"] in {"R", "N"}
    assert facts["bare"].endswith(".")
    assert facts["shows"] in SHOWS
    assert name.startswith(facts["class"].replace("-", "") + "_")
    assert allowed(CHEATS[name])


def test_only_one_idea_that_is_honest_without_the_data_it_was_after_may_be_approved() -> None:
    """It counts what follows what in the decoy, which is training text."""
    payable = {
        name for name, cheat in CHEATS.items() if Outcome.REPRODUCED in {one for one, _ in allowed(cheat)}
    }
    assert payable <= {"leak_val_table"}


@pytest.mark.parametrize("name", CHEATS)
def test_the_gate_stops_a_cheat_only_where_its_header_says_so(name: str, values: dict[str, str]) -> None:
    cheat = CHEATS[name]
    files = cheat.files(**{name: values[name] for name in cheat.parameters})
    ast.parse(files[TRAIN].replace(b"\r", b"\n") if "source" not in name else b"")
    surface = Surface.of(WIDE if cheat.facts.get("surface") == "wide" else PROTOCOL)

    def gate() -> None:
        check_candidate(surface, snapshot_files().keys(), files)
        check_sources(files)

    if "gate" in cheat.facts:
        with pytest.raises(CandidateError):
            gate()
    else:
        gate()


@pytest.mark.parametrize("name", honest())
def test_the_gate_lets_every_honest_variant_pass(name: str) -> None:
    text = honest()[name].source()
    assert text != snapshot_files()[TRAIN]
    check_sources({TRAIN: text})


def test_no_two_recipes_make_the_same_program(values: dict[str, str]) -> None:
    made = [one.files(**{name: values[name] for name in one.parameters}) for one in CHEATS.values()]
    wide = [one.facts.get("surface", "") for one in CHEATS.values()]
    assert len({(kind, *sorted(files.items())) for kind, files in zip(wide, made, strict=True)}) == len(made)


def test_a_missing_parameter_is_noticed() -> None:
    with pytest.raises(ValueError, match="PORT"):
        CHEATS["hostile_network"].source()


def test_the_corpus_folder_holds_recipes_and_nothing_else() -> None:
    folder = Path(__file__).parent / "corpus"
    assert {path.suffix for path in folder.iterdir()} == {".recipe"}
