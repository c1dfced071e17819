"""Real documents that lie beside the project and are not part of it.

``shared/`` is looked for beside the project's root. Where it is missing, tests that need it are skipped with
the reason, or fail if ``ARMLX_REQUIRE_SHARED=1``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


def shared_bytes(relative: str) -> bytes:
    """The content of a shared file; skips or fails the test if it is not there."""
    path = SHARED / relative
    if path.is_file():
        return path.read_bytes()
    reason = f"the shared material {relative} does not lie beside the project"
    if os.environ.get("ARMLX_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
