"""What is kept of an upload: the signed item itself, and a record of ids, receipt and state.

The item is written before it is sent, so that an upload that was cut off is sent again under the same id, and
so that the content can be proven and uploaded anew without any server.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from armlx_chain.errors import ItemRejected, MachineError
from armlx_chain.storage.files import cannot_write, write_file
from armlx_chain.storage.irys.avro import Tag
from armlx_chain.storage.irys.foreign import Json, parse_object
from armlx_chain.storage.irys.ids import format_id
from armlx_chain.storage.irys.items import Item, assemble, check_parsed, parse_item

__all__ = ["KeptUpload"]


class KeptUpload:
    """One upload's folder under ``base``: of one content, by one key, with these tags, to one bundler."""

    def __init__(
        self, base: Path, *, payload: bytes, owner: bytes, tags: tuple[Tag, ...], bundler: str
    ) -> None:
        digest = hashlib.sha256(payload).hexdigest()
        whose = json.dumps([owner.hex(), bundler, [[tag.name, tag.value] for tag in tags]]).encode()
        self.folder = base / f"{digest}-{hashlib.sha256(whose).hexdigest()[:16]}"
        self._expected = (owner, tags, payload)

    @property
    def item_path(self) -> Path:
        """The signed item, byte for byte; ``armlx-chain verify`` proves it."""
        return self.folder / "item"

    @property
    def record_path(self) -> Path:
        return self.folder / "record.json"

    def load(self) -> Item | None:
        """The item of an earlier run, if it is whole, verifies, and is for this content.

        Raises:
            MachineError: the folder cannot be read.
        """
        try:
            item = parse_item(self.item_path.read_bytes())
        except (FileNotFoundError, ItemRejected):
            return None
        except OSError as error:
            raise MachineError(f"{self.item_path} cannot be read: {error}.") from error
        same = (item.owner, item.tags, item.data) == self._expected
        return item if same and check_parsed(item, item.id).accepted else None

    def save_item(self, item: Item) -> None:
        """Keep the item.

        Raises:
            MachineError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        write_file(self.item_path, assemble(item))

    def save_record(self, item: Item, facts: dict[str, Any]) -> None:
        """Keep what is known of the upload beside the item.

        Raises:
            MachineError: the folder cannot be written.
        """
        forms = format_id(item.id)
        record = {
            "id": {"base64url": forms.base64url, "base58": forms.base58, "bytes32": forms.hex},
            "sha256": hashlib.sha256(item.data).hexdigest(),
            "bytes": len(item.data),
            "address": item.address,
            "tags": [{"name": tag.name, "value": tag.value} for tag in item.tags],
            **facts,
        }
        write_file(self.record_path, json.dumps(record, indent=2, ensure_ascii=True).encode() + b"\n")

    def finish(self, item: Item, facts: dict[str, Any]) -> None:
        """Mark the upload complete; the receipt of an earlier run stays in the record.

        Raises:
            MachineError: the folder cannot be read or written.
        """
        earlier = self._record()
        for name in ("receipt", "receipt_key"):
            facts = {**facts, name: facts.get(name) or earlier.get(name)}
        self.save_record(item, facts)

    def _record(self) -> Json:
        try:
            return parse_object(self.record_path.read_bytes()) or {}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise MachineError(f"{self.record_path} cannot be read: {error}.") from error
