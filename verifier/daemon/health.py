"""``/healthz``, ``/readyz`` and ``/metrics``, on this machine only.

- ``/healthz``: 200 while the process is at work, 503 once nothing was heard of it for too long. What counts
  is any sign of it (a cycle, a proposal, a run that ended), because one cycle may train for hours.
- ``/readyz``: 200 if a proposal that arrived now could be judged, 503 otherwise; each check with its
  sentence. The checks have connections of their own and are made at most once in a while, however often one
  asks.
- ``/metrics``: Prometheus' text format.

The server listens on the loopback address and nowhere else, answers GET and HEAD, and refuses requests that
name another host: a web page that a person opens must not read it through a name that points here.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from armlx_chain.errors import ArmlxError, UsageError
from verifier.daemon.metrics import CONTENT_TYPE, Metrics
from verifier.daemon.results import Result
from verifier.daemon.sorting import Sorted
from verifier.model import Role, RunRecord

__all__ = ["HealthServer", "Pulse", "Readiness", "Standing"]

log = logging.getLogger(__name__)

SILENCE_SECONDS: Final = 3600.0
"""Longest time without a sign of life. A run at full size takes minutes, its evaluation less."""
READY_SECONDS: Final = 30.0
"""How long the answers of the checks are used again."""
_REQUEST_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1
"""How soon the server notices that it shall end."""
_AT_ONCE: Final = 8
_LOOPBACK: Final = "127.0.0.1"
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Pulse:
    """An observer that remembers when anything was last heard of the daemon.

    Args:
        now: A clock that never goes back, in seconds.
        silence: Longest time between two signs.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, silence: float = SILENCE_SECONDS
    ) -> None:
        self._now = now
        self._silence = silence
        self._last = now()
        self._last_cycle: tuple[str, str, float] | None = None

    def beat(self) -> None:
        """A sign of life."""
        self._last = self._now()

    def state(self) -> tuple[bool, dict[str, object]]:
        """Whether the daemon is at work, and since when nothing was heard."""
        moment = self._now()
        age = moment - self._last
        facts: dict[str, object] = {"seconds_since_last_sign": round(age, 1), "silence_limit": self._silence}
        if self._last_cycle is not None:
            cycle, outcome, ended = self._last_cycle
            facts["last_cycle"] = {
                "id": cycle,
                "outcome": outcome,
                "seconds_since_end": round(moment - ended, 1),
            }
        return age <= self._silence, facts

    def cycle_began(self, cycle_id: str) -> None:
        self.beat()

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        self.beat()
        self._last_cycle = (cycle_id, str(outcome), self._last)

    def proposal_began(self, proposal_id: int, project_id: int) -> None:
        self.beat()

    def proposal_ended(self, result: Result, seconds: float) -> None:
        self.beat()

    def run_ended(self, role: Role, record: RunRecord, seconds: float) -> None:
        self.beat()

    def fault(self, sorted_: Sorted, /) -> None:
        self.beat()

    def alarm(self, name: str, sentence: str) -> None:
        self.beat()


@dataclass(frozen=True, slots=True)
class Standing:
    """What one check found."""

    is_ready: bool
    sentence: str


Look = Callable[[], Standing]
"""One check. An ``ArmlxError`` or ``OSError`` from it counts as not ready."""


class Readiness:
    """The checks of ``/readyz``.

    Args:
        looks: By name, in the order in which they are shown; more may be entered later. Each has what it
            needs to itself: it runs in a thread of the server, beside the daemon.
        clean: Takes secrets out of a sentence.
        seconds: How long answers are used again.
    """

    def __init__(
        self,
        looks: Mapping[str, Look],
        *,
        clean: Callable[[str], str],
        now: Callable[[], float] = time.monotonic,
        seconds: float = READY_SECONDS,
    ) -> None:
        self._looks = looks  # not a copy
        self._clean = clean
        self._now = now
        self._seconds = seconds
        self._turn = threading.Lock()
        self._known: tuple[float, dict[str, Standing]] | None = None

    def state(self) -> tuple[bool, dict[str, object]]:
        """Whether all is ready, and each check's answer."""
        with self._turn:
            moment = self._now()
            if self._known is None or moment - self._known[0] >= self._seconds:
                found = {name: self._look(look) for name, look in list(self._looks.items())}
                self._known = (self._now(), found)
            found = self._known[1]
        shown = {name: {"ok": one.is_ready, "sentence": one.sentence} for name, one in found.items()}
        return all(one.is_ready for one in found.values()), {"checks": shown}

    def _look(self, look: Look) -> Standing:
        try:
            found = look()
        except ArmlxError as error:
            found = Standing(False, error.message)
        except OSError as error:
            found = Standing(False, str(error))
        return Standing(found.is_ready, self._clean(found.sentence))


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "armlx"
    sys_version = ""
    timeout = _REQUEST_SECONDS

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        status, kind, body = self._found()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _found(self) -> tuple[int, str, bytes]:
        host = self.headers.get("Host", "localhost").rpartition(":")
        if (host[0] if host[1] and host[2].isdigit() else host[0] + host[1] + host[2]) not in _HOSTS:
            return _document(403, False, {"error": "This is for the machine itself."})
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            return _document(404, False, {"error": "There is /healthz, /readyz and /metrics."})
        return page()

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("health: " + format, *args)


Page = Callable[[], tuple[int, str, bytes]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, port: int, pages: Mapping[str, Page]) -> None:
        self.pages = dict(pages)
        self._free = threading.Semaphore(_AT_ONCE)
        super().__init__((_LOOPBACK, port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return ipaddress.ip_address(client_address[0]).is_loopback and self._free.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for the daemon's health broke off", exc_info=True)


class HealthServer:
    """Serves the three pages while it is entered.

    Args:
        port: Of the loopback address; 0 for any free one.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(self, *, pulse: Pulse, readiness: Readiness, metrics: Metrics, port: int = 0) -> None:
        pages: dict[str, Page] = {
            "/healthz": lambda: _page(pulse.state()),
            "/readyz": lambda: _page(readiness.state()),
            "/metrics": lambda: (200, CONTENT_TYPE, metrics.text()),
        }
        try:
            self._server = _Server(port, pages)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"Port {port} of this machine cannot be used for the daemon's health: {error}.",
                next_step="Give another with --health-port, or 0 for any free one.",
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="health", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=_REQUEST_SECONDS)


def _page(state: tuple[bool, dict[str, object]]) -> tuple[int, str, bytes]:
    is_well, facts = state
    return _document(200 if is_well else 503, is_well, facts)


def _document(status: int, is_well: bool, facts: Mapping[str, object]) -> tuple[int, str, bytes]:
    return status, "application/json", (json.dumps({"ok": is_well, **facts}) + "\n").encode()
