"""The process behind ``devnet up --detach``: one devnet, one line of JSON on stdout when it answers.

The line is ``{"ready": true}`` or ``{"error": message}``; after it, stdout is closed.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

from armlx_chain.errors import ArmlxError, DevnetError, UsageError

_MODULE = "armlx_chain.devnet.worker"
_MAX_LINE = 65_536


def worker_command(
    directory: Path, chain_id: int, engine: str, rpc_port: int, storage_port: int
) -> list[str]:
    """Arguments for the Python interpreter that run :func:`main`."""
    return [
        "-m",
        _MODULE,
        str(directory.resolve()),
        str(chain_id),
        engine,
        str(rpc_port),
        str(storage_port),
    ]


def read_ready_line(process: subprocess.Popen[bytes], timeout_seconds: float) -> None:
    """Wait for a worker's line.

    Raises:
        DevnetError: if it says that it failed, ends, or says nothing in time.
    """
    output = process.stdout
    if output is None:
        raise DevnetError("The devnet's process was started without an output to read.")
    deadline = time.monotonic() + timeout_seconds
    line = b""
    with output:
        while not line.endswith(b"\n") and len(line) < _MAX_LINE:
            ready, _, _ = select.select([output], [], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise DevnetError(f"The devnet did not come up within {timeout_seconds:.0f} seconds.")
            chunk = os.read(output.fileno(), _MAX_LINE)
            if not chunk:
                raise DevnetError(
                    "The devnet's process ended before it was ready.", next_step="Its log says why."
                )
            line += chunk
    message: dict[str, Any] = json.loads(line)
    if "error" in message:
        raise DevnetError(str(message["error"]), next_step=message.get("next_step"))


def main(arguments: list[str]) -> int:
    """Run a devnet until a SIGTERM."""
    from armlx_chain.devnet.service import up
    from armlx_chain.devnet.world import EngineChoice

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        directory, chain_id, engine, rpc_port, storage_port = arguments
        if engine not in get_args(EngineChoice):
            raise UsageError(f"{engine!r} is not an engine.")
        up(
            Path(directory),
            chain_id=int(chain_id),
            engine=engine,  # type: ignore[arg-type]  # checked against the literal's values above
            rpc_port=int(rpc_port),
            storage_port=int(storage_port),
            on_ready=lambda state: _say({"ready": True}),
        )
    except ArmlxError as error:
        logging.getLogger(__name__).exception("The devnet failed")
        _say({"error": error.message, "next_step": error.next_step})
        return 1
    return 0


def _say(message: dict[str, Any]) -> None:
    """Write the one line and close stdout, so that nothing later can block on it."""
    if sys.stdout.closed:
        return
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
    # The descriptor stays taken: a file opened later must not become this process's standard output.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
