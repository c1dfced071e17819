"""The recorded vectors of the real Irys and Arweave libraries, and the payloads that their recipes make."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "irys"


@functools.cache
def load(name: str) -> dict[str, Any]:
    """A vector file, by the start of its name, such as ``04``."""
    (path,) = FOLDER.glob(f"{name}*.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@functools.cache
def _payload(seed: str, length: int) -> bytes:
    blocks = (hashlib.sha256(seed.encode() + k.to_bytes(4, "big")).digest() for k in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def payload(recipe: dict[str, Any]) -> bytes:
    """The bytes of ``{"kind": "sha256ctr", "seed": …, "length": …}``."""
    assert recipe["kind"] == "sha256ctr"
    return _payload(recipe["seed"], recipe["length"])


def id_bytes(forms: dict[str, str]) -> bytes:
    return bytes.fromhex(forms["hex"][2:])


def raw_item(entry: dict[str, Any]) -> bytes:
    """The item of an entry in ``04``."""
    if "raw_base64" in entry:
        return base64.b64decode(entry["raw_base64"])
    return base64.b64decode(entry["raw_header_base64"]) + payload(entry["payload_recipe"])


def item(name: str) -> dict[str, Any]:
    (found,) = (entry for entry in load("04")["items"] if entry["name"] == name)
    entry: dict[str, Any] = found
    return entry


def by_name(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Parameters and ids for ``parametrize``; names repeat, so each gets its number."""
    names = [f"{number}-{entry['name']}" for number, entry in enumerate(entries)]
    return {"argvalues": entries, "ids": names}
