"""What an operator says about interpreters and set-up. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PythonChoice:
    """What an operator said about interpreters.

    Attributes:
        python: A ready interpreter; ``None``: as the protocol says.
        allow_network: Network for the set-up, where the protocol allows it too.
        allow_builds: Packages may be built from source, in the sandbox.
        allow_any_source: A lock may name packages from elsewhere than a registry.
    """

    python: Path | None = None
    allow_network: bool = False
    allow_builds: bool = False
    allow_any_source: bool = False

    def absolute(self) -> PythonChoice:
        """The same with a whole path, as ``Path.absolute``."""
        return self if self.python is None else replace(self, python=self.python.absolute())

    def ready(self) -> Path:
        """The named interpreter, else the one of this process, where there is no protocol to ask."""
        return (self.python or Path(sys.executable)).absolute()
