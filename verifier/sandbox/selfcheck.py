"""Does a back-end keep the interface's promises here? More than a hundred behaviours, really tried.

Any back-end can be put through it; ``doctor`` and the tests do. One program inside tries most of them at
once; the rest is seen from outside. It takes some seconds and leaves nothing behind.

::

    for result in run_selfcheck(default_sandbox()):
        print("ok  " if result.passed else "FAIL", result.name, result.detail)
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from verifier.sandbox import accelerator, outside
from verifier.sandbox.bait import surroundings
from verifier.sandbox.bench import MIB, Accelerator, Bench, Run
from verifier.sandbox.interface import INSIDE_TMP, Limits, Mount, Sandbox
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.promises import CLOSED_CALLS, CheckResult, judge_figures, judge_refusals, result
from verifier.sandbox.python_env import python_files, running_interpreter
from verifier.sandbox.seccomp import LAST_REVIEWED, known_numbers

__all__ = ["Accelerator", "CheckResult", "run_selfcheck"]

_LIMITS: Final = Limits(
    processes=24, open_files=96, file_bytes=4 * MIB, scratch_bytes=12 * MIB, memory_bytes=512 * MIB
)
_SCRATCH: Final = PurePosixPath("/scratch")
_MOUNTED: Final = PurePosixPath("/shown")
_PROBE: Final = PurePosixPath("/probe")
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv[2]); from verifier.sandbox.inside.main import run; run()"
)
_MARKER_VARIABLE: Final = "ARMLX_SELFCHECK_SECRET"


def run_selfcheck(
    sandbox: Sandbox, *, python: Path | None = None, with_accelerator: Accelerator | None = None
) -> list[CheckResult]:
    """Try everything. A promise that does not hold is a result, not an error.

    Args:
        python: Interpreter for the attempts; by default the one that runs this.
        with_accelerator: What MLX needs inside to use the GPU. If the interpreter has MLX, its default device
            must compute inside.

    Raises:
        SandboxUnavailable: the back-end does not start at all.
    """
    bench = Bench(sandbox, python or running_interpreter())
    sandbox.check()
    return [
        *_seen_from_inside(bench),
        *outside.observe(bench),
        *accelerator.observe(bench, with_accelerator or Accelerator()),
    ]


def _seen_from_inside(bench: Bench) -> Iterator[CheckResult]:
    with surroundings() as config:
        marker = secrets.token_hex(8)
        run, echoed, channel = _run_inside(bench, config, marker)
        seen = _reported(run.log)
        complete = run.exit.code == 0 and bool(seen)
        yield result(
            "start", "the program inside runs to its end", complete, run.log.text()[-290:] or run.exit
        )
        if not complete:
            return
        yield from judge_refusals(seen)
        yield _source(seen, config, bench.python)
        yield from judge_figures(seen, channel, marker, _LIMITS)
        yield result("start", "an inherited socket works under its number", echoed == b"PING", repr(echoed))
        untouched = Path(config["secret"]).read_text(encoding="utf-8")
        yield result("files", "the host's files are as before", untouched == config["secret_text"], untouched)
        shown = {path.name for path in Path(config["shown"]).iterdir()} - {"stream", "datagram"}
        content = (Path(config["shown"]) / "file").read_text(encoding="utf-8")
        as_before = shown == {"file"} and content == "shown"
        yield result("files", "the mounted folder is as before", as_before, f"{shown} {content}")


def _run_inside(bench: Bench, config: Mapping[str, Any], marker: str) -> tuple[Run, bytes, int]:
    machine = platform.machine() if sys.platform == "linux" else ""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        given = {
            **config,
            "channel": theirs.fileno(),
            "file_bytes": _LIMITS.file_bytes,
            "system_calls": known_numbers(machine),
            "closed_calls": CLOSED_CALLS,
            "unknown_call": LAST_REVIEWED + 1,
            "ways": _ways(bench.python),
        }
        ours.sendall(b"ping")
        sources = Mount(Path(config["probe"]), _PROBE / "verifier" / "sandbox" / "inside")
        places = [_PROBE, INSIDE_TMP, _SCRATCH, _MOUNTED / "file"]
        os.environ[_MARKER_VARIABLE] = marker
        try:
            run = bench.run(
                _START,
                json.dumps(given),
                *(str(place) for place in places),
                env={"GIVEN": "value"},
                mounts=[Mount(Path(config["shown"]), _MOUNTED), sources],
                scratch=[_SCRATCH],
                pass_fds=[theirs.fileno()],
                limits=_LIMITS,
            )
        finally:
            del os.environ[_MARKER_VARIABLE]
        ours.settimeout(5)
        return run, ours.recv(64) if run.exit.code == 0 else b"", theirs.fileno()


def _ways(python: Path) -> list[str]:
    """Folders of the root on the way to the interpreter and what it needs."""
    files = python_files(python)
    paths = [files.interpreter, *files.shown, *(link for link, _ in files.links)]
    return sorted({path.parts[1] for path in paths})


def _source(seen: Mapping[str, Any], config: Mapping[str, Any], python: Path) -> CheckResult:
    """Where the verifier is installed in the very environment that is shown, it is seen too, read-only."""
    got = str(seen["source"])
    with_environment = Path(config["source"]).is_relative_to(python.parent.parent)
    detail = f"{got} (installed in the environment that is shown)" if with_environment else got
    name = "the verifier's source is not visible"
    return result("files", name, with_environment or got.startswith("refused: "), detail)


def _reported(log: MemoryLog) -> dict[str, Any]:
    for line in log.text().splitlines():
        if line.startswith("PROBE "):
            found: dict[str, Any] = json.loads(line.removeprefix("PROBE "))
            return found
    return {}
