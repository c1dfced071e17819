"""What a ``uv.lock`` names, and whether it may be installed. The file is a stranger's. Pure.

Invariants of a lock that passes:

- every package comes from a registry, as wheels or source archives with a SHA-256 each; the project itself is
  the only exception, and it is never built or installed;
- files come over https (or http from this very machine); no address carries a user name, and where the
  protocol has a network allow-list every host is on it;
- what cannot work on this system is said before anything is fetched (``usable_mlx``).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from armlx_chain.errors import SetupRefused
from armlx_chain.protocol.text import one_line

MAX_LOCK_BYTES: Final = 8 << 20
_MAX_PACKAGES: Final = 2_000
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?", re.ASCII)
_OWN: Final = ("virtual", "editable")
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_BACKENDS: Final = ("mlx-cpu", "mlx-cuda", "mlx-cuda-12", "mlx-cuda-13")


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock.

    Attributes:
        built: Whether it comes as source only, so that its own code runs when it is installed.
        hosts: Where its files lie (``host`` or ``host:port``).
    """

    name: str
    version: str
    built: bool
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that may be installed.

    Attributes:
        requires_python: The range of interpreters, as ``>=3.10, <3.14``; empty where the lock says none.
        foreign: Packages from elsewhere than a registry, which the operator allowed.
    """

    packages: tuple[Locked, ...]
    requires_python: str
    foreign: tuple[str, ...] = ()

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(host for package in self.packages for host in package.hosts)

    @property
    def built(self) -> tuple[str, ...]:
        """Packages that run their own code when they are installed."""
        return tuple(package.name for package in self.packages if package.built)

    def versions(self, name: str) -> tuple[str, ...]:
        return tuple(package.version for package in self.packages if package.name == name)


def read_lock(data: bytes, *, allowed_hosts: Iterable[str] | None = None, any_source: bool = False) -> Lock:
    """Read and judge a lock.

    Args:
        allowed_hosts: The protocol's network allow-list (``host`` or ``host:port``); ``None``: it has none.
        any_source: The operator allows packages from git, paths and plain addresses.

    Raises:
        SetupRefused: naming the first package that may not be installed, and why.
    """
    tree = _tree(data)
    if tree.get("version") != 1:
        _refuse(f"its version is {one_line(repr(tree.get('version')), 20)}; this build reads 1")
    items = tree.get("package", [])
    if not isinstance(items, list) or not 1 <= len(items) <= _MAX_PACKAGES:
        _refuse(f"it must list 1 to {_MAX_PACKAGES} packages")
    hosts = None if allowed_hosts is None else frozenset(host.lower() for host in allowed_hosts)
    packages, foreign = [], []
    for item in items:
        name = _name(item)
        source = item.get("source")
        if not isinstance(source, dict) or len(source) != 1:
            _refuse(f"{name} has no plain source")
        kind = next(iter(source))
        if kind in _OWN and source[kind] == ".":
            continue
        if kind != "registry":
            if not any_source:
                _refuse(
                    f"{name} comes from {one_line(kind, 20)}, not from a registry",
                    "Lock released packages, or allow it with --allow-any-source",
                )
            foreign.append(name)
        packages.append(_package(name, item, hosts, registry=kind == "registry"))
    requires = tree.get("requires-python", "")
    return Lock(tuple(packages), requires if isinstance(requires, str) else "", tuple(foreign))


def usable_mlx(lock: Lock, system: str) -> str | None:
    """Why MLX from this lock cannot work on a system, or ``None``.

    On Linux the package ``mlx`` is a shell: its library comes in ``mlx-cpu`` or one of the ``mlx-cuda``
    packages, which a lock made for Macs does not choose.
    """
    versions = lock.versions("mlx")
    if system != "linux" or not versions or any(lock.versions(name) for name in _BACKENDS):
        return None
    return (
        f"The lock names mlx {versions[0]} without mlx-cpu or an mlx-cuda package, so on Linux it installs "
        "an MLX without its library: the project was locked for Macs."
    )


def satisfies(version: tuple[int, int, int], requirement: str) -> bool:
    """Whether a Python version lies in a range such as ``>=3.10, <3.14``; unknown clauses are not satisfied.

    >>> satisfies((3, 11, 7), ">=3.10, <3.14")
    True
    """
    return all(_clause(version, part.strip()) for part in requirement.split(",") if part.strip())


def _clause(version: tuple[int, int, int], clause: str) -> bool:
    match = re.fullmatch(r"(>=|<=|==|!=|>|<|~=)\s*([0-9]+(?:\.[0-9]+){0,2})(\.\*)?", clause, re.ASCII)
    if match is None:
        return False
    sign, text, star = match.groups()
    parts = tuple(int(part) for part in text.split("."))
    head = version[: len(parts)]
    whole = (*parts, 0, 0)[:3]
    if sign == "~=":
        return len(parts) > 1 and version >= whole and version[: len(parts) - 1] == parts[:-1]
    if star or sign in ("==", "!="):
        same = head == parts if star else version == whole
        return same if sign == "==" else sign == "!=" and not same
    return {
        ">=": version >= whole,
        ">": version > whole,
        "<=": version <= whole,
        "<": version < whole,
    }[sign]


def _tree(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_LOCK_BYTES:
        _refuse(f"it has {len(data)} bytes; at most {MAX_LOCK_BYTES} are read")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as problem:
        _refuse(f"it is no TOML: {one_line(str(problem), 80)}")


def _name(item: object) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        _refuse("one of its packages has no plain name")
    return name


def _package(name: str, item: Mapping[str, Any], allowed: frozenset[str] | None, *, registry: bool) -> Locked:
    wheels = item.get("wheels", [])
    sdist = item.get("sdist")
    files = [*(wheels if isinstance(wheels, list) else []), *([sdist] if sdist is not None else [])]
    if registry and not files:
        _refuse(f"{name} has no files to install")
    hosts = frozenset(host for file in files if (host := _file_host(name, file)) is not None)
    outside = (
        sorted(hosts - allowed - {host for host in hosts if host.partition(":")[0] in allowed})
        if (allowed is not None)
        else []
    )
    if outside:
        _refuse(
            f"{name} lies on {one_line(outside[0], 80)}, which is not on the protocol's network allow-list",
            "Ask the project to complete its list",
        )
    version = item.get("version")
    shown = version if isinstance(version, str) and len(version) <= 100 else "?"
    return Locked(name, one_line(shown, 100), not wheels, hosts)


def _file_host(name: str, file: object) -> str | None:
    """The host of one file; ``None`` for one that lies beside the lock."""
    if not isinstance(file, dict):
        _refuse(f"a file of {name} is no table")
    digest = file.get("hash")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        _refuse(f"a file of {name} has no SHA-256", "Lock it from a registry that states SHA-256 digests")
    url = file.get("url")
    if url is None:
        return None
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isascii() else None
        host, port = (parts.hostname, parts.port) if parts is not None else (None, None)
    except ValueError:
        parts, host, port = None, None, None
    if parts is None or host is None or parts.username is not None or parts.password is not None:
        _refuse(f"the address of a file of {name} is not plain")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL):
        _refuse(f"a file of {name} is fetched by {one_line(parts.scheme, 20)}, not https")
    return host if port is None else f"{host}:{port}"


def _refuse(why: str, instead: str = "Ask the project for a lock of released packages") -> NoReturn:
    raise SetupRefused(
        f"The project's uv.lock is not installed: {why}.",
        next_step=f"{instead}, or make the environment yourself and name it with --python.",
    )
