"""HTTP to endpoints that may be hostile: bytes are counted as they arrive, and a clock stands beside.

Invariants:

- No more than ``limit`` body bytes are kept, whatever Content-Length says.
- A request ends after ``total`` seconds even if the other side keeps sending a byte now and then, in the
  headers too: a watchdog shuts the socket down.
- A GET follows at most three redirects, by the rules of :mod:`armlx_chain.storage.addresses`; their bodies
  are never read. A POST follows none.
- Private addresses are talked to only where the person configured their host, and the address that was judged
  is the one connected to.
- Compressed bodies and transfers are refused: ``identity`` is asked for, so nothing can unfold here, and the
  bytes counted are the bytes kept.
- No cookies, no ``.netrc``, no credentials in URLs; proxies from the environment are honoured.
- Every failure is an :class:`EndpointFault` that names the endpoint.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.util.connection

from armlx_chain.errors import EndpointFault
from armlx_chain.storage.addresses import AddressRefused, AddressRules, Resolver, resolve_with_patience
from armlx_chain.storage.interface import Fault, FaultKind
from armlx_chain.storage.watch import Watch

__all__ = ["MAX_REDIRECTS", "Answer", "BoundedHttp", "Receiver", "Timeouts", "as_fault", "endpoint_fault"]

log = logging.getLogger(__name__)

_BLOCK = 64 * 1024
_USER_AGENT = "armlx-chain"
_REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 3
_MAX_ADDRESSES = 3
"""Addresses of one name that are tried, each with the patience for connecting."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Patience, in seconds.

    Attributes:
        connect: Until a connection stands.
        read: Between two packets.
        total: For one request, from its first byte to the last of the answer.
        transfer: The same for a request that moves a whole file.
        overall: For one fetch, over all endpoints.
    """

    connect: float = 5.0
    read: float = 15.0
    total: float = 30.0
    transfer: float = 600.0
    overall: float = 1800.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and at most ``limit`` bytes of body.

    Attributes:
        url: Who answered, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""


Receiver = Callable[[bytes], object]
"""Takes blocks of a body as they arrive. None of them is proven yet."""


def endpoint_fault(endpoint: str, kind: FaultKind, detail: str, **facts: object) -> EndpointFault:
    """The error for one endpoint's misbehaviour; :func:`as_fault` turns it back."""
    shown = detail if len(detail) <= 300 else detail[:299] + "…"
    if not shown.isprintable():  # a server's words, bound for a terminal or a log
        shown = "".join(character if character.isprintable() else " " for character in shown)
    return EndpointFault(
        f"{endpoint}: {shown}",
        details={"endpoint": endpoint, "kind": kind.value, "detail": shown, **facts},
    )


def as_fault(error: EndpointFault) -> Fault:
    details = error.details
    return Fault(str(details["endpoint"]), FaultKind(details["kind"]), str(details["detail"]))


@dataclass(frozen=True, slots=True)
class _Guard:
    """The address rules for one hop: ``url``, reached from ``first``."""

    rules: AddressRules
    resolve: Resolver
    first: str
    url: str

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """Where ``host`` is, each address judged.

        Raises:
            OSError, AddressRefused.
        """
        found = self.resolve(host, port, seconds)
        for address in found:
            self.check(address)
        return found

    def check(self, address: str) -> None:
        self.rules.check_address(self.url, address, first=self.first)


class _Active(threading.local):
    watch: Watch | None = None
    guard: _Guard | None = None


_active = _Active()


@contextlib.contextmanager
def _watched(watch: Watch) -> Iterator[None]:
    """Connections that this thread opens belong to ``watch``."""
    _active.watch = watch
    try:
        yield
    finally:
        _active.watch = None


