"""The framed channel, fed byte by byte and with everything that is not a frame."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.errors import ChannelError, ModelUnsupported
from verifier.harness.channel import HEADER, MAGIC, Channel, Kind
from verifier.harness.child import harness_wire

pytestmark = pytest.mark.unit

LIMITS = {Kind.GRAPH: 1000, Kind.UNSUPPORTED: 10}


def framed(kind: int, payload: bytes, length: int | None = None) -> bytes:
    return struct.pack("<4sBQ", MAGIC, kind, len(payload) if length is None else length) + payload


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
        framed(Kind.VALUE, b"0.1"),
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
