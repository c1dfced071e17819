"""Made environments, kept by the digest of what they were made from.

Invariants:

- a folder with a readable record is whole: the record is written last, under a lock that one process holds
  while it makes the environment, so two processes at once make it once;
- everything in it is read-only; before each use its stamp is compared, and where that moved, every byte;
- only environments that nobody used for a while are removed, and none while it is being made.

::

    store = EnvironmentStore(home / "environments")
    with store.turn(digest):
        found = store.find(digest) or make(store.place(digest))
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from armlx_chain.errors import FormatError, VerifierFault
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.privatefile import replace_private
from verifier.environments import tree

RECORD: Final = "record.json"
LOG: Final = "setup.log"
FOLDER: Final = "env"
_KIND: Final = "armlx-environment-build"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_USED: Final = "used"
_RECORD_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a made environment.

    Attributes:
        inputs: What the digest was taken over, by name.
        packages: Installed distributions and their versions.
        notices: What a person should know of it.
        stamp, content: See :mod:`verifier.environments.tree`.
        size_bytes: Of its files together.
    """

    digest: str
    inputs: Mapping[str, str]
    packages: Mapping[str, str]
    notices: tuple[str, ...]
    stamp: str
    content: str
    files: int
    size_bytes: int

    def encode(self) -> bytes:
        return canonical_json(
            {
                "bytes": self.size_bytes,
                "content": self.content,
                "digest": self.digest,
                "files": self.files,
                "inputs": dict(self.inputs),
                "kind": _KIND,
                "notices": list(self.notices),
                "packages": dict(self.packages),
                "stamp": self.stamp,
                "version": 1,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Record:
        """Read a record of ours.

        Raises:
            FormatError: it is none.
        """
        fields: Any = parse_canonical(data, what="The environment's record", max_bytes=_RECORD_BYTES)
        try:
            if fields["kind"] != _KIND or fields["version"] != 1:
                raise FormatError("The environment's record is of another kind or version.")
            return cls(
                str(fields["digest"]),
                dict(fields["inputs"]),
                dict(fields["packages"]),
                tuple(fields["notices"]),
                str(fields["stamp"]),
                str(fields["content"]),
                int(fields["files"]),
                int(fields["bytes"]),
            )
        except (KeyError, TypeError, ValueError) as problem:
            raise FormatError("The environment's record is damaged.") from problem


@dataclass(frozen=True, slots=True)
class Made:
    """An environment that can be used."""

    folder: Path
    record: Record

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


class EnvironmentStore:
    """Environments below one folder of ours, which no sandbox ever sees as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, digest: str) -> Path:
        return self.folder / digest

    def environment(self, digest: str) -> Path:
        """Where the environment's own folder lies; its path is part of it."""
        return self.place(digest) / FOLDER

    @contextmanager
    def turn(self, digest: str) -> Iterator[None]:
        """Only one process at a time makes or removes this environment."""
        with self._lock(digest).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def find(self, digest: str) -> Made | None:
        """The environment, verified quickly; ``None`` if it was never made.

        Raises:
            VerifierFault: something in it changed since it was made.
        """
        path = self.place(digest) / RECORD
        if not path.is_file():
            return None
        record = self._read(path, digest)
        made = Made(self.environment(digest), record)
        if tree.stamp(made.folder) != record.stamp and tree.content(made.folder) != record.content:
            raise _changed(digest)
        (self.place(digest) / _USED).touch()
        return made

    def check(self, digest: str) -> Made:
        """The environment, every byte of it read again.

        Raises:
            VerifierFault: it is not there, or something in it changed.
        """
        made = self.find(digest)
        if made is None:
            raise VerifierFault(f"There is no environment {digest} here.")
        if tree.content(made.folder) != made.record.content:
            raise _changed(digest)
        return made

    def finish(self, digest: str, record: Record) -> Made:
        """Write the record: from now on the environment is whole."""
        replace_private(self.place(digest) / RECORD, record.encode())
        (self.place(digest) / _USED).touch()
        return Made(self.environment(digest), record)

    def known(self) -> list[tuple[Record, float]]:
        """All whole environments with the time of their last use, most recent first."""
        found = []
        for path in self.folder.glob(f"*/{RECORD}"):
            try:
                record = Record.parse(path.read_bytes())
                found.append((record, (path.parent / _USED).stat().st_mtime))
            except (OSError, FormatError):
                continue
        return sorted(found, key=lambda pair: -pair[1])

    def remove(self, digest: str) -> bool:
        """Remove one environment.

        Raises:
            VerifierFault: that is no digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise VerifierFault(f"{digest[:80]!a} is no digest of an environment.")
        with self.turn(digest):
            there = self.place(digest).is_dir()
            tree.remove(self.place(digest))
        return there

    def collect(self, *, unused_seconds: float, now: float | None = None) -> list[str]:
        """Remove environments that nobody used for so long, and leavings of builds that were cut off."""
        limit = (time.time() if now is None else now) - unused_seconds
        gone = []
        for place in sorted(self.folder.glob("*")):
            if not _DIGEST.fullmatch(place.name) or not place.is_dir():
                continue
            used = place / _USED
            if (used if used.exists() else place).stat().st_mtime >= limit:
                continue
            if self._remove_if_free(place.name):
                gone.append(place.name)
        return gone

    def _remove_if_free(self, digest: str) -> bool:
        with self._lock(digest).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            tree.remove(self.place(digest))
            return True

    def _lock(self, digest: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.folder / f"{digest}.lock"

    def _read(self, path: Path, digest: str) -> Record:
        try:
            record = Record.parse(path.read_bytes())
        except (OSError, FormatError) as problem:
            raise _changed(digest) from problem
        if record.digest != digest:
            raise _changed(digest)
        return record


def _changed(digest: str) -> VerifierFault:
    return VerifierFault(
        f"The environment {digest[:12]}… has changed since it was made.",
        meaning="Nothing is run with it: what was measured before could not be compared.",
        next_step=f"Make it again: armlx-chain environment remove {digest}",
    )


def digest_of(inputs: Mapping[str, str]) -> str:
    """The digest that an environment of these inputs has."""
    return hashlib.sha256(b"armlx-chain/environment-build/1\0" + canonical_json(dict(inputs))).hexdigest()
