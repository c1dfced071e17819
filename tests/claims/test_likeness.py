"""The normal form of a source: what it drops, what it keeps, and what a hostile text cannot do to it."""

from __future__ import annotations

import ast
import keyword
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import armlx_chain.devnet.benchmark as benchmark
from armlx_chain.claims.likeness import MAX_TEXT_BYTES, Likeness, fingerprint, normal_form

pytestmark = pytest.mark.unit

TRAIN = (Path(benchmark.__file__).parent / "files" / "train.py").read_text()
SMALL = '''
"""A model."""
import math
import numpy as np
from os import path as where

WIDTH = 64
RATE: float = 3e-4


class Block:
    """Mixes."""

    depth = 2

    def __init__(self, width, *, bias=True):
        # weights
        self.weights = [np.zeros(width) for _ in range(self.depth) if (size := width)]
        self.bias, self.size = bias, size

    def mix(self, x, scale=WIDTH):
        global RATE
        total = 0
        for step, weight in enumerate(self.weights):
            def add(value):
                nonlocal total
                total += value * scale
            add(weight @ x + step)
        try:
            RATE = RATE * 0.5
        except ValueError as error:
            raise RuntimeError(f"{error!r:>10} at {step}") from error
        match total:
            case [first, *rest] if rest:
                return first
            case {"k": kept, **others}:
                return kept, others
        return math.sqrt(total) if total > 1 else -1.0


def main(argument=WIDTH, /, *arguments, **options):
    block = Block(argument, bias=False)
    pick = lambda item, key=block: key.mix(item)  # noqa: E731
    with open(where.join("a", "b")) as stream, open("c"):
        return {pick(line): [y for y in line for y in y] for line in stream}
'''
RENAMED = {
    "WIDTH": "BREITE", "RATE": "SCHRITT", "Block": "Mischer", "mix": "mische", "weights": "gewichte",
    "width": "breite", "scale": "mass", "total": "summe", "step": "nummer", "weight": "gewicht",
    "add": "dazu", "value": "wert", "error": "fehler", "first": "eins", "rest": "uebrige", "kept": "behalten",
    "others": "andere", "main": "haupt", "argument": "gegeben", "arguments": "viele", "options": "wahl",
    "block": "stein",
    "pick": "waehle", "item": "ding", "line": "zeile", "y": "ypsilon", "stream": "strom", "np": "numerik",
    "where": "pfad", "size": "groesse", "depth": "tiefe", "bias": "versatz",
}  # fmt: skip


def form(text: str, *, renamed: bool) -> str:
    found = normal_form(text.encode(), renamed=renamed)
    assert found is not None
    return found


def rename(text: str, names: dict[str, str]) -> str:
    """Every identifier by its whole word; the text has none of these words elsewhere."""
    return re.sub(r"[A-Za-z_]+", lambda word: names.get(word.group(), word.group()), text)


def reformatted(text: str) -> str:
    """Another layout of the same program: what the interpreter's own printer makes of it, with comments."""
    lines = ast.unparse(ast.parse(text)).splitlines()
    return "# made anew\n\n" + "\n".join(f"{line}  # {number}" for number, line in enumerate(lines) if line)


@pytest.mark.parametrize("text", [SMALL, TRAIN], ids=["small", "the benchmark's"])
@pytest.mark.parametrize("renamed", [False, True])
def test_comments_layout_and_docstrings_do_not_change_a_form(text: str, renamed: bool) -> None:
    assert form(reformatted(text), renamed=renamed) == form(text, renamed=renamed)
    undocumented = text.replace('"""Mixes."""', '"""Blends,\n    and more."""').replace('"""A model."""', "")
    assert form(undocumented, renamed=renamed) == form(text, renamed=renamed)


@settings(deadline=None, max_examples=60)
@given(chosen=st.sets(st.sampled_from(sorted(RENAMED))), suffix=st.text("abcxyz_", min_size=1, max_size=6))
def test_renaming_any_of_the_codes_own_names_never_changes_its_shape(chosen: set[str], suffix: str) -> None:
    names = {name: f"{RENAMED[name]}_{suffix}" for name in chosen}
    other = rename(SMALL, names)
    assert form(other, renamed=True) == form(SMALL, renamed=True)
    if chosen:
        assert form(other, renamed=False) != form(SMALL, renamed=False)


