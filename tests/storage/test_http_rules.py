"""Redirects, private addresses, bombs and resets, against real servers on this machine."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from storage_sims import HttpSim, Sent, forever, http

from armlx_chain.errors import EndpointFault
from armlx_chain.storage.http import MAX_REDIRECTS, BoundedHttp, Timeouts, as_fault
from armlx_chain.storage.interface import FaultKind

pytestmark = pytest.mark.integration

CALM = Timeouts(connect=30, read=30, total=60)
SECRET = b"what only this machine may read"


class Web(HttpSim):
    """Answers by path; counts by :attr:`requests`."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[], Sent]] = {}
        super().__init__()

    def respond(self, method: str, target: str, body: bytes) -> Sent:
        page = self.pages.get(target)
        return http(b"nothing here", status="404 Not Found") if page is None else page()

    def redirect(self, path: str, location: str, status: str = "302 Found") -> None:
        answer = http(b"moved", status=status, headers=f"Location: {location}\r\n")
        self.pages[path] = lambda: answer


@pytest.fixture
def web() -> Iterator[Web]:
    sim = Web()
    sim.pages["/secret"] = lambda: http(SECRET)
    yield sim
    sim.stop()


@pytest.fixture
def other() -> Iterator[Web]:
    sim = Web()
    sim.pages["/secret"] = lambda: http(SECRET)
    yield sim
    sim.stop()


def refused(client: BoundedHttp, url: str, *, limit: int = 1 << 20) -> tuple[FaultKind, str]:
    with pytest.raises(EndpointFault) as caught:
        client.get(url, limit=limit, seconds=60.0)
    fault = as_fault(caught.value)
    assert fault.endpoint == url, "the endpoint that was asked is the one that is named"
    return fault.kind, fault.detail


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_a_redirect_within_one_place_is_followed(web: Web, status: str) -> None:
    web.redirect("/start", "/secret", status)
    answer = BoundedHttp(CALM).get(f"{web.url}/start", limit=100, seconds=60.0)
    assert (answer.body, answer.url) == (SECRET, f"{web.url}/secret")


def test_a_redirect_to_another_configured_place_is_followed(web: Web, other: Web) -> None:
    web.redirect("/start", f"{other.url}/secret")
    client = BoundedHttp(CALM, configured=[web.url, other.url])
    assert client.get(f"{web.url}/start", limit=100, seconds=60.0).body == SECRET


def test_a_redirect_to_a_neighbour_on_this_machine_is_refused_and_it_is_never_asked(
    web: Web, other: Web
) -> None:
    web.redirect("/start", f"{other.url}/secret")
    kind, detail = refused(BoundedHttp(CALM, configured=[web.url]), f"{web.url}/start")
    assert kind is FaultKind.NONSENSE
    assert other.url in detail
    assert other.requests == []


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://127.0.0.1/x",
        "data:text/plain,hello",
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "https://127.0.0.1:1/",
        "https://[::1]:1/",
        "https://localhost:1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://user:word@a.example/",
        "https://[broken",
    ],
)
def test_a_redirect_to_a_file_or_a_private_address_is_refused(web: Web, location: str) -> None:
    web.redirect("/start", location)
    kind, detail = refused(BoundedHttp(CALM, configured=["http://127.0.0.9"], resolve=_here), _named(web))
    assert kind is FaultKind.NONSENSE
    assert "private" in detail or "redirects" in detail
    mine = BoundedHttp(CALM, configured=["http://mine.example"], resolve=_here)
    kind, detail = refused(mine, _named(web))
    assert kind is FaultKind.NONSENSE
    assert "redirects" in detail
    assert [target for _, target, _ in web.requests] == ["/start"]


def _here(host: str, port: int, seconds: float) -> list[str]:
    return ["127.0.0.1"]


def _named(web: Web) -> str:
    """The server under a name that is no address of this machine."""
    return f"http://mine.example:{_port(web)}/start"


def _port(web: Web) -> int:
    return int(web.url.rpartition(":")[2])


