"""What an accelerator needs inside a sandbox: its device nodes, and kernels that were compiled before.

MLX's CUDA backend compiles kernels at run time and keeps them in the folder that ``MLX_PTX_CACHE_DIR`` names.
A run starts with empty folders, so every run would compile them anew, ten seconds or more. They are therefore
kept once, from a run of the unmodified snapshot, and every later run gets a *copy of its own*:

- the one run that fills the cache is the project's own published code, never a candidate;
- later runs see the filled folder read-only and copy it to their own scratch before they start, so nothing
  that a candidate writes reaches another run, and a kernel that is missing is compiled as before;
- evaluators have a cache of their own, filled by an evaluator that was given the unmodified snapshot's graph:
  what a program compiled, the published one or another, never runs where a score is made;
- the verifier itself opens none of its files; it only counts their sizes, without following links.

::

    cache = KernelCache(folder)
    if cache.filled: spec = cache.reading(arguments)
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from verifier.sandbox.interface import INSIDE_TMP, Mount

KERNELS_VARIABLE: Final = "MLX_PTX_CACHE_DIR"
MAX_KERNEL_BYTES: Final = 512 << 20
"""A filled cache beyond this is thrown away: each run would have to copy it."""
_SHOWN: Final = PurePosixPath("/armlx/kernels")
_OWN: Final = INSIDE_TMP / "kernels"
_NODES: Final = ("nvidiactl", "nvidia-uvm")
_COPY: Final = 'cp -R "$0" "$1"; shift; exec "$@"'
"""A kernel that cannot be copied is compiled again; the program starts in any case."""


def nvidia_nodes(dev: Path = Path("/dev"), *, gpu: int | None = None) -> tuple[Path, ...]:
    """The device nodes CUDA computes with, or none where there is no such GPU.

    Args:
        gpu: Show this GPU only; by default all of them.
    """
    wanted = re.compile(r"nvidia\d+" if gpu is None else rf"nvidia{gpu}")
    try:
        cards = sorted(node for node in dev.iterdir() if wanted.fullmatch(node.name))
    except OSError:
        return ()
    shared = [dev / name for name in _NODES if (dev / name).exists()]
    return (*cards, *shared) if cards else ()


@dataclass(frozen=True, slots=True)
class Start:
    """What a start with a kernel cache adds: mounts, variables, and the command line to use."""

    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KernelCache:
    """Compiled kernels of one project in one environment.

    Attributes:
        folder: A folder of ours that nothing else uses; it need not exist.
    """

    folder: Path

    @property
    def filled(self) -> bool:
        return (self.folder / "whole").is_dir()

    @property
    def of_evaluators(self) -> KernelCache:
        """The cache of the trusted evaluators, which shares nothing with the programs'."""
        return KernelCache(self.folder / "evaluators")

    def filling(self, argv: Sequence[str]) -> Start:
        """For a run of the unmodified snapshot: what it compiles is kept if ``keep`` is called after it."""
        draft = self.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        mount = Mount(draft, _SHOWN, writable=True)
        return Start((mount,), {KERNELS_VARIABLE: str(_SHOWN)}, tuple(argv))

    def keep(self) -> bool:
        """Keep what the filling run left, unless it is nothing or too much."""
        draft = self.folder / "draft"
        if not 0 < _size(draft) <= MAX_KERNEL_BYTES or self.filled:
            self.drop()
            return False
        draft.rename(self.folder / "whole")
        return True

    def drop(self) -> None:
        """Forget an unfinished filling."""
        shutil.rmtree(self.folder / "draft", ignore_errors=True)

    def reading(self, argv: Sequence[str]) -> Start:
        """For any other run: it copies the kept kernels to its own scratch, then becomes the program."""
        mount = Mount(self.folder / "whole", _SHOWN)
        command = ("/bin/sh", "-c", _COPY, str(_SHOWN), str(_OWN), *argv)
        return Start((mount,), {KERNELS_VARIABLE: str(_OWN)}, command)


def _size(folder: Path) -> int:
    """Bytes of the regular files below, links not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(place, name)).st_size for name in names)  # noqa: PTH118
    return total
