"""Runs a program until it ends or this process's standard input closes. Started as a script.

A devnet that is killed cannot stop the node it started. The node therefore runs on a leash: the leash holds
the other end of a pipe, and when the devnet's end is closed, by whatever kind of death, the node is stopped.
"""

from __future__ import annotations

import subprocess
import sys
import threading

GRACE_SECONDS = 15.0


def main() -> int:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_stop_at_end_of_input, args=(child,), daemon=True).start()
    return child.wait()


def _stop_at_end_of_input(child: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main())
