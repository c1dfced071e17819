"""The one uv we use: a pinned wheel of ours, or what the operator names.

Invariants:

- the only uv that is ever fetched is the wheel of ``PINNED`` with the SHA-256 written here, through this
  machine's own pip and its own index; no address of a protocol or a lock is ever followed for it;
- ``ARMLX_UV`` wins; then the pinned one in our tools folder; then exactly the pinned version on ``PATH``.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armlx_chain.errors import UsageError, VerifierFault

PINNED: Final = "0.13.9"
VARIABLE: Final = "ARMLX_UV"
_WHEELS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("linux", "x86_64"): (
        "manylinux2014_x86_64",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    ("linux", "aarch64"): (
        "manylinux2014_aarch64",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
    ("darwin", "arm64"): (
        "macosx_11_0_arm64",
        "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    ),
}
"""Platform tag and SHA-256 of uv's wheel."""
_MEMBER: Final = f"uv-{PINNED}.data/scripts/uv"
_MOST_BYTES: Final = 256 << 20
_FETCH_SECONDS: Final = 600
_ANSWER_SECONDS: Final = 60
_VERSION: Final = re.compile(r"uv ([0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4})\b", re.ASCII)


@dataclass(frozen=True, slots=True)
class Uv:
    """A uv that answered.

    Attributes:
        origin: ``ARMLX_UV``, ``PATH`` or ``pinned``; part of an environment's record.
    """

    path: Path
    version: str
    origin: str


def find_uv(tools: Path, *, environ: Mapping[str, str], may_fetch: bool) -> Uv:
    """The uv of this machine.

    Args:
        tools: Our own folder of tools; the pinned uv is put there.
        may_fetch: Whether the network may be used for it (the operator's word, not a protocol's).

    Raises:
        UsageError: ``ARMLX_UV`` names nothing that answers like uv.
        VerifierFault: there is none, and none could be fetched.
    """
    named = environ.get(VARIABLE)
    if named:
        return Uv(Path(named).absolute(), _asked_version(Path(named)), VARIABLE)
    own = tools / f"uv-{PINNED}" / "uv"
    if own.is_file():
        return Uv(own, PINNED, "pinned")
    found = shutil.which("uv", path=environ.get("PATH", ""))
    if found is not None and version_of(Path(found)) == PINNED:
        return Uv(Path(found).resolve(), PINNED, "PATH")
    if not may_fetch:
        raise _missing("nothing may be fetched")
    return _fetch(own)


def version_of(path: Path) -> str | None:
    """The version a uv answers with; ``None`` for anything that does not answer like one."""
    try:
        done = subprocess.run(
            [str(path), "--version"],
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    match = _VERSION.match(done.stdout)
    return match.group(1) if match and done.returncode == 0 else None


def _asked_version(path: Path) -> str:
    version = version_of(path)
    if version is None:
        raise UsageError(f"{VARIABLE} names {path}, which does not answer like uv.")
    return version


def _missing(why: str) -> VerifierFault:
    return VerifierFault(
        f"There is no uv {PINNED} on this machine, and {why}.",
        meaning="The protocol's environment is made with uv.",
        next_step=f"Allow it with --allow-network, or set {VARIABLE} to a uv, or use a ready interpreter with"
        " --python.",
    )


def _fetch(target: Path) -> Uv:
    """Fetch the pinned wheel with pip, prove its digest, take the program out."""
    known = _WHEELS.get((sys.platform, platform.machine()))
    if known is None:
        raise _missing(f"no wheel is pinned for {sys.platform} on {platform.machine()}")
    tag, digest = known
    with tempfile.TemporaryDirectory(prefix="armlx-uv-") as place:
        data = _download(Path(place), tag)
        if hashlib.sha256(data).hexdigest() != digest:
            raise VerifierFault(
                f"The uv {PINNED} that this machine's package index served is not the pinned one.",
                meaning="Its SHA-256 differs from the one written in this program; it was thrown away.",
                next_step=f"Look at the index pip uses here, or set {VARIABLE} to a uv you trust.",
            )
        wheel = Path(place) / "checked.whl"
        wheel.write_bytes(data)
        _unpack(wheel, target)
    return Uv(target, PINNED, "pinned")


def _download(place: Path, tag: str) -> bytes:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--platform", tag, "--dest", str(place), f"uv=={PINNED}"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_FETCH_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise _missing(f"pip could not fetch it ({type(problem).__name__})") from problem
    wheels = list(place.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise _missing("pip could not fetch it")
    return wheels[0].read_bytes()


def _unpack(wheel: Path, target: Path) -> None:
    """The program under its final name, whole: two processes at once both write the same bytes."""
    with zipfile.ZipFile(wheel) as archive:
        if archive.getinfo(_MEMBER).file_size > _MOST_BYTES:
            raise VerifierFault("The wheel of uv holds a program of an unlikely size.")
        program = archive.read(_MEMBER)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, passing = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(program)
    Path(passing).chmod(0o755)
    Path(passing).replace(target)
