"""The macOS back-end: ``sandbox-exec`` with a profile of our own.

**Written in full, never run on a Mac by us.** The profile's text and the process tree's end are tested on
Linux; ``doctor`` must run the self-check on a Mac before anything is trusted.

What differs from Linux, and why:

- there are no mounts: what the specification shows at a path is cloned below the run's own folder, and paths
  in arguments, environment and working directory are rewritten to lie there;
- there is no pid namespace: forks are denied (training needs none) unless ``allow_forks`` is given, and the
  tree is followed by parent, group and user id;
- temporary folders have no size of their own; file size, descriptors and resident memory are bounded, and the
  folder is measured and the run killed when it has grown too large;
- started by root, the child has a user id of its own; else it has the caller's;
- nothing dies with the verifier: what it left is ended by the next one, from a record in the run's folder;
- Metal keeps compiled shaders per user: that cache is emptied before each run, then filled by our program.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from armlx_chain.errors import SandboxUnavailable, VerifierFault
from verifier.sandbox import run_folders, shader_cache
from verifier.sandbox.interface import INSIDE_TMP, Limits, LogSink, SandboxSpec
from verifier.sandbox.layout import DEFAULT_ENV, check_spec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.ownership import give, take_back
from verifier.sandbox.process import Started, SupervisedProcess
from verifier.sandbox.proctable import FollowedTree, read_table
from verifier.sandbox.python_env import PythonFiles, python_files
from verifier.sandbox.seatbelt_profile import ProfileParts, profile

_SANDBOX_EXEC: Final = Path("/usr/bin/sandbox-exec")
_DEDICATED_BASE: Final = Path("/private/tmp")
"""Where a child of another user can walk to its folder; root's own temporary folder is closed to others."""
_WARM_SECONDS: Final = 120.0
_SHELL: Final = Path("/bin/sh")
_DEDICATED_FIRST: Final = 0x7000_0000
_DEDICATED_COUNT: Final = 0x00FE_0000
_ULIMIT: Final = 'ulimit -c 0 && ulimit -f "$1" && ulimit -n "$2" && shift 2 && exec "$@"'
_ULIMIT_FILE_BLOCK: Final = 512
_RUSAGE_V2: Final = struct.Struct("=16s18Q")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Paths that the specification names -> where they really are, longest first."""

    places: tuple[tuple[PurePosixPath, Path], ...]

    def path(self, text: str) -> str:
        """The real place of a path; anything else unchanged."""
        if not text.startswith("/"):
            return text
        pure = PurePosixPath(text)
        for inside, real in self.places:
            if pure.is_relative_to(inside):
                return str(real / pure.relative_to(inside))
        return text

    def text(self, value: str) -> str:
        """The same for each part of a list of paths joined by colons."""
        return ":".join(self.path(part) for part in value.split(":"))


def rewriting(spec: SandboxSpec, root: Path) -> Rewriting:
    """Every target and scratch folder of a specification, below ``root``."""
    inside = {mount.target for mount in spec.mounts} | {INSIDE_TMP, *spec.scratch}
    ordered = sorted(inside, key=lambda path: len(path.parts), reverse=True)
    return Rewriting(tuple((path, root / path.relative_to("/")) for path in ordered))


class SeatbeltSandbox:
    """See :class:`verifier.sandbox.interface.Sandbox`.

    Args:
        clock: Seconds of a clock that never goes back.
        metal: Allow the GPU.
        allow_forks: Let programs start others; then a survivor is possible unless the verifier is root.
        warm_shaders: Fill the emptied shader cache before each run of an interpreter.
    """

    name = "seatbelt"

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        metal: bool = True,
        allow_forks: bool = False,
        warm_shaders: bool = True,
    ) -> None:
        self._clock = clock
        self._metal = metal
        self._forks = allow_forks
        self._warm = warm_shaders
        if sys.platform == "darwin":
            for base in (_DEDICATED_BASE, Path(tempfile.gettempdir()).resolve()):
                run_folders.remove_stale(base)

    def check(self) -> None:
        if sys.platform != "darwin" or not _SANDBOX_EXEC.exists():
            raise SandboxUnavailable(
                "Seatbelt is a part of macOS and is not here.", next_step="On Linux, install bubblewrap."
            )
        log = MemoryLog()
        with self.start(SandboxSpec(argv=["/usr/bin/true"]), log) as process:
            ended = process.wait(30.0)
        if ended is None or ended.code != 0:
            raise SandboxUnavailable(f"sandbox-exec did not run a first program: {log.text().strip()[:300]}")

    def start(self, spec: SandboxSpec, log: LogSink) -> SupervisedProcess:
        check_spec(spec)
        if spec.devices:
            raise SandboxUnavailable("macOS shows no device nodes: its GPU needs none.")
        uid = _dedicated_uid()
        pythons = [python_files(path, for_others=uid is not None) for path in spec.python]
        if uid is not None:
            for files in pythons:
                require_passable(files.shown)
        cache = _darwin_cache(uid) if self._metal else None
        if cache is not None:
            shader_cache.empty(cache)
        if cache is not None and pythons and self._warm:
            warming = SandboxSpec(argv=[str(pythons[0].interpreter), "-I", "-c", shader_cache.WARMING])
            with self._started(warming, MemoryLog(), uid, pythons, cache) as process:
                process.wait(_WARM_SECONDS)
        return self._started(spec, log, uid, pythons, cache)

    def _started(
        self,
        spec: SandboxSpec,
        log: LogSink,
        uid: int | None,
        pythons: Sequence[PythonFiles],
        cache: Path | None,
    ) -> SupervisedProcess:
        root = run_folders.make(_DEDICATED_BASE if uid is not None and _DEDICATED_BASE.is_dir() else None)
        try:
            places = rewriting(spec, root)
            writable = _place(spec, places, uid)
            text = profile(self._parts(spec, root, writable, pythons, cache))
            command = command_line(spec, places, text)
        except OSError as error:
            shutil.rmtree(root, ignore_errors=True)
            raise VerifierFault(f"The run folder could not be made: {error}.") from error
        environment = {name: places.text(value) for name, value in {**DEFAULT_ENV, **spec.env}.items()}

        def launch(log_reader: int, log_writer: int) -> Started:
            del log_reader
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log_writer,
                stderr=log_writer,
                env=environment,
                cwd=places.path(str(spec.cwd)),
                start_new_session=True,
                pass_fds=list(spec.pass_fds),
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
            )
            run_folders.note_leader(root, popen.pid, uid)
            return Started(popen, self._follow(popen.pid, uid, spec.limits, root, writable))

        return SupervisedProcess(
            launch, log, spec.limits, self._clock, on_gone=partial(_take_back, _lent(spec), uid)
        )

    def _parts(
        self,
        spec: SandboxSpec,
        root: Path,
        writable: Sequence[Path],
        pythons: Sequence[PythonFiles],
        cache: Path | None,
    ) -> ProfileParts:
        places = rewriting(spec, root)
        clones = [Path(places.path(str(mount.target))) for mount in spec.mounts if not mount.writable]
        shown = tuple(path for files in pythons for path in files.shown)
        return ProfileParts(
            readable=(root, *shown, *(link for files in pythons for link, _ in files.links)),
            writable=(*writable, *_lent(spec)),
            protected=tuple(clones),
            executable=shown,
            shader_cache=cache,
            forks=self._forks or spec.network,
            network=spec.network,
        )

    def _follow(
        self, pid: int, uid: int | None, limits: Limits, root: Path, writable: Sequence[Path]
    ) -> FollowedTree:
        return _BoundedTree(pid, uid=uid, limits=limits, root=root, writable=writable)


class _BoundedTree(FollowedTree):
    """Also counts what lies in the writable folders, as part of memory: they have no size of their own."""

    def __init__(
        self, pid: int, *, uid: int | None, limits: Limits, root: Path, writable: Sequence[Path]
    ) -> None:
        super().__init__(
            pid,
            uid=uid,
            memory_bytes=limits.memory_bytes,
            table=read_table,
            figures=process_figures if sys.platform == "darwin" else lambda _: None,
            on_close=lambda: shutil.rmtree(root, ignore_errors=True),
        )
        self._writable = writable
        self._scratch_bytes = limits.scratch_bytes

    def over_memory(self) -> bool:
        return super().over_memory() or any(
            folder_bytes(folder) > self._scratch_bytes for folder in self._writable
        )


def command_line(spec: SandboxSpec, places: Rewriting, profile_text: str) -> list[str]:
    """Shell for the resource limits, then ``sandbox-exec``, then the program with its paths rewritten."""
    blocks = max(1, spec.limits.file_bytes // _ULIMIT_FILE_BLOCK)
    limited = [str(_SHELL), "-c", _ULIMIT, "limits", str(blocks), str(spec.limits.open_files)]
    confined = [str(_SANDBOX_EXEC), "-p", profile_text]
    return [*limited, *confined, *(places.path(argument) for argument in spec.argv)]


def _place(spec: SandboxSpec, places: Rewriting, uid: int | None) -> list[Path]:
    """Make the run's folders and clones; returns the writable folders."""
    writable = []
    for path in (INSIDE_TMP, *spec.scratch):
        folder = Path(places.path(str(path)))
        folder.mkdir(parents=True, exist_ok=True)
        writable.append(folder)
    (writable[0] / "home").mkdir(exist_ok=True)
    for mount in spec.mounts:
        target = Path(places.path(str(mount.target)))
        if mount.writable:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(mount.source.resolve())
        else:
            _clone(mount.source, target)
    if uid is not None:
        for folder in _lent(spec):
            give(folder, uid)
        for folder in (*writable, writable[0] / "home"):
            os.chown(folder, uid, uid)
    root = writable[0].parents[len(INSIDE_TMP.parts) - 2]
    root.chmod(0o711)
    return writable


