"""What to show inside so that an interpreter or a virtual environment works there at its own path.

Invariants:

- modes are never loosened: a base installation in a 0700 home is shown by a mount of that one folder, and the
  folders above it inside are fresh ones that everybody may pass;
- a home folder, or one above it, is never shown as a whole;
- symbolic links on the way (``python`` -> ``python3.11`` -> the base installation) are made again inside, so
  that the interpreter finds its own prefix by the same steps as outside.

The interpreter's shared libraries are shown too. Without them the loader would not fail but take a library of
the same name from the system: another Python, without one package of the environment.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armlx_chain.errors import SandboxUnavailable

SYSTEM_FOLDERS: Final = tuple(
    Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
)
"""Shown inside in any case."""
_MAX_LINKS: Final = 40
_LIBRARY: Final = re.compile(r"(?:=>\s*)?(/\S+) \(0x")


@dataclass(frozen=True, slots=True)
class PythonFiles:
    """Attributes:
    interpreter: The program to run.
    shown: Real paths (no link in them) to show at the same path: folders and single libraries.
    links: Symbolic links to make: (path, text).
    """

    interpreter: Path
    shown: tuple[Path, ...]
    links: tuple[tuple[Path, str], ...]


def follow(path: Path) -> tuple[Path, list[tuple[Path, str]]]:
    """The real path, and each symbolic link met on the way with its text.

    Raises:
        SandboxUnavailable: for a circle of links.
    """
    pending = list(path.absolute().parts[1:])
    current = Path("/")
    links: list[tuple[Path, str]] = []
    while pending:
        part = pending.pop(0)
        candidate = current.parent if part == ".." else current / part
        if not candidate.is_symlink():
            current = candidate
            continue
        if len(links) >= _MAX_LINKS:
            raise SandboxUnavailable(f"{path} leads through too many symbolic links.")
        text = str(candidate.readlink())
        links.append((candidate, text))
        pending = [*Path(text).parts, *pending]
        if pending[0] == "/":
            current = Path("/")
            pending.pop(0)
    return current, links


def python_files(environment: Path, *, home: Path | None = None, for_others: bool = False) -> PythonFiles:
    """What an interpreter needs inside.

    Args:
        environment: An interpreter (``…/bin/python``) or a virtual environment's folder.
        home: The home folder that must never be shown as a whole; the caller's by default.
        for_others: The child will be another user than the owner of these files, so they must be readable
            for everybody. (Folders above them need not be.)

    Raises:
        SandboxUnavailable: if there is no usable interpreter, or showing it would show too much.
    """
    interpreter = environment / "bin" / "python" if environment.is_dir() else environment
    real, links = follow(interpreter)
    if not real.is_file():
        raise SandboxUnavailable(f"There is no interpreter at {interpreter}.")
    prefixes = [_base_prefix(real)]
    venv = interpreter.absolute().parent.parent
    if (venv / "pyvenv.cfg").is_file():
        prefixes.append(venv)
        links += _links_of_home(venv / "pyvenv.cfg")
    shown: list[Path] = []
    for prefix in prefixes:
        real_prefix, more = follow(prefix)
        links += more
        if not _in_system(real_prefix):
            _refuse_home(real_prefix, home or Path.home())
            shown.append(real_prefix)
    for library in _libraries(real, real.stat().st_mtime_ns):
        real_library, more = follow(library)
        links += more
        if not _in_system(real_library) and not _within(real_library, shown):
            shown.append(real_library)
    if for_others:
        _require_readable([real, *shown])
    kept = {link: text for link, text in links if not _in_system(link) and not _within(link, shown)}
    return PythonFiles(interpreter.absolute(), tuple(dict.fromkeys(shown)), tuple(kept.items()))


def _base_prefix(interpreter: Path) -> Path:
    prefix = interpreter.parent.parent
    # macOS frameworks and ordinary prefixes alike keep the library here.
    if not any(prefix.glob("lib/python3*/os.py")):
        raise SandboxUnavailable(
            f"{interpreter} has no standard library beside it ({prefix}/lib/python3*).",
            next_step="Make the environment with an ordinary Python installation.",
        )
    return prefix


def _links_of_home(config: Path) -> list[tuple[Path, str]]:
    """Links on the path that ``pyvenv.cfg`` records for the base installation."""
    for line in config.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == "home":
            return follow(Path(value.strip()))[1]
    return []


@functools.lru_cache(maxsize=16)
def _libraries(interpreter: Path, _changed: int) -> tuple[Path, ...]:
    """Shared libraries of an interpreter, by the loader's own account (``ldd``; nothing on macOS)."""
    tool = shutil.which("ldd") if sys.platform == "linux" else None
    if tool is None:
        return ()
    done = subprocess.run([tool, str(interpreter)], capture_output=True, text=True, timeout=20, check=False)
    return tuple(Path(found) for found in _LIBRARY.findall(done.stdout))


def _in_system(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in SYSTEM_FOLDERS)


def _within(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _refuse_home(folder: Path, home: Path) -> None:
    if home.resolve().is_relative_to(folder):
        raise SandboxUnavailable(
            f"The Python environment at {folder} would show the whole home folder inside.",
            next_step="Make a virtual environment in a folder of its own and use that.",
        )


def _require_readable(paths: list[Path]) -> None:
    for path in paths:
        mode = path.stat().st_mode
        needed = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
        if mode & needed != needed:
            raise SandboxUnavailable(
                f"{path} is readable for its owner only, and the sandboxed program runs as another user.",
                next_step="Make the environment again with umask 022. The folders above it may stay closed.",
            )


def running_interpreter() -> Path:
    """The interpreter of this process, as it was named (a virtual environment stays one)."""
    return Path(os.path.abspath(sys.executable))  # noqa: PTH100 (resolve() would leave the environment)