class _WatchedHttp(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        guard = _active.guard
        through_proxy = self.proxy is not None  # the person's own choice; it resolves the names
        sock = super()._new_conn() if guard is None or through_proxy else self._connected(guard)
        if _active.watch is not None:
            _active.watch.adopt(sock)
        return sock

    def _connected(self, guard: _Guard) -> socket.socket:
        """A connection to an address that was judged, not to a name that may change its mind."""
        seconds = self.timeout if isinstance(self.timeout, int | float) else Timeouts().connect
        try:
            return self._first_answering(guard, seconds)
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, str(error)) from error

    def _first_answering(self, guard: _Guard, seconds: float) -> socket.socket:
        failure: OSError = ConnectionError("no address")
        for address in guard.addresses(self._dns_host, self.port, seconds)[:_MAX_ADDRESSES]:
            try:
                return urllib3.util.connection.create_connection(
                    (address, self.port),
                    seconds,
                    source_address=self.source_address,
                    socket_options=self.socket_options,
                )
            except OSError as error:
                failure = error
        raise failure

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # a connection that is used again
            if _active.guard is not None and self.proxy is None:
                _active.guard.check(str(self.sock.getpeername()[0]))
            if _active.watch is not None:
                _active.watch.adopt(self.sock)
        super().request(*args, **kwargs)


