"""Making a protocol's environment: its set-up steps, in the sandbox, with the snapshot's files only.

Steps: (0) commands and lock are read and judged; (1) the digest of what the environment is made from is
taken, and one that is there already is used; (2) uv installs what the lock says, in the sandbox, with network
only where protocol and operator both allow it; (3) the result is made harmless and read-only; (4) MLX is
imported once, without network; (5) the record is written. No candidate's file is ever present.

::

    maker = Maker(store, sandbox, Operator(network=True), tools=home / "tools", say=say)
    made = maker.environment(protocol, snapshot)
"""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from armlx_chain.errors import SetupRefused, VerifierFault
from armlx_chain.protocol.model import Protocol
from verifier.environments import tree
from verifier.environments.commands import Requirements, Run, Step, Sync, read_setup
from verifier.environments.lockfile import Lock, read_lock, satisfies, usable_mlx
from verifier.environments.steps import LIMITS, UV_VARIABLES, Operator, run_step, step_environment
from verifier.environments.store import LOG, EnvironmentStore, Made, Record, digest_of
from verifier.environments.uvtool import Uv, find_uv
from verifier.harness.inside import HOME, WORKSPACE
from verifier.harness.staging import lay_out_plain, own_disk
from verifier.sandbox.interface import Mount, Sandbox, SandboxSpec

LOCK_FILE: Final = "uv.lock"
PROJECT_FILE: Final = "pyproject.toml"
_TOOL: Final = PurePosixPath("/armlx/tools/uv")
_UV_CACHE: Final = PurePosixPath("/armlx/uv-cache")


