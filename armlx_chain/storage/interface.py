"""What the rest of the client knows of storage: a root goes in, verified bytes come out.

- :class:`Storage` never returns a byte that does not belong to the root asked for, and never leaves one on
  disk under the name asked for.
- How the bytes were proven is part of the result (:class:`ProofKind`). Bytes that nobody could prove have a
  type of their own, :class:`UnverifiedBytes`, and come only from :meth:`UnprovenSource.fetch_unproven`: what
  takes :class:`VerifiedBytes` does not take them.
- Who served wrong bytes, stalled or answered nonsense is named: in ``faults`` of the result when another
  endpoint helped, in the error's details (key ``faults``) when none did.
- The length limit counts bytes as they arrive; a progress display learns of *proven* bytes only.

Usage::

    found = storage.fetch(root, max_bytes=1 << 20)              # small: bytes in memory
    kept = storage.download(root, Path("big.bin"), max_bytes=8 << 30, progress=bar)   # large: a file
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol, Required, TypedDict

from armlx_chain.types import Root

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "MAX_EVIDENCE_BYTES",
    "DownloadOptions",
    "Evidence",
    "Fault",
    "FaultKind",
    "Fetcher",
    "Progress",
    "ProofKind",
    "Prover",
    "Publisher",
    "Storage",
    "UnprovenSource",
    "UnverifiedBytes",
    "VerifiedBytes",
    "VerifiedFile",
]


class ProofKind(StrEnum):
    """Why bytes are known to belong to the root."""

    MERKLE_ROOT = "merkle-root"
    """They hash to it: the Merkle root of 0G Storage."""
    SIGNED_ITEM = "signed-item"
    """An ANS-104 data item was obtained whole; its id is the root and its signature covers them."""
    REBUILT_ITEM = "rebuilt-item"
    """The same, with the item put together from a gateway's metadata and the payload."""
    CHAIN_TRANSACTION = "chain-transaction"
    """A signed transaction whose id is the root commits to their Merkle root."""
    SHA256_PIN = "sha256-pin"
    """Their SHA-256 equals one from a place that is trusted for it (a ledger, the person's own note)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is kept beside a payload so that a cache can prove it again without a network.

    Attributes:
        kind: Which proof it is for.
        blob: The scheme's own bytes, at most :data:`MAX_EVIDENCE_BYTES`: for a data item everything before
            its payload (so that ``blob + payload`` is the signed item), for a transaction its header.
    """

    kind: ProofKind
    blob: bytes


MAX_EVIDENCE_BYTES = 64 << 10
"""Most bytes kept as evidence: a data item's header is at most 8 KiB, a transaction's less."""


MAX_DOCUMENT_BYTES = 64 << 20
"""Signed documents are proven in memory, so none may be longer, whatever else is allowed."""


