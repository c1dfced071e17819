"""The guard's record: against a reference, under contention, rolled back, carried to another machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from guard_campaign import BASE, KEYS, WRONG_RULES, contend, every_sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import FormatError, GuardRefused
from armlx_chain.signing.guard import Entry, GuardKey, SingleSignGuard
from armlx_chain.signing.interchange import read_interchange, write_interchange
from armlx_chain.types import ProposalId

pytestmark = pytest.mark.unit

DISTINCT = KEYS[:6]


def guard_at(folder: Path, *words: tuple[GuardKey, bytes]) -> SingleSignGuard:
    guard = SingleSignGuard(folder / "guard.sqlite", alarm=lambda _: None)
    for key, payload in words:
        guard.check_and_insert(key, payload)
    return guard


def test_every_sequence_of_three_requests_is_answered_like_the_reference() -> None:
    done = every_sequence(3)
    assert done.sequences == 21 + 21**2 + 21**3


@pytest.mark.parametrize("name", WRONG_RULES)
def test_the_small_world_is_big_enough_to_find_a_wrong_guard(name: str) -> None:
    with pytest.raises(AssertionError):
        every_sequence(2, WRONG_RULES[name])


def test_of_many_threads_of_several_processes_exactly_one_may_sign_each_round(tmp_path: Path) -> None:
    path = tmp_path / "guard.sqlite"
    allowed, refused = contend(path, processes=4, threads=4, rounds=6)
    assert allowed == [1] * 6
    assert refused == 4 * 4 * 6 - 6
    guard = SingleSignGuard(path)
    assert (len(guard.entries()), guard.refusals()) == (6, refused)


def test_a_refusal_is_counted_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    guard = SingleSignGuard(tmp_path / "guard.sqlite", alarm=said.append)
    guard.check_and_insert(BASE, b"approve")
    for _ in range(2):
        with pytest.raises(GuardRefused):
            guard.check_and_insert(BASE, b"reject")
    assert guard.refusals() == 2
    assert len(said) == 2
    assert "proof of misbehaviour" in said[0]


# --- rolled back ------------------------------------------------------------------------------------------


def test_an_older_copy_of_the_database_signs_nothing_until_what_is_missing_is_merged(tmp_path: Path) -> None:
    path = tmp_path / "guard.sqlite"
    guard = guard_at(tmp_path, (DISTINCT[0], b"a"))
    shutil.copyfile(path, tmp_path / "old")
    guard.check_and_insert(DISTINCT[1], b"b")
    document = write_interchange(guard.entries())
    for beside in tmp_path.glob("guard.sqlite-*"):
        beside.unlink()
    shutil.copyfile(tmp_path / "old", path)
    for ask in (lambda: guard.check_and_insert(DISTINCT[2], b"c"), lambda: guard.recorded(DISTINCT[0])):
        with pytest.raises(GuardRefused, match="once had 2"):
            ask()
    assert guard.merge(read_interchange(document)).added == 1
    guard.check_and_insert(DISTINCT[2], b"c")
    with pytest.raises(GuardRefused):
        guard.check_and_insert(DISTINCT[1], b"x")


def test_a_deleted_database_is_missed(tmp_path: Path) -> None:
    guard = guard_at(tmp_path, (BASE, b"a"))
    for path in tmp_path.glob("guard.sqlite*"):
        if path.suffix != ".mark":
            path.unlink()
    with pytest.raises(GuardRefused, match="rolled back"):
        guard.check_and_insert(BASE, b"another")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"entries": -1}', b'{"entries": true}', b'{"entries": "9"}']
)
def test_a_damaged_mark_signs_nothing(tmp_path: Path, text: bytes) -> None:
    guard = guard_at(tmp_path, (BASE, b"a"))
    (tmp_path / "guard.sqlite.mark").write_bytes(text)
    with pytest.raises(GuardRefused, match="damaged"):
        guard.check_and_insert(BASE, b"a")


def test_a_guard_of_an_earlier_version_gets_its_mark_with_its_next_entry(tmp_path: Path) -> None:
    guard = guard_at(tmp_path, (DISTINCT[0], b"a"))
    (tmp_path / "guard.sqlite.mark").unlink()
    guard.check_and_insert(DISTINCT[1], b"b")
    assert b"2" in (tmp_path / "guard.sqlite.mark").read_bytes()


# --- carried elsewhere ------------------------------------------------------------------------------------

WORDS = st.lists(st.tuples(st.sampled_from(DISTINCT), st.sampled_from([b"approve", b"reject"])), max_size=6)


def fill(
    folder: Path, words: Sequence[tuple[GuardKey, bytes]]
) -> tuple[SingleSignGuard, dict[GuardKey, bytes]]:
    first: dict[GuardKey, bytes] = {}
    for key, payload in words:
        first.setdefault(key, payload)
    return guard_at(folder, *first.items()), first


@settings(deadline=None, max_examples=40)
@given(mine=WORDS, theirs=WORDS)
def test_a_merge_is_the_union_and_never_weakens(
    tmp_path_factory: pytest.TempPathFactory,
    mine: list[tuple[GuardKey, bytes]],
    theirs: list[tuple[GuardKey, bytes]],
) -> None:
    here, before = fill(tmp_path_factory.mktemp("here"), mine)
    there, other = fill(tmp_path_factory.mktemp("there"), theirs)
    merged = here.merge(read_interchange(write_interchange(there.entries())))
    assert {entry.key.columns(): entry.payload for entry in here.entries()} == {
        key.columns(): payload for key, payload in {**other, **before}.items()
    }
    clashing = {key.columns() for key in before.keys() & other.keys() if before[key] != other[key]}
    assert {key.columns() for key in merged.conflicts} == clashing
    assert merged.added == len(other.keys() - before.keys())
    assert merged.added + merged.known + len(merged.conflicts) == len(other)
    again = here.merge(there.entries())
    assert (again.added, len(again.conflicts)) == (0, len(clashing))


def test_a_long_payload_survives_the_way(tmp_path: Path) -> None:
    entries = guard_at(tmp_path, (BASE, bytes(200_000))).entries()
    assert read_interchange(write_interchange(entries)) == entries


def test_a_damaged_document_is_refused(tmp_path: Path) -> None:
    document = write_interchange(guard_at(tmp_path, (DISTINCT[0], b"a"), (DISTINCT[1], b"b")).entries())
    lines = document.split(b"\n")
    damaged = [
        b"",
        document[:-1],
        document[:-20] + b"\n",
        document.replace(b"31337", b"31338"),
        b"\n".join([lines[0], lines[1], *lines[3:]]),
        b"\n".join([lines[0], lines[2], lines[1], *lines[3:]]),
        b"not a document\n",
        b"\xff\n\xff\n",
    ]
    for data in damaged:
        with pytest.raises(FormatError):
            read_interchange(data)


def test_an_entry_whose_payload_is_not_its_digests_is_refused() -> None:
    forged = Entry(replace(BASE, proposal_id=ProposalId(7)), b"\0" * 32, b"approve")
    with pytest.raises(FormatError, match="payload"):
        read_interchange(write_interchange([forged]))