def test_a_loop_of_redirects_ends(web: Web) -> None:
    web.redirect("/a", "/b")
    web.redirect("/b", "/a")
    kind, detail = refused(BoundedHttp(CALM), f"{web.url}/a")
    assert kind is FaultKind.NONSENSE
    assert str(MAX_REDIRECTS) in detail
    assert len(web.requests) == MAX_REDIRECTS + 1


def test_as_many_redirects_as_allowed_are_followed(web: Web) -> None:
    for number in range(MAX_REDIRECTS):
        web.redirect(f"/{number}", f"/{number + 1}" if number + 1 < MAX_REDIRECTS else "/secret")
    assert BoundedHttp(CALM).get(f"{web.url}/0", limit=100, seconds=60.0).body == SECRET


def test_a_post_is_never_sent_elsewhere(web: Web) -> None:
    web.redirect("/rpc", "/secret", "307 Temporary")
    with pytest.raises(EndpointFault) as caught:
        BoundedHttp(CALM).post_json(f"{web.url}/rpc", b"{}", limit=100, seconds=60.0)
    assert as_fault(caught.value).kind is FaultKind.NONSENSE
    assert [target for _, target, _ in web.requests] == ["/rpc"]


def test_the_body_of_a_redirect_is_never_read(web: Web) -> None:
    def endless() -> Iterator[bytes]:
        return forever(b"x" * 65536, first=b"HTTP/1.1 302 Found\r\nLocation: /secret\r\n\r\n")

    web.pages["/start"] = endless
    assert BoundedHttp(CALM).get(f"{web.url}/start", limit=100, seconds=60.0).body == SECRET


# --- private addresses --------------------------------------------------------------------------------------


def test_a_learned_url_on_this_machine_is_refused_and_never_asked(web: Web) -> None:
    client = BoundedHttp(CALM, configured=["https://indexer.example"])
    kind, detail = refused(client, f"{web.url}/secret")
    assert kind is FaultKind.NONSENSE
    assert "private" in detail
    assert web.requests == []


def test_a_name_that_leads_to_this_machine_is_refused_and_never_asked(web: Web) -> None:
    """DNS rebinding: the name looks public, the address is not."""
    client = BoundedHttp(
        CALM, configured=["https://indexer.example"], resolve=lambda host, port, seconds: ["127.0.0.1"]
    )
    kind, detail = refused(client, f"http://rebind.example:{_port(web)}/secret")
    assert kind is FaultKind.NONSENSE
    assert "127.0.0.1" in detail
    assert web.requests == []


def test_one_private_address_among_public_ones_is_enough_to_refuse(web: Web) -> None:
    client = BoundedHttp(
        CALM,
        configured=["https://indexer.example"],
        resolve=lambda host, port, seconds: ["8.8.8.8", "127.0.0.1"],
    )
    assert refused(client, f"http://rebind.example:{_port(web)}/secret")[0] is FaultKind.NONSENSE
    assert web.requests == []


def test_a_name_is_resolved_once_and_the_connection_goes_to_that_address(web: Web) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, seconds: float) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["203.0.113.9"]

    client = BoundedHttp(CALM, configured=["http://mine.example"], resolve=resolve)
    url = f"http://mine.example:{_port(web)}/secret"
    assert client.get(url, limit=100, seconds=60.0).body == SECRET
    assert asked == ["mine.example"]


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    def resolve(host: str, port: int, seconds: float) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    client = BoundedHttp(CALM, resolve=resolve)
    assert refused(client, "http://nowhere.example/")[0] is FaultKind.UNREACHABLE


def test_a_resolver_that_stalls_is_a_stall() -> None:
    def resolve(host: str, port: int, seconds: float) -> list[str]:
        raise TimeoutError("not in time")

    assert refused(BoundedHttp(CALM, resolve=resolve), "http://slow.example/")[0] is FaultKind.STALLED


def test_the_next_address_is_tried_when_one_does_not_answer(web: Web) -> None:
    client = BoundedHttp(CALM, resolve=lambda host, port, seconds: ["127.0.0.3", "127.0.0.1"])
    assert client.get(f"http://two.example:{_port(web)}/secret", limit=100, seconds=60.0).body == SECRET


