"""Keeps a library's recursion limit from turning hostile input into a crash.

py_ecc, which web3 and eth_account import, sets the interpreter's limit to 100,000: far beyond what the C
stack of a thread holds. From then on a text of nested brackets kills the process instead of raising
RecursionError, which every reader of foreign bytes here turns into a domain error.
"""

from __future__ import annotations

import sys

PYTHON_LIMIT = 1_000
"""What Python starts with."""
LARGEST_LIMIT = 12_000
"""What the embedded EVM needs; nested JSON was tried at this limit and raises, it does not crash."""


def tame_recursion() -> None:
    """Call after an import that may have raised the limit; a limit that was set on purpose stays."""
    if sys.getrecursionlimit() > LARGEST_LIMIT:
        sys.setrecursionlimit(PYTHON_LIMIT)
