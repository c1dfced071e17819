"""Which addresses may be talked to, when a stranger's answer names them.

Invariants:

- A URL is http or https, has a host, no user or password, and printable ASCII only.
- A host that the person configured may be anywhere. Any other (from a redirect, from an indexer's list) must
  be a public address: not loopback, private, link-local, shared, multicast or reserved, in IPv4, in IPv6, or
  in IPv4 hidden inside IPv6.
- A name is judged by what it resolves to, and the connection goes to the very address that was judged: a name
  that resolves otherwise a moment later (DNS rebinding) gains nothing. Behind a proxy the proxy resolves;
  then only addresses written as such, and the name localhost, can be judged here.
- A redirect leads to https, or stays within one http origin, or leads to another configured http origin.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from urllib.parse import SplitResult, urljoin, urlsplit

__all__ = ["AddressRefused", "AddressRules", "Resolver", "is_public", "resolve_with_patience"]

Resolver = Callable[[str, int, float], list[str]]
"""Host, port and patience in seconds to numeric addresses, best first; raises OSError."""

_MAX_URL = 4096
_PRINTABLE = re.compile(r"[!-~]+")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All that was ever given to the open internet (RFC 4291, 2.4); the library calls much of the rest global,
such as ``::127.0.0.1``, ``fec0::/10`` and ``64:ff9b:1::/48``, which networks map to their own.
"""


class AddressRefused(Exception):
    """A URL or address that the rules forbid; the text says which and why. Never leaves this package."""


def is_public(address: str) -> bool:
    """Whether a numeric address is one of the open internet; text that is no address is not."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if found.teredo is not None or found not in _GLOBAL_UNICAST:
            return False
    return found.is_global and not found.is_multicast


def resolve_with_patience(host: str, port: int, seconds: float) -> list[str]:
    """Numeric addresses of ``host``; the system's resolver has no time limit of its own.

    Raises:
        OSError: there is none, or (``TimeoutError``) no answer in time.
    """
    found: list[str] = []
    failure: list[OSError] = []

    def ask() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except OSError as error:
            failure.append(error)
        except UnicodeError:
            failure.append(socket.gaierror(socket.EAI_NONAME, "not a host name"))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if failure:
        raise failure[0]
    if asking.is_alive():
        raise TimeoutError(f"the name {host} was not resolved in time")
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    return found


class AddressRules:
    """The rules above, for one HTTP client.

    Args:
        configured: URLs that the person chose; ``None`` if every URL asked for directly was chosen by the
            person. Their hosts may be private, on any port.
        redirect_hosts: The only hosts a redirect may lead to; ``None`` for no such list.
    """

    def __init__(self, configured: Iterable[str] | None, redirect_hosts: Collection[str] | None) -> None:
        self._chosen_directly = configured is None
        parts = [urlsplit(url) for url in configured or ()]
        self._hosts = {part.hostname for part in parts if part.hostname}
        self._http_origins = {_origin(part) for part in parts if part.scheme == "http"}
        self._redirect_hosts = None if redirect_hosts is None else {host.lower() for host in redirect_hosts}

    def trusts(self, url: str, *, first: str) -> bool:
        """Whether the host of ``url`` may be a private address; ``first`` is the URL asked for."""
        host = _split(url).hostname
        return host in self._hosts or (self._chosen_directly and host == _split(first).hostname)

    def check_url(self, url: str, *, first: str) -> None:
        """Judge a URL before anything is resolved.

        Raises:
            AddressRefused: it cannot be used, or names a private address that was not configured.
        """
        host = _split(url).hostname or ""
        if self.trusts(url, first=first):
            return
        name = host.rstrip(".")
        here = name == "localhost" or name.endswith(".localhost")
        if here or (_is_numeric(host) and not is_public(_plain(host))):
            raise AddressRefused(f"{host} is a private address that was not configured")

    def redirected(self, url: str, location: str, *, first: str) -> str:
        """Where a redirect from ``url`` leads.

        Raises:
            AddressRefused: it may not be followed.
        """
        try:
            target = urljoin(url, location)
        except ValueError:
            raise AddressRefused("it redirects to something that is no URL") from None
        shown = target if len(target) <= 200 else target[:199] + "…"
        try:
            old, new = _split(url), _split(target)
        except AddressRefused as error:
            raise AddressRefused(f"it redirects to {shown!r}: {error}") from None
        if new.scheme != "https" and not self._http_allowed(old, new):
            raise AddressRefused(f"it redirects to {shown}, which is neither https nor the same place")
        host = new.hostname or ""
        if self._redirect_hosts is not None and host not in self._redirect_hosts | {old.hostname}:
            raise AddressRefused(f"it redirects to {shown}, a host that is not on the list")
        try:
            self.check_url(target, first=first)
        except AddressRefused as error:
            raise AddressRefused(f"it redirects to {shown}: {error}") from None
        return target

    def _http_allowed(self, old: SplitResult, new: SplitResult) -> bool:
        if old.scheme != "http":
            return False
        return _origin(old) == _origin(new) or _origin(new) in self._http_origins

    def check_address(self, url: str, address: str, *, first: str) -> None:
        """Judge the numeric address that a connection for ``url`` would go to, or went to.

        Raises:
            AddressRefused: it is private and the host was not configured.
        """
        if not self.trusts(url, first=first) and not is_public(address):
            raise AddressRefused(
                f"{_split(url).hostname} is at {address}, a private address that was not configured"
            )


def _split(url: str) -> SplitResult:
    """The parts of a usable URL.

    Raises:
        AddressRefused: for any other.
    """
    if len(url) > _MAX_URL or not _PRINTABLE.fullmatch(url):
        raise AddressRefused("the URL is too long, or not of printable characters")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise AddressRefused(f"{url[:200]} is no http or https URL")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("the URL holds a user name or password")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _plain(host: str) -> str:
    """An address in its usual spelling: resolvers and proxies take 2130706433, 0x7f.1 and 127.1 for one."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except (OSError, ValueError):  # a name, or IPv6
        return host


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(_plain(host).partition("%")[0])
    except ValueError:
        return False
    return True
