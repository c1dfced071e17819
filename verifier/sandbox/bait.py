"""Things on the host that the self-check's program tries to reach from inside."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

INSIDE_SOURCES: Final = Path(__file__).with_name("inside")
_NO_PORT: Final = 9
"""Where this machine has no IPv6 there is nothing to reach; the attempt is made all the same."""


@contextlib.contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A fresh folder that a child of another user may be shown; its owner's umask does not matter."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def surroundings() -> Iterator[dict[str, Any]]:
    """Key files, listeners and a victim, for as long as the context lasts; their names for the program."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_folder("armlx-selfcheck-"))
        secret_text = secrets.token_hex(8)
        victim = subprocess.Popen(["/bin/sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        yield {
            "folder": str(folder),
            "secret_text": secret_text,
            "pid": os.getpid(),
            "group": os.getpgid(0),
            "victim": victim.pid,
            **_files(folder, secret_text),
            **_addresses(stack),
            **_names(stack, folder),
        }


def _files(folder: Path, secret_text: str) -> dict[str, str]:
    secret, closed, shown = folder / "key", folder / "home" / "key", folder / "shown"
    closed.parent.mkdir(mode=0o700)
    for path in (secret, closed):
        path.write_text(secret_text, encoding="utf-8")
        path.chmod(0o600)
    shown.mkdir()
    (shown / "file").write_text("shown", encoding="utf-8")
    probe = folder / "probe"
    probe.mkdir()
    for source in INSIDE_SOURCES.glob("*.py"):
        shutil.copyfile(source, probe / source.name)
    for path in (shown, probe):
        path.chmod(0o755)
        for file in path.iterdir():
            file.chmod(0o644)
    return {
        "secret": str(secret),
        "closed_secret": str(closed),
        "shown": str(shown),
        "probe": str(probe),
        "source": str(Path(__file__).with_name("selfcheck.py")),
    }


def _addresses(stack: contextlib.ExitStack) -> dict[str, int]:
    found = {}
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    for name, kind in kinds.items():
        listening = stack.enter_context(_listener(socket.AF_INET, kind, ("127.0.0.1", 0)))
        found[name] = int(listening.getsockname()[1])
        try:
            newer = stack.enter_context(_listener(socket.AF_INET6, kind, ("::1", 0)))
        except OSError:
            found[f"{name}6"] = _NO_PORT
        else:
            found[f"{name}6"] = int(newer.getsockname()[1])
    return found


def _names(stack: contextlib.ExitStack, folder: Path) -> dict[str, str]:
    """Unix sockets: beside the shown folder, in it, and without a file."""
    stack.enter_context(_listener(socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")))
    abstract = f"armlx-{secrets.token_hex(4)}"
    found = {"unix": str(folder / "socket"), "abstract": abstract}
    if sys.platform != "linux":
        # Seatbelt shows copies, and a socket cannot be copied.
        return {**found, "mounted_socket": found["unix"], "mounted_datagram": found["unix"]}
    stack.enter_context(_listener(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract))
    stack.enter_context(_listener(socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + abstract + "-d"))
    for kind, name in ((socket.SOCK_STREAM, "stream"), (socket.SOCK_DGRAM, "datagram")):
        path = folder / "shown" / name
        stack.enter_context(_listener(socket.AF_UNIX, kind, str(path)))
        path.chmod(0o777)
    return {**found, "mounted_socket": "/shown/stream", "mounted_datagram": "/shown/datagram"}


def _listener(family: int, kind: int, address: Any) -> socket.socket:
    listening = socket.socket(family, kind)
    try:
        listening.bind(address)
        if kind == socket.SOCK_STREAM:
            listening.listen(1)
    except OSError:
        listening.close()
        raise
    return listening
