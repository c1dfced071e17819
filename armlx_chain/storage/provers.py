"""Proving kept bytes again without a network, scheme by scheme.

- 0G: the Merkle root of the bytes is the root.
- sha256: their digest is the root; somebody trusted pinned it.
- Irys: the evidence beside them (a data item's header, a transaction) proves them; see the Irys part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from armlx_chain.errors import ContentMismatch
from armlx_chain.storage.interface import Evidence, ProofKind, Prover
from armlx_chain.types import Root

__all__ = ["DigestProver", "MerkleProver", "default_evidence", "prover_for"]

_BLOCK = 1 << 20


def default_evidence(root: Root) -> Evidence | None:
    """The evidence of schemes whose root alone is a proof; ``None`` for the others."""
    kinds = {"0g": ProofKind.MERKLE_ROOT, "sha256": ProofKind.SHA256_PIN}
    kind = kinds.get(root.scheme)
    return None if kind is None else Evidence(kind, b"")


def prover_for(root: Root) -> Prover:
    """Who proves content of this root's scheme."""
    if root.scheme == "0g":
        return MerkleProver()
    if root.scheme == "sha256":
        return DigestProver()
    from armlx_chain.storage.irys.proofs import IrysProver  # signatures: a heavy import, for Irys only

    return IrysProver()


def _mismatch(root: Root) -> ContentMismatch:
    return ContentMismatch(f"The kept bytes do not belong to {root}.", details={"root": str(root)})


def _exactly(payload: BinaryIO, size: int, block: int, root: Root) -> Iterator[bytes]:
    """``size`` bytes in blocks; the last may be shorter.

    Raises:
        ContentMismatch: there are fewer.
    """
    left = size
    while left:
        piece = payload.read(min(block, left))
        if len(piece) != min(block, left):
            raise _mismatch(root)
        left -= len(piece)
        yield piece


class MerkleProver:
    """0G roots."""

    def prove(self, root: Root, payload: BinaryIO, size: int, evidence: Evidence) -> None:
        """See :meth:`armlx_chain.storage.interface.Prover.prove`."""
        from armlx_chain.storage.zerog.merkle import FileTree
        from armlx_chain.storage.zerog.shape import SEGMENT_BYTES

        if evidence.kind is not ProofKind.MERKLE_ROOT or size < 1:
            raise _mismatch(root)
        tree = FileTree.of_segments(_exactly(payload, size, SEGMENT_BYTES, root), size)
        if tree.root != root:
            raise _mismatch(root)


class DigestProver:
    """SHA-256 digests."""

    def prove(self, root: Root, payload: BinaryIO, size: int, evidence: Evidence) -> None:
        """See :meth:`armlx_chain.storage.interface.Prover.prove`."""
        digest = hashlib.sha256()
        for piece in _exactly(payload, size, _BLOCK, root):
            digest.update(piece)
        if root.scheme != "sha256" or digest.digest() != root.digest:
            raise _mismatch(root)
