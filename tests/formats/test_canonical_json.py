"""Canonical JSON: one document, one sequence of bytes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import FormatError
from armlx_chain.formats.canonical import canonical_json, parse_canonical

pytestmark = pytest.mark.unit

keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


def listed(tree: object) -> object:
    if isinstance(tree, tuple):
        return [listed(item) for item in tree]
    return {key: listed(item) for key, item in tree.items()} if isinstance(tree, dict) else tree


@given(tree=trees)
@settings(max_examples=400, deadline=None)
def test_what_is_written_reads_back_and_is_ordinary_json(tree: object) -> None:
    data = canonical_json(tree)
    assert listed(parse_canonical(data)) == tree
    assert json.loads(data) == tree


@given(tree=trees, place=st.integers(0, 200), space=st.sampled_from([b" ", b"\n", b"\t", b","]))
@settings(max_examples=300, deadline=None)
def test_no_other_bytes_give_the_same_document(tree: object, place: int, space: bytes) -> None:
    data = canonical_json(tree)
    place = min(place, len(data))
    changed = data[:place] + space + data[place:]
    try:
        other = parse_canonical(changed)
    except FormatError:
        return
    assert listed(other) != tree


@given(data=st.binary(max_size=100))
@settings(max_examples=400, deadline=None)
def test_any_bytes_read_or_end_in_one_error(data: bytes) -> None:
    try:
        assert canonical_json(parse_canonical(data)) == data
    except FormatError:
        return


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), b"x", {1: 2}, {"ü": 1}, {"": 1}, "\ud800", {"a": object()}, {1, 2}],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", ascii(value)),
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(FormatError):
        canonical_json(value)


def test_deep_nesting_ends_in_one_error() -> None:
    deep: object = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(FormatError):
        canonical_json(deep)
    with pytest.raises(FormatError):
        parse_canonical(b"[" * 100_000 + b"]" * 100_000)


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    tree = {"text": '[{"' * 1_000 + "\\"}
    assert parse_canonical(canonical_json(tree)) == tree
