"""Several proposals side by side: one project in one lane, each project in order of id."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import RpcUnavailable
from verifier.daemon.lanes import Baton, Board, Item, run_lanes

pytestmark = pytest.mark.unit

LONG = 60.0


def nothing(_: BaseException) -> None:
    return None


def work_off(items: list[Item], machines: tuple[str, ...]) -> list[tuple[str | None, Item]]:
    """What was done where, in order; fails where two lanes are at one project."""
    done: list[tuple[str | None, Item]] = []
    busy: set[int] = set()
    baton = Baton()

    def work(item: Item, machine: str | None) -> None:
        with baton.held():
            assert item.project not in busy
            busy.add(item.project)
            with baton.laid_down():
                pass
            busy.discard(item.project)
            done.append((machine, item))

    run_lanes(Board(items, machines), machines, work, on_error=nothing)
    return done


@st.composite
def boards(draw: st.DrawFn) -> tuple[list[Item], tuple[str, ...]]:
    machines = tuple("abc"[: draw(st.integers(0, 3))])
    places = st.sampled_from([None, "a", "b", "gone"])
    projects = draw(st.lists(st.integers(0, 4), max_size=12))
    items = [Item(number, project, draw(places)) for number, project in enumerate(projects)]
    return draw(st.permutations(items)), machines


@settings(max_examples=60, deadline=None)
@given(board=boards())
def test_each_is_done_once_in_its_projects_order_and_on_its_own_machine_where_that_is_here(
    board: tuple[list[Item], tuple[str, ...]],
) -> None:
    items, machines = board
    done = work_off(items, machines)
    assert sorted(item.number for _, item in done) == sorted(item.number for item in items)
    by_project: defaultdict[int, list[int]] = defaultdict(list)
    for machine, item in done:
        by_project[item.project].append(item.number)
        if item.machine in machines:
            assert machine == item.machine
    assert all(numbers == sorted(numbers) for numbers in by_project.values())


def test_a_single_lane_keeps_the_order_of_ids_and_needs_no_thread() -> None:
    threads, order = set(), []

    def work(item: Item, _: str | None) -> None:
        threads.add(threading.current_thread())
        order.append(item.number)

    run_lanes(Board([Item(3, 1), Item(1, 2), Item(2, 1)], ("a",)), ("a",), work, on_error=nothing)
    assert order == [1, 2, 3]
    assert threads == {threading.current_thread()}


def test_two_projects_are_worked_on_at_the_same_time_on_two_machines() -> None:
    both = threading.Barrier(2, timeout=LONG)  # breaks, and fails the test, where one comes alone
    places = []

    def work(item: Item, machine: str | None) -> None:
        both.wait()
        places.append(machine)

    run_lanes(Board([Item(0, 0), Item(1, 1)], ("a", "b")), ("a", "b"), work, on_error=nothing)
    assert sorted(str(place) for place in places) == ["a", "b"]


def test_an_error_ends_all_lanes_after_what_they_are_at_and_is_raised() -> None:
    told: list[BaseException] = []
    done, started = [], threading.Barrier(2, timeout=LONG)
    failed = threading.Event()

    def on_error(error: BaseException) -> None:
        told.append(error)
        failed.set()

    def work(item: Item, _: str | None) -> None:
        if item.number < 2:
            started.wait()
        if item.number == 0:
            raise RpcUnavailable("gone")
        assert failed.wait(LONG)
        done.append(item.number)

    items = [Item(number, number) for number in range(6)]
    with pytest.raises(RpcUnavailable, match="gone"):
        run_lanes(Board(items, ("a", "b")), ("a", "b"), work, on_error=on_error)
    assert [str(error) for error in told] == ["gone"]
    assert done == [1], "the other lane ends what it is at and takes nothing more"


def test_a_lane_without_work_takes_up_what_arrives_while_another_works() -> None:
    board = Board([Item(0, 0)], ("a", "b"))
    arrived, done = threading.Event(), []

    def work(item: Item, _: str | None) -> None:
        if item.number == 0:
            assert arrived.wait(LONG), "the other lane is not waited for"
        else:
            arrived.set()
        done.append(item.number)

    def refill() -> None:
        board.add([Item(0, 0), Item(5, 3)])

    run_lanes(board, ("a", "b"), work, on_error=nothing, refill=refill, look=0.01)
    assert sorted(done) == [0, 5], "and nothing is looked at twice"


def test_what_arrives_for_a_machine_whose_lane_has_ended_by_then_holds_nobody_up() -> None:
    board, asked = Board([Item(0, 0)], ("a", "b")), threading.Event()
    lanes: list[tuple[threading.Thread, str | None]] = []
    done: list[int] = []

    def work(item: Item, machine: str | None) -> None:
        lanes.append((threading.current_thread(), machine))
        assert asked.wait(LONG)
        done.append(item.number)

    def refill() -> None:
        assert not asked.is_set(), "what nobody can take is waited for"
        asked.set()
        other, machine = lanes[0]
        other.join(LONG)  # the ledger answers late
        board.add([Item(5, 3, machine)])

    run_lanes(board, ("a", "b"), work, on_error=nothing, refill=refill, look=0.01)
    assert done == [0, 5]


def test_a_closed_board_gives_nothing_out_and_wakes_whoever_waits() -> None:
    board = Board([Item(0, 0), Item(1, 0)], ("a", "b"))
    first = board.take("a")
    assert first is not None
    found: list[Item | None] = []
    waiting = threading.Thread(target=lambda: found.append(board.take("b")))
    waiting.start()
    board.close()
    waiting.join(LONG)
    assert found == [None]
    board.done(first)
    assert board.take("a") is None


def test_the_baton_is_with_one_lane_at_a_time_and_comes_back_after_an_error() -> None:
    baton = Baton()
    inside = []

    def lane(name: str) -> None:
        for _ in range(200):
            with baton.held():
                inside.append(name)
                assert len(inside) == 1
                inside.clear()

    threads = [threading.Thread(target=lane, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    with baton.held():
        with pytest.raises(ValueError, match="within"), baton.laid_down():
            raise ValueError("within")
        other = threading.Thread(target=lambda: inside.append("late") if baton._lock.locked() else None)
        other.start()
        other.join(LONG)
    assert inside == ["late"], "it is held again after the error"
