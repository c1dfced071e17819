"""The constants of a benchmark, read from its pinned ``prepare.py`` without running it. Pure.

Only module-level assignments of literals and of integer arithmetic on literals and earlier constants count
(``EVAL_TOKENS = 3 * 524288``).
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from armlx_chain.errors import VerifierFault
from verifier.harness.runlog import harmless

ClockKind = Literal["wall", "cpu"]

_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_MAX_POWER: Final = 64
_MAX_BITS: Final = 256
"""Larger numbers are no constants of a benchmark: products of products would fill any memory."""
MAX_ROWS: Final = 1 << 20
MAX_SEQ_LEN: Final = 1 << 20
MAX_BUDGET_SECONDS: Final = 3600.0
"""A project with a longer budget would keep a validator from all others for weeks: a session has up to 18
runs, and a calibration 28 or more."""
MAX_TOKENS: Final = 1 << 26
"""Scored tokens together. What reads the rows sets its limits by the project's own figures."""


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
    found = module_constants(prepare)
    clock = found.get("BUDGET_CLOCK", "wall")
    if clock not in ("wall", "cpu"):
        raise VerifierFault(f"BUDGET_CLOCK in prepare.py is {_shown(clock)}, neither 'wall' nor 'cpu'.")
    constants = Constants(
        sequence_length=_whole(found, "MAX_SEQ_LEN", 2, MAX_SEQ_LEN),
        budget_seconds=_seconds(found, "TIME_BUDGET"),
        evaluation_tokens=_whole(found, "EVAL_TOKENS", 1, MAX_ROWS * MAX_SEQ_LEN),
        clock="cpu" if clock == "cpu" else "wall",
    )
    if not 1 <= constants.rows <= MAX_ROWS or constants.evaluation_tokens > MAX_TOKENS:
        raise VerifierFault(f"EVAL_TOKENS and MAX_SEQ_LEN give {constants.rows} rows to score.")
    return constants


def module_constants(prepare: bytes) -> dict[str, object]:
    """The module-level names whose values can be told. The source is a stranger's, and is not run.

    Raises:
        VerifierFault: it cannot be read as Python.
    """
    found: dict[str, object] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(prepare)
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                name, value = node.targets[0].id, _value(node.value, found)
                found.pop(name, None)  # an assignment that cannot be told hides an earlier one
                if value is not None:
                    found[name] = value
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as problem:
        raise VerifierFault(
            f"The project's prepare.py cannot be read: {harmless(str(problem))}."
        ) from problem
    return found


def _value(node: ast.expr, known: dict[str, object]) -> object | None:
    """What an expression gives, or ``None`` where it cannot be told or is no figure of a benchmark."""
    value = _unbounded(node, known)
    return None if isinstance(value, int) and value.bit_length() > _MAX_BITS else value


def _unbounded(node: ast.expr, known: dict[str, object]) -> object | None:
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
        try:
            return _OPERATORS[type(node.op)](left, right)
        except OverflowError:
            return None
    return None


def _shown(value: object) -> str:
    return harmless(repr(value), 60)


def _whole(found: dict[str, object], name: str, least: int, most: int) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise VerifierFault(f"{name} in prepare.py is {_shown(value)}; the harness needs a whole number.")
    return value


def _seconds(found: dict[str, object], name: str) -> float:
    value = found.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MAX_BUDGET_SECONDS:
        raise VerifierFault(f"{name} in prepare.py is {_shown(value)}; the harness needs seconds.")
    return float(value)
