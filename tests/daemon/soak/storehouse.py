"""Content in memory: what has been uploaded, and doors to it that fail by a seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from armlx_chain.chain.flow import JournalledFlow
from armlx_chain.chain.sender import TxSender
from armlx_chain.errors import ContentMismatch, ContentNotFound, StorageUnavailable
from armlx_chain.storage.interface import Progress, VerifiedBytes, VerifiedFile
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, Root, Wei


class Storehouse:
    """All content of the world, by root, with the time from which it can be had."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._content: dict[bytes, tuple[float, bytes]] = {}

    def put(self, data: bytes, *, after: float = 0.0) -> Root:
        """Content that is there now, or after a while."""
        root = root_of(data)
        # A copy of its own: what lies here must not count as memory of whoever made the bytes.
        self._content.setdefault(root.digest, (self._clock() + after, bytes(bytearray(data))))
        return root

    def find(self, root: Root) -> bytes | None:
        there, data = self._content.get(root.digest, (0.0, None))
        return data if data is not None and self._clock() >= there else None


class Door:
    """A storage for one validator.

    Attributes:
        rate: Of each kind of fault, per fetch.
        lose: Called at every fetch; a kill may strike there.
    """

    def __init__(
        self, house: Storehouse, *, seed: str, tally: Counter[str], lose: Callable[[str], None]
    ) -> None:
        self.rate = 0.0
        self._house = house
        self._rng = random.Random(seed)
        self._tally = tally
        self._lose = lose

    def fetch(self, root: Root, *, max_bytes: int, expected_size: int | None = None) -> VerifiedBytes:
        self._lose("fetch")
        if self._strikes("storage unavailable"):
            raise StorageUnavailable("No storage endpoint answers (simulated).")
        if self._strikes("wrong bytes"):
            raise ContentMismatch(f"Every copy of {root} was something else (simulated).")
        data = self._house.find(root)
        if data is None or self._strikes("content not found"):
            raise ContentNotFound(f"Nobody has {root}.")
        return VerifiedBytes(root, data, "the storehouse")

    def download(
        self,
        root: Root,
        destination: Path,
        *,
        max_bytes: int,
        expected_size: int | None = None,
        progress: Progress | None = None,
    ) -> VerifiedFile:
        found = self.fetch(root, max_bytes=max_bytes)
        destination.write_bytes(found.data)
        return VerifiedFile(root, destination, len(found.data), found.source)

    def _strikes(self, kind: str) -> bool:
        if not self.rate or self._rng.random() >= self.rate:
            return False
        self._tally[kind] += 1
        return True


class Uploads:
    """Publishes as the real one does: what is not there yet costs one journalled transaction."""

    def __init__(self, house: Storehouse, door: Door, sender: TxSender, flow: Address) -> None:
        self._house = house
        self._door = door
        self._flow = JournalledFlow(sender)
        self._where = flow

    def publish(self, data: bytes, *, label: str) -> Root:
        root = root_of(data)
        if self._house.find(root) is None:
            self._flow.submit(flow=self._where, calldata=root.digest, value=Wei(0), label=label)
            if self._door._strikes("upload interrupted"):
                raise StorageUnavailable("The upload broke off (simulated).")
            self._house.put(data)
        return root
