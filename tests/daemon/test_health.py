"""The health pages: for this machine only, honest about silence, sparing with questions."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from armlx_chain.errors import RpcUnavailable, UsageError
from tests.daemon.observed import result, run
from verifier.daemon.health import HealthServer, Pulse, Readiness, Standing
from verifier.daemon.metrics import CONTENT_TYPE, Metrics
from verifier.daemon.observer import CycleOutcome
from verifier.daemon.redaction import Redactor
from verifier.daemon.sorting import Kind, Sorted, Weight
from verifier.model import Role

pytestmark = pytest.mark.integration

WAIT = 60.0


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@contextmanager
def served(pulse: Pulse | None = None, readiness: Readiness | None = None) -> Iterator[HealthServer]:
    ready = readiness or Readiness({}, clean=str)
    with HealthServer(pulse=pulse or Pulse(), readiness=ready, metrics=Metrics()) as server:
        yield server


def get(
    server: HealthServer, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
    try:
        headers = {} if host is None else {"Host": host}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def document(server: HealthServer, path: str) -> tuple[int, dict[str, Any]]:
    status, headers, body = get(server, path)
    assert headers["content-type"] == "application/json"
    found: dict[str, Any] = json.loads(body)
    assert found["ok"] is (status == 200)
    return status, found


# --- healthz ------------------------------------------------------------------------------------------

SIGNS: dict[str, Callable[[Pulse], None]] = {
    "a cycle begins": lambda pulse: pulse.cycle_began("c"),
    "a cycle ends": lambda pulse: pulse.cycle_ended("c", CycleOutcome.BROKEN_OFF, 1.0, []),
    "a proposal is looked at": lambda pulse: pulse.proposal_began(1, 1),
    "a proposal is done": lambda pulse: pulse.proposal_ended(result(1), 1.0),
    "a run ended": lambda pulse: pulse.run_ended(Role.CONTROL, run(Role.CONTROL), 1.0),
    "something failed": lambda pulse: pulse.fault(Sorted(Weight.CARRY_ON, Kind.CHAIN, "…")),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_silence_is_unwell_and_any_sign_of_work_ends_it(sign: str) -> None:
    clock = Clock()
    pulse = Pulse(now=clock, silence=100.0)
    clock.seconds = 100.0
    assert pulse.state()[0]
    clock.seconds = 100.5
    is_well, facts = pulse.state()
    assert not is_well
    assert facts["seconds_since_last_sign"] == 100.5
    SIGNS[sign](pulse)
    assert pulse.state()[0]


def test_the_page_names_the_last_cycle_and_turns_unwell() -> None:
    clock = Clock()
    pulse = Pulse(now=clock, silence=100.0)
    with served(pulse) as server:
        assert "last_cycle" not in document(server, "/healthz")[1]
        pulse.cycle_ended("c-7", CycleOutcome.DONE, 3.0, [])
        clock.seconds = 50.0
        status, found = document(server, "/healthz")
        assert (status, found["last_cycle"]) == (
            200,
            {"id": "c-7", "outcome": "done", "seconds_since_end": 50.0},
        )
        clock.seconds = 101.0
        assert document(server, "/healthz")[0] == 503


# --- readyz -------------------------------------------------------------------------------------------


def failing() -> Standing:
    raise RpcUnavailable("https://user:pw@rpc.example/v2/abcdefgh did not answer")


def broken() -> Standing:
    raise PermissionError(13, "Permission denied", "/var/lib/somewhere")


def test_one_check_that_fails_makes_it_unready_and_says_why_without_secrets() -> None:
    looks = {"mode": lambda: Standing(True, "live"), "rpc": failing, "disk": broken}
    readiness = Readiness(looks, clean=Redactor().clean)
    with served(readiness=readiness) as server:
        status, found = document(server, "/readyz")
    assert status == 503
    assert found["checks"]["mode"] == {"ok": True, "sentence": "live"}
    assert found["checks"]["rpc"] == {"ok": False, "sentence": "https://rpc.example/… did not answer"}
    assert "Permission denied" in found["checks"]["disk"]["sentence"]
    assert list(found["checks"]) == ["mode", "rpc", "disk"]


def test_all_checks_well_is_ready() -> None:
    with served(readiness=Readiness({"a": lambda: Standing(True, "fine")}, clean=str)) as server:
        assert document(server, "/readyz")[0] == 200


def test_however_often_one_asks_the_checks_are_made_once_in_a_while() -> None:
    clock, asked = Clock(), []

    def look() -> Standing:
        asked.append(clock.seconds)
        return Standing(len(asked) == 1, "…")

    readiness = Readiness({"rpc": look}, clean=str, now=clock, seconds=30.0)
    threads = [threading.Thread(target=readiness.state) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=WAIT)
    assert asked == [0.0]
    assert readiness.state()[0]
    clock.seconds = 30.0
    assert not readiness.state()[0]
    assert asked == [0.0, 30.0]


@pytest.fixture(scope="module")
def server() -> Iterator[HealthServer]:
    with served() as running:
        yield running


# --- the server ---------------------------------------------------------------------------------------


def test_metrics_are_prometheus_text(server: HealthServer) -> None:
    status, headers, body = get(server, "/metrics?name=x")
    assert (status, headers["content-type"]) == (200, CONTENT_TYPE)
    assert b'armlx_mode{mode="dry"} 0.0' in body


def test_only_the_loopback_address_listens(server: HealthServer) -> None:
    bound = server._server.server_address
    assert bound[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9000", "127.0.0.1.evil.example", "", "localhost.evil"]
)
def test_a_page_of_another_name_cannot_read_it(server: HealthServer, host: str) -> None:
    status, _, body = get(server, "/metrics", host=host)
    assert status == 403
    assert b"armlx_" not in body


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:1", "[::1]", "[::1]:9000"])
def test_this_machine_may_be_named_in_any_usual_way(server: HealthServer, host: str) -> None:
    assert get(server, "/healthz", host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_answered(server: HealthServer, method: str) -> None:
    assert get(server, "/healthz", method=method)[0] == 501
    status, _, body = get(server, "/healthz", method="HEAD")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/healthz/", "/../metrics", "/%2e%2e/metrics"])
def test_there_is_no_other_page(server: HealthServer, path: str) -> None:
    status, headers, _ = get(server, path)
    assert status == 404
    assert headers["x-content-type-options"] == "nosniff"


def test_hostile_bytes_end_that_connection_alone(server: HealthServer) -> None:
    for sent in (
        b"\x00\xff\r\n\r\n",
        b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT) as one:
            one.sendall(sent)
            one.shutdown(socket.SHUT_WR)
            while one.recv(65_536):
                pass
    assert get(server, "/healthz")[0] == 200


def test_idle_connections_are_bounded_and_do_not_keep_it_from_answering_afterwards() -> None:
    with served() as server:
        idle = [socket.create_connection(("127.0.0.1", server.port), timeout=WAIT) for _ in range(20)]
        # The server closes what is beyond its bound: at least one of twenty reads an end at once.
        closed = 0
        for one in idle[8:]:
            try:
                closed += one.recv(1) == b""
            except ConnectionResetError:
                closed += 1
        assert closed == 12
        for one in idle:
            one.close()
        deadline = threading.Event()
        for _ in range(600):
            try:
                if get(server, "/healthz")[0] == 200:
                    break
            except (OSError, http.client.HTTPException):
                deadline.wait(0.1)
        else:
            pytest.fail("it never answered again")


def test_a_port_that_is_taken_is_said_plainly() -> None:
    with served() as server, pytest.raises(UsageError, match=f"Port {server.port} of this machine"):
        HealthServer(pulse=Pulse(), readiness=Readiness({}, clean=str), metrics=Metrics(), port=server.port)


def test_when_it_is_left_the_port_is_free_and_no_thread_is_there() -> None:
    before = threading.active_count()
    with served() as server:
        port = server.port
        get(server, "/healthz")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=WAIT)
    assert threading.active_count() <= before