class _WatchedHttps(_WatchedHttp, urllib3.connection.HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _WatchedHttp


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _WatchedHttps


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' own adapter, with connections that a watch can reach."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if isinstance(manager, urllib3.ProxyManager) and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager


class BoundedHttp:
    """One HTTP client for many endpoints; safe to use from several threads.

    Args:
        timeouts: Patience.
        verify: TLS verification as ``requests`` takes it: True, or a file with certificates.
        configured: URLs that the person chose, whose hosts may be private addresses; ``None`` if the person
            chose every URL that is asked for. Give it where URLs come from strangers' answers.
        redirect_hosts: The only hosts (beside the own one) that a redirect may lead to; ``None`` for any.
        resolve: How names become addresses.
    """

    def __init__(
        self,
        timeouts: Timeouts | None = None,
        *,
        verify: bool | str = True,
        configured: Iterable[str] | None = None,
        redirect_hosts: Collection[str] | None = None,
        resolve: Resolver = resolve_with_patience,
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self._verify = verify
        self._rules = AddressRules(configured, redirect_hosts)
        self._resolve = resolve
        self._adapter = _Adapter(pool_connections=16, pool_maxsize=8)
        self._proxies: dict[str, Any] = {}

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()

    def get(
        self,
        url: str,
        *,
        limit: int,
        seconds: float,
        params: Mapping[str, str] | None = None,
        receive: Receiver | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Answer:
        """GET ``url``; see :meth:`send`."""
        return self.send(
            "GET", url, limit=limit, seconds=seconds, params=params, receive=receive, extra=extra
        )

    def post_json(self, url: str, body: bytes, *, limit: int, seconds: float) -> Answer:
        """POST a JSON document; see :meth:`send`."""
        return self.send("POST", url, limit=limit, seconds=seconds, body=body)

    def send(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        seconds: float,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        receive: Receiver | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, one bounded answer, within ``seconds``, redirects included.

        Args:
            extra: Further headers, instead of ours where they have the same name.
            receive: Takes the body of a 200 answer block by block as it comes; ``body`` is empty then.

        Raises:
            EndpointFault: unreachable, too slow, too large, redirected against the rules, compressed, at a
                forbidden address, or not HTTP.
        """
        headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", "Accept": "*/*"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers.update(extra or {})
        with Watch(seconds) as watch, _watched(watch), self._translated(url, watch):
            self._rules.check_url(url, first=url)
            request = requests.Request(method, url, headers=headers, params=params, data=body).prepare()
            response = self._follow(request, url, seconds)
            try:
                answer = self._read(url, response, limit, receive)
            except BaseException:
                response.raw.close()  # what is left of the body is never read
                raise
            if watch.expired:
                raise endpoint_fault(url, FaultKind.STALLED, "the answer was cut off when its time was up")
            response.raw.release_conn()
            return answer

    def _follow(self, request: requests.PreparedRequest, first: str, seconds: float) -> requests.Response:
        """Send, and go where a GET is redirected to, within the rules."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._hop(request, first, seconds)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or request.method != "GET" or location is None:
                return response
            response.raw.close()
            try:
                target = self._rules.redirected(str(request.url), location, first=first)
            except AddressRefused as error:
                status = response.status_code
                raise endpoint_fault(
                    first, FaultKind.NONSENSE, str(error), status=status, location=location
                ) from error
            log.debug("%s redirects to %s", request.url, target)
            request = request.copy()
            request.prepare_url(target, None)
        raise AddressRefused(f"it redirects more than {MAX_REDIRECTS} times")

    def _hop(self, request: requests.PreparedRequest, first: str, seconds: float) -> requests.Response:
        url = str(request.url)
        _active.guard = _Guard(self._rules, self._resolve, first, url)
        try:
            return self._adapter.send(
                request,
                stream=True,
                timeout=(min(self.timeouts.connect, seconds), min(self.timeouts.read, seconds)),
                verify=self._verify,
                proxies=self._proxies_for(url),
            )
        finally:
            _active.guard = None

    def _proxies_for(self, url: str) -> Any:
        """The environment's proxies for ``url``'s origin, looked up once: reading them takes a while."""
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._proxies:
            self._proxies[origin] = requests.utils.get_environ_proxies(url)
        return self._proxies[origin]

    @contextlib.contextmanager
    def _translated(self, url: str, watch: Watch) -> Iterator[None]:
        """Turns every error of the libraries below into an :class:`EndpointFault`."""
        try:
            yield
        except EndpointFault:
            raise
        except AddressRefused as error:
            raise endpoint_fault(url, FaultKind.NONSENSE, str(error)) from error
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise endpoint_fault(url, FaultKind.STALLED, "no answer in time") from error
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,  # header or URL text that the libraries below could not digest
            AttributeError,  # urllib3's, for a connection that was reset before the request was out
        ) as error:
            if watch.expired:
                raise endpoint_fault(url, FaultKind.STALLED, "the time for the answer was up") from error
            raise endpoint_fault(url, *_classify(error)) from error

    def _read(
        self,
        url: str,
        response: requests.Response,
        limit: int,
        receive: Receiver | None = None,
    ) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if 300 <= response.status_code < 400:
            where = headers.get("location")  # for callers with a list of hosts to follow to
            said = f"it redirects (HTTP {response.status_code})"
            raise endpoint_fault(url, FaultKind.NONSENSE, said, status=response.status_code, location=where)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise endpoint_fault(
                url, FaultKind.NONSENSE, f"it compresses ({encoding}), which was not asked for"
            )
        if headers.get("transfer-encoding", "chunked").strip().lower() not in ("chunked", "identity"):
            raise endpoint_fault(url, FaultKind.NONSENSE, "it compresses the transfer, unasked")
        declared = headers.get("content-length", "")
        if declared and not (declared.isascii() and declared.isdecimal()):
            raise endpoint_fault(url, FaultKind.NONSENSE, "the length it announces is no number")
        if declared.isdecimal() and len(declared) < 30 and int(declared) > limit:
            raise _too_large(url, f"it offers {int(declared)} bytes where at most {limit} are accepted")
        blocks: list[bytes] = []
        take = blocks.append if receive is None or response.status_code != 200 else receive
        count = 0
        while block := response.raw.read(_BLOCK, decode_content=False):
            count += len(block)
            if count > limit:
                raise _too_large(url, f"it sends more than {limit} bytes")
            take(block)
        return Answer(response.status_code, headers, b"".join(blocks), str(response.url))


def _too_large(url: str, detail: str) -> EndpointFault:
    return endpoint_fault(url, FaultKind.TOO_LARGE, detail)


def _classify(error: Exception) -> tuple[FaultKind, str]:
    """Which fault a library's error means."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
            return FaultKind.NONSENSE, "it sent fewer bytes than it announced"
        if isinstance(chain, ConnectionError | socket.gaierror):
            break
        if isinstance(chain, http.client.HTTPException):
            return FaultKind.NONSENSE, f"it does not speak HTTP ({type(chain).__name__})"
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
        return FaultKind.NONSENSE, f"unusable URL or headers ({type(error).__name__})"
    return FaultKind.UNREACHABLE, f"no connection, or it was cut ({type(error).__name__})"
