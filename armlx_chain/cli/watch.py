"""``watch``: what becomes of proposals, live."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options
from armlx_chain.cli.output import say
from armlx_chain.errors import EXIT_INTERRUPTED, RpcUnavailable, UsageError
from armlx_chain.types import ProposalId

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal
    from armlx_chain.claims.watching import Change, View
    from armlx_chain.types import Address

MAX_FAILURES = 20
"""Looks in a row that may fail before it gives up."""


@click.command()
@click.option("--proposal", "proposals", type=click.IntRange(min=0), multiple=True, help="Watch this one.")
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Watch all open ones of a project.")
@click.option("--address", help="Watch all open ones of this miner. [default: of --account]")
@click.option("--until", type=click.Choice(["settled"]), help="End when nothing that is watched is open.")
@click.option("--every", type=click.FloatRange(min=0.05), default=5.0, show_default=True, help="Seconds.")
@signer_options
@network_options
def watch(
    app: App,
    key: SignerChoice,
    proposals: tuple[int, ...],
    project_id: int | None,
    address: str | None,
    until: str | None,
    every: float,
) -> int:
    """Print what happens to proposals as it happens; end with Ctrl-C.

    No key is opened: --account only names an address. With --json each change is one JSON object on a line
    of its own.

    \b
    Examples:
      armlx-chain watch --account me
      armlx-chain watch --proposal 3 --until settled
      armlx-chain watch --project 0 --json
    """
    from armlx_chain.cli import claiming, wiring

    miner = None
    if not proposals and project_id is None:
        miner = claiming.account_address(app, key, address)
        if miner is None:
            raise UsageError(
                "Nobody and nothing to watch.", next_step="Give --proposal, --project or --account."
            )
    wiring.check_wiring(app)
    for number in proposals:
        claiming.require_proposal(wiring.ledger_of(app), number)
    look = _Look(app, frozenset(proposals), project_id, miner)
    return follow(look, lambda change: _show(app, change), until=until is not None, every=every)


def follow(
    look: Callable[[], View],
    show: Callable[[Change], None],
    *,
    until: bool,
    every: float,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Look again and again, and show what changed; returns the exit code.

    Raises:
        RpcUnavailable: the chain was out of reach too often in a row.
    """
    from armlx_chain.claims.watching import changes

    before, failures = None, 0
    try:
        while True:
            try:
                after = look()
            except RpcUnavailable as error:
                failures += 1
                if before is None or failures >= MAX_FAILURES:
                    raise
                say(f"the chain could not be read: {error.message}; trying again")
            else:
                failures = 0
                for change in changes(before, after):
                    show(change)
                if before is None and not after.proposals:
                    say(
                        "Nothing to watch yet: no such proposal is open. New ones are shown; end with Ctrl-C."
                    )
                before = after
                if until and after.settled:
                    return 0
            sleep(every)
    except KeyboardInterrupt:
        say("Stopped watching.")
        return EXIT_INTERRUPTED


class _Look:
    """One look at what is watched. A proposal is read until it is settled, new ones when they appear."""

    def __init__(self, app: App, ids: frozenset[int], project_id: int | None, miner: Address | None) -> None:
        self._app = app
        self._ids = ids
        self._project = project_id
        self._miner = miner
        self._window = app.constants.expiry_window
        self._seen: dict[int, Proposal] = {}
        self._next = 0

    def __call__(self) -> View:
        from armlx_chain.claims.watching import View

        frontier, first = self._app.frontier.read(), self._next == 0
        count = len(frontier.proposals)
        again = [number for number, proposal in self._seen.items() if proposal.is_open]
        wanted = [ProposalId(number) for number in [*again, *range(self._next, count)]]
        for proposal in (frontier.proposals[number] for number in wanted if number in frontier.proposals):
            if self._is_watched(proposal) and (proposal.is_open or not first or proposal.id in self._ids):
                self._seen[int(proposal.id)] = proposal
        self._next = count
        watched = {proposal.id: proposal for proposal in self._seen.values()}
        projects = {proposal.project_id for proposal in watched.values()}
        best = {
            number: frontier.projects[number].best_score for number in projects if number in frontier.projects
        }
        return View(frontier.block.timestamp, self._window, watched, best)

    def _is_watched(self, proposal: Proposal) -> bool:
        if self._ids:
            return proposal.id in self._ids
        if self._project is not None and proposal.project_id != self._project:
            return False
        return self._miner is None or proposal.miner == self._miner


def _show(app: App, change: Change) -> None:
    from armlx_chain.claims.settling import utc_time

    if app.as_json:
        click.echo(json.dumps(change.to_json()))
    else:
        click.echo(f"{utc_time(change.now)}  {change.sentence}")


__all__ = ["follow", "watch"]
