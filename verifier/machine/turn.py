"""A session's turn on this machine: the accelerator for itself, and nobody sends the machine to sleep.

::

    turn = Turn("metal", clock="wall", say=say)
    with turn("judging a candidate"):
        …
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from verifier.hardware import Backend
from verifier.machine.awake import awake
from verifier.machine.exclusive import device_name, exclusive


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Turn:
    """How sessions of one machine take turns.

    Attributes:
        backend: What is trained on.
        clock: What the benchmark's budget counts: on the processor alone, and on its own clock, sessions need
            not wait for each other, because each is billed for itself.
        wait: Wait for another session, or refuse.
        folder: Where the locks are; all accounts' common one if not given.
    """

    backend: Backend
    clock: str
    wait: bool = True
    say: Callable[[str], None] = _silent
    folder: Path | None = None

    @contextmanager
    def __call__(self, doing: str) -> Iterator[None]:
        """Take the turn for the block.

        Raises:
            AcceleratorBusy: another session has it, and ``wait`` is off.
            VerifierFault: no lock can be made here.
        """
        alone = (
            exclusive(
                device_name(self.backend), doing=doing, wait=self.wait, say=self.say, folder=self.folder
            )
            if self.backend != "cpu" or self.clock == "wall"
            else nullcontext()
        )
        with alone, awake(doing):
            yield
