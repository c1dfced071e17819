"""A gateway and bundler of Irys over real HTTP, honest until a test tells it otherwise.

It shares with the client only the parsing of items; which bytes it serves is the test's choice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from irys_vectors import item as vector_item
from irys_vectors import raw_item
from storage_sims import HttpSim, Sent, http

from armlx_chain.encodings import base64url_encode
from armlx_chain.irys_hosts import IrysHosts
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.irys.client import IrysStorage
from armlx_chain.storage.irys.endpoints import Patience
from armlx_chain.storage.irys.ids import format_id, parse_id
from armlx_chain.storage.irys.items import Item, parse_item
from armlx_chain.storage.irys.receipts import receipt_message
from armlx_chain.types import Root

QUICK = Timeouts(connect=20, read=20, total=60, transfer=60, overall=120)
"""Long enough for any machine; only tests of patience use shorter ones."""
NO_WAIT = Patience(attempts=3, pause=0.0, longest=0.0)

Route = str
Change = Callable[[bytes], Sent]


def vector(name: str = "solana4-02-protocol-json") -> Item:
    """A recorded item."""
    return parse_item(raw_item(vector_item(name)))


def root_of_item(item: Item) -> Root:
    return Root("irys", item.id)


def metadata_of(item: Item, **changes: Any) -> dict[str, Any]:
    """What a bundler serves at ``/tx/{id}``; a change to ``None`` removes the field."""
    raw_size = 2 + len(item.signature) + len(item.owner) + 2 + len(item.target) + len(item.anchor)
    fields = {
        "id": format_id(item.id).base58,
        "token": "solana",
        "address": item.address,
        "owner": base64url_encode(item.owner),
        "signature": base64url_encode(item.signature),
        "target": base64url_encode(item.target),
        "tags": [{"name": tag.name, "value": tag.value} for tag in item.tags],
        "anchor": base64url_encode(item.anchor),
        "data_size": str(len(item.data)),
        "raw_size": str(raw_size + 16 + len(item.tag_bytes) + len(item.data)),
        "signature_type": str(item.scheme.number),
        "fee": "0",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


class SimIrys(HttpSim):
    """Gateway and bundler. ``change[route]`` replaces an honest 200 body with any answer.

    Routes: ``payload``, ``metadata``, ``data``, ``price``, ``balance``, ``public``, ``upload``; ``any``,
    ``absent``: instead of 404.

    Attributes:
        spellings: The forms of ids that it knows.
        hidden: Ids that it answers 404 for, as before an upload has settled.
    """

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}
        self.change: dict[Route, Change] = {}
        self.metadata: dict[str, Any] = {}
        self.spellings = {"base58", "base64url"}
        self.key: rsa.RSAPrivateKey | None = None
        self.drop_uploads = False
        self.chain_headers: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        super().__init__()

    def holding(self, *items: Item) -> SimIrys:
        self.items.update({item.id: item for item in items})
        return self

    @property
    def paths(self) -> list[str]:
        return [target for _, target, _ in self.requests]

    # --- routes ----------------------------------------------------------------------------------------

    def respond(self, method: str, target: str, body: bytes) -> Sent:
        route, answer = self._honest(method, target.partition("?")[0].strip("/").split("/"), body)
        change = self.change.get(route) or self.change.get("any")
        if answer is None:
            return (
                self.change["absent"](b"")
                if "absent" in self.change
                else http(b"Not Found", status="404 Not Found")
            )
        return http(answer) if change is None else change(answer)

    def _honest(self, method: str, parts: list[str], body: bytes) -> tuple[Route, bytes | None]:
        if method == "POST":
            return "upload", self._take(body)
        match parts:
            case ["public"]:
                return "public", None if self.key is None else base64url_encode(modulus(self.key)).encode()
            case ["price", _, _]:
                return "price", b"12345"
            case ["account", "balance", _]:
                return "balance", b'{"balance":"777"}'
            case ["v1", "tx", text]:
                header = self.chain_headers.get(text)
                return "chain", None if header is None else json.dumps(header).encode()
            case ["tx", text]:
                return "metadata", self._metadata(text)
            case ["tx", text, "data"]:
                return "data", self._data(text)
            case [text]:
                return "payload", self._data(text)
        return "other", None

    def _found(self, text: str) -> Item | None:
        known = (c.digest for c in parse_id(text) if c.encoding.value in self.spellings)
        return next((self.items[digest] for digest in known if digest in self.items), None)

    def _data(self, text: str) -> bytes | None:
        found = self._found(text)
        return self.blobs.get(text) if found is None else found.data

    def _metadata(self, text: str) -> bytes | None:
        found = self._found(text)
        if found is None:
            header = self.chain_headers.get(text)
            return None if header is None else json.dumps(header).encode()
        return json.dumps(metadata_of(found, **self.metadata)).encode()

    def _take(self, body: bytes) -> bytes:
        item = parse_item(body)
        if not self.drop_uploads:
            self.items[item.id] = item
        assert self.key is not None
        return json.dumps(make_receipt(self.key, format_id(item.id).base58)).encode()


def modulus(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_numbers().n.to_bytes(512, "big")


def make_receipt(key: rsa.RSAPrivateKey, text: str, **changes: Any) -> dict[str, Any]:
    """A receipt for an id's text, signed after ``changes``."""
    receipt = {
        "id": text,
        "timestamp": 1785617213911,
        "version": "1.0.0",
        "deadlineHeight": 0,
        "validatorSignatures": [],
        "public": base64url_encode(modulus(key)),
        **changes,
    }
    message = receipt_message(receipt)
    assert message is not None
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    return {**receipt, "signature": base64url_encode(key.sign(message, scheme, hashes.SHA256()))}


def hosts_of(*sims: SimIrys, **changes: Any) -> IrysHosts:
    """All of them as gateways and bundlers, the first one for uploads."""
    urls = tuple(sim.url for sim in sims)
    return IrysHosts(**{"gateways": urls, "bundlers": urls, "upload": urls[0] if urls else None, **changes})


def storage_of(*sims: SimIrys, timeouts: Timeouts = QUICK, **changes: Any) -> IrysStorage:
    return IrysStorage(hosts_of(*sims, **changes), timeouts=timeouts, patience=NO_WAIT)
