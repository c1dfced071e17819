"""Globs against a slow reference on a small world."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_documents import document

from armlx_chain.protocol.globs import Glob, overlap
from armlx_chain.protocol.parse import parse_protocol

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("train.py", "train.py", True),
        ("train.py", "trainxpy", False),
        ("train.py", "a/train.py", False),
        ("*.py", "train.py", True),
        ("*.py", "a/train.py", False),
        ("**/*.py", "train.py", True),
        ("**/*.py", "a/b/train.py", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/", "a/b", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "axb", False),
        ("?.py", "x.py", True),
        ("?.py", "/.py", False),
        ("**", "any/thing", True),
        ("a.b", "aXb", False),
        ("**/x", "yx", False),
    ],
)
def test_matching(glob: str, path: str, expected: bool) -> None:
    assert Glob.parse(glob).matches(path) is expected


def test_a_forbidden_folder_forbids_what_is_in_it_in_any_case() -> None:
    assert Glob.parse("lib").covers("LIB/x.py")
    assert not Glob.parse("lib").covers("libs/x.py")


def test_the_harness_cannot_be_changed_even_where_a_glob_allows_it() -> None:
    protocol = parse_protocol(
        document(
            mutableSurface__allowedGlobs=["src/**"],
            mutableSurface__forbiddenGlobs=["README.md"],
            immutableHarness__paths=["src/measure"],
        )
    )
    assert protocol.may_change("src/model.py")
    assert not protocol.may_change("src/Measure/table.py")
    assert not protocol.may_change("README.md")


PATHS = ["/".join(parts) for n in (1, 2, 3) for parts in itertools.product(["a", "b", "ab", "ba"], repeat=n)]
segments = st.sampled_from(["a", "b", "*", "?", "**", "a*", "*b", "ab", "?b", "a?", "*a*"])
globs = st.lists(segments, min_size=1, max_size=3).map("/".join)


@given(one=globs, other=globs)
@settings(max_examples=600, deadline=None)
def test_overlap_agrees_with_trying_all_paths_of_a_small_world(one: str, other: str) -> None:
    left, right = Glob.parse(one), Glob.parse(other)
    together = [path for path in PATHS if left.matches(path) and right.matches(path)]
    # Three segments of one or two letters hold a witness of every overlap of such globs, unless "**" forces
    # more segments; then only one direction can be concluded.
    if together:
        assert overlap(left, right)
    elif "**" not in one + other:
        assert not overlap(left, right)
    assert overlap(left, right) == overlap(right, left)


def test_overlap_sees_what_needs_more_than_the_small_world() -> None:
    assert overlap(Glob.parse("**/x/**"), Glob.parse("a/**/b"))
    assert not overlap(Glob.parse("**/x"), Glob.parse("**/y"))
    assert not overlap(Glob.parse("a/**"), Glob.parse("b/**"))
    assert not overlap(Glob.parse("**/a"), Glob.parse("*b"))


def test_a_hostile_glob_is_matched_in_linear_time() -> None:
    assert not Glob.parse("*a" * 300 + "b").matches("a" * 1_000)
