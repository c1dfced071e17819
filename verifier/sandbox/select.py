"""Which back-end serves this machine."""

from __future__ import annotations

import sys

from armlx_chain.errors import SandboxUnavailable
from verifier.sandbox.interface import Sandbox


def default_sandbox() -> Sandbox:
    """The back-end of this system. Call its ``check()`` once before relying on it.

    Raises:
        SandboxUnavailable: there is none for this system. Nothing is ever run bare instead.
    """
    if sys.platform == "linux":
        from verifier.sandbox.bubblewrap import BubblewrapSandbox

        return BubblewrapSandbox()
    if sys.platform == "darwin":
        from verifier.sandbox.seatbelt import SeatbeltSandbox

        return SeatbeltSandbox()
    raise SandboxUnavailable(
        f"There is no sandbox for {sys.platform}.", next_step="Use Linux, or macOS on Apple silicon."
    )
