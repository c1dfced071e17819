"""stdout carries data, stderr carries talk; ``--json`` everywhere, on failure too."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from armlx_chain.errors import ArmlxError

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """``text``, of which strangers wrote parts, without what moves a cursor or turns the writing round."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _on_stderr(sentence: str) -> None:
    click.echo(sentence, err=True)


_mouth: Callable[[str], None] = _on_stderr


def say(message: str) -> None:
    """Talk: progress and advice, on stderr, or wherever ``talking_to`` leads it."""
    _mouth(harmless(message))


@contextmanager
def talking_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Within the block, what any thread of this process says goes to ``listener``: a service has a log."""
    global _mouth
    before, _mouth = _mouth, listener
    try:
        yield
    finally:
        _mouth = before


def emit(data: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """The result on stdout: one JSON object, or lines for a person."""
    if as_json:
        click.echo(json.dumps({"ok": True, **data}, default=_plain, indent=2))
    else:
        for line in lines:
            click.echo(harmless(line))


def show_error(error: ArmlxError, *, as_json: bool, exit_code: int | None = None) -> None:
    """What happened, what it means, what to do next; as JSON on stdout where that was asked for."""
    if as_json:
        show_json_error(error, error.exit_code if exit_code is None else exit_code)
    for index, sentence in enumerate(error.sentences()):
        say(("error: " if index == 0 else "       ") + sentence)


def show_json_error(error: ArmlxError, exit_code: int) -> None:
    """One JSON object on stdout: the failure that ends a command."""
    click.echo(json_error(error, exit_code))


def json_error(error: ArmlxError, exit_code: int) -> str:
    """The failure that ends a command, as one JSON object."""
    document = {
        "ok": False,
        "error": {
            "code": error.code,
            "message": error.message,
            "meaning": error.meaning,
            "next": error.next_step,
            "details": error.details,
        },
        "exit_code": exit_code,
    }
    return json.dumps(document, default=_plain, indent=2)


def table(rows: Sequence[tuple[str, object]]) -> list[str]:
    """Label and value, aligned."""
    width = max((len(label) for label, _ in rows), default=0)
    return [f"{label:<{width}}  {value}" for label, value in rows]


def coin(wei: int) -> str:
    """An amount of the native coin, exactly: ``1.5 0G``. Integers only; nothing is rounded."""
    sign = "-" if wei < 0 else ""
    whole, rest = divmod(abs(wei), 10**18)
    digits = f"{rest:018d}".rstrip("0")
    return f"{sign}{whole}{'.' + digits if digits else ''} 0G"


def confirm(plan: Sequence[tuple[str, object]], *, yes: bool, dry_run: bool) -> bool:
    """Show a plan and ask. ``False`` on a dry run.

    Raises:
        click.Abort: the person said no.
    """
    say("This will happen:")
    for line in table(plan):
        say("  " + line)
    if dry_run:
        say("Dry run: nothing was sent.")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(
            "There is no terminal to ask on; pass --yes to go ahead or --dry-run to stop here."
        )
    click.confirm("Go ahead?", abort=True, err=True)
    return True


def _plain(value: object) -> object:
    if isinstance(value, (Decimal, Path)):
        return str(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value)
