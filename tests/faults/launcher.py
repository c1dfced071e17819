"""Runs commands in processes of their own and ends them with a real SIGKILL at a chosen instant.

Started once with everything imported; every job is a fork, so that a kill costs no start-up time. Jobs come
as JSON lines on stdin, answers go to stdout.

A job: ``{"arguments": [...], "validator": bool, "simulate": bool, "stop": null | {...}, "devnet": path,
"out": path, "kill_after": null | seconds}``. ``kill_after`` ends it with SIGKILL wherever it is then.
A stop: ``{"event": "signed" | "broadcast" | "mined", "number": n}``, counted over the process, or
``{"call": "package.module:Class.function", "when": "before" | "after", "number": n}``. It ends the process
with SIGKILL, or with ``"pause": true`` suspends it until the job ``{"continue": pid}``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

import armlx_chain.cli.reproduce
import armlx_chain.cli.submit
import armlx_chain.cli.wiring
from armlx_chain.cli.main import cli as chain_cli
from armlx_chain.cli.main import run
from tests.faults import simulated
from verifier.daemon.cli import cli as validator_cli

NEVER = 99
"""Exit code of a job that did not even get to its end in an orderly way."""


def _stopper(stop: dict[str, Any]) -> Callable[[], None]:
    """Counts its calls and stops this process at the asked one."""
    count = 0

    def reached() -> None:
        nonlocal count
        count += 1
        if count == stop["number"]:
            os.kill(os.getpid(), signal.SIGSTOP if stop.get("pause") else signal.SIGKILL)

    return reached


def _stop_at_event(stop: dict[str, Any]) -> None:
    reached, make_sender = _stopper(stop), armlx_chain.cli.wiring.make_sender

    def hook(event: str, _attempt: object) -> None:
        if event == stop["event"]:
            reached()

    def hooked(*arguments: Any, **options: Any) -> Any:
        return make_sender(*arguments, **options, hook=hook)

    armlx_chain.cli.wiring.make_sender = hooked


def _stop_at_call(stop: dict[str, Any]) -> None:
    reached = _stopper(stop)
    module, _, path = stop["call"].partition(":")
    holder: Any = import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part)
    original = getattr(holder, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if stop["when"] == "before":
            reached()
        result = original(*arguments, **options)
        if stop["when"] == "after":
            reached()
        return result

    setattr(holder, name, wrapped)


def _child(job: dict[str, Any]) -> None:
    handle = os.open(job["out"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ["ARMLX_DEVNET"] = job["devnet"]
    if job["simulate"]:
        armlx_chain.cli.reproduce.prepare_here = simulated.prepare
        armlx_chain.cli.reproduce.noise_of = simulated.noise
    stop = job["stop"]
    if stop is not None:
        (_stop_at_event if "event" in stop else _stop_at_call)(stop)
    command, name = (validator_cli, "armlx-validator") if job["validator"] else (chain_cli, "armlx-chain")
    code = run(command, job["arguments"], name=name)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _start(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _child(job)
        except BaseException:  # noqa: BLE001 (a job that dies oddly must say so)
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(NEVER)
    return pid


def _wait(pid: int, kill_after: float | None = None) -> dict[str, Any]:
    started = time.monotonic()
    status = None if kill_after is None else _outlived(pid, started + kill_after)
    if status is None:
        _, status = os.waitpid(pid, os.WUNTRACED)
    return {**_end_of(pid, status), "seconds": time.monotonic() - started}


def _outlived(pid: int, until: float) -> int | None:
    """Kill a child at a moment; its status where it had ended by then."""
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if ended:
            return status
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)  # not waited for yet, so the id is still its own
    return None


def _end_of(pid: int, status: int) -> dict[str, Any]:
    if os.WIFSTOPPED(status):
        return {"pid": pid, "paused": True}
    if os.WIFSIGNALED(status):
        return {"pid": pid, "signal": os.WTERMSIG(status)}
    return {"pid": pid, "code": os.WEXITSTATUS(status)}


def main() -> None:
    """Serve until stdin ends."""
    stdin = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    answer = os.fdopen(os.dup(1), "w")
    for line in stdin:
        asked = json.loads(line)
        if "continue" in asked:
            os.kill(asked["continue"], signal.SIGCONT)
            ended = [_wait(asked["continue"])]
        else:
            jobs = asked["jobs"]
            started = [_start(job) for job in jobs]
            ended = [_wait(pid, job["kill_after"]) for pid, job in zip(started, jobs, strict=True)]
        answer.write(json.dumps(ended) + "\n")
        answer.flush()


if __name__ == "__main__":
    main()
