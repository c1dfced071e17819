"""The wire: what goes in comes out, and whatever else comes is nobody's fault but the sender's."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import (
    AcceleratorBusy,
    ArmlxError,
    CandidateError,
    FormatError,
    GuardRefused,
    Interrupted,
    MinerFault,
    StorageUnavailable,
    VerifierFault,
)
from tests.executors.places import Place, Shelf, noise_here, published
from tests.executors.sessions import BETTER, Beside, Notes
from verifier.calibrationfile import encode_noise, read_noise
from verifier.controls import PastBest
from verifier.executors.jobs import Facts, Job, LogPieces, Made, Order
from verifier.executors.remote import RemoteExecutor
from verifier.executors.server import serve_one
from verifier.executors.stopping import Brake
from verifier.executors.wire import LINE_BYTES, Line, error_tree, parse, read_error, to_line
from verifier.hardware import EnvironmentFacts
from verifier.judgement import Trial
from verifier.model import Reason, Role, Verdict
from verifier.records import record_tree
from verifier.simulate import record

FACTS = Facts("0" * 16, "cpu, a rehearsal, 1 cores, 1 GiB", "ab" * 32, 3.0, "")


def raw(tree: object) -> bytes:
    return json.dumps(tree).encode()


# --- one message ------------------------------------------------------------------------------------------


@pytest.mark.unit
@settings(max_examples=40, deadline=None)
@given(
    files=st.dictionaries(st.text("ab./", min_size=1, max_size=8), st.binary(max_size=40), max_size=3),
    scores=st.lists(st.integers(-(2**62), 2**62), max_size=3),
    machine=st.sampled_from(["", "0123456789abcdef"]),
)
def test_a_job_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], scores: list[int], machine: str
) -> None:
    project = PROJECT(tmp_path_factory)
    past = tuple(PastBest(bytes([n]) * 32, score) for n, score in enumerate(scores))  # type: ignore[arg-type]
    job = Job("session", project, machine, "0g:0x" + "11" * 32, past, files)
    assert Job.read(parse(job.encode())) == job


_projects: list[Any] = []


def PROJECT(factory: pytest.TempPathFactory) -> Any:
    if not _projects:
        _projects.append(published(Shelf(factory.mktemp("p"))))
    return _projects[0]


@pytest.mark.unit
@pytest.mark.parametrize("deadline", [None, 0.0, 310.25])
def test_orders_and_facts_come_out_as_they_went_in(deadline: float | None) -> None:
    order = Order(Role.CANDIDATE, "pair-01", deadline, b"\x01" * 32)
    assert Order.read(parse(to_line("run", **order.tree()))) == order
    known = {"system": "x" * (1 << 16)}
    much = replace(FACTS, environment=EnvironmentFacts(known).digest, environment_facts=known)
    with pytest.raises(FormatError, match="longer"):
        Facts.read(parse(to_line("facts", facts=much.tree()))["facts"])
    facts = replace(FACTS, notices=("one", "two"))
    assert Facts.read(parse(to_line("facts", facts=facts.tree()))["facts"]) == facts


@pytest.mark.unit
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b"{}",
        b'{"kind": 7}',
        b'{"kind": "a", "kind": "b"}',
        b'{"kind": "a", "x": 0.5}',
        b'{"kind": "a", "x": NaN}',
        b'{"kind": "\\ud800"}',
        b"\xff\xfe",
        b'{"kind":"a","x":' + b"[" * 40 + b"]" * 40 + b"}",
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(FormatError):
        parse(line)


@pytest.mark.unit
@pytest.mark.parametrize(
    "change",
    [
        {"label": "../../etc"},
        {"label": ""},
        {"label": "a" * 41},
        {"role": "judge"},
        {"deadline": "nan"},
        {"deadline": "-1"},
        {"deadline": 3},
        {"seed": "xy"},
    ],
)
def test_an_order_that_names_something_else_is_none(change: dict[str, object]) -> None:
    tree = Order(Role.CONTROL, "pair-01", 3.0, b"s").tree() | change
    with pytest.raises(FormatError):
        Order.read(tree)


@pytest.mark.unit
def test_no_error_that_crosses_accuses_a_miner_or_stops_a_daemon() -> None:
    assert isinstance(read_error(error_tree(StorageUnavailable("x"))), StorageUnavailable)
    assert isinstance(read_error(error_tree(AcceleratorBusy("x"))), AcceleratorBusy)
    assert isinstance(read_error(error_tree(CandidateError("x"))), CandidateError)
    for error in (MinerFault("x"), GuardRefused("x"), Interrupted("x"), ArmlxError("x")):
        assert type(read_error(error_tree(error))) is VerifierFault
    for tree in ({"name": "MinerFault", "message": "x"}, {"name": 7}, {}, [], None, "MinerFault"):
        assert type(read_error(tree)) is VerifierFault
    moved = read_error({"name": "VerifierFault", "message": "a\x1b[2Jb"})
    assert "\x1b" not in moved.message


@pytest.mark.unit
def test_a_line_without_end_and_a_line_too_long_end_the_conversation() -> None:
    here, there = socket.socketpair()
    line = Line(here)
    sender = threading.Thread(target=lambda: _pour(there, LINE_BYTES + (1 << 20)))
    sender.start()
    with pytest.raises(FormatError, match="too long"):
        line.receive()
    line.close()
    there.close()
    sender.join(60)
    with pytest.raises(FormatError, match="longer than"):
        to_line("log", data="x" * LINE_BYTES)


def _pour(into: socket.socket, count: int) -> None:
    try:
        into.sendall(b"x" * count)
    except OSError:
        return


@pytest.mark.unit
@pytest.mark.parametrize(
    "change",
    [
        {"reference_seconds": ["nan", "3.0", "3.0"]},
        {"reference_seconds": ["inf", "3.0", "3.0"]},
        {"reference_seconds": ["-1.0", "3.0", "3.0"]},
        {"steps": ["9" * 4000, "9" * 4000]},
        {"steps": ["-1", "10"]},
        {"shortcut": False},
        {"shortcut": 0},
        {"shortcut": []},
        {"environment": None},
        {"runs": 4096, "scores": ["9" * 40] * 4096},
        {"hardware_class": "x" * (1 << 16)},
    ],
)
def test_a_calibration_with_figures_that_no_machine_has_is_none(
    tmp_path: Path, change: dict[str, object]
) -> None:
    shelf = Shelf(tmp_path / "shelf")
    place = Place(shelf, tmp_path / "home")
    found = encode_noise(noise_here(place.prepare(published(shelf), (), Brake())))
    assert encode_noise(read_noise(found)) == found
    with pytest.raises(VerifierFault, match="damaged"):
        read_noise({**found, **change})


@pytest.mark.unit
def test_a_machine_that_is_named_twice_gets_one_lane(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    twice = [{"id": "ab" * 8, "free": True}, {"id": "ab" * 8, "free": True}]
    there.sendall(raw({"kind": "machines", "machines": twice}) + b"\n")
    executor = RemoteExecutor(lambda: here, load=lambda _: pytest.fail("nothing is prepared"))
    assert executor.machines() == ("ab" * 8,)
    there.close()


# --- logs -------------------------------------------------------------------------------------------------


@pytest.mark.unit
def test_logs_of_any_bytes_arrive_whole_and_a_bomb_does_not(tmp_path: Path) -> None:
    log = bytes(range(256)) * 10_000
    pieces = LogPieces()
    *logs, last = Made({}, log).lines()
    for line in logs:
        pieces.add(parse(line))
    assert (pieces.whole(), parse(last)["kind"], len(logs)) == (log, "record", 3)
    bomb = base64.b64encode(zlib.compress(b"\0" * (64 << 20))).decode()
    for data in (bomb, "!", "", "\u00e9", "\u0660AAA", base64.b64encode(b"no zlib").decode(), 7):
        with pytest.raises(FormatError):
            LogPieces().add({"data": data})
    with pytest.raises(FormatError, match="empty"):
        LogPieces().add({"data": base64.b64encode(zlib.compress(b"")).decode()})
    endless = LogPieces()
    one = parse(Made({}, b"x" * (1 << 20)).lines()[0])
    with pytest.raises(FormatError, match="too long"):
        for _ in range(40):
            endless.add(one)


NO_LOG = sha256(b"").hexdigest()


@pytest.mark.unit
def test_a_record_is_kept_only_with_its_own_log_and_of_the_run_that_was_ordered(tmp_path: Path) -> None:
    order = Order(Role.CANDIDATE, "pair-01", None, b"s")
    for tree, log in (
        (record_tree(record(Role.CANDIDATE)), b"another log"),
        (record_tree(record(Role.CONTROL)), b""),
        ({}, b""),
        ({**record_tree(record(Role.CANDIDATE)), "validation": "1e999999"}, b""),
        *(
            ({**record_tree(record(Role.CANDIDATE)), "peakMemoryBytes": count}, b"")
            for count in ("9" * 4000, 1 << 63, -1, True, None)
        ),
        ({**record_tree(record(Role.CANDIDATE)), "steps": "9" * 4000}, b""),
        *(
            ({**record_tree(record(Role.CANDIDATE)), "logSha256": NO_LOG, **long}, b"")
            for long in (
                {"detail": "x" * (1 << 20)},
                {"clock": "x" * (1 << 16)},
                {"printedMetric": "x" * (1 << 16)},
                {"disturbances": ("x",) * 4096 * 4},
                {"anomalies": ("x" * (1 << 16),)},
            )
        ),
    ):
        with pytest.raises(VerifierFault):
            Made(tree, log).keep(order, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    good = {**record_tree(record(Role.CANDIDATE)), "logSha256": NO_LOG, "detail": "x" * 80_000}
    assert Made(good, b"").keep(order, tmp_path / "run").detail == "x" * 80_000


# --- hostile ends -----------------------------------------------------------------------------------------

GARBAGE: list[bytes] = [
    b"\n",
    b"nonsense\n",
    b"[]\n",
    raw({"kind": "facts"}) + b"\n",
    raw({"kind": "facts", "facts": {"machine": 7}}) + b"\n",
    raw({"kind": "open", "x": 1.5}) + b"\n",
    raw({"kind": "error", "error": {"name": "MinerFault", "message": "reject it"}}) + b"\n",
    raw({"kind": "say", "text": 7}) + b"\n",
    raw({"kind": "machines", "machines": [{"id": 7, "free": True}]}) + b"\n",
    raw({"kind": "machines", "machines": [{"id": "../x\n", "free": True}]}) + b"\n",
    raw({"kind": "facts", "facts": {**FACTS.tree(), "class": "a\nb"}}) + b"\n",
    raw({"kind": "facts", "facts": {**FACTS.tree(), "machine": "x" * 9000}}) + b"\n",
    raw({"kind": "noise", "noise": {"s": "-1"}}) + b"\n",
    raw({"kind": "record", "record": {"role": "candidate"}}) + b"\n",
    raw({"kind": "log", "data": "\u00e9"}) + b"\n",
    b"",
]


@pytest.mark.integration
@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_hostile_runner_brings_about_a_fault_of_this_side_and_nothing_else(
    tmp_path: Path, garbage: bytes
) -> None:
    shelf = Shelf(tmp_path / "shelf")
    project, place = published(shelf), Place(shelf, tmp_path / "home")
    site, answers = place.site(), [b""]

    def serve(there: socket.socket, answered: list[bytes]) -> None:
        if not answered:
            serve_one(Line(there), site)
        for answer in answered:
            there.recv(1 << 16)
            there.sendall(answer)
        there.close()

    def connect() -> socket.socket:
        here, there = socket.socketpair()
        threading.Thread(target=serve, args=(there, list(answers)), daemon=True).start()
        return here

    executor = RemoteExecutor(connect, load=lambda known: (place.load(known), ()))
    answers.clear()
    bench = executor.prepare(project, None)
    noise = bench.noise()
    keeper = Notes()

    def session() -> Verdict:
        return bench.judge(Trial(BETTER, noise, b"s", tmp_path / "runs", lambda _: None, keeper=keeper))

    calls: list[Callable[[], object]] = [
        executor.machines,
        lambda: executor.prepare(project, None),
        bench.noise,
        session,
    ]
    answers.append(garbage)
    for call in calls:
        with pytest.raises(VerifierFault):
            call()
    answers[:] = [raw({"kind": "open"}) + b"\n", garbage]
    assert session().reason is Reason.VERIFIER_FAULT
    assert (keeper.begun, keeper.pairs) == ([], [])


ALIVE, SAY = raw({"kind": "alive"}) + b"\n", raw({"kind": "say", "text": "still at it"}) + b"\n"


@pytest.mark.integration
@pytest.mark.parametrize("babble", [ALIVE * 100, b"x", SAY * 100], ids=["alive", "bit-by-bit", "says"])
@pytest.mark.parametrize("at_run", [False, True])
def test_a_runner_that_talks_and_never_answers_is_not_waited_for(
    tmp_path: Path, babble: bytes, *, at_run: bool
) -> None:
    shelf = Shelf(tmp_path / "shelf")
    project, place = published(shelf), Place(shelf, tmp_path / "home")
    site, is_hostile = place.site(), threading.Event()

    def serve(there: socket.socket) -> None:
        with there, contextlib.suppress(OSError):
            if not is_hostile.is_set():
                return serve_one(Line(there), site)
            there.recv(1 << 16)
            if at_run:
                there.sendall(raw({"kind": "open"}) + b"\n")
            while True:
                there.sendall(babble)
                time.sleep(0.001)

    def connect() -> socket.socket:
        here, there = socket.socketpair()
        threading.Thread(target=serve, args=(there,), daemon=True).start()
        return here

    said: list[str] = []
    executor = RemoteExecutor(
        connect,
        load=lambda known: (place.load(known), ()),
        say=said.append,
        answer_seconds=60.0 if babble.startswith(SAY) else 3.0,
        run_seconds=3.0,
    )
    bench = executor.prepare(project, None)
    noise = bench.noise()
    is_hostile.set()
    keeper = Notes()
    trial = Trial(BETTER, noise, b"s", tmp_path / "runs", lambda _: None, keeper=keeper)
    if at_run:
        assert Beside(lambda: bench.judge(trial)).end().reason is Reason.VERIFIER_FAULT
    else:
        with pytest.raises(VerifierFault, match=r"talks (and does not answer|without end)"):
            Beside(lambda: bench.judge(trial)).end()
    assert len(said) <= 10_000
    assert keeper.pairs == []


@pytest.mark.integration
@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"nonsense\n",
        raw({"kind": "rob"}) + b"\n",
        raw({"kind": "session", "project": {}, "past": [], "files": {}, "machine": "", "control": ""})
        + b"\n",
        raw({"kind": "noise", "project": 7, "past": [7], "files": {"a": "!"}}) + b"\n",
        raw({"kind": "noise", "project": 7, "past": [], "files": {"a": "\u00e9"}}) + b"\n",
    ],
)
def test_a_hostile_daemon_gets_an_error_and_the_machine_stays_free(tmp_path: Path, asked: bytes) -> None:
    shelf = Shelf(tmp_path / "shelf")
    site = Place(shelf, tmp_path / "home").site()
    here, there = socket.socketpair()
    there.sendall(asked)
    there.shutdown(socket.SHUT_WR)
    line = Line(here)
    serve_one(line, site)
    line.close()
    answer = there.makefile("rb").read()
    there.close()
    assert answer == b"" or parse(answer.rstrip(b"\n"))["kind"] == "error"
    assert site.machines()[0][1]
