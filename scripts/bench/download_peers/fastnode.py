#!/usr/bin/env python3
"""A storage node that only serves one made-up file, as fast as this machine can: for benchmarks.

All answers are made before the first request: base64 of every segment, its proof, the JSON around it. So what
a benchmark measures is the client. It speaks enough of the protocol for our client and the two SDKs, and
serves all of them from the same bytes.

Prints one line of JSON when it is ready: {"url", "root", "size", "sha256"}.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import socket
import threading
from typing import Any

from armlx_chain.storage.zerog.merkle import FileTree
from armlx_chain.storage.zerog.wire import proof_json

SEGMENT = 262144
CHUNKS = 1024


def content(size: int) -> bytes:
    """Bytes without a pattern, the same in every run."""
    return hashlib.shake_256(b"armlx benchmark").digest(size)


class FastNode:
    """One file, one node, one indexer, one gateway."""

    def __init__(self, size: int) -> None:
        self._data = content(size)
        self.sha256 = hashlib.sha256(self._data).hexdigest()
        self._tree = FileTree.of(self._data)
        self.root = self._tree.root.hex
        self._base64: list[bytes] = []
        self._around: list[tuple[bytes, bytes]] = []
        for index in range(-(-size // SEGMENT)):
            piece = self._data[index * SEGMENT : (index + 1) * SEGMENT]
            self._base64.append(base64.b64encode(piece + bytes(-len(piece) % 256)))
            head = {"root": self.root, "index": index, "proof": proof_json(self._tree.proof(index))}
            text = json.dumps({**head, "fileSize": size, "data": "@"}, separators=(",", ":"))
            before, _, after = text.partition("@")
            self._around.append((before.encode(), after.encode()))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                length = 0
                while (header := reader.readline().strip()) != b"":
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                body = reader.read(length)
                try:
                    self._answer(connection, line.split()[0], body)
                except OSError:
                    return

    def _answer(self, connection: socket.socket, verb: bytes, body: bytes) -> None:
        if verb == b"GET":
            disposition = b"Content-Disposition: attachment\r\n"
            self._send(connection, [self._data], disposition)
            return
        call = json.loads(body)
        pieces = self._result(call["method"], call.get("params") or [])
        head = b'{"jsonrpc":"2.0","id":' + json.dumps(call["id"]).encode() + b',"result":'
        self._send(connection, [head, *pieces, b"}"])

    @staticmethod
    def _send(connection: socket.socket, pieces: list[bytes], headers: bytes = b"") -> None:
        total = sum(map(len, pieces))
        first = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + headers
        first += b"Content-Length: %d\r\n\r\n" % total
        for piece in [first, *pieces[:-1]]:
            connection.sendall(piece, socket.MSG_MORE)
        connection.sendall(pieces[-1])

    def _result(self, method: str, params: list[Any]) -> list[bytes]:
        if method.startswith("zgs_downloadSegmentWithProof"):
            before, after = self._around[params[1]]
            return [before, self._base64[params[1]], after]
        if method.startswith("zgs_downloadSegment"):
            return [b'"', self._base64[params[1] // CHUNKS], b'"']
        return [json.dumps(self._small(method)).encode()]

    def _small(self, method: str) -> Any:
        shard = {"shardId": 0, "numShard": 1}
        listed = [{"url": self.url, "config": shard, "latency": 1, "since": 0}]
        tx = {
            "streamIds": [],
            "data": [],
            "dataMerkleRoot": self.root,
            "merkleNodes": [[n.height + 1, "0x" + n.root.hex()] for n in self._tree.submission_nodes],
            "startEntryIndex": CHUNKS,
            "size": self._tree.size,
            "seq": 0,
        }
        info = {"tx": tx, "finalized": True, "isCached": False, "pruned": False}
        answers: dict[str, Any] = {
            "zgs_getShardConfig": shard,
            "indexer_getFileLocations": listed,
            "indexer_getShardedNodes": {"trusted": listed, "discovered": None},
            "zgs_getFileInfo": {**info, "uploadedSegNum": len(self._base64)},
        }
        return answers.get(method)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mib", type=int, default=256, help="size of the file")
    node = FastNode(parser.parse_args().mib << 20)
    ready = {"url": node.url, "root": node.root, "size": len(node._data), "sha256": node.sha256}
    print(json.dumps(ready), flush=True)
    node.serve()


if __name__ == "__main__":
    main()
