"""The Metal shader cache, which a Mac keeps per user and cannot be told to keep elsewhere (macOS).

Invariants:

- before each run the cache is emptied, then filled by a small program of ours in a sandbox of its own: no
  compiled shader that one run left reaches another run or an evaluator;
- only the folders that Metal names itself are emptied, in the user's Darwin cache folder, and no link is
  followed on the way: a run could write there, so what lies there is a stranger's.

This is mere file handling and tested anywhere; that Metal takes it as meant was never seen on a Mac.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

METAL_FOLDERS: Final = ("com.apple.metal", "com.apple.metalfe")
"""What Metal calls its folders, directly below the cache folder or below a folder named after a program."""

WARMING: Final = """
try:
    import mlx.core as mx
    import mlx.nn as nn
except ImportError:
    raise SystemExit(0)
rows = mx.random.normal((8, 64))
norm = mx.fast.rms_norm(rows, mx.ones((64,)), 1e-5)
value = (mx.softmax(norm @ norm.T) @ rows).astype(mx.bfloat16)
mx.eval(value, mx.compile(lambda one: mx.tanh(one * 2) + 1)(rows), nn.gelu(rows))
"""
"""Compiles what nearly every model needs; what is missing each run compiles for itself."""


def metal_folders(cache: Path) -> list[Path]:
    """Metal's own folders in a Darwin cache folder; links in their place are left out."""
    found = []
    for parent in (cache, *_real_folders(cache)):
        found += [folder for folder in _real_folders(parent) if folder.name in METAL_FOLDERS]
    return found


def empty(cache: Path) -> int:
    """Remove what Metal kept; returns how many folders were removed.

    A link in the place of a folder of Metal's is removed too, and not what it points to. Removing follows no
    links further down either (``shutil.rmtree`` refuses to where it could be raced).
    """
    removed = 0
    for folder in metal_folders(cache):
        shutil.rmtree(folder, ignore_errors=True)
        removed += not folder.exists()
    for parent in (cache, *_real_folders(cache)):
        for name in METAL_FOLDERS:
            if (parent / name).is_symlink():
                (parent / name).unlink(missing_ok=True)
    return removed


def _real_folders(parent: Path) -> Iterator[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(parent))
    except OSError:
        return
    for name in names:
        path = parent / name
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode):
            yield path