class _Locals(ast.NodeTransformer):
    """Renames a function's own variables in that function only."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        parts = [part for part in ast.walk(node) if part is not node]
        if any(isinstance(part, ast.FunctionDef | ast.Lambda | ast.ClassDef) for part in parts):
            return node
        kept = {name for part in parts if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names}
        kept |= {part.arg for part in parts if isinstance(part, ast.arg)}
        names = [part for part in parts if isinstance(part, ast.Name)]
        own = {name.id for name in names if isinstance(name.ctx, ast.Store)} - kept
        for name in names:
            if name.id in own:
                name.id = f"own_{name.id}_{node.name}"
        return node


def test_renaming_in_one_function_alone_does_not_change_the_shape_either() -> None:
    other = ast.unparse(_Locals().visit(ast.parse(TRAIN)))
    assert other != ast.unparse(ast.parse(TRAIN))
    assert form(other, renamed=True) == form(TRAIN, renamed=True)


class _Constants(ast.NodeTransformer):
    """Changes the constant of a number."""

    def __init__(self, number: int) -> None:
        self.left = number

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        self.left -= 1
        if self.left != -1:
            return node
        value = node.value
        if isinstance(value, bool) or value is None or value is ...:
            return ast.copy_location(ast.Constant(not value), node)
        changed = value + (b"x" if isinstance(value, bytes) else "x" if isinstance(value, str) else 1)
        return ast.copy_location(ast.Constant(changed), node)


def without_docstrings(text: str) -> ast.Module:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


@pytest.mark.parametrize("text", [SMALL, TRAIN], ids=["small", "the benchmark's"])
def test_changing_any_constant_changes_every_form(text: str) -> None:
    count = sum(isinstance(node, ast.Constant) for node in ast.walk(without_docstrings(text)))
    forms = {form(text, renamed=True)}
    picked = random.Random(1).sample(range(count), min(count, 25))
    for number in picked:
        tree = _Constants(number).visit(without_docstrings(text))
        forms.add(form(ast.unparse(ast.fix_missing_locations(tree)), renamed=True))
    assert len(forms) == len(picked) + 1
    assert count > 12


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("x = 0.0", "x = -0.0"),
        ("x = 10 ** 5000", "x = 10 ** 5001"),
        (f"x = 0x{'f' * 5000}", f"x = 0x{'e' * 5000}"),
        ("def f(a, b): return a - b", "def f(a, b): return b - a"),
        ("def f(a, b): return a + a", "def f(a, b): return a + b"),
        ("x = max(1, 2)", "x = min(1, 2)"),
        ("import a.b as c\nc.d()", "import a.b as c\nc.e()"),
        ("a = 1\ndef f(): return a", "a = 1\ndef f(a): return a"),
        ("def f():\n global a\n a = 1\na = 2\nb = a", "def f():\n a = 1\na = 2\nb = a"),
        ("class A:\n x = 1\n def f(self): return x", "class A:\n x = 1\n def f(self): return self.x"),
        ("x = [1]\ny = 2", "x = [1, 2]\ny = 0"),
    ],
)
def test_other_programs_have_other_shapes(one: str, other: str) -> None:
    assert form(one, renamed=True) != form(other, renamed=True)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300))
def test_any_bytes_have_a_fingerprint(data: bytes) -> None:
    mine = fingerprint({"train.py": data})
    assert mine.likeness(fingerprint({"train.py": data})) is Likeness.BYTES


@pytest.mark.parametrize(
    "text",
    [
        b"(" * 100_000, b"-" * 200_000 + b"x", b"1+" * 100_000 + b"1", b"not " * 60_000 + b"x", b"\xff\xfe",
        b"x = 1\0", b"a.b" * 50_000, b"lambda:" * 30_000 + b"1", b"9" * 200_000, b'f"{' * 500,
        b"x" * (MAX_TEXT_BYTES + 1), b"".join(b" " * n + b"if x:\n" for n in range(99)) + b" " * 99 + b"x",
        b"x(" * 90 + b")" * 90, b"# coding: utf-7\n+AGE-", b"x = '\\d'",
    ],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_a_hostile_text_is_bounded(text: bytes) -> None:
    for renamed in (False, True):
        found = normal_form(text, renamed=renamed)
        assert found is None or len(found) == 64
    assert len(fingerprint({"train.py": text}).shape) == 64


def test_a_wide_tree_beyond_the_bounds_has_no_form() -> None:
    assert normal_form(b"x;" * 70_000, renamed=True) is None


def test_paths_count_and_what_is_not_python_counts_by_its_bytes() -> None:
    code = b"x = 1\n"
    assert fingerprint({"a.py": code}).shape != fingerprint({"b.py": code}).shape
    notes = {"a.py": code, "notes.txt": b"x = 1"}
    assert fingerprint(notes).likeness(fingerprint({**notes, "notes.txt": b"x = 1 "})) is None
    assert fingerprint(notes).likeness(fingerprint({**notes, "a.py": b"x  = 1"})) is Likeness.SYNTAX
    assert fingerprint(notes).likeness(fingerprint({**notes, "a.py": b"y  = 1"})) is Likeness.SHAPE


def test_the_renaming_table_names_what_the_text_has() -> None:
    words = set(re.findall(r"[A-Za-z_]+", SMALL))
    assert words >= RENAMED.keys()
    assert not words & set(RENAMED.values())
    assert not any(keyword.iskeyword(name) for name in RENAMED.values())
