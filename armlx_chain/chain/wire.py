"""One JSON-RPC endpoint on the wire: a request in, an answer or a named fault out.

- An endpoint is a stranger: its answer is bounded in bytes and in time while it arrives, parsed, and matched
  to the request before anybody looks at it.
- Whatever goes wrong becomes one ``EndpointFaulty`` with its kind; a JSON-RPC error that the node meant is an
  answer, not a fault.
- An endpoint is named by scheme, host and port only: paths and user names of such addresses often are keys.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from armlx_chain.chain.health import Fault
from armlx_chain.errors import RpcUnavailable, UsageError

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Ten thousand proposals in one batch are some 12 MB."""
_CHUNK = 1 << 16
_LIMIT_CODES = (-32005, -32029, 429)
"""JSON-RPC codes by which nodes and providers say "too many requests" (EIP-1474: limit exceeded)."""
_LIMIT_WORDS = ("rate limit", "too many requests", "request limit", "limit exceeded", "exceeded the quota")
_BATCH_WORDS = ("batch", "too large", "invalid request")

Answer = dict[str, Any]
"""A JSON-RPC response with either ``result`` or ``error``, its id matched."""


class Ask(NamedTuple):
    """A method and its parameters, ready for JSON."""

    method: str
    params: Sequence[Any]


class EndpointFaulty(RpcUnavailable):
    """One endpoint misbehaved on one request.

    Attributes:
        fault: What kind of trouble.
        retry_after: Seconds the endpoint asked us to stay away, where it did.
    """

    def __init__(self, name: str, fault: Fault, words: str, *, retry_after: float | None = None) -> None:
        super().__init__(
            f"{name} {words}.", next_step="Check the endpoint, or give another with --rpc-url, and try again."
        )
        self.fault = fault
        self.words = words
        self.retry_after = retry_after


class BatchRefused(Exception):
    """The endpoint takes no batch of this size; internal to this package."""


