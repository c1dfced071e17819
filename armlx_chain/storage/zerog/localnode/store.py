"""Segments on disk, by content: ``<directory>/<root>-<size>/<index>``, each beside its proof.

A segment file appears complete, by rename, after its proof, or not at all; a file of the wrong length (a
crash of the machine) counts as absent. Nothing here knows of submissions, so a restart needs no index: the
folder is it.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from pathlib import Path

from armlx_chain.storage.zerog import shape, wire
from armlx_chain.storage.zerog.merkle import SegmentProof

__all__ = ["SegmentStore"]

log = logging.getLogger(__name__)

Key = tuple[bytes, int]
"""Root and size of a file."""


class SegmentStore:
    """The segments one node keeps."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._present: dict[Key, set[int]] = {}
        self._lock = threading.Lock()
        for folder in sorted(directory.iterdir()):
            self._load(folder)

    def _load(self, folder: Path) -> None:
        root, _, size_text = folder.name.partition("-")
        try:
            key = (bytes.fromhex(root), int(size_text))
        except ValueError:
            log.warning("%s is no folder of segments; left alone", folder)
            return
        present = self._present.setdefault(key, set())
        for file in folder.iterdir():
            if file.suffix == ".part":
                file.unlink(missing_ok=True)
            elif file.name.isdecimal() and self._is_whole(file, key[1], int(file.name)):
                present.add(int(file.name))

    @staticmethod
    def _is_whole(file: Path, size: int, index: int) -> bool:
        if index >= shape.segment_count(size):
            return False
        return file.stat().st_size == shape.segment_length(size, index)

    def _folder(self, key: Key) -> Path:
        return self._directory / f"{key[0].hex()}-{key[1]}"

    def has(self, key: Key, index: int) -> bool:
        with self._lock:
            return index in self._present.get(key, ())

    def indices(self, key: Key) -> frozenset[int]:
        """The segments that are here."""
        with self._lock:
            return frozenset(self._present.get(key, ()))

    def read(self, key: Key, index: int) -> bytes | None:
        """A segment as it was received: a multiple of 256 bytes."""
        if not self.has(key, index):
            return None
        return (self._folder(key) / str(index)).read_bytes()

    def read_proof(self, key: Key, index: int) -> SegmentProof | None:
        """The proof that came with a segment."""
        try:
            return wire.parse_proof(json.loads((self._folder(key) / f"{index}.proof").read_text("utf-8")))
        except FileNotFoundError:
            return None
        except ValueError:
            log.warning("the proof of segment %d in %s cannot be read", index, self._folder(key))
            return None

    def write(self, key: Key, index: int, data: bytes, proof: SegmentProof) -> bool:
        """Keep a segment and its proof; False if it was here already."""
        if self.has(key, index):
            return False
        folder = self._folder(key)
        folder.mkdir(exist_ok=True)
        self._place(folder / f"{index}.proof", json.dumps(wire.proof_json(proof)).encode())
        self._place(folder / str(index), data)
        with self._lock:
            present = self._present.setdefault(key, set())
            if index in present:
                return False
            present.add(index)
            return True

    @staticmethod
    def _place(path: Path, data: bytes) -> None:
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        temporary.write_bytes(data)
        temporary.replace(path)
