"""Keccak-256 (padding byte 0x01, not SHA3-256), by the fastest implementation at hand.

``safe-pysha3`` is about five times as fast as ``pycryptodome`` on 256-byte inputs, and hashing is where
the time goes when a root is computed; it comes with the ``devnet`` extra. Without it ``eth-hash`` chooses.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

__all__ = ["keccak256"]


def _fastest() -> Callable[[bytes], bytes]:
    try:
        native = importlib.import_module("sha3").keccak_256
    except ImportError:
        from eth_hash.auto import keccak

        return keccak

    def hashed(data: bytes) -> bytes:
        digest: bytes = native(data).digest()
        return digest

    return hashed


keccak256: Callable[[bytes], bytes] = _fastest()
