"""Whether services of other accounts can start this program, and whether only root can change it."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["reach_problems"]


def reach_problems(paths: Iterable[Path], *, root: Path = Path("/")) -> list[str]:
    """Sentences on what keeps other accounts from using these files, or lets others change them.

    A service under its own account cannot look into a home folder of mode 0700; and whoever can write the
    program can read the key it will open.

    Args:
        paths: What is started and imported: program, interpreter, packages. Links are followed, and every
            folder on their way counts: whoever can change a link decides what is started.
        root: Where the way to each of them begins.
    """
    seen: dict[Path, str] = {}
    for path in paths:
        try:
            way = _way(path.absolute())
        except OSError as error:
            seen[path] = f"{path} cannot be had ({error.strerror})"
            continue
        for part in way:
            problem = None if part == root or part in root.parents else _problem(part)
            if problem is not None:
                seen.setdefault(part, problem)
    return list(seen.values())


def _way(path: Path) -> list[Path]:
    """Everything that is passed on the way to a file: links, where they lead, and the folders of both.

    Raises:
        OSError: it leads nowhere.
    """
    path.stat()  # so that no link leads in a circle
    found: list[Path] = []
    waiting = list(reversed(path.parts))
    here = Path(waiting.pop())
    found.append(here)
    while waiting:
        name = waiting.pop()
        if name == "..":
            here = here.parent
            continue
        part = here / name
        found.append(part)
        if not part.is_symlink():
            here = part
            continue
        target = part.readlink()
        waiting += [name for name in reversed(target.parts) if name != target.anchor]
        here = Path(target.anchor) if target.is_absolute() else here
    return list(dict.fromkeys(reversed(found)))


def _problem(part: Path) -> str | None:
    found = part.lstat()
    if stat.S_ISLNK(found.st_mode):
        # A link has no mode of its own: its folder says who can put another in its place.
        return f"{part} belongs to user {found.st_uid}, who could lead it elsewhere" if found.st_uid else None
    mode = stat.S_IMODE(found.st_mode)
    is_folder = stat.S_ISDIR(found.st_mode)
    if not mode & (stat.S_IXOTH if is_folder else stat.S_IROTH):
        return f"other accounts cannot {'enter' if is_folder else 'read'} {part} (mode {mode:04o})"
    if found.st_uid != 0:
        return f"{part} belongs to user {found.st_uid}, who could change what the services run"
    # In a sticky folder nobody replaces what is another's.
    if mode & 0o022 and not (is_folder and mode & stat.S_ISVTX):
        return f"others can write {part} (mode {mode:04o})"
    return None
