"""The snapshot's own training program with another seed, and nothing else changed. Pure.

A training program seeds its generators itself (``mx.random.seed(42)``), so the spread over seeds is measured
by rewriting that one number in the *snapshot's* file. Known forms: a call of ``seed`` or ``key`` on something
called ``random``, whose first argument is an integer or the name of an integer assigned once at module level.

>>> with_seed(b"mx.random.seed(42)\\n", 7)
b'mx.random.seed(7)\\n'
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from armlx_chain.errors import VerifierFault

_GENERATOR_CALLS = ("seed", "key")


def with_seed(source: bytes, seed: int) -> bytes:
    """The program with every seed replaced.

    Args:
        source: The snapshot's training program.
        seed: Not negative.

    Raises:
        VerifierFault: if the program has no seed in a known form: it is the project's own file.
    """
    if seed < 0:
        raise ValueError("Seeds are not negative.")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise VerifierFault(f"The snapshot's training program does not parse: {problem}.") from problem
    places = {(node.lineno, node.col_offset): node for node in _seeds(tree)}
    if not places:
        raise VerifierFault(
            "The snapshot's training program sets no seed in a known form.",
            meaning="The spread over seeds cannot be measured, so nothing can be judged fairly.",
            next_step="Publish the project with mx.random.seed(<integer>) at the top of its program.",
        )
    lines = source.splitlines(keepends=True)
    for (line, column), node in sorted(places.items(), reverse=True):
        text = lines[line - 1]
        # Column offsets of the syntax tree count bytes of UTF-8.
        end = node.end_col_offset if node.end_col_offset is not None else len(text)
        lines[line - 1] = text[:column] + str(seed).encode() + text[end:]
    return b"".join(lines)


def _seeds(tree: ast.Module) -> Iterator[ast.Constant]:
    constants = _module_integers(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _seeds_a_generator(node.func):
            first = node.args[0]
            if isinstance(first, ast.Name):
                yield from constants.get(first.id, [])
            elif _is_integer(first) and isinstance(first, ast.Constant):
                yield first


def _module_integers(tree: ast.Module) -> dict[str, list[ast.Constant]]:
    found: dict[str, list[ast.Constant]] = {}
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and _is_integer(value):
                found.setdefault(target.id, []).append(value)
    return found


def _is_integer(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool)


def _seeds_a_generator(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in _GENERATOR_CALLS:
        return False
    owner = function.value
    return (isinstance(owner, ast.Attribute) and owner.attr == "random") or (
        isinstance(owner, ast.Name) and owner.id == "random"
    )
