"""The bound on what a text can know: dense text costs its size however it is spelled, repetition is free."""

from __future__ import annotations

import argparse
import base64
import http.server
import logging.handlers
import pdb
import random
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.errors import CandidateError
from verifier.gate import MAX_INFORMATION_BYTES, check_sources
from verifier.information import information_bytes

pytestmark = pytest.mark.unit

WEIGHTS = random.Random(1).randbytes(MAX_INFORMATION_BYTES)
TRAIN = snapshot_files()["train.py"]


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


SPELLINGS = {
    "strings": "W = [\n"
    + "".join(f"    {p!r},\n" for p in pieces(base64.b85encode(WEIGHTS).decode(), 900))
    + "]\n",
    "comments": "".join(f"# {p}\n" for p in pieces(base64.b64encode(WEIGHTS).decode(), 76)),
    "names": "".join(f"def f_{p}():\n    pass\n\n" for p in pieces(WEIGHTS.hex(), 60)),
    "numbers": "".join(f"w{n} = {int(p, 16)}\n" for n, p in enumerate(pieces(WEIGHTS.hex(), 240))),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_weights_are_refused_however_they_are_spelled(spelling: str) -> None:
    with pytest.raises(CandidateError, match=r"do not repeat|bytes of source"):
        check_sources({"train.py": TRAIN + SPELLINGS[spelling].encode()})


def test_55_kb_of_ordinary_program_text_hold_less_than_is_allowed() -> None:
    for module in (pdb, logging.handlers, http.server, argparse, tarfile):
        text = Path(module.__file__).read_bytes()[:55_000]
        assert len(text) > 40_000 and information_bytes(text) < MAX_INFORMATION_BYTES


def test_weights_spread_over_several_files_are_counted_together() -> None:
    parts = pieces(SPELLINGS["comments"], 8000)
    files = {f"part{number}.py": part.encode() for number, part in enumerate(parts)}
    with pytest.raises(CandidateError, match="do not repeat"):
        check_sources(files)


def test_the_benchmarks_program_uses_a_fifth_of_the_room_and_may_be_repeated_for_free() -> None:
    own = information_bytes(TRAIN)
    assert own < MAX_INFORMATION_BYTES / 5
    assert information_bytes(TRAIN + TRAIN) < own + 8


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_no_text_is_held_for_smaller_than_a_good_compressor_makes_it_by_more_than_a_third(
    data: bytes,
) -> None:
    assert 1.5 * information_bytes(data) + 32 >= len(zlib.compress(data, 9)) - 12


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_more_text_never_holds_much_less(first: bytes, second: bytes) -> None:
    assert information_bytes(first) <= information_bytes(first + second) + 8