def name_of(url: str) -> str:
    """Scheme, host and port of an endpoint's address.

    Raises:
        UsageError: it is no http(s) address.

    >>> name_of("https://key@rpc.example/v3/0123abcd?token=x")
    'https://rpc.example'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(
            "An address given for the chain's endpoint is no http:// or https:// address.",
            next_step="Give --rpc-url as https://host[:port][/path], several separated by commas.",
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


class Endpoint:
    """Speaks JSON-RPC over HTTP with one address.

    Args:
        name: How messages call it.
        timeout_seconds: For one HTTP request as a whole, its answer included.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.url = url
        self.name = name
        self.round_trips = 0
        self._timeout = timeout_seconds
        self._clock = clock
        self._max_bytes = max_answer_bytes
        self._ids = itertools.count(1)
        self._local = threading.local()

    def ask(self, question: Ask) -> Answer:
        """One request.

        Raises:
            EndpointFaulty: no answer that makes sense came.
        """
        number = next(self._ids)
        answer = self._post(_request(number, question))
        if isinstance(answer, list) or not self._is_answer(answer) or answer.get("id") != number:
            raise self._faulty(Fault.GARBAGE, f"gave an answer to {question.method} that makes no sense")
        self._refuse_limits(question.method, answer)
        return answer

    def ask_many(self, questions: Sequence[Ask]) -> list[Answer]:
        """One batch; answers in the order of the questions.

        Raises:
            BatchRefused: the endpoint takes no such batch; ask fewer at once.
            EndpointFaulty: no answer that makes sense came.
        """
        numbers = [next(self._ids) for _ in questions]
        body = [_request(number, question) for number, question in zip(numbers, questions, strict=True)]
        answers = self._post(body)
        if isinstance(answers, dict):
            self._refuse_limits("a batch", answers)
            raise BatchRefused
        found = {answer["id"]: answer for answer in answers if self._is_answer(answer)}
        if len(answers) != len(numbers) or set(found) != set(numbers):
            raise self._faulty(Fault.GARBAGE, "answered a batch with other answers than were asked for")
        for number, question in zip(numbers, questions, strict=True):
            self._refuse_limits(question.method, found[number])
        return [found[number] for number in numbers]

    def _is_answer(self, answer: Any) -> bool:
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), int | None):
            return False
        error = answer.get("error")
        return isinstance(error, dict) if error is not None else "result" in answer

    def _refuse_limits(self, method: str, answer: Answer) -> None:
        """Too many requests is the endpoint's trouble; a range of logs too wide is the question's."""
        error = answer.get("error")
        if not isinstance(error, dict):
            return
        words = str(error.get("message", "")).lower()
        limited = any(part in words for part in _LIMIT_WORDS[:3])
        if method != "eth_getLogs":
            limited = (
                limited or error.get("code") in _LIMIT_CODES or any(part in words for part in _LIMIT_WORDS)
            )
        if limited:
            raise self._faulty(Fault.LIMITED, "says that there were too many requests")

    def _post(self, body: Any) -> dict[str, Any] | list[Any]:
        self.round_trips += 1
        deadline = self._clock() + self._timeout
        data = json.dumps(body, default=_plain, separators=(",", ":")).encode()
        try:
            with self._session().post(
                self.url,
                data=data,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            ) as response:
                raw = self._body(response, deadline)
                return self._parse(response, raw, batch=isinstance(body, list))
        except requests.Timeout as error:
            raise self._faulty(Fault.SLOW, f"did not answer within {self._timeout:g} s") from error
        except (requests.RequestException, OSError) as error:
            raise self._faulty(Fault.UNREACHABLE, f"cannot be reached ({type(error).__name__})") from error

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        parts, size = [], 0
        for chunk in response.iter_content(_CHUNK):
            size += len(chunk)
            parts.append(chunk)
            if size > self._max_bytes:
                raise self._faulty(Fault.GARBAGE, f"sent more than {self._max_bytes} bytes")
            if self._clock() > deadline:
                raise self._faulty(Fault.SLOW, f"had not finished its answer after {self._timeout:g} s")
        return b"".join(parts)

    def _parse(self, response: requests.Response, raw: bytes, *, batch: bool) -> dict[str, Any] | list[Any]:
        if response.status_code == 429:
            raise self._faulty(
                Fault.LIMITED,
                "says that there were too many requests (429)",
                retry_after=_seconds(response.headers.get("Retry-After")),
            )
        if batch and response.status_code in (400, 405, 413, 501):
            raise BatchRefused
        try:
            parsed = json.loads(raw)
        except (ValueError, RecursionError):
            parsed = None
        # Some nodes send a JSON-RPC error with a status of its own; what they say goes before the number.
        if isinstance(parsed, list) or (
            isinstance(parsed, dict) and ("result" in parsed or "error" in parsed)
        ):
            return parsed
        if response.status_code >= 500:
            raise self._faulty(Fault.SERVER, f"fails ({response.status_code})")
        if response.status_code != 200:
            raise self._faulty(Fault.SERVER, f"refuses us ({response.status_code})")
        raise self._faulty(Fault.GARBAGE, "sent something that is not a JSON-RPC answer")

    def _faulty(self, fault: Fault, words: str, *, retry_after: float | None = None) -> EndpointFaulty:
        return EndpointFaulty(self.name, fault, words, retry_after=retry_after)

    def _session(self) -> requests.Session:
        """A session per thread: they keep connections open and are not made to be shared."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        return session


def names_of(urls: Sequence[str]) -> list[str]:
    """A name for each address; those that only differ behind the host get a number.

    Raises:
        UsageError: an address is none, or is given twice.
    """
    if not urls or len(set(urls)) != len(urls):
        raise UsageError(
            "An endpoint of the chain is given twice." if urls else "No endpoint of the chain is known.",
            next_step="Give each once with --rpc-url: two answers of one endpoint prove no more than one.",
        )
    plain = [name_of(url) for url in urls]
    return [
        name if plain.count(name) == 1 else f"{name} (no. {plain[: index + 1].count(name)})"
        for index, name in enumerate(plain)
    ]


def _request(number: int, question: Ask) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": question.method, "params": list(question.params)}


def _plain(value: Any) -> Any:
    """The library hands over bytes and read-only mappings among the parameters."""
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be sent to a node")


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else None
