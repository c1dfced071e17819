"""The constants of a benchmark, read from its pinned ``prepare.py`` without running it. Pure.

Only module-level assignments of literals and of integer arithmetic on literals and earlier constants count
(``EVAL_TOKENS = 3 * 524288``).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from armlx_chain.errors import VerifierFault

ClockKind = Literal["wall", "cpu"]

_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_MAX_POWER: Final = 64
MAX_ROWS: Final = 1 << 20
MAX_SEQ_LEN: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Constants:
    """What the harness must know of a benchmark.

    Attributes:
        sequence_length: ``MAX_SEQ_LEN``, tokens of one row.
        budget_seconds: ``TIME_BUDGET``, training seconds on the budget clock.
        evaluation_tokens: ``EVAL_TOKENS``.
        clock: ``BUDGET_CLOCK``; ``wall`` where the benchmark does not say.
    """

    sequence_length: int
    budget_seconds: float
    evaluation_tokens: int
    clock: ClockKind

    @property
    def rows(self) -> int:
        """Rows that are scored, whatever batch size a program asks for."""
        return self.evaluation_tokens // self.sequence_length


def read_constants(prepare: bytes) -> Constants:
    """Read the constants.

    Raises:
        VerifierFault: if one is missing or makes no sense: the project, not a miner, is to blame.
    """
    try:
        tree = ast.parse(prepare)
    except (SyntaxError, ValueError) as problem:
        raise VerifierFault(f"The project's prepare.py does not parse: {problem}.") from problem
    found: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = _value(node.value, found)
            if value is not None:
                found[node.targets[0].id] = value
    clock = found.get("BUDGET_CLOCK", "wall")
    if clock not in ("wall", "cpu"):
        raise VerifierFault(f"BUDGET_CLOCK in prepare.py is {clock!r}, neither 'wall' nor 'cpu'.")
    constants = Constants(
        sequence_length=_whole(found, "MAX_SEQ_LEN", 2, MAX_SEQ_LEN),
        budget_seconds=_seconds(found, "TIME_BUDGET"),
        evaluation_tokens=_whole(found, "EVAL_TOKENS", 1, MAX_ROWS * MAX_SEQ_LEN),
        clock="cpu" if clock == "cpu" else "wall",
    )
    if not 1 <= constants.rows <= MAX_ROWS:
        raise VerifierFault(f"EVAL_TOKENS and MAX_SEQ_LEN give {constants.rows} rows to score.")
    return constants


def _value(node: ast.expr, known: dict[str, object]) -> object | None:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left, known), _value(node.right, known)
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            return None
        if isinstance(node.op, ast.Pow) and not (abs(left) <= 1 << 16 and 0 <= right <= _MAX_POWER):
            return None
        if isinstance(node.op, ast.FloorDiv) and right == 0:
            return None
        return _OPERATORS[type(node.op)](left, right)
    return None


def _whole(found: dict[str, object], name: str, least: int, most: int) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise VerifierFault(f"{name} in prepare.py is {value!r}; the harness needs a whole number.")
    return value


def _seconds(found: dict[str, object], name: str) -> float:
    value = found.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 7 * 86400:
        raise VerifierFault(f"{name} in prepare.py is {value!r}; the harness needs seconds.")
    return float(value)
