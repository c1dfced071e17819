"""One search for one id: what was tried, who failed, and which error that adds up to."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any

from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentTooLarge,
    ContentUnproven,
    EndpointFault,
    StorageError,
    StorageUnavailable,
)
from armlx_chain.storage.http import as_fault
from armlx_chain.storage.interface import Fault, FaultKind
from armlx_chain.storage.irys.ids import format_id, repairs_of
from armlx_chain.types import Root

__all__ = ["Search"]

log = logging.getLogger(__name__)

_LIES = {FaultKind.WRONG_BYTES, FaultKind.SUSPECT}
_PARTIAL = {FaultKind.TOO_LARGE}


class Search:
    """The state of one fetch.

    Attributes:
        unproven: The first bytes that came and that nothing could be said about: (bytes, URL, why).
        bad: URLs and hosts that are not asked again.
    """

    def __init__(
        self, root: Root, *, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.root = root
        self.forms = format_id(root.digest)
        self.max_bytes = max_bytes
        self.faults: list[Fault] = []
        self.absent: list[str] = []
        self.bad: set[str] = set()
        self.unproven: tuple[bytes, str, str] | None = None
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Seconds left for the whole search, at least a little."""
        return max(self._end - self._clock(), 0.01)

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._end

    def blame(self, endpoint: str, kind: FaultKind, detail: str) -> None:
        """Record a fault, once each."""
        fault = Fault(endpoint, kind, detail)
        if fault not in self.faults:
            self.faults.append(fault)
            log.warning("an Irys server misbehaved while fetching %s: %s", self.root, fault)

    def blame_error(self, error: EndpointFault) -> None:
        fault = as_fault(error)
        self.blame(fault.endpoint, fault.kind, fault.detail)

    def missing(self, url: str) -> None:
        """``url`` properly answered that it does not have the id."""
        if url not in self.absent:
            self.absent.append(url)

    def nothing_said(self, data: bytes, url: str, why: str) -> None:
        """Bytes came that can be neither proven nor disproven; the first ones are kept."""
        if self.unproven is None:
            self.unproven = (data, url, why)

    def failure(self) -> StorageError:
        """The error that the search adds up to: a contradiction outweighs silence, silence absence."""
        kinds = {fault.kind for fault in self.faults}
        if kinds & _LIES:
            return self._mismatch()
        if self.unproven is not None:
            return self._unproven(*self.unproven)
        if kinds & _PARTIAL:
            return ContentTooLarge(
                f"{self.root} is offered only with more than {self.max_bytes} bytes: {self._said()}.",
                next_step="Raise the limit if you expect content of this size.",
                details=self._facts(),
            )
        if self.absent and not self.faults:
            return self._not_found()
        return StorageUnavailable(
            f"{self.root} could not be fetched from Irys: {self._said() or 'no server was given'}.",
            meaning="That does not say whether the content exists.",
            next_step="Try again later, or give other servers (ARMLX_IRYS_GATEWAY, ARMLX_IRYS_BUNDLER).",
            details=self._facts(),
        )

    def _not_found(self) -> ContentNotFound:
        misread = [format_id(digest).base58 for digest in repairs_of(self.root.digest)]
        perhaps = "Check the id."
        if misread:  # an uploader that takes base58 for base64url stores such ids: see repairs_of
            perhaps = (
                f"Whoever stored this id may have misread {' or '.join(misread)}: try irys:base58:… of it."
            )
        return ContentNotFound(
            f"None of the Irys servers asked has {self.forms.base64url}.",
            meaning="The id is wrong, or the content is gone: what is uploaded to Irys' devnet is deleted"
            " after some 60 days.",
            next_step=f"{perhaps} A copy of the signed item from anywhere is as good: armlx-chain verify.",
            details={**self._facts(), "perhaps": misread} if misread else self._facts(),
        )

    def _said(self) -> str:
        return "; ".join(str(fault) for fault in self.faults[:5])

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "root": str(self.root),
            "id": self.forms.base64url,
            "id_base58": self.forms.base58,
            "faults": [str(fault) for fault in self.faults],
        }
        return {**facts, "absent": list(self.absent)} if self.absent else facts

    def _mismatch(self) -> ContentMismatch:
        return ContentMismatch(
            f"What was served for {self.root} contradicts the signed item: {self._said()}.",
            meaning="The bytes, or the fields that would prove them, are not what the id's owner signed. None"
            " of it was kept.",
            next_step="Ask another gateway, and report this one to whoever runs it.",
            details=self._facts(),
        )

    def _unproven(self, data: bytes, url: str, why: str) -> ContentUnproven:
        digest = hashlib.sha256(data).hexdigest()
        return ContentUnproven(
            f"{len(data)} bytes came for the id {self.forms.base64url} from {url}, and nothing proves that"
            f" they belong to it: {why}. Their SHA-256 is {digest}.",
            meaning="An Irys id is the hash of a signature, not of content. These bytes are as served by the"
            " gateway and not proven; they were not kept.",
            next_step="Give the SHA-256 from a place you trust (--sha256) if there is one, or take them"
            " knowingly as unproven (--allow-unverified).",
            details={**self._facts(), "source": url, "bytes": len(data), "sha256": digest, "reason": why},
        )
