"""Things on the host that the self-check's probe tries to reach."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def surroundings() -> Iterator[dict[str, Any]]:
    """Key files, listeners and a victim, for as long as the context lasts; their names for the probe."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="armlx-selfcheck-")))
        folder.chmod(0o755)
        secret, closed, shown = folder / "key", folder / "home" / "key", folder / "shown"
        secret_text = secrets.token_hex(8)
        closed.parent.mkdir(mode=0o700)
        for path in (secret, closed):
            path.write_text(secret_text, encoding="utf-8")
            path.chmod(0o600)
        shown.mkdir(mode=0o755)
        (shown / "file").write_text("shown", encoding="utf-8")
        (shown / "file").chmod(0o644)
        victim = subprocess.Popen(["/bin/sleep", "600"], stdin=subprocess.DEVNULL)
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        tcp = stack.enter_context(_listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)))
        udp = stack.enter_context(_listener(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)))
        stack.enter_context(_listener(socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")))
        abstract = f"armlx-{secrets.token_hex(4)}"
        if sys.platform == "linux":
            stack.enter_context(_listener(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract))
        yield {
            "folder": str(folder),
            "secret": str(secret),
            "secret_text": secret_text,
            "closed_secret": str(closed),
            "shown": str(shown),
            "source": str(Path(__file__).with_name("selfcheck.py")),
            "pid": os.getpid(),
            "victim": victim.pid,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(folder / "socket"),
            "abstract": abstract,
        }


def _listener(family: int, kind: int, address: Any) -> socket.socket:
    listening = socket.socket(family, kind)
    listening.bind(address)
    if kind == socket.SOCK_STREAM:
        listening.listen(1)
    return listening
