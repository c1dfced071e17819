"""Runs a ``train.py`` bare: a plain process, no sandbox, no harness, its own word taken for everything.

This is how a naive re-run judges. It is here to show that a cheat really works where nothing stops it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from armlx_chain.devnet.benchmark.project import snapshot_files


@dataclass(frozen=True)
class Profile:
    """How much is trained and scored."""

    budget_seconds: float
    eval_tokens: int


FULL = Profile(3, 32768)
"""The benchmark as published."""
QUICK = Profile(0.6, 4096)
"""Enough to see whether a cheat works."""


@dataclass(frozen=True)
class BareRun:
    """What a bare run left behind.

    Attributes:
        exit_code: ``None`` if it had to be killed at the time limit.
        workspace: Folder it ran in, as it left it.
        home: Its HOME, as it left it.
    """

    log: bytes
    exit_code: int | None
    seconds: float
    workspace: Path
    home: Path

    @property
    def text(self) -> str:
        return self.log.decode(errors="replace")

    @property
    def score(self) -> float | None:
        """The last number that stands behind ``val_bpb:``, as a trusting reader takes it."""
        found = re.findall(r"^val_bpb:\s+([0-9]+(?:\.[0-9]+)?)$", self.text.replace("\r", "\n"), re.MULTILINE)
        return float(found[-1]) if found else None

    @property
    def steps(self) -> int | None:
        found = re.findall(r"^num_steps:\s+([0-9]+)$", self.text, re.MULTILINE)
        return int(found[-1]) if found else None


def bare_run(
    train_source: bytes,
    data_folder: Path,
    folder: Path,
    *,
    profile: Profile = FULL,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    timeout_seconds: float = 120,
    added: Mapping[str, bytes] | None = None,
) -> BareRun:
    """Run ``train_source`` in ``folder``/workspace with HOME at ``folder``/home.

    HOME keeps what earlier runs in the same folder left there; the workspace is made anew.
    ``data_folder`` is what ``make_data`` wrote; its shards and tokenizer are copied, the fresh shard is not.
    ``environment`` is added to the one inherited from the test, and the files ``added`` to the workspace.
    """
    workspace, home = folder / "workspace", folder / "home"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    for name, content in snapshot_files().items():
        (workspace / name).write_bytes(with_profile(content, profile) if name == "prepare.py" else content)
    for name, content in {**(added or {}), "train.py": train_source}.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_bytes(content)
    if not home.exists():
        for part in ("data", "tokenizer"):
            shutil.copytree(data_folder / part, home / ".cache/autoresearch" / part)
    variables = {**os.environ, "HOME": str(home), "MLX_DISABLE_COMPILE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.monotonic()
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "train.py"],
            cwd=workspace,
            env={**variables, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
        exit_code = _wait(process, timeout_seconds)
    seconds = time.monotonic() - started
    return BareRun((folder / "run.log").read_bytes(), exit_code, seconds, workspace, home)


def with_profile(prepare: bytes, profile: Profile) -> bytes:
    text = re.sub(r"(?m)^TIME_BUDGET = \S+", f"TIME_BUDGET = {profile.budget_seconds}", prepare.decode())
    return re.sub(r"(?m)^EVAL_TOKENS = \S+", f"EVAL_TOKENS = {profile.eval_tokens}", text).encode()


def _wait(process: subprocess.Popen[bytes], timeout_seconds: float) -> int | None:
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
