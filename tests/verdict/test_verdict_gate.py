"""The source gate: what it refuses, what it lets pass, and that nothing crashes it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.devnet.benchmark import files as benchmark_files
from armlx_chain.errors import CandidateError
from verifier.gate import MAX_ELEMENTS, MAX_SOURCE_BYTES, MAX_STRING_BYTES, check_sources

pytestmark = pytest.mark.unit

HONEST = b'''"""A training program."""

import mlx.core as mx

WIDTHS = [32, 64, 128]
NAME = "caf\xc3\xa9 \xe2\x80\x94 \xe4\xb8\xad"


def step(model, x):
    loss = model(x)
    mx.eval(loss)
    return loss.item()
'''


def refused(source: bytes, path: str = "train.py") -> CandidateError:
    with pytest.raises(CandidateError) as found:
        check_sources({path: source})
    return found.value


def test_an_honest_program_passes_with_the_words_others_flag():
    check_sources({"train.py": HONEST})
    check_sources({"train.py": b"import os, subprocess, socket\neval('1')\nexec('1')\n"})
    check_sources({"train.py": HONEST.replace(b"\n", b"\r\n")})
    check_sources({"train.py": b""})


def test_the_benchmarks_own_programs_pass():
    folder = Path(str(benchmark_files.__path__[0])) if hasattr(benchmark_files, "__path__") else None
    assert folder is not None
    sources = sorted(folder.glob("*.py"))
    assert sources
    for path in sources:
        check_sources({path.name: path.read_bytes()})


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"x = '\xff'\n", "not UTF-8"),
        (b"# \xc3\x28\n", "not UTF-8"),
        (b"\xff\xfex\x00", "not UTF-8"),
        (b"\xef\xbb\xbfx = 1\n", "U+FEFF"),
        (b"# -*- coding: utf-8 -*-\n", "encoding declaration"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=latin-1 :\n", "encoding declaration"),
        (b"x = 1\n# coding=utf-7\n", "encoding declaration"),
        (b"x = 1\ry = 2\n", "lone carriage return"),
        (b"x = 1\r\r\n", "lone carriage return"),
        (b"x = 1\x00\n", "U+0000"),
        (b"x = 1\x0c\n", "U+000C"),
        (b"x = '\x1b[2K'\n", "U+001B"),
        (b"x = 1 # \x7f\n", "U+007F"),
        ("x = 1 # \u202e drawkcab\n".encode(), "U+202E"),
        ("x = 'a\u2066b'\n".encode(), "U+2066"),
        ("x = 1 # \u061c\n".encode(), "U+061C"),
        ("x = 1 # \u2028 y = 2\n".encode(), "U+2028"),
        ("x = 1 # \u0085\n".encode(), "U+0085"),
        (b"# /// script\n# dependencies = ['evil']\n# ///\n", "PEP 723"),
        (b"x = 1\r\n# /// script\r\n", "PEP 723"),
        (b"#///script\n", "PEP 723"),
        (b"def f(:\n", "not valid Python"),
        (b"x = (\n", "not valid Python"),
        (b"print 'x'\n", "not valid Python"),
        (b"x = 1" + b"0" * 5000, "not valid Python"),
    ],
)
def test_each_rule_refuses_in_its_own_words(source, says):
    error = refused(source)
    assert says in error.message
    assert error.next_step
    assert "train.py" in error.message


def test_an_encoding_declaration_below_the_second_line_is_a_comment():
    check_sources({"train.py": b"x = 1\ny = 2\n# coding: none of this matters here\n"})


@pytest.mark.parametrize(
    "literal",
    [
        "'{}'",
        "b'{}'",
        "'{}' 'more'",
        "f'{}'",
        "f'{{x}}{}'",
        "('a'\n '{}')",
        "[1, '{}']",
        "f('{}')",
        "lambda x='{}': x",
    ],
)
def test_a_string_may_have_two_kibibytes_and_no_more(literal):
    fitting = literal.format("a" * (MAX_STRING_BYTES - 8))
    check_sources({"train.py": f"x = {fitting}\n".encode()})
    error = refused(f"x = {literal.format('a' * (MAX_STRING_BYTES + 1))}\n".encode())
    assert "string literal" in error.message


def test_an_escaped_surrogate_is_counted_and_crashes_nothing():
    check_sources({"train.py": b"x = '\\ud800'\n"})
    assert "string literal" in refused(b"x = '" + b"\\ud800" * 900 + b"'\n").message


def test_a_docstring_is_a_string_too():
    refused(b'"""' + b"a" * 3000 + b'"""\n')


@pytest.mark.parametrize(
    "shape", ["[{}]", "({},)", "{{{}}}", "f({})", "[[{}]]", "[({},), 1]", "dict(a=[{}])", "{{1: [{}]}}"]
)
def test_a_container_may_have_256_elements_and_no_more(shape):
    few = ",".join(str(n) for n in range(MAX_ELEMENTS - 2))
    many = ",".join(str(n) for n in range(MAX_ELEMENTS + 1))
    check_sources({"train.py": f"x = {shape.format(few)}\n".encode()})
    assert "256 elements" in refused(f"x = {shape.format(many)}\n".encode()).message


def test_a_table_in_rows_is_counted_as_one():
    rows = ",".join("[" + ",".join("1" * 20) + "]" for _ in range(20))
    assert "256 elements" in refused(f"x = [{rows}]\n".encode()).message


def test_a_dictionary_counts_its_values():
    entries = ",".join(f"{n}: {n}" for n in range(257))
    assert "256 elements" in refused(f"x = {{{entries}}}\n".encode()).message


def test_a_huge_number_is_a_string_in_disguise():
    check_sources({"train.py": b"x = 0x" + b"f" * 256 + b"\n"})
    assert "bits" in refused(b"x = 0x" + b"f" * 20_000 + b"\n").message


def test_weights_in_a_literal_are_refused_before_anything_runs():
    assert "string literal" in refused(b"W = '" + b"z" * 26_000 + b"'\n").message


def test_the_size_limit_is_for_all_files_together():
    half = b"#" * (MAX_SOURCE_BYTES // 2)
    check_sources({"a.py": half, "b.py": half})
    with pytest.raises(CandidateError, match="bytes of source"):
        check_sources({"a.py": half, "b.py": half + b"\n"})


def test_a_file_that_is_not_python_need_not_parse_but_must_be_readable():
    check_sources({"notes.toml": b"def f(:\n"})
    assert "U+202E" in refused("a = '\u202e'\n".encode(), "notes.toml").message


DEEP = {
    "minus": "-" * 60_000 + "1",
    "not": "not " * 15_000 + "1",
    "attribute": "a" + ".b" * 30_000,
    "call": "a" + "()" * 30_000,
    "index": "a" + "[0]" * 20_000,
    "sum": "1" + "+1" * 30_000,
    "power": "1" + "**1" * 20_000,
    "lambda": "lambda:" * 9_000 + "1",
    "condition": "1 if 1 else " * 5_000 + "1",
    "parentheses": "(" * 30_000 + ")" * 30_000,
    "lists": "[" * 30_000 + "]" * 30_000,
    "elif": "if 1:pass\n" + "elif 1:pass\n" * 5_000,
    "pattern": "match x:\n case a.b" + ".c" * 30_000 + ":pass",
    "format": "f'" + "{" * 150 + "1" + "}" * 150 + "'",
    "indentation": "".join(" " * n + "if 1:\n" for n in range(150)),
    "defaults": "lambda x=(" * 4_000 + "1" + "):1" * 4_000,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting_is_refused_or_read_and_never_a_crash(name):
    try:
        check_sources({"train.py": DEEP[name].encode()})
    except CandidateError as error:
        assert error.message.isascii()


def test_a_doubtful_escape_is_no_reason_to_refuse_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sources({"train.py": b"x = '\\d'\ny = 1 is 1\n"})


def test_a_message_never_carries_the_strangers_characters():
    name = "evil\u202e\x1b[31m.py"
    with pytest.raises(CandidateError) as found:
        check_sources({name: "x = \u202e1".encode()})
    assert found.value.message.isascii()
    assert found.value.message.isprintable()


SNIPPETS = st.sampled_from(
    [
        "x = 1\n",
        "'''",
        '"',
        "(",
        "[",
        "{",
        "\\",
        "\r",
        "\n",
        "\t",
        "#",
        "///",
        "coding:",
        "f'{",
        "\x00",
        "\u202e",
        ":",
    ]
)


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300), st.lists(SNIPPETS, max_size=40).map(lambda parts: "".join(parts).encode())
    )
)
def test_any_bytes_pass_or_end_in_the_one_error(data):
    try:
        check_sources({"train.py": data})
    except CandidateError as error:
        assert error.message.isascii()
        json.dumps(error.sentences())
    else:
        data.decode("utf-8")
        assert b"\x00" not in data
