"""When a validator signs: dry and live, gold runs, and rejections that wait for a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.chain.contracts import Proposal
from armlx_chain.errors import UsageError
from armlx_chain.types import ProposalId, Tokens
from tests.daemon.test_admission import proposal
from verifier.daemon.mode import MODE_TABLES, REFUTED_IN_A_ROW, Mode, ModeKeeper
from verifier.daemon.rejections import (
    REJECTION_TABLES,
    Answer,
    Queue,
    Rejections,
    report_digest,
)
from verifier.daemon.usage import DAY_SECONDS

pytestmark = pytest.mark.unit

WHERE = ("1:aa", "0xledger", "0xaccount")
HERE, THERE = "this machine", "another machine"


@dataclass
class Clock:
    now: float = 100 * DAY_SECONDS

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(";".join((*MODE_TABLES, *REJECTION_TABLES)))
    yield made
    made.close()


def keeper(database: sqlite3.Connection, **options: Any) -> ModeKeeper:
    return ModeKeeper(database, WHERE, **{"practice": False, "now": Clock(), **options})


def live(database: sqlite3.Connection, **options: Any) -> ModeKeeper:
    modes = keeper(database, **options)
    modes.gold(True, "it was reproduced", HERE)
    modes.go_live()
    return modes


# --- dry and live -------------------------------------------------------------------------------------


def test_a_validator_starts_dry_and_goes_live_only_after_a_gold_run_that_passed(
    database: sqlite3.Connection,
) -> None:
    modes = keeper(database)
    assert modes.current() is Mode.DRY
    assert "gold" in modes.why()
    with pytest.raises(UsageError, match="No gold run"):
        modes.go_live()
    modes.gold(False, "it scored 9.1", HERE)
    with pytest.raises(UsageError):
        modes.go_live()
    modes.gold(True, "it scored 9.0", HERE)
    assert modes.current() is Mode.DRY, "passing is not yet a person's word"
    modes.go_live()
    assert keeper(database).current() is Mode.LIVE, "and it is durable"
    assert "9.0" in keeper(database).why()


def test_three_refuted_in_a_row_end_live_mode_until_a_new_gold_run(database: sqlite3.Connection) -> None:
    modes = live(database)
    for number in range(REFUTED_IN_A_ROW):
        assert modes.current() is Mode.LIVE
        modes.note_verdict(number, "refuted", key=HERE)
        modes.note_verdict(number, "refuted", key=HERE)  # the same one again is no further one
    assert keeper(database).current() is Mode.DRY
    assert "0, 1, 2" in modes.why()
    assert "--go-live" in modes.why()
    assert "dry mode" in str(modes.hindrance(1))
    with pytest.raises(UsageError, match="since the validator went dry"):
        modes.go_live()
    modes.gold(True, "again", HERE)
    modes.go_live()
    modes.note_verdict(3, "refuted", key=HERE)
    assert modes.current() is Mode.LIVE, "the row begins anew"


def test_further_refuted_ones_do_not_make_a_gold_run_void_that_passed_since(
    database: sqlite3.Connection,
) -> None:
    modes = live(database)
    for number in range(REFUTED_IN_A_ROW):
        modes.note_verdict(number, "refuted", key=HERE)
    modes.gold(True, "as calibrated", HERE)
    modes.note_verdict(REFUTED_IN_A_ROW, "refuted", key=HERE)
    assert "0, 1, 2, 3" in modes.why()
    modes.go_live()
    assert keeper(database).current() is Mode.LIVE


@pytest.mark.parametrize(("between", "mode"), [
    ("reproduced", Mode.LIVE), ("unimproved", Mode.LIVE), ("undecided", Mode.DRY),
])  # fmt: skip
def test_only_a_verdict_that_shows_a_working_machine_ends_the_row(
    database: sqlite3.Connection, between: str, mode: Mode
) -> None:
    modes = live(database)
    for number, outcome in enumerate(("refuted", "refuted", between, "refuted")):
        modes.note_verdict(number, outcome, key=HERE)
    assert modes.current() is mode


def test_a_proposal_judged_anew_leaves_the_row(database: sqlite3.Connection) -> None:
    modes = live(database)
    for number, outcome in ((1, "refuted"), (2, "refuted"), (2, "undecided"), (3, "refuted")):
        modes.note_verdict(number, outcome, key=HERE)
    assert modes.current() is Mode.LIVE


def test_a_failed_gold_run_and_a_lost_guard_end_live_mode(database: sqlite3.Connection) -> None:
    modes = live(database)
    modes.gold(False, "it scored 9.1", HERE)
    assert (modes.current(), "9.1" in modes.why()) == (Mode.DRY, True)
    modes.gold(True, "it scored 9.0", HERE)
    modes.go_live()
    modes.lost_guard("The guard does not know proposal 4.")
    assert (modes.current(), "proposal 4" in modes.why()) == (Mode.DRY, True)
    with pytest.raises(UsageError):
        modes.go_live()


def test_a_verdict_from_a_machine_without_a_gold_run_waits(database: sqlite3.Connection) -> None:
    modes = live(database)
    modes.note_verdict(1, "reproduced", key=HERE)
    modes.note_verdict(2, "reproduced", key=THERE)
    modes.note_verdict(3, "refuted")
    assert modes.hindrance(1) is None
    assert "no gold run has passed" in str(modes.hindrance(2))
    assert modes.hindrance(3) is None, "a copy is proven without any machine"
    assert [modes.hindrance_on(key) is None for key in (HERE, THERE, "")] == [True, False, True]
    modes.gold(True, "there too", THERE)
    assert modes.hindrance(2) is None
    assert {gold.key for gold in modes.golds()} == {HERE, THERE}


def test_the_local_world_starts_live_and_falls_dry_by_the_same_rules(database: sqlite3.Connection) -> None:
    modes = keeper(database, practice=True)
    modes.note_verdict(0, "reproduced", key=HERE)
    assert (modes.current(), modes.hindrance(0)) == (Mode.LIVE, None)
    modes.gold(False, "no", HERE)
    assert modes.current() is Mode.DRY
    with pytest.raises(UsageError):
        modes.go_live()


def test_a_process_held_dry_changes_nothing_for_the_next_one(database: sqlite3.Connection) -> None:
    live(database)
    held = keeper(database, held="It was started with --dry.")
    assert (held.current(), "--dry" in held.why(), held.hindrance(1) is None) == (Mode.DRY, True, False)
    assert keeper(database).current() is Mode.LIVE


EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["reproduced", "unimproved", "refuted", "refuted", "undecided"]),
            st.integers(0, 4),
        ),
        st.tuples(st.sampled_from(["pass", "fail", "lost", "go"]), st.just(0)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=50)
@given(events=EVENTS)
def test_every_history_of_events_ends_in_the_mode_that_a_small_model_gives(
    events: list[tuple[str, int]],
) -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(";".join(MODE_TABLES))
    is_live, has_gold = False, False
    row: set[int] = set()
    for what, number in events:
        modes = keeper(database)  # a new process each time
        if what == "go":
            if is_live or has_gold:
                modes.go_live()
                row = row if is_live else set()
                is_live = True
            else:
                with pytest.raises(UsageError):
                    modes.go_live()
        elif what in ("pass", "fail"):
            modes.gold(what == "pass", "so", HERE)
            is_live, has_gold = is_live and what == "pass", what == "pass" or (has_gold and is_live)
            has_gold = what == "pass"
        elif what == "lost":
            modes.lost_guard("lost")
            is_live = has_gold = False
        else:
            modes.note_verdict(number, what, key=HERE)
            row = set() if what in ("reproduced", "unimproved") else row - {number}
            row |= {number} if what == "refuted" else set()
            if what == "refuted" and len(row) >= 3:
                is_live, has_gold = False, has_gold and not is_live
        assert keeper(database).current() is (Mode.LIVE if is_live else Mode.DRY), (what, number)
    database.close()


# --- rejections ---------------------------------------------------------------------------------------


def report(text: str = "it looks ahead") -> dict[str, Any]:
    return {"outcome": "refuted", "reason": "causality-violated", "explanation": text}


def rejections(database: sqlite3.Connection, **options: Any) -> Rejections:
    return Rejections(database, WHERE, **{"now": Clock(), **options})


def answer(database: sqlite3.Connection, number: int, word: Answer) -> None:
    queue = Queue(database, chain=WHERE[0], ledger=WHERE[1])
    (entry,) = [entry for entry in queue.all() if entry.proposal_id == number]
    queue.answer(entry, word)


def test_a_rejection_waits_until_a_person_confirmed_this_very_verdict(database: sqlite3.Connection) -> None:
    first = rejections(database).hindrance(proposal(7), report())
    assert "armlx-validator confirm 7" in str(first)
    (entry,) = rejections(database).pending()
    assert (entry.proposal_id, entry.stake, entry.report) == (7, 10, report_digest(report()))
    answer(database, 7, Answer.CONFIRMED)
    another = rejections(database).hindrance(proposal(7), report("it looks ahead, once more"))
    assert another is not None, "the person confirmed another verdict"
    answer(database, 7, Answer.CONFIRMED)
    assert rejections(database).hindrance(proposal(7), report("it looks ahead, once more")) is None
    assert rejections(database).pending() == ()


def test_an_answer_on_a_verdict_that_was_replaced_is_refused(database: sqlite3.Connection) -> None:
    rejections(database).hindrance(proposal(7), report())
    (entry,) = Queue(database, chain=WHERE[0], ledger=WHERE[1]).all()
    rejections(database).hindrance(proposal(7), report("another"))
    with pytest.raises(UsageError, match="another one"):
        Queue(database, chain=WHERE[0], ledger=WHERE[1]).answer(entry, Answer.CONFIRMED)
    assert "consent" in str(rejections(database).hindrance(proposal(7), report("another")))


def test_what_a_person_declined_is_not_sent_by_a_standing_order_either(database: sqlite3.Connection) -> None:
    rejections(database).hindrance(proposal(7), report())
    answer(database, 7, Answer.DECLINED)
    assert "declined" in str(rejections(database, auto=True).hindrance(proposal(7), report()))
    assert rejections(database, auto=True).taken() == 0


def test_a_person_at_the_terminal_is_asked_and_their_yes_is_kept(database: sqlite3.Connection) -> None:
    asked: list[int] = []

    def ask(which: Proposal, explanation: str) -> bool:
        asked.append(which.id)
        assert explanation == "it looks ahead"
        return len(asked) > 1

    assert rejections(database, ask=ask).hindrance(proposal(7), report()) is not None
    assert rejections(database, ask=ask).hindrance(proposal(7), report()) is None
    assert rejections(database).hindrance(proposal(7), report()) is None
    assert asked == [7, 7]


def test_no_more_than_so_many_proposals_are_rejected_in_a_day_whoever_consents(
    database: sqlite3.Connection,
) -> None:
    clock = Clock()
    rules = rejections(database, auto=True, most=2, now=clock)
    assert [rules.hindrance(proposal(number), report()) is None for number in (1, 2, 3)] == [
        True,
        True,
        False,
    ]
    assert rules.hindrance(proposal(1), report()) is None, "its place is kept after a crash"
    answer(database, 3, Answer.CONFIRMED)
    assert "tomorrow" in str(rejections(database, most=2, now=clock).hindrance(proposal(3), report()))
    clock.now += DAY_SECONDS
    assert rejections(database, most=2, now=clock).hindrance(proposal(3), report()) is None
    assert rules.taken() == 1


def test_a_day_without_rejections_sends_none(database: sqlite3.Connection) -> None:
    assert rejections(database, auto=True, most=0).hindrance(proposal(1), report()) is not None


def test_nobody_is_asked_any_more_about_what_was_withdrawn(database: sqlite3.Connection) -> None:
    rules = rejections(database)
    rules.hindrance(proposal(7), report())
    rules.withdraw(7)
    assert rules.pending() == ()


def test_rejections_of_several_validators_of_a_machine_do_not_mix(database: sqlite3.Connection) -> None:
    for account in ("0xone", "0xtwo"):
        where = (*WHERE[:2], account)
        Rejections(database, where, now=Clock()).hindrance(
            replace(proposal(7), id=ProposalId(7), stake=Tokens(2**200)), report(account)
        )
    queue = Queue(database, chain=WHERE[0], ledger=WHERE[1])
    assert [(entry.account, entry.stake) for entry in queue.all()] == [
        ("0xone", 2**200),
        ("0xtwo", 2**200),
    ]
    queue.answer(queue.all()[0], Answer.CONFIRMED)
    assert [entry.answer for entry in queue.all()] == [Answer.CONFIRMED, Answer.WAITING]
