"""As whom the child runs, seen from the host (Linux).

Invariants:

- the host's user id of the child is never 0;
- where the verifier is root, every run has a user id of its own that no account and no other run uses, so
  that neither signals nor per-user limits (``RLIMIT_NPROC``) nor files are shared. It lies in 1,879,048,192
  to 2,147,418,111, a range that no distribution, container manager or service manager hands out; in a
  container with fewer mapped ids it comes from the top of what is mapped;
- where the verifier is an ordinary user, the child has that user's id, without any capability, and sees none
  of its files that are not mounts.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armlx_chain.errors import SandboxUnavailable
from verifier.sandbox.procfs import status_fields

_DEDICATED_FIRST: Final = 0x7000_0000
_DEDICATED_LAST: Final = 0x7FFE_FFFF
_RESERVED_BELOW: Final = 10_000
"""Ids below this belong to accounts and services in any container."""
_CAPABILITIES: Final = {
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_ADMIN": 21,
}
INSIDE_ID: Final = 1000
"""The user and group id seen inside where the caller's own id is used outside."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Attributes:
    dedicated: The child gets ``uid`` by an explicit change of user (the verifier is root); else it keeps the
        verifier's own id in a new user namespace.
    uid: The id outside.
    """

    dedicated: bool
    uid: int


@dataclass(frozen=True, slots=True)
class MappedRange:
    """One line of ``/proc/self/uid_map``."""

    inside: int
    outside: int
    count: int


def read_map(text: str) -> list[MappedRange]:
    rows = (line.split() for line in text.splitlines())
    return [MappedRange(int(row[0]), int(row[1]), int(row[2])) for row in rows if len(row) == 3]


def dedicated_range(maps: Sequence[Sequence[MappedRange]]) -> tuple[int, int] | None:
    """The ids a run may be given: mapped for users and for groups alike; ``None`` if there are none."""
    for first, last in ((_DEDICATED_FIRST, _DEDICATED_LAST), _top_of(maps[0])):
        if first <= last and all(_covers(ranges, first, last) for ranges in maps):
            return first, last
    return None


def _top_of(ranges: Sequence[MappedRange]) -> tuple[int, int]:
    """The upper 4,096 ids of what is mapped, without those that accounts use."""
    end = max((row.inside + row.count for row in ranges), default=0)
    # 65534 and 65535 mean "nobody" and "no change" wherever only 16 bits are mapped.
    last = end - 3
    return max(_RESERVED_BELOW, last - 4095), last


def _covers(ranges: Sequence[MappedRange], first: int, last: int) -> bool:
    return any(row.inside <= first and last < row.inside + row.count for row in ranges)


def choose_identity() -> Identity:
    """Decide how to leave the verifier's own identity behind.

    Raises:
        SandboxUnavailable: when the verifier is root and cannot become anyone else.
    """
    if os.geteuid() != 0:
        return Identity(dedicated=False, uid=os.geteuid())
    maps = [read_map(Path(f"/proc/self/{kind}_map").read_text(encoding="ascii")) for kind in ("uid", "gid")]
    allowed = dedicated_range(maps)
    if allowed is not None:
        _require_capabilities()
        first, last = allowed
        return Identity(dedicated=True, uid=first + secrets.randbelow(last - first + 1))
    outside = maps[0][0].outside if maps[0] else 0
    if outside == 0:
        raise SandboxUnavailable(
            "The verifier runs as root and no other user id is mapped here.",
            meaning="The child would be root on the host.",
            next_step="Run the verifier as an ordinary user, or in a container that maps a range of ids.",
        )
    return Identity(dedicated=False, uid=outside)


def _require_capabilities() -> None:
    effective = int(status_fields("self").get("CapEff", "0"), 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        raise SandboxUnavailable(
            f"The verifier runs as root without {', '.join(missing)}, as in an ordinary container.",
            meaning="It cannot make namespaces and leave its own user id behind.",
            next_step="Run it as an ordinary user where user namespaces are allowed, or give the container "
            "these capabilities (--cap-add) and a seccomp profile that allows mount and unshare.",
        )
