"""A small threaded HTTP server on which the node, the gateway and the lying gateway stand."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from armlx_chain.errors import DevnetError

__all__ = ["Reply", "Request", "WebServer"]

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 100 << 20
"""Largest request body, as the real node has it."""

_IDLE_SECONDS = 60.0
_REASONS = {600: "Internal Error"}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer.

    Attributes:
        pace: Bytes sent at a time, with ``pause`` seconds between; 0 sends everything at once.
        announced: Content-Length to announce; ``None`` announces the truth.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    pace: int = 0
    pause: float = 0.0
    announced: int | None = None


Answerer = Callable[[Request], Reply]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_OPTIONS(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length_text = self.headers.get("Content-Length", "0")
        length = int(length_text) if length_text.isdecimal() and len(length_text) < 20 else -1
        if length < 0 or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._send(Reply(411, b"Length required\n", "text/plain"))
            return
        if length > MAX_REQUEST_BYTES:
            self.close_connection = True
            self._send(Reply(413, b"Payload Too Large\n", "text/plain"))
            return
        body = self.rfile.read(length)
        if len(body) < length:  # the client went away
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.answerer(Request(self.command, self.path, headers, body)))

    def _send(self, reply: Reply) -> None:
        try:
            self.send_response(reply.status, _REASONS.get(reply.status))
            self.send_header("Content-Type", reply.content_type)
            length = len(reply.body) if reply.announced is None else reply.announced
            self.send_header("Content-Length", str(length))
            self.send_header("Access-Control-Allow-Origin", "*")
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if length != len(reply.body):
                self.close_connection = True
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(reply)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            log.debug("the client closed the connection")

    def _send_body(self, reply: Reply) -> None:
        if not reply.pace:
            self.wfile.write(reply.body)
            return
        for at in range(0, len(reply.body), reply.pace):
            self.wfile.write(reply.body[at : at + reply.pace])
            self.wfile.flush()
            if self.server.stopping.wait(reply.pause):
                return

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answerer: Answerer) -> None:
        self.answerer = answerer
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        """Cut idle and busy connections, so that their threads end."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("a request of %s failed", client_address)


class WebServer:
    """Serves ``answerer`` on ``host``:``port`` in the background.

    Args:
        port: 0 chooses a free one.

    Raises:
        DevnetError: if the address cannot be bound.
    """

    def __init__(self, answerer: Answerer, *, host: str = "127.0.0.1", port: int = 0) -> None:
        try:
            self._server = _Server((host, port), answerer)
        except OSError as error:
            raise DevnetError(
                f"Cannot listen on {host}:{port}: {error}.", next_step="Choose another port (0 finds one)."
            ) from error
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name=f"web:{self.port}",
            daemon=True,
        )

    @property
    def stopping(self) -> threading.Event:
        """Set when the server stops; whoever delays an answer waits on it."""
        return self._server.stopping

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut all connections. Doing it twice is harmless."""
        if self._server.stopping.is_set():
            return
        self._server.stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.close_all()
        self._server.server_close()
