"""What the rest of the client knows of storage: a root goes in, verified bytes come out.

- :class:`Storage` never returns a byte that does not belong to the root asked for.
- Who served wrong bytes, stalled or answered nonsense is named: in ``VerifiedBytes.faults`` when another
  endpoint helped, in the error's details (key ``faults``) when none did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from armlx_chain.types import Root

__all__ = ["Fault", "FaultKind", "Publisher", "Storage", "VerifiedBytes"]


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
    """Bytes that hash to ``root``.

    Attributes:
        root: The content address that was asked for.
        data: The bytes.
        source: Where they came from: endpoint URLs, or ``cache``.
        faults: Endpoints that failed on the way, in the order they were met.
    """

    root: Root
    data: bytes
    source: str
    faults: tuple[Fault, ...] = ()


class Storage(Protocol):
    """A place to read from."""

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
            SchemeUnsupported: this storage cannot prove roots of that scheme.
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
