"""Amounts of the native coin on a command line, read exactly.

Bare digits are wei, as everywhere in this program; with a unit, decimals are allowed:

>>> parse_amount("20000000000000000") == parse_amount("0.02og") == parse_amount("20000000 gwei")
True
"""

from __future__ import annotations

import re
from typing import Any

import click

from armlx_chain.types import Wei

_DECIMALS = {"": 0, "wei": 0, "gwei": 9, "0g": 18, "og": 18, "a0gi": 18, "ether": 18}
_AMOUNT = re.compile(r"(\d{1,78})(?:\.(\d{1,18}))?[ _]?(|wei|gwei|0g|og|a0gi|ether)", re.IGNORECASE)
_LARGEST = (1 << 256) - 1


def parse_amount(text: str) -> Wei:
    """Wei of an amount such as ``250``, ``3gwei`` or ``0.02og``.

    Raises:
        ValueError: not an amount, finer than a wei, or beyond 256 bits.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not an amount: give wei, or a unit as in 0.02og or 3gwei")
    whole, fraction, unit = match.group(1), match.group(2) or "", match.group(3).lower()
    places = _DECIMALS[unit]
    if len(fraction.rstrip("0")) > places:
        raise ValueError(f"{text[:40]!r} is finer than a wei")
    wei = int(whole) * 10**places + int((fraction[:places]).ljust(places, "0") or "0")
    if wei > _LARGEST:
        raise ValueError(f"{text[:40]!r} is more than the chain can count")
    return Wei(wei)


class Amount(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases
    """The type of an option that takes an amount."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Wei:
        if isinstance(value, int):
            return Wei(value)
        try:
            return parse_amount(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


AMOUNT = Amount()