@dataclass(frozen=True, slots=True)
class BasePython:
    """An installed interpreter that environments are made with."""

    path: Path
    version: tuple[int, int, int]

    @classmethod
    def here(cls) -> BasePython:
        """The installation behind the interpreter that runs this."""
        base = Path(getattr(sys, "_base_executable", None) or sys.executable)
        return cls(base.resolve(), (sys.version_info.major, sys.version_info.minor, sys.version_info.micro))

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Set-up of one protocol and snapshot, judged."""

    install: tuple[Sync | Requirements, ...]
    lock: Lock | None
    network: bool


class Maker:
    """Makes environments and runs data steps for one operator.

    Args:
        tools: Our own folder of tools (uv).
        say: Is told what happens, a line each.
        on_log: Is handed the output of the steps as it comes.
    """

    def __init__(
        self,
        store: EnvironmentStore,
        sandbox: Sandbox,
        operator: Operator,
        *,
        tools: Path,
        say: Callable[[str], None],
        on_log: Callable[[bytes], None] | None = None,
        python: BasePython | None = None,
    ) -> None:
        self._store, self._sandbox, self._operator = store, sandbox, operator
        self._tools, self._say, self._on_log = tools, say, on_log
        self._python = python or BasePython.here()

    def environment(self, protocol: Protocol, snapshot: Mapping[str, bytes]) -> Made | None:
        """The environment of a protocol; ``None`` where its set-up installs nothing.

        Raises:
            SetupRefused: a command, the lock, or what came out of it.
            VerifierFault: it cannot be made here now: network, uv, disk.
        """
        plan = self._plan(protocol, snapshot)
        if not plan.install:
            return None
        uv = find_uv(self._tools, environ=self._operator.environ, may_fetch=self._operator.network)
        inputs = self._inputs(plan, snapshot, uv)
        digest = digest_of(inputs)
        with self._store.turn(digest):
            made = self._store.find(digest)
            if made is None:
                self._require_network(plan, protocol)
                made = self._make(plan, snapshot, uv, inputs, digest)
        return made

    def _plan(self, protocol: Protocol, snapshot: Mapping[str, bytes]) -> _Plan:
        steps: Sequence[Step] = read_setup(protocol)
        constraints = protocol.environment.constraints
        install = tuple(step for step in steps if not isinstance(step, Run))
        lock = None
        if any(isinstance(step, Sync) for step in install):
            if LOCK_FILE not in snapshot or PROJECT_FILE not in snapshot:
                raise SetupRefused(
                    "The protocol says 'uv sync', and the snapshot has no uv.lock with its pyproject.toml.",
                    meaning="Without a lock two validators would install different packages.",
                    next_step="Make the environment yourself and name it with --python.",
                )
            lock = read_lock(
                snapshot[LOCK_FILE],
                allowed_hosts=constraints.network_allowlist,
                any_source=self._operator.any_source,
            )
            self._check_lock(lock)
        missing = [name for step in install if isinstance(step, Requirements) for name in step.files]
        for name in missing:
            if name not in snapshot:
                raise SetupRefused(f"The set-up reads {name[:80]!a}, which the snapshot does not hold.")
        return _Plan(install, lock, self._operator.network_for(protocol))

    def _check_lock(self, lock: Lock) -> None:
        if lock.requires_python and not satisfies(self._python.version, lock.requires_python):
            raise SetupRefused(
                f"The lock needs Python {lock.requires_python[:60]}; this is {self._python.text}.",
                next_step="Start armlx-chain with such a Python, or name a ready interpreter with --python.",
            )
        unusable = usable_mlx(lock, sys.platform)
        if unusable is not None:
            raise SetupRefused(
                unusable,
                meaning="No benchmark could be run with it here; nothing was fetched.",
                next_step="Use a Mac, or name with --python an interpreter that has the locked packages and a"
                " Linux backend of MLX.",
            )
        if lock.built and not self._operator.builds:
            raise SetupRefused(
                f"The lock has no wheel of {lock.built[0]}: it would be built here, with unlocked tools.",
                next_step="Allow it with --allow-builds (it runs in the sandbox), or use --python.",
            )

    def _inputs(self, plan: _Plan, snapshot: Mapping[str, bytes], uv: Uv) -> dict[str, str]:
        """Everything the environment depends on, by name."""
        files = [LOCK_FILE, PROJECT_FILE] if plan.lock is not None else []
        requirements = any(isinstance(step, Requirements) for step in plan.install)
        if requirements or (plan.lock is not None and plan.lock.foreign):
            # A requirements file may name others; a path among a lock's sources is a whole package.
            files = list(snapshot)
        libc = "-".join(platform.libc_ver()) if sys.platform == "linux" else platform.mac_ver()[0]
        return {
            **{f"file {name}": hashlib.sha256(snapshot[name]).hexdigest() for name in sorted(set(files))},
            **{f"step {index}": repr(step) for index, step in enumerate(plan.install)},
            "base python": str(self._python.path),
            "builds": str(self._operator.builds),
            "platform": f"{sysconfig.get_platform()} {libc}",
            "python version": self._python.text,
            "uv version": uv.version,
        }

    def _require_network(self, plan: _Plan, protocol: Protocol) -> None:
        if plan.network:
            return
        policy = protocol.environment.constraints.network_policy or "missing"
        allowed = protocol.environment.constraints.allows_network
        raise VerifierFault(
            "The protocol's environment is not on this machine yet, and making it needs the network.",
            meaning=f"The protocol's network policy is '{policy}'"
            + ("; the operator has not allowed it." if allowed else ", so none is used, whoever allows it."),
            next_step="Give --allow-network."
            if allowed
            else "Install the locked packages yourself (uv sync) and name that interpreter with --python.",
        )

    def _make(
        self, plan: _Plan, snapshot: Mapping[str, bytes], uv: Uv, inputs: Mapping[str, str], digest: str
    ) -> Made:
        place, folder = self._store.place(digest), self._store.environment(digest)
        tree.remove(place)  # of a build that was cut off
        with own_disk(place):
            folder.mkdir(parents=True)
            workspace = lay_out_plain(place / "workspace", snapshot)
            (place / "uv-cache").mkdir()
        self._say(f"making the environment {digest[:12]} with uv {uv.version}")
        mounts = [
            Mount(workspace, WORKSPACE),
            Mount(uv.path.resolve(), _TOOL),
            Mount(place.resolve() / "uv-cache", _UV_CACHE, writable=True),
            Mount(folder.resolve(), PurePosixPath(folder.resolve()), writable=True),
        ]
        for number, argv in enumerate(self._commands(plan, folder.resolve())):
            spec = SandboxSpec(
                argv=[str(_TOOL), *argv],
                env={**step_environment(), **self._uv_variables(folder.resolve(), plan)},
                cwd=WORKSPACE,
                mounts=mounts,
                scratch=[HOME],
                python=[self._python.path],
                limits=LIMITS,
                network=plan.network,
            )
            self._run(spec, place / f"{number}-{LOG}", f"uv {argv[0]}", place)
        tree.remove(place / "workspace")
        tree.remove(place / "uv-cache")
        files, size = tree.seal(folder, folder.resolve(), self._python.path)
        tree.require_interpreter(folder, self._python.path)
        self._probe(plan, folder, place)
        record = Record(
            digest=digest,
            inputs=dict(inputs),
            packages=installed_in(folder),
            notices=self._notices(plan),
            stamp=tree.stamp(folder),
            content=tree.content(folder),
            files=files,
            size_bytes=size,
        )
        return self._store.finish(digest, record)

    def _commands(self, plan: _Plan, folder: Path) -> list[list[str]]:
        """What uv is asked, as arguments. Nothing of the project itself is built or installed."""
        build = [] if self._operator.builds else ["--no-build"]
        common = ["--no-config", "--no-progress", "--color", "never"]
        commands: list[list[str]] = []
        if not any(isinstance(step, Sync) for step in plan.install):
            commands.append(["venv", *common, "--allow-existing", str(folder)])
        for step in plan.install:
            if isinstance(step, Sync):
                options = ["--frozen", "--no-install-project", "--compile-bytecode"]
                commands.append(["sync", *common, *options, *build, *step.arguments])
                continue
            names = [str(WORKSPACE / name) for name in step.files]
            listed = names if step.exact else [word for name in names for word in ("-r", name)]
            action = "sync" if step.exact else "install"
            target = ["--python", str(folder / "bin" / "python")]
            commands.append(
                ["pip", action, *common, "--require-hashes", "--compile-bytecode", *build, *target, *listed]
            )
        return commands

    def _uv_variables(self, folder: Path, plan: _Plan) -> dict[str, str]:
        indexes = {name: value for name in UV_VARIABLES if (value := self._operator.environ.get(name))}
        return {
            "UV_CACHE_DIR": str(_UV_CACHE),
            "UV_PROJECT_ENVIRONMENT": str(folder),
            "UV_PYTHON": str(self._python.path),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_LINK_MODE": "copy",
            **({} if plan.network else {"UV_OFFLINE": "1"}),
            **(indexes if plan.network else {}),
            **(self._operator.network_variables() if plan.network else {}),
        }

    def _run(self, spec: SandboxSpec, log_path: Path, what: str, disk: Path) -> None:
        run_step(self._sandbox, spec, log_path=log_path, what=what, disk=disk, on_log=self._on_log)

    def _probe(self, plan: _Plan, folder: Path, place: Path) -> None:
        """MLX must come up in the sandbox, without network, before the environment counts as made."""
        if plan.lock is None or not plan.lock.versions("mlx"):
            return
        spec = SandboxSpec(
            argv=[str(folder / "bin" / "python"), "-I", "-B", "-c", "import mlx.core"],
            env=step_environment(),
            scratch=[HOME],
            python=[folder],
            limits=LIMITS,
        )
        self._run(spec, place / "probe.log", "import mlx.core", place)

    def _notices(self, plan: _Plan) -> tuple[str, ...]:
        if plan.lock is None:
            return ("The packages come from a requirements file with hashes, not from a lock.",)
        found = [f"{name} was built from source, in the sandbox." for name in plan.lock.built]
        found += [f"{name} comes from elsewhere than a registry." for name in plan.lock.foreign]
        return tuple(found)


def installed_in(folder: Path) -> dict[str, str]:
    """Distributions of an environment by the names of their record folders; nothing of them is read."""
    found = {}
    for path in sorted(folder.glob("lib/python3*/site-packages/*.dist-info")):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        if name.isascii() and version.isascii() and len(path.name) <= 200:
            found[name.replace("_", "-").lower()] = version
    return found
