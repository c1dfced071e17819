"""Makes the simulators of tests/storage importable here, and one bundler key for all tests of a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

STORAGE = str(Path(__file__).resolve().parent.parent / "storage")
if STORAGE not in sys.path:
    sys.path.insert(0, STORAGE)

from irys_sims import SimIrys  # noqa: E402 (needs the path above)


@pytest.fixture(scope="session")
def bundler_key() -> rsa.RSAPrivateKey:
    """A real key of the one allowed size."""
    return rsa.generate_private_key(public_exponent=65537, key_size=4096)


@pytest.fixture
def sim() -> Iterator[SimIrys]:
    server = SimIrys()
    yield server
    server.stop()


@pytest.fixture
def other() -> Iterator[SimIrys]:
    server = SimIrys()
    yield server
    server.stop()
