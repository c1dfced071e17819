# mypy: ignore-errors
"""Framed messages over the one inherited socket, child side.

A frame is 4 bytes of magic, 1 byte of kind, 8 bytes of length, 4 bytes of checksum (little endian; CRC-32 of
what stands before it and of the payload), then the payload. The same numbers stand in the verifier's own
frame reader, which trusts nothing that is written here.
"""

import os
import socket
import struct
import zlib

MAGIC = b"AXH2"
HEADER = struct.Struct("<4sBQI")
_CHECKED = struct.Struct("<4sBQ")

# From a training program to the verifier, and back.
GRAPH = 0x01
UNSUPPORTED = 0x02
MONITOR = 0x11
VALUE = 0x12

# From an evaluator or a row reader to the verifier, and back.
READY = 0x21
PRIMITIVES = 0x22
LOGITS = 0x23
FAILED = 0x24
INPUTS = 0x25
TARGETS = 0x26
FURTHER_INPUTS = 0x27
FURTHER_TARGETS = 0x28
BYTE_TABLE = 0x29
CHECK = 0x2A
LOAD = 0x31
TOKENS = 0x32

DESCRIPTOR_VARIABLE = "ARMLX_HARNESS_FD"
GRAPH_LIMIT_VARIABLE = "ARMLX_HARNESS_GRAPH_BYTES"
LOGITS_VARIABLE = "ARMLX_HARNESS_LOGITS_FD"

MAX_ANSWER = 1 << 20


def connect():
    """The socket to the verifier."""
    return socket.socket(fileno=os.dup(int(os.environ[DESCRIPTOR_VARIABLE])))


def checksum(kind, payload):
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(MAGIC, kind, len(payload))))


def send(channel, kind, payload=b""):
    view = memoryview(payload).cast("B")
    channel.sendall(HEADER.pack(MAGIC, kind, len(view), checksum(kind, view)))
    channel.sendall(view)


def receive(channel, limit=MAX_ANSWER):
    """The next message as (kind, payload).

    Raises:
        ConnectionError: the verifier is gone, or what came is no message.
    """
    magic, kind, length, expected = HEADER.unpack(_exactly(channel, HEADER.size))
    if magic != MAGIC or length > limit:
        raise ConnectionError("not a message of the verifier")
    payload = _exactly(channel, length)
    if checksum(kind, payload) != expected:
        raise ConnectionError("a message of the verifier arrived broken")
    return kind, payload


def _exactly(channel, count):
    buffer = bytearray(count)
    view = memoryview(buffer)
    have = 0
    while have < count:
        got = channel.recv_into(view[have:])
        if got == 0:
            raise ConnectionError("the verifier closed the channel")
        have += got
    return bytes(buffer)
