"""One training session at a time on an accelerator: a lock between our own processes.

- The lock is the kernel's (``flock``) on one file per device, in a folder that every account of the machine
  shares: it ends with its process, however that ends.
- What stands in the file says who holds it and decides nothing; another account may have written it.
- Two sessions on the CPU clock do not need it: a program is billed for its own processor time only.

::

    with exclusive("metal", doing="reproduce", say=say):
        …
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from armlx_chain.errors import AcceleratorBusy, VerifierFault

_COMMON: Final = Path("/tmp")  # noqa: S108 (made for what all accounts share)
_FOLDER: Final = "armlx-chain-locks"
_NOTE_BYTES: Final = 400
_LOOK_SECONDS: Final = 1.0


class _Held(threading.local):
    """What this thread of this process holds: a session inside a session takes it once."""

    def __init__(self) -> None:
        self.keys: set[tuple[int, str]] = set()


_held = _Held()


def device_name(backend: str, visible: str | None = None) -> str:
    """The device as a file name: the backend, with the GPUs that are visible where that is restricted."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    which = re.sub(r"[^A-Za-z0-9-]+", "_", given)[:60] if backend == "cuda" and given else ""
    return f"{backend}-{which}" if which else backend


def lock_folder() -> Path:
    """The folder that all accounts share; what ``TMPDIR`` names is often one account's or service's own."""
    return (_COMMON if _COMMON.is_dir() else Path(tempfile.gettempdir())) / _FOLDER


@contextmanager
def exclusive(
    device: str,
    *,
    doing: str,
    wait: bool = True,
    say: Callable[[str], None] = lambda _: None,
    folder: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the device inside the block.

    Args:
        doing: What for, for whoever waits.
        wait: Wait for another holder, after saying who it is.
        folder: A private place for the lock, for what only one account's processes share.

    Raises:
        AcceleratorBusy: another process holds it, and ``wait`` is off.
        VerifierFault: the lock cannot be made here.
    """
    place = folder or lock_folder()
    key = (os.getpid(), str(place / device))
    if key in _held.keys:
        yield
        return
    descriptor = _open(place, device, shared=folder is None)
    try:
        _take(descriptor, device, wait=wait, say=say, sleep=sleep)
        _note(descriptor, doing)
        _held.keys.add(key)
        try:
            yield
        finally:
            _held.keys.discard(key)
    finally:
        os.close(descriptor)


def _open(folder: Path, device: str, *, shared: bool) -> int:
    """Open the lock's file, which another account may have made; never through a link."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            if shared:
                folder.chmod(0o1777)
        path, flags = folder / f"{device}.lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(
                path, flags
            )  # without O_CREAT: systems protect others' files in such folders
        except FileNotFoundError:
            descriptor = _create(path, flags, 0o666 if shared else 0o600)
    except OSError as problem:
        raise VerifierFault(
            f"The lock of the accelerator ({folder / device}.lock) cannot be opened: {problem.strerror}.",
            next_step="Remove what lies there, or make it readable and writable for this account.",
        ) from problem
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise VerifierFault(f"The lock of the accelerator ({folder / device}.lock) is not a plain file.")
    return descriptor


def _create(path: Path, flags: int, mode: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags)
    os.fchmod(descriptor, mode)  # where it is shared, every account of the machine must be able to take it
    return descriptor


def _take(
    descriptor: int, device: str, *, wait: bool, say: Callable[[str], None], sleep: Callable[[float], None]
) -> None:
    told = ""
    while not _try(descriptor):
        holder = _holder(descriptor)
        if not wait:
            raise AcceleratorBusy(
                f"Another process trains on this machine's {device} now: {holder}.",
                meaning="Two trainings at once would disturb each other; nothing was started.",
                next_step="Try again when it has ended, or wait for it: leave --no-wait away.",
            )
        if holder != told:
            say(f"waiting for this machine's {device}, held by {holder}")
            told = holder
        sleep(_LOOK_SECONDS)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        raise VerifierFault(f"The accelerator cannot be locked: {problem.strerror}.") from problem
    return True


def _note(descriptor: int, doing: str) -> None:
    note = json.dumps({"pid": os.getpid(), "doing": doing[:80], "since": time.strftime("%H:%M:%S")})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, note.encode(), 0)


def _holder(descriptor: int) -> str:
    """Who says to hold it, in characters that cannot drive a terminal."""
    try:
        note = json.loads(os.pread(descriptor, _NOTE_BYTES, 0))
        words = f"process {int(note['pid'])} ({note['doing']}, since {note['since']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "a process that did not say what it does"
    return "".join(char for char in words if char.isascii() and char.isprintable())[:160]
