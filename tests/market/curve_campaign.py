"""Our curve against the token contract's bytecode, on random points.

A point is a curve, a supply and one question to the contract; its answer, a refusal included, has to be ours.
Half the curves are wild (any width up to 256 bits), the others are real prices, odd slopes, tiny numbers and
numbers around the edge where the contract's arithmetic overflows.

    python -m tests.market.curve_campaign --points 100000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eth_abi

from armlx_chain.errors import CurveOverflow, MarketError
from armlx_chain.market.curve import Curve
from armlx_chain.types import Wei

CONTRACTS = str(Path(__file__).resolve().parents[1] / "contracts")
if CONTRACTS not in sys.path:
    sys.path.append(CONTRACTS)

from evm_contracts import Contract, creation_code, decode_refusal  # noqa: E402
from evm_engines import AnvilEngine, EmbeddedEngine, Engine, find_anvil  # noqa: E402

LARGEST = 2**256 - 1
QUESTIONS_PER_CURVE = 50
OVERFLOW, REVERSED, TOO_MANY = "Panic 17", "Error BAD_RANGE", "OverSupply"
Answer = int | str


@dataclass(frozen=True)
class Question:
    """One function of the contract with its arguments."""

    function: str
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A curve at a supply, and what is asked there."""

    base: int
    slope: int
    supply: int
    questions: tuple[Question, ...]


@dataclass
class Summary:
    """What a campaign found.

    Attributes:
        kinds: How often each kind of answer came: a function's number, or a refusal.
        odd: Points on curves with an odd slope.
        different: Points where contract and curve disagree.
    """

    points: int
    odd: int
    kinds: Counter[str]
    different: list[str]


def cases(points: int, seed: int) -> Iterator[Case]:
    """Random cases with ``points`` questions in all."""
    dice = random.Random(seed)
    while points > 0:
        base, slope, supply = _curve(dice)
        wanted = min(points, QUESTIONS_PER_CURVE)
        curve = Curve(Wei(base), Wei(slope))
        questions = [_question(dice, curve, supply) for _ in range(wanted)]
        points -= wanted
        yield Case(base, slope, supply, tuple(questions))


def _bits(dice: random.Random, most: int = 256) -> int:
    return dice.getrandbits(dice.randint(1, most))


def _curve(dice: random.Random) -> tuple[int, int, int]:
    family = dice.randrange(8)
    if family == 0:
        return 10**15, 10**12, dice.randrange(10**9)
    if family == 1:
        return 10**15, 10**12 + 1, dice.randrange(10**9)
    if family == 2:
        return dice.randrange(4), dice.randrange(4), dice.randrange(200)
    if family == 3:
        width = dice.randint(1, 255)
        edge = (1 << (256 - width)) + dice.randrange(-2, 3)
        return _bits(dice, 128), _bits(dice, width) | 1, min(LARGEST, edge)
    return _bits(dice), _bits(dice), _bits(dice)


def _question(dice: random.Random, curve: Curve, supply: int) -> Question:
    kind = dice.randrange(8)
    wild, count = _bits(dice), dice.randrange(10**6)
    if kind == 0:
        return Question("priceAt", (wild,))
    if kind == 1:
        return Question("costBetween", (wild, _bits(dice)))
    if kind == 2:
        start = dice.choice((0, supply, wild))
        return Question("costBetween", (start, min(LARGEST, start + count)))
    if kind == 3:
        return Question("quoteBuy", (wild,))
    if kind == 4:
        return Question("quoteSell", (dice.choice((wild, min(supply, LARGEST), min(supply + 1, LARGEST))),))
    if kind == 5:
        return Question("quoteSell", (min(count, supply),))
    try:
        # The least payment that buys so many, or a wei more or less.
        exact = curve.payment_for(count, supply) + dice.randrange(-1, 2)
    except MarketError:
        exact = wild
    return Question("quoteBuy", (min(max(exact, 0), LARGEST),))


def ours(case: Case, question: Question) -> Answer:
    """What the curve says; refusals by the names the contract gives them."""
    curve = Curve(Wei(case.base), Wei(case.slope))
    try:
        if question.function == "priceAt":
            return curve.price_at(*question.arguments)
        if question.function == "quoteBuy":
            return curve.tokens_for(question.arguments[0], case.supply)
        if question.function == "quoteSell":
            return curve.proceeds(question.arguments[0], case.supply)
        return curve.cost_between(*question.arguments)
    except CurveOverflow:
        return OVERFLOW
    except MarketError:
        return TOO_MANY if question.function == "quoteSell" else REVERSED


class Oracle:
    """Asks the compiled token: one call makes it, gives it its supply and puts all questions."""

    def __init__(self, engine: Engine) -> None:
        self.probe = Contract.deploy(engine, "Probe")

    def answers(self, case: Case) -> list[Answer]:
        token = Contract(self.probe.engine, "ProjectToken", self.probe.address)
        terms = ("n", "s", case.base, case.slope, LARGEST, self.probe.address)
        asked = [token.data(question.function, *question.arguments) for question in case.questions]
        made = creation_code("ProjectToken", *terms)
        worked, raw = self.probe.call("ask", made, case.supply, asked)
        return [_answer(fine, data) for fine, data in zip(worked, raw, strict=True)]


def _answer(worked: bool, data: bytes) -> Answer:
    if worked:
        return int(eth_abi.decode(["uint256"], data)[0])
    refusal = decode_refusal(data)
    return " ".join([refusal.name, *map(str, refusal.arguments)])


def compare(oracle: Oracle, points: int, seed: int) -> Summary:
    """Put the questions to both sides."""
    summary = Summary(0, 0, Counter(), [])
    for case in cases(points, seed):
        for question, theirs in zip(case.questions, oracle.answers(case), strict=True):
            mine = ours(case, question)
            summary.points += 1
            summary.odd += case.slope % 2
            summary.kinds[theirs if isinstance(theirs, str) else question.function] += 1
            if mine != theirs:
                summary.different.append(
                    f"{case.base=} {case.slope=} {case.supply=} {question}: {theirs=} {mine=}"
                )
    return summary


def open_engine(name: str) -> Engine:
    """The embedded EVM, or anvil where it is installed.

    Raises:
        SystemExit: anvil was asked for and is not there.
    """
    if name == "embedded":
        return EmbeddedEngine()
    program = find_anvil()
    if program is None:
        raise SystemExit("anvil was not found: run scripts/install-peers")
    return AnvilEngine(program)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/campaigns/curve", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--points", type=int, default=100_000, help="questions in all [100000]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("embedded", "anvil"), default="embedded")
    given: Any = parser.parse_args(arguments)
    started = time.monotonic()
    engine = open_engine(given.engine)
    try:
        found = compare(Oracle(engine), given.points, given.seed)
    finally:
        engine.close()
    print(f"{found.points} points on {given.engine}, seed {given.seed}, {time.monotonic() - started:.0f} s")
    print(f"{'odd slope':24} {found.odd:>8}")
    for kind, count in sorted(found.kinds.items()):
        print(f"{kind:24} {count:>8}")
    print(f"{'different':24} {len(found.different):>8}")
    for line in found.different[:20]:
        print(line)
    return 1 if found.different else 0


if __name__ == "__main__":
    sys.exit(main())
