"""``submit``: from a run folder to a staked proposal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from armlx_chain.cli.amounts import AMOUNT
from armlx_chain.cli.claiming import policy_options
from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.types import Wei


def _daring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag for each reason for which a claim is refused and may yet be sent."""
    for name, text in (
        ("--accept-total-loss", "Stake a single token, of which an expiry returns nothing."),
        ("--despite-policy", "Go on although no validator whose policy is known would run it."),
        ("--despite-open", "Go on although an open proposal claims as much or more."),
        ("--despite-verdict", "Go on although this machine's own verdict was not reproduced."),
        ("--unreproduced", "Go on with a bare log, which has no control. Needs --project and --candidate."),
    ):
        command = click.option(name, is_flag=True, help=text)(command)
    return command


@click.command()
@click.option(
    "--run",
    "run",
    type=click.Path(path_type=Path),
    required=True,
    help="A run folder that reproduce made, or the run.log in it.",
)
@click.option(
    "--stake",
    type=click.IntRange(min=1),
    help="Tokens to stake. Approval returns them and mints as many."
    " [default: 2, or what the validators' policies ask for]",
)
@click.option("--reward-recipient", help="Who receives the reward. [default: as set with wallet set-reward]")
@click.option(
    "--max-spend", type=AMOUNT, help="Never send more than this, as 250 or 0.02og, for missing tokens."
)
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Of a bare log: its project.")
@click.option("--candidate", type=click.Path(path_type=Path), help="Of a bare log: file or folder that ran.")
@_daring_options
@policy_options
@signer_options
@spending_options
@network_options
def submit(
    app: App,
    key: SignerChoice,
    run: Path,
    stake: int | None,
    reward_recipient: str | None,
    max_spend: Wei | None,
    project_id: int | None,
    candidate: Path | None,
    unreproduced: bool,
    despite_verdict: bool,
    despite_open: bool,
    despite_policy: bool,
    accept_total_loss: bool,
    policies: tuple[str, ...],
    yes: bool,
    dry_run: bool,
) -> int:
    """Sign the claim of a run and submit it with a stake; then upload candidate and evidence.

    Whatever is interrupted is resumed by the same command; nothing is sent twice.

    \b
    Examples:
      armlx-chain submit --run runs/better --account me --dry-run
      armlx-chain submit --run runs/better/run.log --stake 10 --account me --reward-recipient 0x…
      armlx-chain submit --run old.log --unreproduced --project 0 --candidate train.py --account me
    """
    from armlx_chain.cli import submitting

    wishes = submitting.Wishes(
        stake=stake,
        recipient=reward_recipient,
        max_spend=max_spend,
        policies=policies,
        despite_verdict=despite_verdict,
        despite_open=despite_open,
        despite_policy=despite_policy,
        accept_total_loss=accept_total_loss,
    )
    source = submitting.Source(run, project_id, candidate, unreproduced)
    attempt = submitting.open_attempt(app, key, source)
    return submitting.carry_out(attempt, wishes, now=int(time.time()), yes=yes, dry_run=dry_run)
