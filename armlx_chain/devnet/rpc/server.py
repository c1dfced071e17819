"""The HTTP side of the node: POST with JSON in, JSON out, on a loopback address.

- A body is refused by its announced length before it is read.
- Only ``application/json`` is taken, so that no web page can post here without asking the browser first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from armlx_chain.devnet.rpc.jsonrpc import Node, answer
from armlx_chain.errors import DevnetError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 5 * 1024 * 1024
"""geth's default limit on a request."""
IDLE_SECONDS = 120.0
"""A kept-alive connection is closed after this silence."""
_LOOPBACK = "127.0.0.1"


class RpcServer:
    """Serves a node on 127.0.0.1 from a thread of its own."""

    def __init__(self, node: Node, port: int = 0) -> None:
        """Bind at once.

        Args:
            node: What answers.
            port: TCP port; 0 takes any free one.

        Raises:
            DevnetError: if the port is taken.
        """
        try:
            self._http = _Server((_LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as exc:
            raise DevnetError(
                f"The devnet's node cannot listen on {_LOOPBACK}:{port}: {exc}.",
                next_step="Choose another port, or 0 for any free one.",
            ) from exc
        self._http.node = node
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="devnet-rpc", daemon=True
        )

    @classmethod
    def on_first_free(cls, node: Node, ports: Sequence[int]) -> RpcServer:
        """Bind the first of several ports that is free.

        Raises:
            DevnetError: if none is.
        """
        for port in ports[:-1]:
            try:
                return cls(node, port)
            except DevnetError:
                logger.info("Port %d is taken; trying the next", port)
        return cls(node, ports[-1])

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{_LOOPBACK}:{self.port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    node: Node

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("A client of the node went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "armlx-devnet"
    sys_version = ""
    timeout = IDLE_SECONDS
    wbufsize = -1  # headers and body leave in one packet
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        length = self._announced_length()
        if length is None:
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        reply = answer(self.server.node, body)
        self._send(200, reply or b"", "application/json")

    def do_GET(self) -> None:
        self._refuse(405, "POST JSON-RPC here.")

    def _announced_length(self) -> int | None:
        """The length of an acceptable body; None after refusing the request."""
        media_type = (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            self._refuse(415, "invalid content type, only application/json is supported")
            return None
        text = self.headers.get("Content-Length") or ""
        if not (text.isascii() and text.isdigit()):
            self._refuse(411, "a Content-Length is needed")
            return None
        if len(text) > 12 or int(text) > MAX_BODY_BYTES:
            self._refuse(413, f"content length too large ({text[:12]}>{MAX_BODY_BYTES})")
            return None
        return int(text)

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True  # an unread body may follow
        self._send(status, why.encode() + b"\n", "text/plain")

    def _send(self, status: int, body: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("%s %s", self.address_string(), format % args)
