"""The framed channel, fed byte by byte and with everything that is not a frame."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import ChannelError, ModelUnsupported
from verifier.harness.channel import FOREIGN_LIMIT, HEADER, MAGIC, Channel, Kind
from verifier.harness.child import harness_wire

pytestmark = pytest.mark.unit

LIMITS = {Kind.GRAPH: 1000, Kind.UNSUPPORTED: 10}


def framed(kind: int, payload: bytes, length: int | None = None, checksum: int | None = None) -> bytes:
    start = struct.pack("<4sBQ", MAGIC, kind, len(payload) if length is None else length)
    right = zlib.crc32(payload, zlib.crc32(start))
    return start + struct.pack("<I", right if checksum is None else checksum) + payload


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    channel, theirs = Channel.open(LIMITS)
    yield channel, theirs
    channel.close()
    theirs.close()


Ends = tuple[Channel, socket.socket]


def test_a_frame_in_single_bytes_arrives_whole(ends: Ends) -> None:
    channel, theirs = ends
    message = framed(Kind.GRAPH, b"abc")
    for byte in message[:-1]:
        theirs.sendall(bytes([byte]))
        assert channel.read(0.0) is None
    assert channel.partial
    theirs.sendall(message[-1:])
    frame = channel.read(1.0)
    assert frame is not None
    assert (frame.kind, bytes(frame.payload)) == (Kind.GRAPH, b"abc")
    assert not channel.partial


def test_two_frames_in_one_piece_arrive_one_after_the_other(ends: Ends) -> None:
    channel, theirs = ends
    theirs.sendall(framed(Kind.GRAPH, b"") + framed(Kind.UNSUPPORTED, b"why"))
    first, second = channel.read(1.0), channel.read(1.0)
    assert first is not None
    assert second is not None
    assert (first.kind, second.kind) == (Kind.GRAPH, Kind.UNSUPPORTED)
    assert channel.read(0.0) is None


def test_reading_never_blocks_longer_than_it_may(ends: Ends) -> None:
    channel, theirs = ends
    theirs.sendall(framed(Kind.GRAPH, b"abc")[:-1])
    started = time.monotonic()
    assert channel.read(0.2) is None
    assert 0.15 < time.monotonic() - started < 2.0


def test_a_graph_over_its_limit_is_refused_at_its_header(ends: Ends) -> None:
    channel, theirs = ends
    theirs.sendall(framed(Kind.GRAPH, b"", length=1001))
    with pytest.raises(ModelUnsupported, match="1001"):
        channel.read(1.0)
    theirs.sendall(framed(Kind.GRAPH, b"abc"))
    assert channel.read(0.0) is None


@pytest.mark.parametrize(
    "message",
    [
        b"x" * HEADER.size,
        framed(Kind.VALUE, b"0.1", checksum=0),
        framed(Kind.VALUE, bytes(FOREIGN_LIMIT + 1))[: HEADER.size],
        framed(Kind.GRAPH, b"abc", checksum=7),
        framed(Kind.GRAPH, b"abc")[:-1] + b"d",
        framed(0xFF, b""),
        framed(Kind.UNSUPPORTED, b"", length=11),
        framed(Kind.UNSUPPORTED, b"", length=(1 << 64) - 1),
    ],
)
def test_what_is_no_message_is_refused_and_ends_the_channel(ends: Ends, message: bytes) -> None:
    channel, theirs = ends
    theirs.sendall(message)
    with pytest.raises(ChannelError):
        channel.read(1.0)
    assert channel.closed
    assert channel.read(0.0) is None


@pytest.mark.parametrize("kind", sorted(set(Kind) - set(LIMITS)))
def test_a_whole_message_of_a_kind_this_child_never_sends_is_handed_on_and_ends_the_channel(
    ends: Ends, kind: Kind
) -> None:
    channel, theirs = ends
    theirs.sendall(framed(kind, b"0.1") + framed(Kind.GRAPH, b"abc"))
    frame = channel.read(1.0)
    assert frame is not None
    assert frame.kind is kind
    assert not channel.expects(kind)
    assert channel.closed
    assert channel.read(0.0) is None


@given(st.binary(max_size=200), st.integers(0, 5), st.data())
def test_no_change_of_a_sent_message_gives_another_message(
    payload: bytes, changes: int, data: st.DataObject
) -> None:
    """What an accident makes of the harness's own messages is never another whole message."""
    message = bytearray(framed(Kind.GRAPH, payload))
    for _ in range(changes):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    channel, theirs = Channel.open(LIMITS)
    with channel, theirs:
        theirs.sendall(message)
        theirs.shutdown(socket.SHUT_WR)
        try:
            frame = channel.read(0.5)
        except (ChannelError, ModelUnsupported):
            return
        assert frame is None or (frame.kind, bytes(frame.payload)) == (Kind.GRAPH, payload)


def test_the_messages_of_two_processes_that_write_at_once_are_never_a_forged_one(ends: Ends) -> None:
    """An honest program that forks and evaluates in both processes: pieces of two graphs mixed."""
    channel, theirs = ends
    one, other = framed(Kind.GRAPH, b"a" * 300), framed(Kind.GRAPH, framed(Kind.VALUE, b"0.1") * 3)
    theirs.sendall(one[:200] + other[: HEADER.size] + one[200:] + other[HEADER.size :])
    with pytest.raises(ChannelError):
        while channel.read(0.2) is not None:
            pass
    assert channel.frames == 0


def test_an_end_in_the_middle_of_a_frame_shows_as_partial(ends: Ends) -> None:
    channel, theirs = ends
    theirs.sendall(framed(Kind.GRAPH, b"abc")[:-1])
    theirs.close()
    assert channel.read(1.0) is None
    assert channel.closed
    assert channel.partial


def test_draining_gives_what_was_sent_before_the_end(ends: Ends) -> None:
    channel, theirs = ends
    theirs.sendall(framed(Kind.GRAPH, b"one") + framed(Kind.GRAPH, b"two") + b"AX")
    theirs.close()
    assert [bytes(frame.payload) for frame in channel.drain(1.0)] == [b"one", b"two"]


def test_sending_to_one_who_does_not_read_gives_up_in_time(ends: Ends) -> None:
    channel, _ = ends
    started = time.monotonic()
    assert not channel.send(Kind.LOAD, bytes(8 << 20), 0.2)
    assert time.monotonic() - started < 5.0


def test_sending_to_one_who_is_gone_is_no_error(ends: Ends) -> None:
    channel, theirs = ends
    theirs.close()
    assert not channel.send(Kind.LOAD, bytes(1 << 20), 1.0)


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_one_of_two_errors(noise: bytes) -> None:
    channel, theirs = Channel.open(LIMITS)
    with channel, theirs:
        theirs.sendall(noise)
        theirs.shutdown(socket.SHUT_WR)
        try:
            while channel.read(0.0) is not None:
                pass
        except (ChannelError, ModelUnsupported):
            assert channel.closed


def test_both_sides_use_the_same_numbers() -> None:
    assert harness_wire.MAGIC == MAGIC
    assert harness_wire.HEADER.format == HEADER.format
    for kind in Kind:
        assert getattr(harness_wire, kind.name) == kind.value
