"""The HTTP client below everything: TLS, reuse of connections, deadlines in every phase."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from storage_sims import HttpSim, forever, http

from armlx_chain.errors import EndpointFault
from armlx_chain.storage.http import BoundedHttp, Timeouts, as_fault
from armlx_chain.storage.interface import FaultKind

pytestmark = pytest.mark.integration

HURRIED = Timeouts(connect=1.0, read=0.4, total=0.8)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A bare TCP listener that hands each connection to ``serve`` in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                thread = threading.Thread(target=one, args=(listener.accept()[0],), daemon=True)
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)


@contextlib.contextmanager
def tls_server(certificate: Path, answer: Callable[[ssl.SSLSocket], None]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65536)
            answer(wrapped)

    with listening(serve) as port:
        yield f"https://127.0.0.1:{port}"


def drip(connection: socket.socket, piece: bytes = b"x", seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(piece)
        time.sleep(0.05)


def failing(url: str, client: BoundedHttp, seconds: float = 0.8) -> tuple[FaultKind, float]:
    started = time.monotonic()
    with pytest.raises(EndpointFault) as caught:
        client.get(url, limit=1000, seconds=seconds)
    assert as_fault(caught.value).endpoint == url
    return as_fault(caught.value).kind, time.monotonic() - started


def test_tls_with_a_trusted_certificate_works(certificate: Path) -> None:
    with tls_server(certificate, lambda s: s.sendall(http(b"hello"))) as url:
        client = BoundedHttp(HURRIED, verify=str(certificate))
        assert client.get(url, limit=10, seconds=2.0).body == b"hello"
        client.close()


def test_tls_with_an_unknown_certificate_is_no_connection(certificate: Path) -> None:
    with tls_server(certificate, lambda s: s.sendall(http(b"hello"))) as url:
        kind, _ = failing(url, BoundedHttp(HURRIED))
    assert kind is FaultKind.UNREACHABLE


def test_a_drip_under_tls_ends_in_time(certificate: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"
    with tls_server(certificate, lambda s: (s.sendall(head), drip(s))[1]) as url:
        kind, seconds = failing(url, BoundedHttp(HURRIED, verify=str(certificate)))
    assert kind is FaultKind.STALLED
    assert seconds < 2.6


def test_a_drip_in_the_headers_under_tls_ends_in_time(certificate: Path) -> None:
    with tls_server(certificate, lambda s: (s.sendall(b"HTTP/1.1 200 OK\r\nX: "), drip(s))[1]) as url:
        kind, seconds = failing(url, BoundedHttp(HURRIED, verify=str(certificate)))
    assert kind is FaultKind.STALLED
    assert seconds < 2.6


def test_a_drip_in_the_tls_handshake_ends_in_time(certificate: Path) -> None:
    """A handshake record that announces 16 KiB and comes byte by byte."""
    with listening(lambda c: (c.sendall(b"\x16\x03\x03\x40\x00"), drip(c))[1]) as port:
        kind, seconds = failing(f"https://127.0.0.1:{port}", BoundedHttp(HURRIED))
    assert kind in (FaultKind.STALLED, FaultKind.UNREACHABLE)
    assert seconds < 2.6


def test_a_full_speed_stream_of_headers_ends_in_time() -> None:
    with listening(lambda c: drip(c, b"HTTP/1.1 100 Continue\r\n\r\n" * 50)) as port:
        kind, seconds = failing(f"http://127.0.0.1:{port}", BoundedHttp(HURRIED))
    assert kind is FaultKind.STALLED
    assert seconds < 2.6


class Counting(HttpSim):
    """Keeps count of nothing but requests; answers with what it is told."""

    answer: bytes = http(b"ok")
    endless = False

    def respond(self, method: str, target: str, body: bytes) -> object:  # type: ignore[override]
        if self.endless:
            return forever(b"x" * 65536, first=b"HTTP/1.1 200 OK\r\n\r\n")
        return self.answer


def test_an_endless_body_is_cut_at_the_limit_and_costs_no_more_memory_than_that() -> None:
    sim = Counting()
    sim.endless = True
    try:
        kind, seconds = failing(sim.url, BoundedHttp(HURRIED), seconds=5.0)
        assert kind is FaultKind.TOO_LARGE
        assert seconds < 2.5, "it was cut by its size, not by the clock"
    finally:
        sim.stop()


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5\r\n",
        "Content-Encoding: br\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Content-Length: -5\r\n",
    ],
)
def test_contradictory_headers_are_a_fault_or_exactly_the_body(headers: str) -> None:
    sim = Counting()
    sim.answer = http(b"hello world", headers=headers)
    try:
        answer = BoundedHttp(HURRIED).get(sim.url, limit=100, seconds=2.0)
    except EndpointFault as error:
        assert as_fault(error).kind in (FaultKind.NONSENSE, FaultKind.UNREACHABLE, FaultKind.STALLED)
    else:
        assert answer.body in (b"hello world", b"hello")
    finally:
        sim.stop()


def test_exactly_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    sim = Counting()
    sim.answer = http(b"x" * 1000)
    try:
        client = BoundedHttp(HURRIED)
        assert len(client.get(sim.url, limit=1000, seconds=2.0).body) == 1000
        with pytest.raises(EndpointFault):
            client.get(sim.url, limit=999, seconds=2.0)
    finally:
        sim.stop()


def test_a_connection_is_used_again_and_its_deadline_still_holds() -> None:
    """Two answers over one connection; the second stalls in the middle of its body."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    accepted: list[int] = []

    def serve(connection: socket.socket) -> None:
        accepted.append(1)
        connection.recv(65536)
        connection.sendall(good)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        drip(connection)

    with listening(serve) as port:
        client = BoundedHttp(HURRIED)
        url = f"http://127.0.0.1:{port}/"
        assert client.get(url, limit=10, seconds=2.0).body == b"ok"
        kind, seconds = failing(url, client)
    assert accepted == [1]
    assert kind is FaultKind.STALLED
    assert seconds < 2.6
