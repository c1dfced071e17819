"""The Seatbelt profile of one run, as text (macOS). Pure.

Invariants:

- everything is denied unless a rule here allows it; there is no ``import`` of a system profile;
- writing is allowed below the run's own writable folders only, and in the Metal shader cache where Metal is
  asked for; the folders above a writable one cannot be moved or removed;
- what is shown stays read-only even below a writable folder;
- no network, no forks unless asked for, no signals but to processes of the same sandbox.

Rules for Metal follow public reports. **Never run on a Mac by us**: ``doctor`` must show there that the
self-check holds and that Metal is visible inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SYSTEM_READ: Final = (
    "/usr/lib",
    "/usr/share",
    "/usr/bin",
    "/bin",
    "/System/Library",
    "/System/Volumes/Preboot/Cryptexes",
    "/System/Cryptexes",
    "/Library/Apple/System/Library",
    "/private/var/db/dyld",
    "/private/var/db/timezone",
    "/private/etc/localtime",
)
_DEVICES_READ: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_DEVICES_WRITE: Final = ("/dev/null", "/dev/zero")
_SYSCTLS: Final = (
    "kern.argmax",
    "kern.osproductversion",
    "kern.osrelease",
    "kern.ostype",
    "kern.osversion",
    "kern.secure_kernel",
    "kern.usrstack64",
    "kern.version",
    "vm.loadavg",
)
_SYSCTL_PREFIXES: Final = ("hw.", "machdep.cpu.")
_NETWORK_READ: Final = (
    "/private/etc/hosts",
    "/private/etc/resolv.conf",
    "/private/var/run/resolv.conf",
    "/private/etc/services",
    "/private/etc/protocols",
    "/private/etc/ssl",
)
_NETWORK_SERVICES: Final = ("com.apple.SystemConfiguration.configd", "com.apple.trustd.agent")
_RESOLVER_SOCKET: Final = "/private/var/run/mDNSResponder"
_METAL_CLIENTS: Final = (
    "AGXDeviceUserClient",
    "AGXCommandQueue",
    "AGXSharedUserClient",
    "IOAccelerationUserClient",
    "IOSurfaceRootUserClient",
)
_METAL_SERVICES: Final = ("com.apple.MTLCompilerService", "com.apple.gpumemd.source")
_METAL_CACHE_NAMES: Final = ("com.apple.metal", "com.apple.metalfe")


@dataclass(frozen=True, slots=True)
class ProfileParts:
    """What one run may touch. All paths are real ones: Seatbelt looks at paths after links are followed.

    Attributes:
        readable: Folders and files, each with everything below.
        writable: Folders, each with everything below.
        protected: Never writable, even below a writable folder.
        executable: Folders or files from which programs may be started.
        shader_cache: The user's Darwin cache folder if Metal is to work inside, else ``None``.
        forks: Whether the program may start others.
        network: Whether it may make connections (a snapshot's own setup steps, never a candidate).
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    executable: tuple[Path, ...]
    protected: tuple[Path, ...] = ()
    shader_cache: Path | None = None
    forks: bool = False
    network: bool = False


def quoted(text: str) -> str:
    """A string literal of the profile language.

    Raises:
        ValueError: for control characters, which no path of ours has.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"a control character in {text!r}")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def profile(parts: ProfileParts) -> str:
    """The whole profile."""
    rules = ["(version 1)", "(deny default)", ""]
    rules += _processes(parts)
    rules += _system()
    rules += _files(parts)
    if parts.shader_cache is not None:
        rules += _metal(parts.shader_cache)
    if parts.network:
        rules += _network()
    # Later rules win: these hold whatever stands above.
    protected = [*parts.protected, *_between(parts.protected, parts.writable)]
    rules.append(_rule("file-write*", _subpaths(map(str, parts.protected)), allow=False))
    rules.append(_rule("file-write-unlink", _literals(protected), allow=False))
    # Flags could make a file undeletable for the verifier.
    rules += ["", "(deny file-write-setugid)", "(deny file-write-flags)"]
    if not parts.network:
        # A step that fetches an environment also makes programs; nothing else changes modes.
        rules += ["(deny network*)", "(deny file-write-mode)"]
    if not parts.forks:
        rules.append("(deny process-fork)")
    return "\n".join(rules) + "\n"


def _processes(parts: ProfileParts) -> list[str]:
    rules = [_rule("process-exec", _subpaths(("/usr/bin", "/bin", *map(str, parts.executable))))]
    # Libraries: the system's and the interpreter's, none that the program made itself.
    rules.append(_rule("file-map-executable", _subpaths((*_SYSTEM_READ, *map(str, parts.executable)))))
    if parts.forks:
        rules.append("(allow process-fork)")
    rules.append("(allow signal (target same-sandbox))")
    rules.append("(allow process-info* (target same-sandbox))")
    return rules


def _system() -> list[str]:
    names = [f"(sysctl-name {quoted(name)})" for name in _SYSCTLS]
    prefixes = [f"(sysctl-name-prefix {quoted(name)})" for name in _SYSCTL_PREFIXES]
    return [
        _rule("sysctl-read", [*names, *prefixes]),
        _rule("file-read*", ['(literal "/")', *_subpaths(_SYSTEM_READ)]),
        _rule("file-read*", [f"(literal {quoted(path)})" for path in _DEVICES_READ]),
        _rule("file-write-data", [f"(literal {quoted(path)})" for path in _DEVICES_WRITE]),
    ]


def _network() -> list[str]:
    """Connections to addresses; of the unix sockets only the system's resolver."""
    services = [f"(global-name {quoted(name)})" for name in _NETWORK_SERVICES]
    return [
        "(allow network-outbound (remote ip))",
        f"(allow network-outbound (literal {quoted(_RESOLVER_SOCKET)}))",
        _rule("mach-lookup", services),
        _rule("file-read*", _subpaths(_NETWORK_READ)),
    ]


def _files(parts: ProfileParts) -> list[str]:
    reading = [*parts.readable, *parts.writable]
    rules = [_rule("file-read*", _subpaths(map(str, reading)))]
    # Finding the way to a folder needs the folders above it, by name only.
    rules.append(_rule("file-read-metadata", _literals(_above(reading))))
    rules.append(_rule("file-write*", _subpaths(map(str, parts.writable))))
    rules.append(_rule("file-write*", _literals([*parts.writable, *_above(parts.writable)]), allow=False))
    return rules


def _metal(cache: Path) -> list[str]:
    clients = [f"(iokit-user-client-class {quoted(name)})" for name in _METAL_CLIENTS]
    kinds = ("global-name", "xpc-service-name")
    services = [f"({kind} {quoted(name)})" for name in _METAL_SERVICES for kind in kinds]
    folders = [path for name in _METAL_CACHE_NAMES for path in _cache_patterns(cache, name)]
    return [
        _rule("iokit-open", clients),
        _rule("mach-lookup", services),
        _rule("file-read*", folders),
        _rule("file-write*", folders),
        _rule("file-read-metadata", _literals([cache, *_above([cache])])),
    ]


def _cache_patterns(cache: Path, name: str) -> list[str]:
    """Directly below the cache folder, or in the folder of a program below it."""
    special = set(".^$*+?()[]{}|\\")
    escape = "".join("\\" + character if character in special else character for character in str(cache))
    tail = name.replace(".", "\\.")
    return [f"(subpath {quoted(str(cache / name))})", f'(regex #"^{escape}/[^/]+/{tail}(/|$)")']


def _above(paths: Iterable[Path]) -> list[Path]:
    return sorted({parent for path in paths for parent in path.parents})


def _between(inner: Iterable[Path], outer: Iterable[Path]) -> list[Path]:
    """Folders below ``outer`` on the way to ``inner``: moving them would move what they hold."""
    roots = tuple(outer)
    return [path for path in _above(inner) if any(path.is_relative_to(root) for root in roots)]


def _subpaths(paths: Iterable[str]) -> list[str]:
    return [f"(subpath {quoted(path)})" for path in dict.fromkeys(paths)]


def _literals(paths: Iterable[Path]) -> list[str]:
    return [f"(literal {quoted(str(path))})" for path in dict.fromkeys(paths)]


def _rule(operation: str, filters: list[str], *, allow: bool = True) -> str:
    # A rule without a filter would mean "everywhere".
    if not filters:
        return f"; {operation}: nothing"
    lines = "\n".join(f"    {one}" for one in filters)
    return f"({'allow' if allow else 'deny'} {operation}\n{lines})"