def test_a_proxy_from_the_environment_is_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.pages["http://far.example/secret"] = lambda: http(SECRET)
    monkeypatch.setenv("http_proxy", web.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = BoundedHttp(CALM, configured=["http://far.example"])
    assert client.get("http://far.example/secret", limit=100, seconds=60.0).body == SECRET
    assert web.requests[0][1] == "http://far.example/secret"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://user:word@127.0.0.1:1/", "http://[::1", "x"])
def test_what_is_no_web_address_is_refused_before_anything_is_opened(url: str) -> None:
    assert refused(BoundedHttp(CALM), url)[0] is FaultKind.NONSENSE


# --- bombs --------------------------------------------------------------------------------------------------


def _deflated(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(bytes(50 << 20))),
        ("deflate", _deflated(50 << 20)),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(50 << 20)))),
        ("br", b"\x00" * 100),
        ("zstd", b"\x28\xb5\x2f\xfd" + b"\x00" * 100),
        ("GZIP", gzip.compress(b"small")),
        ("x-gzip", gzip.compress(b"small")),
    ],
    ids=["gzip", "deflate", "twice", "br", "zstd", "capitals", "x-gzip"],  # the bodies hold the time
)
def test_a_compressed_body_is_refused_unread(web: Web, encoding: str, body: bytes) -> None:
    answer = http(body, headers=f"Content-Encoding: {encoding}\r\n")
    web.pages["/bomb"] = lambda: answer
    kind, detail = refused(BoundedHttp(CALM), f"{web.url}/bomb")
    assert kind is FaultKind.NONSENSE
    assert "compresses" in detail


def test_a_compressed_transfer_is_refused(web: Web) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    web.pages["/bomb"] = lambda: answer
    assert refused(BoundedHttp(CALM), f"{web.url}/bomb")[0] is FaultKind.NONSENSE


def test_identity_is_asked_for_and_taken(web: Web) -> None:
    web.pages["/plain"] = lambda: http(SECRET, headers="Content-Encoding: identity\r\n")
    assert BoundedHttp(CALM).get(f"{web.url}/plain", limit=100, seconds=60.0).body == SECRET


def test_chunks_are_counted_as_they_arrive(web: Web) -> None:
    def chunks() -> Iterator[bytes]:
        return forever(
            b"1000\r\n" + bytes(4096) + b"\r\n",
            first=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        )

    web.pages["/endless"] = chunks
    assert refused(BoundedHttp(CALM), f"{web.url}/endless", limit=100_000)[0] is FaultKind.TOO_LARGE


def test_a_receiver_gets_at_most_the_limit(web: Web) -> None:
    got: list[bytes] = []
    web.pages["/endless"] = lambda: forever(bytes(4096), first=b"HTTP/1.1 200 OK\r\n\r\n")
    with pytest.raises(EndpointFault):
        BoundedHttp(CALM).get(f"{web.url}/endless", limit=100_000, seconds=60.0, receive=got.append)
    assert sum(map(len, got)) <= 100_000


# --- resets -------------------------------------------------------------------------------------------------


@contextmanager
def resetting(before: bytes, *, read_first: bool) -> Iterator[str]:
    """A server that sends ``before`` and then resets the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        if read_first:
            connection.recv(65536)
        connection.sendall(before)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        thread.join(60)
        listener.close()


@pytest.mark.parametrize(
    ("before", "read_first"),
    [
        (b"", False),
        (b"", True),
        (b"HTTP/1.1 20", True),
        (b"HTTP/1.1 200 OK\r\nContent-", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", True),
        (b"HTTP/1.1 302 Found\r\nLocation: /", True),
    ],
)
def test_a_reset_in_any_phase_is_a_fault_of_that_endpoint(before: bytes, read_first: bool) -> None:
    with resetting(before, read_first=read_first) as url:
        kind, _ = refused(BoundedHttp(CALM), url)
    assert kind in (FaultKind.UNREACHABLE, FaultKind.NONSENSE)