class FaultKind(StrEnum):
    """What an endpoint did wrong."""

    WRONG_BYTES = "wrong-bytes"
    """It served bytes that do not belong to the root: a proven lie or a corrupt disk."""
    SUSPECT = "suspect"
    """Bytes from several endpoints together failed the check; this one is among them."""
    WRONG_LENGTH = "wrong-length"
    """It gives the file another length than the caller, or than the others."""
    TOO_LARGE = "too-large"
    """It offers or sends more bytes than the limit."""
    NONSENSE = "nonsense"
    """Its answer is not what the protocol allows."""
    STALLED = "stalled"
    """It did not answer in time."""
    UNREACHABLE = "unreachable"
    """No connection, or it was cut."""
    REFUSED = "refused"
    """It answered with an error."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One endpoint's misbehaviour, in one sentence for a person."""

    endpoint: str
    kind: FaultKind
    detail: str

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.kind.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class VerifiedBytes:
    """Bytes that belong to ``root``, proven.

    Attributes:
        root: The content address that was asked for.
        data: The bytes.
        source: Where they came from: endpoint URLs, or ``cache``.
        faults: Endpoints that failed on the way, in the order they were met.
        proof: How they were proven.
        evidence: What a cache needs to prove them again, where bytes and root alone do not do.
    """

    root: Root
    data: bytes
    source: str
    faults: tuple[Fault, ...] = ()
    proof: ProofKind = ProofKind.MERKLE_ROOT
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A file on disk whose every byte belongs to ``root``.

    Attributes:
        path: Where it is, under the name that was asked for.
        size: Its length in bytes.
        evidence: As in :class:`VerifiedBytes`.
    """

    root: Root
    path: Path
    size: int
    source: str
    faults: tuple[Fault, ...] = ()
    proof: ProofKind = ProofKind.MERKLE_ROOT
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class UnverifiedBytes:
    """Bytes that an endpoint served for ``root`` and that nobody could prove: not to be taken as authentic.

    It is no :class:`VerifiedBytes` and shares no base with it, on purpose.

    Attributes:
        root: The content address that was asked for. The bytes may or may not belong to it.
        data: The bytes as served.
        source: Who served them.
        reason: Why there is no proof, in one sentence for a person.
    """

    root: Root
    data: bytes
    source: str
    reason: str
    faults: tuple[Fault, ...] = ()


class Progress(Protocol):
    """Somebody who watches a transfer. May be called from several threads, one call at a time or not."""

    def start(self, total: int | None) -> None:
        """The transfer has ``total`` bytes, or ``None`` until that is known; then it is said again."""
        ...

    def advance(self, count: int) -> None:
        """``count`` more bytes are done (proven, or found done by an earlier run)."""
        ...

    def note(self, text: str) -> None:
        """Something worth telling a person: an endpoint set aside, a transfer resumed."""
        ...


class Fetcher(Protocol):
    """A place to read small content from."""

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        """The bytes of ``root``, proven.

        Args:
            root: Content address.
            max_bytes: No more than this is downloaded, whatever an endpoint claims.
            expected_size: The length from a trusted place (a chain event, a manifest). A 0G root does not
                commit to the length: without it, an endpoint may add or take away *zero bytes at the end*,
                within the padding. Every other byte is proven either way.

        Raises:
            ContentMismatch: endpoints served bytes that do not belong to the root, and none the right ones.
            ContentTooLarge: the content is offered, but only beyond ``max_bytes``.
            ContentNotFound: every endpoint answered that it does not have it (yet).
            StorageUnavailable: no endpoint could serve it, and not all of them answered properly.
            ContentUnproven: bytes are served, but nobody gives a proof that they belong to the root.
            SchemeUnsupported: this storage cannot prove roots of that scheme.
        """
        ...


class DownloadOptions(TypedDict, total=False):
    """The options of :meth:`Storage.download`, for those who hand them on."""

    max_bytes: Required[int]
    expected_size: int | None
    progress: Progress | None


class Storage(Fetcher, Protocol):
    """A place to read from, content of any size."""

    def download(
        self,
        root: Root,
        destination: Path,
        *,
        max_bytes: int,
        expected_size: int | None = None,
        progress: Progress | None = None,
    ) -> VerifiedFile:
        """Write the bytes of ``root`` to ``destination``, proven before they get that name.

        What was proven is kept beside ``destination`` when it stops, and not downloaded again by the next
        call for the same root and destination. An existing file is replaced only by the complete new one.

        Raises:
            MachineError: the folder cannot be written or is full; what was proven so far stays.
            StorageError: as for :meth:`Fetcher.fetch`.
        """
        ...


class UnprovenSource(Protocol):
    """A place that may hold content without a proof."""

    def fetch_unproven(
        self, root: Root, *, max_bytes: int, sha256: bytes | None = None
    ) -> VerifiedBytes | UnverifiedBytes:
        """The bytes of ``root``: proven if possible, else by the digest ``sha256`` if given, else as served.

        Args:
            sha256: 32 bytes from a trusted place. Then only bytes of that digest are returned, always as
                :class:`VerifiedBytes`.

        Raises:
            ContentMismatch: bytes contradict a proof, or ``sha256``.
            StorageError: as for :meth:`Fetcher.fetch`, without ``ContentUnproven``.
        """
        ...


class Prover(Protocol):
    """Proves a kept payload again from its evidence, without a network."""

    def prove(self, root: Root, payload: BinaryIO, size: int, evidence: Evidence) -> None:
        """Read ``size`` bytes from ``payload`` and prove them.

        Raises:
            ContentMismatch: they do not belong to ``root``, whatever is wrong (payload or evidence).
        """
        ...


class Publisher(Protocol):
    """A place to write to."""

    def publish(self, data: bytes, *, label: str) -> Root:
        """Store ``data`` and return its root once the network holds it for good.

        Doing it again is harmless: a root that is already known costs no second transaction, and segments
        that are already there are not sent again.

        Raises:
            StorageError: if it is empty.
            StorageUnavailable: the network could not be reached, or was not final before the deadline.
            ChainError: from the transaction.
        """
        ...
