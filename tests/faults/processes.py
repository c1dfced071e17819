"""The tests' side of the launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEVNET = "ARMLX_DEVNET"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a process ended: by itself with a code, by a signal, or not yet."""

    pid: int
    code: int | None
    signal: int | None
    paused: bool
    text: str
    seconds: float = 0.0

    @property
    def was_killed(self) -> bool:
        return self.signal == signal.SIGKILL


@dataclass(frozen=True)
class Job:
    """A command for a process of its own."""

    arguments: list[str]
    validator: bool = False
    simulate: bool = False
    stop: dict[str, Any] | None = None
    kill_after: float | None = None


class Launcher:
    """Starts commands as processes; see ``launcher.py``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs = 0
        self._texts: dict[int, Path] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *jobs: Job) -> list[Ended]:
        """Start jobs together and wait until each has ended or paused."""
        texts = []
        for _ in jobs:
            self._jobs += 1
            texts.append(self._folder / f"job-{self._jobs}.txt")
        common = {"devnet": os.environ[DEVNET]}
        asked = [{**job.__dict__, **common, "out": str(text)} for job, text in zip(jobs, texts, strict=True)]
        return self._ask({"jobs": asked}, texts)

    def resume(self, paused: Ended) -> Ended:
        """Let a paused job run on to its end."""
        return self._ask({"continue": paused.pid}, [self._texts[paused.pid]])[0]

    def _ask(self, asked: dict[str, Any], texts: list[Path]) -> list[Ended]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        ended = []
        for answer, text in zip(answers, texts, strict=True):
            self._texts[answer["pid"]] = text
            ended.append(
                Ended(
                    answer["pid"],
                    answer.get("code"),
                    answer.get("signal"),
                    answer.get("paused", False),
                    text.read_text(errors="replace") if text.exists() else "",
                    answer.get("seconds", 0.0),
                )
            )
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
