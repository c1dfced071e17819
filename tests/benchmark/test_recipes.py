"""Recipes: what they may say, and that a recipe that no longer fits is noticed."""

from __future__ import annotations

import ast

import pytest

from armlx_chain.devnet.benchmark import candidates
from armlx_chain.devnet.benchmark.edits import parse_recipe
from armlx_chain.devnet.benchmark.project import snapshot_files
from armlx_chain.errors import DevnetError

pytestmark = pytest.mark.unit

BASE = b"one\ntwo\n    two\nthree\n"


def apply(text: str) -> bytes:
    return parse_recipe(text).apply(BASE)


def test_lines_are_replaced_whole() -> None:
    assert apply("#@ replace\ntwo\n#@ with\n2\n#@ end\n") == b"one\n2\n    two\nthree\n"


def test_the_first_line_can_be_replaced() -> None:
    assert apply("#@ replace\none\n#@ with\n#@ end\n") == b"two\n    two\nthree\n"


def test_edits_work_on_what_the_edits_before_them_left() -> None:
    text = "#@ before\nzero\n#@ end\n\n#@ replace\nzero\none\n#@ with\n01\n#@ end\n#@ after\nfour\n#@ end\n"
    assert apply(text) == b"01\ntwo\n    two\nthree\nfour\n"


def test_the_whole_file_can_be_exchanged() -> None:
    assert apply("#@ whole\nnew\n#@ end\n") == b"new\n"


def test_a_header_value_goes_on_in_indented_comment_lines() -> None:
    assert parse_recipe("# a: one\n#   more: of it\n# b: two\n").facts == {"a": "one more: of it", "b": "two"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#@ replace\nfour\n#@ with\n4\n#@ end\n", "occur 0 times"),
        ("#@ replace\nt\n#@ with\n4\n#@ end\n", "occur 0 times"),
        ("#@ after\ntwo\n#@ end\n#@ replace\ntwo\n#@ with\n2\n#@ end\n", "occur 2 times"),
        ("#@ replace\n\n#@ with\n2\n#@ end\n", "names no lines"),
        ("#@ replace\ntwo\n#@ end\n", "no line '#@ with'"),
        ("#@ before\nzero\n", "no line '#@ end'"),
        ("#@ remove\ntwo\n#@ end\n", "no edit called 'remove'"),
        ("#@ before\nzero\n#@ end\nstray\n", "belongs to no edit"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(text: str, why: str) -> None:
    with pytest.raises(DevnetError, match=why):
        apply(text)


def test_every_candidate_of_the_demonstration_is_python_and_differs_from_the_snapshot() -> None:
    base = snapshot_files()["train.py"]
    sources = {name: candidates.source(name) for name in candidates.NAMES}
    for source in sources.values():
        ast.parse(source)
    assert len({base, *sources.values()}) == 5
    assert ast.dump(ast.parse(sources["noop"])) == ast.dump(ast.parse(base))


def test_an_unknown_candidate_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(DevnetError, match="better, noop"):
        candidates.source("best")
