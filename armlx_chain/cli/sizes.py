"""Amounts of bytes as people write them: ``64MiB``, ``500 kB``, ``10G``, ``4096``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

from armlx_chain.errors import UsageError

__all__ = ["CACHE_LIMIT_VARIABLE", "SIZE", "cache_limit", "parse_size", "show_size"]

CACHE_LIMIT_VARIABLE = "ARMLX_CACHE_LIMIT"
_TEXT = re.compile(r"([0-9]{1,15}) ?(?:([kKMGT])(i?)[bB]?|[bB])?")
_POWER = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """Bytes. ``k M G T`` (also ``kB``) are powers of 1000, ``Ki Mi Gi Ti`` of 1024.

    Raises:
        UsageError: it is no such text.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text[:40]!r} is no size.",
            next_step="Write bytes, or a number with kB, MB, GB, KiB, MiB or GiB.",
        )
    number, unit, binary = match.groups()
    base = 1024 if binary else 1000
    size = int(number)
    for _ in range(_POWER.get(unit or "", 0)):
        size *= base
    return size


def show_size(count: int) -> str:
    """A size for a person, rounded down: ``3.2 MiB``. Integers only."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            tenths = count * 10 >> power
            return f"{tenths // 10}.{tenths % 10} {unit}"
    return f"{count} bytes"


def cache_limit(env: Mapping[str, str]) -> int:
    """Most bytes the cache keeps: ``$ARMLX_CACHE_LIMIT``, or 10 GiB; 0 keeps nothing.

    Raises:
        UsageError: the variable is no size.
    """
    from armlx_chain.storage.cache import DEFAULT_LIMIT

    text = env.get(CACHE_LIMIT_VARIABLE)
    return parse_size(text) if text else DEFAULT_LIMIT


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases
    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except UsageError as error:
            self.fail(" ".join(error.sentences()), param, ctx)


SIZE = _Size()
