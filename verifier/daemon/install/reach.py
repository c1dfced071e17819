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
        paths: What is started and imported: program, interpreter, packages. Links are followed.
        root: Where the way to each of them begins.
    """
    seen: dict[Path, str] = {}
    for path in paths:
        try:
            place = path.resolve(strict=True)
        except OSError as error:
            seen[path] = f"{path} cannot be had ({error.strerror})"
            continue
        way = [place, *place.parents]
        for part in way[: way.index(root)] if root in way else way:
            problem = _problem(part)
            if problem is not None:
                seen.setdefault(part, problem)
    return list(seen.values())


def _problem(part: Path) -> str | None:
    found = part.stat()
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
