"""``--auto-reject --go-live …``: the rules of service as options; the command receives ``service``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--dry", is_flag=True, help="Judge and report only: sign nothing, send nothing."),
    click.option(
        "--go-live",
        is_flag=True,
        help="Leave dry mode for good. It takes a gold run that passed since: armlx-validator gold.",
    ),
    click.option(
        "--auto-reject",
        is_flag=True,
        help="Reject without asking a person. A rejection slashes the miner's stake.",
    ),
    click.option(
        "--max-rejections",
        type=click.IntRange(min=0),
        default=3,
        show_default=True,
        help="Proposals rejected in a day (UTC), whoever consents.",
    ),
    click.option(
        "--policy",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="This validator's own published policy. [default: policies/own.json in the home; without one"
        " everything is run]",
    ),
    click.option(
        "--expire-others",
        is_flag=True,
        help="Expire proposals that this validator had nothing to do with, a day after their week.",
    ),
    click.option(
        "--collect-from",
        type=click.IntRange(min=0),
        default=1,
        show_default=True,
        metavar="TOKENS",
        help="Collect credits of so many tokens, once they are worth ten times the gas; 0 for never.",
    ),
)


def service_options(command: F) -> F:
    """The rules of service; the command receives ``service``, a ``ServiceChoice``."""

    @functools.wraps(command)
    def wrapper(
        *args: Any,
        dry: bool,
        go_live: bool,
        auto_reject: bool,
        max_rejections: int,
        policy: Path | None,
        expire_others: bool,
        collect_from: int,
        **kwargs: Any,
    ) -> Any:
        from armlx_chain.errors import UsageError
        from verifier.daemon.service import ServiceChoice

        if dry and go_live:
            raise UsageError("--dry and --go-live contradict each other.", next_step="Leave one of them out.")
        choice = ServiceChoice(
            auto_reject=auto_reject,
            max_rejections=max_rejections,
            go_live=go_live,
            dry=dry,
            policy=policy,
            expire_others=expire_others,
            collect_from=collect_from,
        )
        return command(*args, service=choice, **kwargs)

    decorated: Any = wrapper
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
