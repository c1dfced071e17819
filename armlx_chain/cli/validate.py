"""``validate``: the validator's pass, from the client's command line."""

from __future__ import annotations

import click

from armlx_chain.errors import UsageError


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--once", is_flag=True, help="One pass over the open proposals.")
@click.pass_context
def validate(ctx: click.Context, once: bool) -> int:
    """Re-run open proposals and settle them; takes the options of "armlx-validator once".

    \b
    Example:
      armlx-chain validate --once --account validator --network devnet
    """
    from verifier.daemon.cli import cli

    if not once:
        raise UsageError(
            "Only a single pass can be started from here.",
            next_step="Add --once. The options are those of: armlx-validator once --help",
        )
    result = cli.main(args=["once", *ctx.args], prog_name="armlx-validator", standalone_mode=False)
    return result if isinstance(result, int) else 0
