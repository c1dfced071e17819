"""Memory that an evaluator writes logits into and the verifier reads them from.

Invariants:

- the memory belongs to one evaluator; it is empty until the verifier has given it a size, which the other
  side can then not change where the kernel seals it (Linux);
- the verifier never maps it: what could be cut short under a mapping would end the verifier, and what can
  change under its eyes must not be looked at twice. Every figure is copied once, and only the copy counts;
- a logit travels as it is: little-endian float32, nothing rounded or packed.

::

    slate = Slate()
    ...                                   # the child inherits slate.fileno()
    slate.resize(size)
    slate.read(0, block)                  # block: a contiguous float32 array
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from typing import Final

from armlx_chain.errors import ChannelError, VerifierFault
from verifier.harness.scoring import Floats

_SEALS: Final = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")


class Slate:
    """One piece of memory, as a descriptor."""

    def __init__(self) -> None:
        self._descriptor = anonymous_memory()
        self.size = 0

    def fileno(self) -> int:
        """What the child inherits."""
        return self._descriptor

    def resize(self, size: int) -> None:
        """Give it its size in bytes, once and for good.

        Raises:
            VerifierFault: there is not so much memory.
        """
        if self.size:
            raise RuntimeError("a slate has one size")
        try:
            os.ftruncate(self._descriptor, size)
            _seal(self._descriptor)
        except OSError as problem:
            raise VerifierFault(
                f"{size >> 20} MiB of memory for a model's answers cannot be had: {problem.strerror}."
            ) from problem
        self.size = size

    def read(self, offset: int, into: Floats) -> None:
        """Fill a contiguous array from byte ``offset`` on.

        Raises:
            ChannelError: there is less.
        """
        read_at(self._descriptor, offset, into)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_at(descriptor: int, offset: int, into: Floats) -> None:
    """Fill a contiguous array from byte ``offset`` of the memory on.

    Raises:
        ChannelError: there is less.
    """
    view = into.reshape(-1).data.cast("B")
    while view:
        got = os.preadv(descriptor, [view], offset)
        if got == 0:
            raise ChannelError("the logits were cut short")
        view, offset = view[got:], offset + got


def write_at(descriptor: int, offset: int, logits: Floats) -> None:
    """Write a contiguous array into the memory from byte ``offset`` on.

    Raises:
        OSError: there is not so much memory.
    """
    view = logits.reshape(-1).data.cast("B")
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def anonymous_memory() -> int:
    """A descriptor of memory that nobody else can open; it grows as it is written.

    Raises:
        VerifierFault: there is none.
    """
    try:
        if hasattr(os, "memfd_create"):
            return os.memfd_create("logits", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with tempfile.TemporaryFile() as stream:  # has no name any more: nobody else can open it
            return os.dup(stream.fileno())
    except OSError as problem:
        raise VerifierFault(f"No memory for a model's answers can be had: {problem.strerror}.") from problem


def _seal(descriptor: int) -> None:
    if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
        seals = 0
        for name in _SEALS:
            seals |= getattr(fcntl, name)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