def _lent(spec: SandboxSpec) -> list[Path]:
    """The host's folders that this run may change."""
    return [mount.source.resolve() for mount in spec.mounts if mount.writable]


def _take_back(folders: Sequence[Path], uid: int | None) -> None:
    if uid is not None:
        for folder in folders:
            take_back(folder)


def _clone(source: Path, target: Path) -> None:
    """A copy-on-write copy (APFS); over an earlier clone at the same place the later one wins."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, copy_function=_clone_file)
    else:
        target.unlink(missing_ok=True)
        _clone_file(str(source), str(target))


def _clone_file(source: str, target: str, *, follow_symlinks: bool = True) -> str:
    if follow_symlinks and sys.platform == "darwin":
        done = subprocess.run(
            ["/bin/cp", "-c", source, target], capture_output=True, check=False, timeout=600
        )
        if done.returncode == 0:
            return target
    shutil.copy2(source, target, follow_symlinks=follow_symlinks)
    return target


def folder_bytes(folder: Path) -> int:
    """Bytes of the files below a folder, links not followed, whatever disappears meanwhile."""
    total = 0
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def _dedicated_uid() -> int | None:
    if os.geteuid() != 0:
        return None
    return _DEDICATED_FIRST + int.from_bytes(os.urandom(4), "big") % _DEDICATED_COUNT


def require_passable(paths: Sequence[Path]) -> None:
    """There are no mounts here: a child of another user walks the host's own folders to what is shown.

    Raises:
        SandboxUnavailable: a folder above one of them is closed to others.
    """
    for folder in dict.fromkeys(parent for path in paths for parent in path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise SandboxUnavailable(
                f"{folder} may not be passed by other users, and the sandboxed program runs as one.",
                next_step="Keep it below folders that everybody may pass, or do not start as root.",
            )


def _darwin_cache(uid: int | None) -> Path | None:
    """The cache folder of the user that the child will be."""
    done = subprocess.run(
        ["/usr/bin/getconf", "DARWIN_USER_CACHE_DIR"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )
    folder = done.stdout.strip()
    return Path(folder).resolve() if done.returncode == 0 and folder else None


def process_figures(pid: int) -> tuple[float, int] | None:
    """CPU seconds and physical footprint of a process (``proc_pid_rusage`` of libproc, version 2)."""
    library = ctypes.CDLL("/usr/lib/libproc.dylib")
    buffer = ctypes.create_string_buffer(_RUSAGE_V2.size)
    if library.proc_pid_rusage(pid, 2, buffer) != 0:
        return None
    _, user, system, _, _, _, _, _, footprint, *_ = _RUSAGE_V2.unpack(buffer.raw)
    return (user + system) * _tick_seconds(), footprint


@functools.cache
def _tick_seconds() -> float:
    """Seconds of one unit of mach time (125/3 ns on Apple silicon)."""
    ratio = (ctypes.c_uint32 * 2)()
    ctypes.CDLL("/usr/lib/libSystem.dylib").mach_timebase_info(ratio)
    return ratio[0] / ratio[1] / 1e9
