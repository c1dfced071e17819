"""What hostile servers of Irys do: one entry each, a change of an honest simulator."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import socket
import socketserver
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

from irys_sims import SimIrys, metadata_of, vector
from irys_vectors import id_bytes, load, payload
from storage_sims import Sent, forever, http

from armlx_chain.encodings import base64url_encode
from armlx_chain.storage.irys.items import assemble

ITEM = vector("eth-03-1KiB-1tag-anchor")
OTHER = vector("solana4-02-protocol-json")
DATA = ITEM.data

Setup = Callable[[SimIrys], object]
"""Makes a simulator, which holds ITEM honestly, hostile."""


def flip(data: bytes, position: int, bit: int = 1) -> bytes:
    changed = bytearray(data)
    changed[position] ^= bit
    return bytes(changed)


def serve(change: Callable[[bytes], Sent]) -> Setup:
    """Answer both payload routes with ``change(payload)``; metadata stays honest."""

    def setup(sim: SimIrys) -> None:
        sim.change["payload"] = sim.change["data"] = change

    return setup


def serve_body(change: Callable[[bytes], bytes]) -> Setup:
    return serve(lambda body: http(change(body)))


def claim(**changes: Any) -> Setup:
    """Metadata with other fields; the payload stays honest."""

    def setup(sim: SimIrys) -> None:
        sim.metadata = changes

    return setup


def claim_raw(change: Callable[[bytes], Sent]) -> Setup:
    """Any answer instead of metadata."""

    def setup(sim: SimIrys) -> None:
        sim.change["metadata"] = change

    return setup


def serve_item(raw: bytes) -> Setup:
    """Bytes that look like the whole signed item, and no metadata."""

    def setup(sim: SimIrys) -> None:
        sim.change["payload"] = sim.change["data"] = lambda _: http(raw)
        sim.change["metadata"] = lambda _: http(b"", status="404 Not Found")

    return setup


def every(answer: Callable[[], Sent]) -> Setup:
    """The same answer to everything."""

    def setup(sim: SimIrys) -> None:
        sim.change["any"] = sim.change["absent"] = lambda _: answer()

    return setup


def status(line: str, body: bytes = b"", headers: str = "") -> Setup:
    return every(lambda: http(body, status=line, headers=headers))


def redirect(location: str, line: str = "302 Found") -> Setup:
    return status(line, headers=f"Location: {location}\r\n")


# --- wrong bytes: the payload against honest fields -----------------------------------------------------

WRONG_PAYLOADS: dict[str, Setup] = {
    "first byte": serve_body(lambda b: flip(b, 0)),
    "last byte": serve_body(lambda b: flip(b, -1)),
    "a byte in the middle": serve_body(lambda b: flip(b, len(b) // 2, 128)),
    "one byte short": serve_body(lambda b: b[:-1]),
    "half of it": serve_body(lambda b: b[: len(b) // 2]),
    "nothing": serve_body(lambda b: b""),
    "a zero byte more": serve_body(lambda b: b + b"\0"),
    "a newline more": serve_body(lambda b: b + b"\n"),
    "a newline before": serve_body(lambda b: b"\n" + b),
    "a byte-order mark before": serve_body(lambda b: b"\xef\xbb\xbf" + b),
    "twice": serve_body(lambda b: b + b),
    "two halves swapped": serve_body(lambda b: b[512:] + b[:512]),
    "zeros of the right length": serve_body(lambda b: bytes(len(b))),
    "right bytes of another id": serve_body(lambda b: OTHER.data),
    "a whole item of another id": serve_body(lambda b: assemble(OTHER)),
    "an error page": serve_body(lambda b: b"<html><h1>404</h1></html>"),
    "its base64": serve_body(base64.b64encode),
    "its gzip, unannounced": serve_body(gzip.compress),
    "its hexadecimal digits": serve_body(lambda b: b.hex().encode()),
    "the metadata instead": serve_body(lambda b: json.dumps(metadata_of(ITEM)).encode()),
}

# --- wrong bytes: fields that contradict the honest payload ---------------------------------------------

TAGS = metadata_of(ITEM)["tags"]
SWAPPED = [{"name": TAGS[0]["value"], "value": TAGS[0]["name"]}]

CONTRADICTIONS: dict[str, Setup] = {
    "owner: first byte of X": claim(owner=base64url_encode(flip(ITEM.owner, 1))),
    "owner: last byte": claim(owner=base64url_encode(flip(ITEM.owner, -1))),
    "owner: no point": claim(owner=base64url_encode(b"\4" + bytes(64))),
    "owner: compressed form's byte": claim(owner=base64url_encode(flip(ITEM.owner, 0, 6))),
    "a target that was not signed": claim(target=base64url_encode(bytes(32))),
    "anchor: first byte": claim(anchor=base64url_encode(flip(ITEM.anchor, 0))),
    "anchor: last byte": claim(anchor=base64url_encode(flip(ITEM.anchor, -1))),
    "anchor: another literal": claim(anchor="A" * 32),
    "tag name: a bit": claim(tags=[{**TAGS[0], "name": TAGS[0]["name"].swapcase()}]),
    "tag value: a space": claim(tags=[{**TAGS[0], "value": TAGS[0]["value"] + " "}]),
    "name and value swapped": claim(tags=SWAPPED),
    "a tag more": claim(tags=[*TAGS, {"name": "a", "value": "b"}]),
    "a tag twice": claim(tags=TAGS * 2),
    "no tags": claim(tags=[]),
    "tags null": claim_raw(
        lambda _: http(json.dumps({**metadata_of(ITEM), "tags": None}).encode()),
    ),
    "an empty tag": claim(tags=[*TAGS, {"name": "", "value": ""}]),
}

# --- fields that prove nothing: the payload is honest, and stays unproven -------------------------------


def garbage(text: bytes) -> Setup:
    return claim_raw(lambda _: http(text))


USELESS: dict[str, Setup] = {
    "no metadata": claim_raw(lambda _: http(b"", status="404 Not Found")),
    "signature: first bit": claim(signature=base64url_encode(flip(ITEM.signature, 0))),
    "signature: the recovery byte": claim(signature=base64url_encode(flip(ITEM.signature, -1))),
    "signature of another item": claim(signature=base64url_encode(OTHER.signature)),
    "another item's metadata": claim_raw(lambda _: http(json.dumps(metadata_of(OTHER)).encode())),
    "no signature": claim(signature=None),
    "signature: a number": claim(signature=7),
    "signature: not base64url": claim(signature="*" * 87),
    "signature: padded": claim(signature=base64url_encode(ITEM.signature) + "="),
    "no owner": claim(owner=None),
    "owner: an object": claim(owner={}),
    "owner: one byte short": claim(owner=base64url_encode(ITEM.owner[1:])),
    "owner of a multi-signature's size": claim(owner=base64url_encode(bytes(1025))),
    "another id named": claim(id=base64url_encode(OTHER.id)),
    "id: a list": claim(id=[]),
    "no anchor": claim(anchor=None),
    "anchor: 31 bytes": claim(anchor=base64url_encode(bytes(31))),
    "anchor: a number": claim(anchor=32),
    "anchor: a lone surrogate": claim(anchor="\ud800" * 32),
    "target: 31 bytes": claim(target=base64url_encode(bytes(31))),
    "target: a list": claim(target=[0] * 32),
    "tags: a string": claim(tags="Content-Type"),
    "tags: strings": claim(tags=["a", "b"]),
    "tags: numbers as values": claim(tags=[{"name": "a", "value": 1}]),
    "tags: nothing in it": claim(tags=[{}]),
    "tags: lone surrogates": claim(tags=[{"name": "\ud800", "value": "x"}]),
    "tags: five thousand bytes": claim(tags=[{"name": "a", "value": "b" * 5000}]),
    "tags: ten thousand": claim(tags=[{"name": "a", "value": "b"}] * 8000),
    "JSON cut off": garbage(b'{"id": "abc", "signature": '),
    "JSON nested without end": garbage(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "brackets without end": garbage(b"[" * 100_000),
    "a number without end": garbage(b'{"data_size":' + b"9" * 100_000 + b"}"),
    "not UTF-8": garbage(b'{"id": "\xff\xfe"}'),
    "a list": garbage(b"[]"),
    "null": garbage(b"null"),
    "a web page": garbage(b"<!doctype html><p>welcome"),
    "nothing at all": garbage(b""),
    "metadata beyond its limit": garbage(b'{"a":"' + b"x" * (300 << 10) + b'"}'),
    "metadata without end": claim_raw(
        lambda _: forever(b"x" * 65536, first=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    ),
    "metadata: compressed": claim_raw(lambda b: http(gzip.compress(b), headers="Content-Encoding: gzip\r\n")),
    "metadata: a server error": claim_raw(lambda _: http(b"oops", status="500 Internal Server Error")),
    "metadata: redirected to a file": claim_raw(
        lambda _: http(b"", status="302 Found", headers="Location: file:///etc/passwd\r\n")
    ),
    "metadata: cut off": claim_raw(lambda b: http(b[:50], length=len(b))),
}

# --- wrong bytes: a whole item, one class of positions after the other ----------------------------------

RAW = assemble(ITEM)
_OWNER = 2 + 65
_TARGET = _OWNER + 65
_ANCHOR = _TARGET + 1
_COUNT = _ANCHOR + 33
_TAGS = _COUNT + 16
_DATA = _TAGS + len(ITEM.tag_bytes)

ITEMS_OF_THE_ID: dict[str, Setup] = {
    "item: owner's first byte": serve_item(flip(RAW, _OWNER)),
    "item: inside the owner": serve_item(flip(RAW, _OWNER + 20)),
    "item: anchor's first byte": serve_item(flip(RAW, _ANCHOR + 1)),
    "item: anchor's last byte": serve_item(flip(RAW, _COUNT - 1)),
    "item: inside a tag's name": serve_item(flip(RAW, _TAGS + 4)),
    "item: inside a tag's value": serve_item(flip(RAW, _DATA - 3)),
    "item: payload's first byte": serve_item(flip(RAW, _DATA)),
    "item: payload's last byte": serve_item(flip(RAW, -1)),
    "item: one byte short": serve_item(RAW[:-1]),
    "item: one byte more": serve_item(RAW + b"\0"),
    "item: without its payload": serve_item(RAW[:_DATA]),
    "item: with another payload": serve_item(RAW[:_DATA] + OTHER.data),
    "item: anchor taken out": serve_item(RAW[:_ANCHOR] + b"\0" + RAW[_COUNT:]),
    "item: target put in": serve_item(RAW[:_TARGET] + b"\1" + bytes(32) + RAW[_ANCHOR:]),
}

NO_ITEMS: dict[str, Setup] = {
    "item: signature type": serve_item(flip(RAW, 0)),
    "item: unknown signature type": serve_item(flip(RAW, 0, 8)),
    "item: signature's first byte": serve_item(flip(RAW, 2)),
    "item: signature's last byte": serve_item(flip(RAW, _OWNER - 1)),
    "item: target's presence byte 2": serve_item(flip(RAW, _TARGET, 2)),
    "item: anchor's presence byte 255": serve_item(flip(RAW, _ANCHOR, 254)),
    "item: number of tags one more": serve_item(flip(RAW, _COUNT, 3)),
    "item: number of tags zero": serve_item(RAW[:_COUNT] + bytes(8) + RAW[_COUNT + 8 :]),
    "item: number of tags beyond all": serve_item(flip(RAW, _COUNT + 7, 128)),
    "item: size of tags beyond all": serve_item(flip(RAW, _COUNT + 15, 128)),
    "item: size of tags one less": serve_item(flip(RAW, _COUNT + 8)),
    "item: tags without their end": serve_item(flip(RAW, _DATA - 1, 2)),
    "item: cut inside the signature": serve_item(RAW[:40]),
    "item: cut inside the owner": serve_item(RAW[: _OWNER + 30]),
    "item: cut inside the anchor": serve_item(RAW[: _COUNT - 5]),
    "item: cut inside the tags": serve_item(RAW[: _DATA - 1]),
    "item: seventy-nine bytes": serve_item(RAW[:79]),
    "item: of another id, flawless": serve_item(assemble(OTHER)),
    "item: a bundle that holds it": serve_item(
        (1).to_bytes(32, "little") + len(RAW).to_bytes(32, "little") + ITEM.id + RAW
    ),
}

# --- HTTP as a weapon -----------------------------------------------------------------------------------


@functools.cache
def bomb() -> bytes:
    return gzip.compress(bytes(50 << 20), 9)


HEAD = b"HTTP/1.1 200 OK\r\n"
ABSENT: dict[str, Setup] = {
    "404": status("404 Not Found", b"Not Found"),
    "410": status("410 Gone"),
    "404 with the right bytes": status("404 Not Found", DATA),
    "404 without end, cut at the limit": status("404 Not Found", bytes(5000)),
}

BROKEN: dict[str, Setup] = {
    "202": status("202 Accepted", DATA),
    "203": status("203 Non-Authoritative Information", DATA),
    "204": status("204 No Content"),
    "206 unasked": status("206 Partial Content", DATA, "Content-Range: bytes 0-9/1024\r\n"),
    "400": status("400 Bad Request", DATA),
    "401": status("401 Unauthorized", DATA),
    "402": status("402 Payment Required", DATA),
    "403": status("403 Forbidden", DATA),
    "418": status("418 I'm a teapot", DATA),
    "429": status("429 Too Many Requests", headers="Retry-After: 86400\r\n"),
    "429, forever, with nonsense": status("429 Too Many Requests", headers="Retry-After: -1e9\r\n"),
    "451": status("451 Unavailable For Legal Reasons"),
    "500": status("500 Internal Server Error", DATA),
    "502": status("502 Bad Gateway"),
    "503": status("503 Service Unavailable", b"\x1b]0;title\x07"),
    "522": status("522 Origin Timed Out"),
    "redirect to a file": redirect("file:///etc/passwd"),
    "redirect to a private address": redirect("http://10.0.0.1/x"),
    "redirect to a private address over https": redirect("https://192.168.1.1/x"),
    "redirect to the cloud's metadata": redirect("http://169.254.169.254/latest/meta-data/"),
    "redirect to loopback in IPv6": redirect("https://[::1]/x"),
    "redirect to loopback in IPv6's IPv4": redirect("https://[::ffff:127.0.0.1]/x"),
    "redirect to localhost": redirect("https://localhost/x"),
    "redirect to a stranger": redirect("https://evil.example/x"),
    "redirect to plain http": redirect("http://gateway.irys.xyz/x"),
    "redirect to another port": redirect("http://127.0.0.1:1/x"),
    "redirect to ftp": redirect("ftp://gateway.irys.xyz/x"),
    "redirect to a script": redirect("javascript:alert(1)"),
    "redirect to nothing": redirect(""),
    "redirect with a password": redirect("https://a:b@gateway.irys.xyz/x"),
    "redirect that is no URL": redirect("https://[::1"),
    "redirect to itself": redirect("?again"),
    "redirect without a place": status("302 Found"),
    "redirect 307 to a stranger": redirect("https://evil.example/x", "307 Temporary Redirect"),
    "300 with a choice": status("300 Multiple Choices", DATA),
    "304 unasked": status("304 Not Modified"),
    "a gzip bomb": every(lambda: http(bomb(), headers="Content-Encoding: gzip\r\n")),
    "a gzip bomb in the transfer": every(
        lambda: HEAD + b"Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n" + bomb()[:500]
    ),
    "deflate": serve(lambda b: http(zlib.compress(b), headers="Content-Encoding: deflate\r\n")),
    "br": serve(lambda b: http(b, headers="Content-Encoding: br\r\n")),
    "gzip and identity": serve(
        lambda b: http(gzip.compress(b), headers="Content-Encoding: gzip, identity\r\n")
    ),
    "fewer bytes than announced": serve(lambda b: http(b, length=len(b) + 1)),
    "a negative length": every(lambda: HEAD + b"Content-Length: -5\r\n\r\n"),
    "two lengths": every(lambda: HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"),
    "chunks cut off": every(lambda: HEAD + b"Transfer-Encoding: chunked\r\n\r\n400\r\nabc"),
    "a chunk that is no number": every(lambda: HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc"),
    "no HTTP": every(lambda: b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a status that is no number": every(lambda: b"HTTP/1.1 abc OK\r\n\r\n"),
    "nothing at all": every(lambda: b""),
    "headers without end": every(lambda: forever(b"X-A: b\r\n" * 100, first=HEAD)),
    "one header without end": every(lambda: forever(b"a" * 65536, first=HEAD + b"X-A: ")),
}

TOO_LARGE: dict[str, Setup] = {
    "a body without end": serve(lambda _: forever(bytes(65536), first=HEAD + b"Connection: close\r\n\r\n")),
    "chunks without end": serve(
        lambda _: forever(
            b"400\r\n" + bytes(1024) + b"\r\n", first=HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        )
    ),
    "a huge announced length": serve(lambda _: HEAD + b"Content-Length: 999999999999\r\n\r\n"),
    "ten kilobytes more": serve_body(lambda b: b + bytes(20_000)),
    "ten kilobytes before": serve_body(lambda b: bytes(20_000) + b),
}

SLOW: dict[str, Setup] = {
    "no answer": every(lambda: forever(b"", pause=0.05)),
    "a status, then nothing": every(lambda: forever(b"", pause=0.05, first=HEAD)),
    "headers, drop by drop": every(lambda: forever(b"X: y\r\n", pause=0.05, first=HEAD)),
    "a body, drop by drop": serve(
        lambda _: forever(b"x", pause=0.05, first=HEAD + b"Content-Length: 1024\r\n\r\n")
    ),
    "half a body, then nothing": serve(
        lambda b: forever(b"", pause=0.05, first=HEAD + b"Content-Length: 1024\r\n\r\n" + b[:512])
    ),
    "metadata, drop by drop": claim_raw(
        lambda _: forever(b" ", pause=0.05, first=HEAD + b"Content-Length: 1024\r\n\r\n")
    ),
}

# --- other schemes --------------------------------------------------------------------------------------


def chain_case() -> dict[str, Any]:
    (case,) = (entry for entry in load("10")["cases"] if entry["name"] == "v1a-git-32768")
    found: dict[str, Any] = case
    return found


def l1_case() -> dict[str, Any]:
    found: dict[str, Any] = load("09")["cases"][1]
    return found


CHAIN_HEADERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another data root": lambda h: {**h, "dataRoot": h["anchor"]},
    "another size": lambda h: {**h, "dataSize": "32769"},
    "another signer": lambda h: {**h, "signer": "1" * 20},
    "another fee": lambda h: {**h, "termFee": "1"},
    "another chain": lambda h: {**h, "chainId": "1"},
    "another format": lambda h: {**h, "version": 0},
    "a prefix hash that was not signed": lambda h: {**h, "prefixHash": "1" * 32, "prefixSize": "0"},
}

L1_HEADERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another data root": lambda h: {**h, "data_root": base64url_encode(bytes(32))},
    "no data": lambda h: {**h, "data_root": "", "data_size": "0"},
    "another size": lambda h: {**h, "data_size": str(int(h["data_size"]) + 1)},
    "another owner": lambda h: {**h, "owner": base64url_encode(b"\xff" * 512)},
    "tags taken away": lambda h: {**h, "tags": []},
    "another reward": lambda h: {**h, "reward": "0"},
    "another target": lambda h: {**h, "target": base64url_encode(bytes(32))},
}


def holding_blob(sim: SimIrys, case: dict[str, Any], header: dict[str, Any]) -> bytes:
    """Let ``sim`` serve a transaction's data and a header for it; returns the id."""
    sim.blobs[case["id"]["base64url"]] = payload(case["payload_recipe"])
    for form in ("base58", "base64url"):
        sim.chain_headers[case["id"][form]] = header
    return id_bytes(case["id"])


# --- connections that are reset -------------------------------------------------------------------------


class Resetting:
    """A server that resets each connection in one phase: TCP's RST, not an orderly end."""

    def __init__(self, prefix: bytes | None) -> None:
        """``prefix`` is sent after the request was read; ``None`` resets before it is read."""

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                connection: socket.socket = self.request
                connection.settimeout(30)
                try:
                    if prefix is not None:
                        connection.recv(65536)
                        connection.sendall(prefix)
                except OSError:
                    pass
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def shutdown_request(self, request: Any) -> None:
                request.close()  # no orderly end first

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


RESETS: dict[str, bytes | None] = {
    "before the request is read": None,
    "after the request": b"",
    "in the status line": b"HTTP/1.1 2",
    "in the headers": HEAD + b"Content-Le",
    "before the body": HEAD + b"Content-Length: 1024\r\n\r\n",
    "in the body": HEAD + b"Content-Length: 1024\r\n\r\n" + DATA[:500],
    "one byte before its end": HEAD + b"Content-Length: 1024\r\n\r\n" + DATA[:-1],
    "in a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + DATA[:100],
}
