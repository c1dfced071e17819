"""One search for one root: what was tried, who failed, and which error that adds up to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from armlx_chain.errors import (
    ContentIncomplete,
    ContentMismatch,
    ContentNotFinal,
    ContentNotFound,
    ContentPruned,
    ContentTooLarge,
    EndpointFault,
    StorageError,
    StorageUnavailable,
)
from armlx_chain.storage.http import as_fault
from armlx_chain.storage.interface import Fault, FaultKind
from armlx_chain.storage.zerog import shape
from armlx_chain.types import Root

__all__ = ["Absence", "Hunt"]

log = logging.getLogger(__name__)

_LIES = (FaultKind.WRONG_BYTES, FaultKind.SUSPECT, FaultKind.WRONG_LENGTH)


class Absence(StrEnum):
    """Why somebody who answers properly does not have a file."""

    UNKNOWN = "unknown"
    NOT_FINAL = "not final yet"
    INCOMPLETE = "segments are missing"
    PRUNED = "pruned"


_RANK = list(Absence)
"""From what says least to what says most."""


class Hunt:
    """The state of one fetch. Its methods may be called from several threads.

    Args:
        seconds: After this time the search ends.
        renewed: The time counts from the last proven segment, instead of from the beginning.
        note: Told of each fault in one sentence, as it happens.

    Attributes:
        limit: Most bytes a file may have, padding included where a length is expected.
        faults: What went wrong, each once.
        bad: Endpoints that are set aside for the rest of the search.
    """

    def __init__(
        self,
        root: Root,
        *,
        max_bytes: int,
        expected_size: int | None,
        seconds: float,
        renewed: bool = False,
        note: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.expected_size = expected_size
        self.limit = max_bytes
        if expected_size is not None:
            self.limit = shape.padded_chunks(expected_size) * shape.CHUNK_BYTES
        self.faults: list[Fault] = []
        self.absent: dict[str, tuple[Absence, str]] = {}
        self.bad: set[str] = set()
        self._clock = clock
        self._seconds = seconds
        self._renewed = renewed
        self._note = note
        self._end = clock() + seconds
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """Seconds left for the whole search; at least a little, so that the next request ends as stalled."""
        return max(self._end - self._clock(), 0.01)

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._end

    def renew(self) -> None:
        """A segment was proven: the search has all its time again, if it is of that kind."""
        if self._renewed:
            self._end = self._clock() + self._seconds

    def blame(self, endpoint: str, kind: FaultKind, detail: str, *, aside: bool = True) -> None:
        """Record a fault, once each, and say so in the log.

        Args:
            aside: Leave the endpoint out of the rest of the search.
        """
        fault = Fault(endpoint, kind, detail)
        with self._lock:
            if aside:
                self.bad.add(endpoint)
            if fault in self.faults:
                return
            self.faults.append(fault)
        log.warning("storage endpoint misbehaved while fetching %s: %s", self.root, fault)
        if self._note is not None:
            self._note(str(fault))

    def blame_error(self, error: EndpointFault, *, endpoint: str | None = None, aside: bool = True) -> None:
        fault = as_fault(error)
        self.blame(endpoint or fault.endpoint, fault.kind, fault.detail, aside=aside)

    def missing(self, endpoint: str, why: Absence, detail: str) -> None:
        """Record that ``endpoint`` properly answered that it does not have the file, or not all of it.

        What says more replaces what says less: an indexer's "unknown" does not hide a node's "not final".
        """
        with self._lock:
            known = self.absent.get(endpoint)
            if known is None or _RANK.index(known[0]) < _RANK.index(why):
                self.absent[endpoint] = (why, detail)
        log.info("%s does not have %s: %s", endpoint, self.root, detail)

    def failure(self) -> StorageError:
        """The one error that the search adds up to."""
        kinds = {fault.kind for fault in self.faults}
        details: dict[str, Any] = {"root": str(self.root), "faults": [str(fault) for fault in self.faults]}
        if self.absent:
            details["absent"] = list(self.absent)
            details["reasons"] = [f"{url}: {detail}" for url, (_, detail) in self.absent.items()]
        said = "; ".join(str(fault) for fault in self.faults[:5])
        if kinds & set(_LIES) == {FaultKind.WRONG_LENGTH} and self.expected_size is not None:
            return ContentMismatch(
                f"{self.root} is not served with the {self.expected_size} bytes that are expected: {said}.",
                meaning="Either that length is wrong, or whoever was asked has another file. None was kept.",
                next_step="Check the length with whoever gave it; or leave it away, and look at the file.",
                details=details,
            )
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
            return self._not_found(details)
        return StorageUnavailable(
            f"{self.root} could not be fetched: {said or 'no endpoint was given'}.",
            meaning="That does not say whether the content exists.",
            next_step="Try again later, or add another storage endpoint.",
            details=details,
        )

    def _not_found(self, details: dict[str, Any]) -> ContentNotFound:
        """The error where everybody answered properly that the file is not there."""
        why = max((why for why, _ in self.absent.values()), key=_RANK.index)
        said = "; ".join(f"{url}: {text}" for url, (reason, text) in self.absent.items() if reason is why)[
            :600
        ]
        if why is Absence.NOT_FINAL:
            return ContentNotFinal(
                f"{self.root} is announced, but not final yet: {said}.",
                meaning="Its upload is under way, or was broken off.",
                next_step="Try again in a few minutes; if that does not help, its uploader must resume.",
                details=details,
            )
        if why is Absence.INCOMPLETE:
            return ContentIncomplete(
                f"{self.root} is said to be stored for good, but parts of it are nowhere: {said}.",
                meaning="No node that was asked serves them, whatever the network announces.",
                next_step="Try again later, ask further nodes, or have the file uploaded again.",
                details=details,
            )
        if why is Absence.PRUNED:
            return ContentPruned(
                f"{self.root} was stored once, and was pruned: {said}.",
                meaning="Nodes drop files after the time that was paid for.",
                next_step="Find another copy of the file; whoever has it can upload it again.",
                details=details,
            )
        return ContentNotFound(
            f"Nobody asked has {self.root}: {', '.join(list(self.absent)[:5])}.",
            meaning="It was never stored, or is not final yet.",
            next_step="Try again in a few minutes, or check the root.",
            details=details,
        )
