"""Running one set-up step in the sandbox, and the data steps (``prepare.py``) of a protocol.

Invariants:

- a step sees the snapshot's files and what it is to write, and nothing else of this machine;
- it has network only where the protocol's policy is ``full`` and the operator allowed it; then it shares the
  host's, loopback included, and is told the operator's proxies;
- it ends: by itself, after ``STEP_SECONDS``, or when it leaves too little of the disk.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from armlx_chain.errors import SetupRefused, VerifierFault
from armlx_chain.protocol.model import Protocol
from verifier.environments.commands import Run, read_setup
from verifier.harness.inside import CACHE, HOME, WORKSPACE, Interpreter
from verifier.harness.runlog import RunLog
from verifier.harness.staging import lay_out_plain, own_disk
from verifier.sandbox.interface import Limits, Mount, Sandbox, SandboxSpec

STEP_SECONDS: Final = 3600.0
"""A set-up step that takes longer is killed."""
LEAST_FREE_BYTES: Final = 2 << 30
"""A set-up step that leaves less of the disk is killed."""
LEAST_FREE_FILES: Final = 20_000
"""Likewise of files that can still be made there."""
LIMITS: Final = Limits(
    memory_bytes=8 << 30,
    processes=512,
    open_files=4096,
    file_bytes=8 << 30,
    scratch_bytes=1 << 30,
    address_space_bytes=1 << 40,
)
PROXIES: Final = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "all_proxy",
    "no_proxy",
)
"""How this machine reaches the network; handed in only with it."""
UV_VARIABLES: Final = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT")
"""The operator's own index, and patience; handed to uv only with the network."""
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Operator:
    """What the operator of this machine allows; nothing by default.

    Attributes:
        network: Network in the set-up phase, where the protocol allows it too.
        any_source: Packages from git, paths and plain addresses.
        builds: Packages that come as source, whose own code then runs, in the sandbox.
        environ: The operator's own variables.
    """

    network: bool = False
    any_source: bool = False
    builds: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)

    def network_for(self, protocol: Protocol) -> bool:
        """Whether set-up steps of a protocol get network: both must allow it."""
        return self.network and protocol.environment.constraints.allows_network

    def network_variables(self) -> dict[str, str]:
        """What a step with network is told of it."""
        found = {name: self.environ[name] for name in PROXIES if name in self.environ}
        if Path(_CERTIFICATES).is_file():
            found["SSL_CERT_FILE"] = _CERTIFICATES
        return found


def operator_environ() -> dict[str, str]:
    """The variables of this process that an operator may set for the set-up phase."""
    wanted = (*PROXIES, *UV_VARIABLES, "ARMLX_UV", "PATH")
    return {name: os.environ[name] for name in wanted if name in os.environ}


def step_environment() -> dict[str, str]:
    """The least set of variables a step gets; nothing is inherited."""
    return {
        "HOME": str(HOME),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 (a path inside the sandbox)
        "PYTHONHASHSEED": "0",
    }


def run_step(
    sandbox: Sandbox,
    spec: SandboxSpec,
    *,
    log_path: Path,
    what: str,
    disk: Path,
    on_log: Callable[[bytes], None] | None = None,
) -> None:
    """Run one step to its end.

    Args:
        what: The step, as a person calls it.
        disk: A folder on the disk that it writes to.

    Raises:
        SetupRefused: it failed or took too long.
        VerifierFault: it filled the disk.
    """
    log = RunLog(log_path, on_log)
    try:
        with sandbox.start(spec, log) as process:
            deadline = time.monotonic() + STEP_SECONDS
            while (ended := process.wait(_POLL_SECONDS)) is None:
                if time.monotonic() > deadline:
                    raise SetupRefused(f"The set-up step {what} took more than {STEP_SECONDS:.0f} s.")
                if free_bytes(disk) < LEAST_FREE_BYTES or free_files(disk) < LEAST_FREE_FILES:
                    raise VerifierFault(
                        f"The set-up step {what} left less than {LEAST_FREE_BYTES >> 30} GiB of the disk, "
                        f"or room for less than {LEAST_FREE_FILES} files.",
                        next_step="Free some space and try again.",
                    )
    finally:
        log.close()
    if ended.code != 0:
        cause = f"was killed for {ended.killed_for}" if ended.killed_for else f"failed (exit {ended.code})"
        raise SetupRefused(
            f"The set-up step {what} {cause}: {log.last_line() or 'no output'}",
            meaning="" if spec.network else "It ran without network.",
            next_step=f"Its output is in {log_path}. A ready interpreter can be named with --python.",
        )


def free_bytes(folder: Path) -> int:
    """Bytes that are left on the disk of a folder."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def free_files(folder: Path) -> float:
    """Files that can still be made on the disk of a folder; infinite where the disk has no such bound."""
    facts = os.statvfs(folder)
    return facts.f_favail if facts.f_files else math.inf


def run_data_steps(
    protocol: Protocol,
    snapshot: Mapping[str, bytes],
    interpreter: Interpreter,
    *,
    sandbox: Sandbox,
    operator: Operator,
    data: Path,
    work: Path,
    say: Callable[[str], None],
    on_log: Callable[[bytes], None] | None = None,
) -> int:
    """Run the scripts of a protocol's set-up, in order, by the environment's own interpreter.

    Args:
        data: Plays ``~/.cache/autoresearch``; the scripts may change everything in it.
        work: A scratch folder of ours; keeps the logs.

    Returns:
        How many steps ran.

    Raises:
        SetupRefused: one of them is not in the snapshot, or failed.
    """
    steps = [step for step in read_setup(protocol) if isinstance(step, Run)]
    network = operator.network_for(protocol)
    with own_disk(data):
        data.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(steps):
        if step.script not in snapshot:
            raise SetupRefused(f"The set-up runs {step.script[:80]!a}, which the snapshot does not hold.")
        say(f"data step: {' '.join((step.script, *step.arguments))}" + (", with network" if network else ""))
        workspace = lay_out_plain(work / "workspace", snapshot)
        spec = SandboxSpec(
            argv=[
                str(interpreter.executable),
                "-s",
                "-B",
                "-u",
                str(WORKSPACE / step.script),
                *step.arguments,
            ],
            env={
                **step_environment(),
                **interpreter.environment,
                **(operator.network_variables() if network else {}),
            },
            cwd=WORKSPACE,
            mounts=[Mount(workspace, WORKSPACE), Mount(data.resolve(), CACHE, writable=True)],
            scratch=[HOME],
            python=[interpreter.root],
            limits=LIMITS,
            network=network,
        )
        log_path = work / f"data-{number}.log"
        run_step(sandbox, spec, log_path=log_path, what=step.script, disk=data, on_log=on_log)
    return len(steps)
