"""The servers of Irys, one question each; every answer is a stranger's.

``None`` is a proper answer: the server does not have it (404, 410). Anything else than a good answer raises
:class:`EndpointFault` naming the server. Refusals that pass (429, 5xx) and lost connections are asked again a
few times, with the pause that the server wishes, up to a bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from armlx_chain.encodings import Encoding
from armlx_chain.errors import EndpointFault
from armlx_chain.storage.http import Answer, BoundedHttp, endpoint_fault
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.irys.foreign import Json, parse_object
from armlx_chain.storage.irys.ids import IdForms

__all__ = ["BY_BUNDLER", "BY_GATEWAY", "MANIFEST_TYPES", "METADATA_LIMIT", "IrysHttp", "Patience"]

METADATA_LIMIT: Final = 256 << 10
"""Most bytes of metadata: 4096 tag bytes, an RSA key and a receipt take less than 16 KiB."""
BY_BUNDLER: Final = (Encoding.BASE58, Encoding.BASE64URL)
BY_GATEWAY: Final = (Encoding.BASE64URL, Encoding.BASE58)
"""Which spelling of an id is tried first where (specification, section 3.2)."""
MANIFEST_TYPES: Final = ("application/x.irys-manifest+json", "application/x.arweave-manifest+json")
_ABSENT: Final = (404, 410)
_PASSING: Final = (429, 500, 502, 503, 504)
_EXCERPT: Final = 120


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is made again, and how long the pauses are, in seconds.

    Attributes:
        attempts: Requests in all, at least one.
        pause: Before the second; doubled for each further one.
        longest: No pause is longer, whatever the server wishes.
        sleep: How to wait.
        clock: Seconds that only grow.
    """

    attempts: int = 3
    pause: float = 0.5
    longest: float = 10.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def wait(self, attempt: int, wished: str | None) -> None:
        """Wait after the failed ``attempt``, counted from 0; ``wished`` is a Retry-After in seconds."""
        seconds = self.pause * 2**attempt
        if wished is not None and wished.isascii() and wished.isdecimal() and len(wished) < 10:
            seconds = max(seconds, float(wished))
        self.sleep(min(seconds, self.longest))


class IrysHttp:
    """Bounded requests to gateways, bundlers, datachain nodes and Arweave gateways."""

    def __init__(self, http: BoundedHttp, patience: Patience | None = None) -> None:
        self._http = http
        self._patience = patience or Patience()

    @property
    def overall_seconds(self) -> float:
        """Patience for one whole fetch."""
        return self._http.timeouts.overall

    def payload(self, url: str, *, limit: int, seconds: float, accept: str | None = None) -> bytes | None:
        """The body at ``url``, unproven."""
        extra = None if accept is None else {"Accept": accept}
        most = min(seconds, self._http.timeouts.transfer)
        answer = self._ask(lambda left: self._http.get(url, limit=limit, seconds=left, extra=extra), most)
        return self._body(answer, url)

    def document(self, url: str, *, seconds: float) -> Json | None:
        """The JSON object at ``url``."""
        most = min(seconds, self._http.timeouts.total)
        answer = self._ask(lambda left: self._http.get(url, limit=METADATA_LIMIT, seconds=left), most)
        body = self._body(answer, url)
        if body is None:
            return None
        found = parse_object(body)
        if found is None:
            raise endpoint_fault(url, FaultKind.NONSENSE, "what it serves as metadata is no JSON object")
        return found

    def text(self, url: str, params: Mapping[str, str] | None = None) -> bytes:
        """A short answer of status 200.

        Raises:
            EndpointFault: also where the server has none.
        """
        answer = self._ask(
            lambda left: self._http.get(url, limit=METADATA_LIMIT, seconds=left, params=params),
            self._http.timeouts.total,
        )
        body = self._body(answer, url)
        if body is None:
            raise endpoint_fault(url, FaultKind.REFUSED, f"HTTP {answer.status}", status=answer.status)
        return body

    def post(self, url: str, body: bytes) -> Answer:
        """POST raw bytes; any status comes back. Sent once: the caller decides about another time."""
        extra = {"Content-Type": "application/octet-stream"}
        seconds = self._http.timeouts.transfer
        return self._http.send("POST", url, limit=METADATA_LIMIT, seconds=seconds, body=body, extra=extra)

    def _ask(self, send: Callable[[float], Answer], seconds: float) -> Answer:
        """The answer to a request, made several times if need be; ``send`` is told how long it may take."""
        clock = self._patience.clock
        end = clock() + seconds
        attempt = 0
        while True:
            left = max(end - clock(), 0.01)
            last = attempt + 1 >= self._patience.attempts or left < seconds / 2
            try:
                answer = send(left)
            except EndpointFault as error:
                if last or error.details["kind"] != FaultKind.UNREACHABLE.value:
                    raise
                wished = None
            else:
                if last or answer.status not in _PASSING:
                    return answer
                wished = answer.headers.get("retry-after")
            self._patience.wait(attempt, wished)
            attempt += 1

    @staticmethod
    def _body(answer: Answer, url: str) -> bytes | None:
        if answer.status == 200:
            return answer.body
        if answer.status in _ABSENT:
            return None
        raise endpoint_fault(
            url, FaultKind.REFUSED, f"HTTP {answer.status}{excerpt(answer.body)}", status=answer.status
        )


def excerpt(body: bytes) -> str:
    """The beginning of an error's text, harmless to show."""
    text = body[: _EXCERPT * 4].decode("utf-8", "replace")
    shown = "".join(character if character.isprintable() else " " for character in text)[:_EXCERPT].strip()
    return f": {shown}" if shown else ""


def path_of(base: str, *parts: str) -> str:
    """``base`` and path segments, each escaped."""
    return "/".join((base.rstrip("/"), *(quote(part, safe="") for part in parts)))


def metadata_urls(bundler: str, forms: IdForms) -> list[str]:
    """Where a bundler (or gateway) serves an item's metadata, in order of trying."""
    return [path_of(bundler, "tx", forms.in_form(form)) for form in BY_BUNDLER]
