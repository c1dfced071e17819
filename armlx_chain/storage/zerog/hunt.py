"""One search for one root: what was tried, who failed, and which error that adds up to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentTooLarge,
    EndpointFault,
    StorageError,
    StorageUnavailable,
)
from armlx_chain.storage.http import as_fault
from armlx_chain.storage.interface import Fault, FaultKind
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

log = logging.getLogger(__name__)

_LIES = (FaultKind.WRONG_BYTES, FaultKind.SUSPECT, FaultKind.WRONG_LENGTH)


class Hunt:
    """The state of one fetch. Its methods may be called from several threads.

    Attributes:
        limit: Most bytes a file may have, padding included where a length is expected.
    """

    def __init__(
        self,
        root: Root,
        *,
        max_bytes: int,
        expected_size: int | None,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.expected_size = expected_size
        self.limit = max_bytes
        if expected_size is not None:
            self.limit = shape.padded_chunks(expected_size) * shape.CHUNK_BYTES
        self.faults: list[Fault] = []
        self.absent: list[str] = []
        self.bad: set[str] = set()
        self._clock = clock
        self._end = clock() + seconds
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """Seconds left for the whole search; at least a little, so that the next request ends as stalled."""
        return max(self._end - self._clock(), 0.01)

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._end

    def blame(self, endpoint: str, kind: FaultKind, detail: str) -> None:
        """Record a fault, once each, and say so in the log."""
        fault = Fault(endpoint, kind, detail)
        with self._lock:
            if fault in self.faults:
                return
            self.faults.append(fault)
            self.bad.add(endpoint)
        log.warning("storage endpoint misbehaved while fetching %s: %s", self.root, fault)

    def blame_error(self, error: EndpointFault, *, endpoint: str | None = None) -> None:
        fault = as_fault(error)
        self.blame(endpoint or fault.endpoint, fault.kind, fault.detail)

    def missing(self, endpoint: str, why: str) -> None:
        """Record that ``endpoint`` properly answered that it does not have the file."""
        with self._lock:
            if endpoint not in self.absent:
                self.absent.append(endpoint)
        log.info("%s does not have %s: %s", endpoint, self.root, why)

    def settle(self, data: bytes, source: str) -> bytes | None:
        """``data``, already proven, at the expected length.

        The root does not commit to trailing zeros, so a length that differs only in them is mended here,
        and named. ``None`` if the expected length is impossible for this root.
        """
        expected = self.expected_size
        if expected is None or len(data) == expected:
            return data
        mended = data[:expected].ljust(expected, b"\0")
        self.blame(
            source,
            FaultKind.WRONG_LENGTH,
            f"it gives the file {len(data)} bytes where {expected} are expected",
        )
        return mended if root_of(mended) == self.root else None

    def failure(self) -> StorageError:
        """The one error that the search adds up to."""
        kinds = {fault.kind for fault in self.faults}
        details = {"root": str(self.root), "faults": [str(fault) for fault in self.faults]}
        if self.absent:
            details["absent"] = list(self.absent)
        said = "; ".join(str(fault) for fault in self.faults[:5])
        if kinds & set(_LIES):
            return ContentMismatch(
                f"No endpoint served the bytes of {self.root}; some served others: {said}.",
                meaning="What was served does not belong to the root. None of it was kept.",
                next_step="Report the endpoint to whoever runs it, and add another one.",
                details=details,
            )
        if FaultKind.TOO_LARGE in kinds:
            return ContentTooLarge(
                f"{self.root} is offered only with more than {self.limit} bytes: {said}.",
                next_step="Raise the limit if you expect content of this size.",
                details=details,
            )
        if self.absent and not self.faults:
            return ContentNotFound(
                f"Nobody asked has {self.root}: {', '.join(self.absent[:5])}.",
                meaning="It was never stored, or is not final yet.",
                next_step="Try again in a few minutes, or check the root.",
                details=details,
            )
        return StorageUnavailable(
            f"{self.root} could not be fetched: {said or 'no endpoint was given'}.",
            meaning="That does not say whether the content exists.",
            next_step="Try again later, or add another storage endpoint.",
            details=details,
        )
