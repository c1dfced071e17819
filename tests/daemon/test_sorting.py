"""Every error has its place, and none of them is a rejection."""

from __future__ import annotations

import importlib
import inspect
import sqlite3
from collections.abc import Iterator

import pytest

from armlx_chain import errors
from verifier.daemon.sorting import TABLE, Kind, Weight, sort

pytestmark = pytest.mark.unit


def tree(root: type[BaseException] = errors.ArmlxError) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def declared() -> list[type[errors.ArmlxError]]:
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, errors.ArmlxError)
    ]


def example(kind: type[errors.ArmlxError]) -> errors.ArmlxError:
    """An error of this class, however its constructor looks."""
    made = kind.__new__(kind)
    errors.ArmlxError.__init__(made, "what happened", next_step="what to do")
    return made


def test_every_class_of_the_tree_has_a_place_of_its_own() -> None:
    missing = [kind.__name__ for kind in declared() if kind not in TABLE]
    assert missing == []


def test_every_place_names_a_class_that_is_declared() -> None:
    assert set(TABLE) - {OSError, sqlite3.Error} == set(declared())


@pytest.mark.parametrize("kind", declared(), ids=lambda kind: kind.__name__)
def test_a_sentence_for_the_operator_says_what_it_means_in_our_own_words(
    kind: type[errors.ArmlxError],
) -> None:
    placed = sort(example(kind))
    assert placed.sentence.endswith(".")
    assert placed.sentence[0].isupper()
    assert len(placed.sentence.split()) >= 5
    assert "what happened" not in placed.sentence, "a message may quote strangers and endpoints"
    assert placed.message == "what happened what to do"
    assert placed.code == kind.__name__


def test_classes_that_are_declared_elsewhere_stand_where_their_ancestor_stands() -> None:
    for module in ("armlx_chain.chain.rpc", "armlx_chain.chain.wire", "verifier.daemon.dossier"):
        importlib.import_module(module)
    elsewhere = [
        kind for kind in tree() if kind not in TABLE and kind.__module__.startswith(("armlx", "veri"))
    ]
    assert elsewhere, "there are such classes"
    for kind in elsewhere:
        nearest = next(parent for parent in kind.__mro__ if parent in TABLE)
        placed = sort(example(kind))  # type: ignore[arg-type]
        assert (placed.weight, placed.kind, placed.sentence) == TABLE[nearest]  # type: ignore[index]


def test_a_fault_of_the_verifier_is_the_verifiers_and_leaves_the_proposal() -> None:
    for kind in tree(errors.VerifierFault):
        placed = sort(example(kind))  # type: ignore[arg-type]
        assert placed.kind is Kind.VERIFIER
        assert placed.weight is Weight.NEXT_PROPOSAL


def test_no_error_leads_to_a_rejection() -> None:
    """The weights are all there is, and none of them is one; who is blamed is never a matter of an error of
    this machine, of storage or of the chain."""
    assert {weight.value for weight in Weight} == {"stop", "carry-on", "next-proposal"}
    blamed = {kind for kind, place in TABLE.items() if place[1] is Kind.MINER}
    assert blamed == {errors.MinerFault}


HOSTILE = (
    errors.StorageError, errors.ProtocolError, errors.FormatError, errors.CandidateError, errors.ChannelError,
    errors.ModelUnsupported, errors.MinerFault, errors.VerifierFault, errors.ContractRevert,
)  # fmt: skip
"""What a stranger's proposal can bring about."""


@pytest.mark.parametrize("root", HOSTILE, ids=lambda kind: kind.__name__)
def test_nothing_that_a_proposal_can_bring_about_stops_the_others(root: type[errors.ArmlxError]) -> None:
    for kind in tree(root):
        assert sort(example(kind)).weight is Weight.NEXT_PROPOSAL, kind  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "kind",
    [errors.GuardRefused, errors.KeystoreError, errors.JournalError, errors.WrongChain, errors.UsageError],
)
def test_what_could_sign_or_send_wrongly_stops(kind: type[errors.ArmlxError]) -> None:
    assert sort(example(kind)).weight is Weight.STOP


@pytest.mark.parametrize("kind", [errors.AccountBusy, errors.EndpointBehind])
def test_what_passes_by_itself_does_not_end_a_daemon_that_is_left_alone(
    kind: type[errors.JournalError],
) -> None:
    assert sort(example(kind)).weight is Weight.CARRY_ON


def test_databases_stop_and_files_do_not() -> None:
    full = sort(OSError(28, "No space left on device"))
    broken = sort(sqlite3.OperationalError("disk I/O error"))
    assert (full.weight, broken.weight) == (Weight.NEXT_PROPOSAL, Weight.STOP)
    assert {full.kind, broken.kind} == {Kind.MACHINE}
    assert "No space left" in full.message
