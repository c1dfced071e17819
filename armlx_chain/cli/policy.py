"""``policy``: a validator states what it does not run; anybody reads it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import EXIT_FINDING, EXIT_OK


@click.group()
def policy() -> None:
    """Validators' published policies: what they do not run, signed."""


@policy.command()
@click.option("--minimum-stake", type=click.IntRange(min=1), default=2, show_default=True, help="Tokens.")
@click.option(
    "--largest-stake-ppm",
    type=click.IntRange(1, 1_000_000),
    default=1_000_000,
    show_default=True,
    help="Largest stake, in millionths of the token's supply.",
)
@click.option(
    "--open-proposals",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Open proposals of one miner in one project that are looked at; 0 for any number.",
)
@click.option(
    "--machine-seconds",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seconds of machine time for one project in a day; 0 for no limit.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write the signed document.",
)
@signer_options
@network_options
def sign(
    app: App,
    key: SignerChoice,
    minimum_stake: int,
    largest_stake_ppm: int,
    open_proposals: int,
    machine_seconds: int,
    output: Path,
) -> None:
    """Write and sign a policy. Nothing is sent: put the file where miners find it.

    \b
    Example:
      armlx-chain policy sign --account validator --minimum-stake 5 --machine-seconds 14400 -o policy.json
    """
    from armlx_chain.cli.claiming import domain_of
    from armlx_chain.formats.policy import Policy, SignedPolicy
    from armlx_chain.storage.files import write_file
    from armlx_chain.storage.zerog.merkle import root_of
    from armlx_chain.types import Tokens

    signer = key.load(app)
    stated = Policy(
        domain=domain_of(app),
        validator=signer.address,
        minimum_stake=Tokens(minimum_stake),
        largest_stake_ppm=largest_stake_ppm,
        open_proposals=open_proposals,
        machine_seconds=machine_seconds,
        issued_at=int(time.time()),
    )
    data = SignedPolicy(stated, signer.sign_typed_data(stated.typed_data())).encode()
    write_file(output, data)
    emit(
        {"file": str(output), "root": str(root_of(data)), "validator": signer.address},
        [f"Wrote {output}. If it is uploaded, its root is {root_of(data)}"],
        as_json=app.as_json,
    )


@policy.command()
@click.argument("sources", nargs=-1)
@network_options
def show(app: App, sources: tuple[str, ...]) -> int:
    """Read policies: files, folders, addresses or roots; and always the folder policies in the home.

    Exits 3 if a document does not count, with the reason.

    \b
    Example:
      armlx-chain policy show https://validator.example/policy.json
    """
    from armlx_chain.cli.claiming import read_policies

    found, ignored = read_policies(app, sources)
    for sentence in ignored:
        say(f"warning: {sentence}")
    lines: list[str] = []
    for entry in found:
        lines += table(
            [
                ("validator", entry.validator),
                ("minimum stake", entry.minimum_stake),
                ("largest stake", f"{entry.largest_stake_ppm} millionths of the supply"),
                ("open proposals", entry.open_proposals or "any number"),
                ("machine time", f"{entry.machine_seconds} s a day" if entry.machine_seconds else "no limit"),
                ("issued at", entry.issued_at),
            ]
        )
    data = {"policies": [entry.to_json()["message"] for entry in found], "ignored": list(ignored)}
    emit(data, lines or ["No policy counts."], as_json=app.as_json)
    return EXIT_FINDING if ignored else EXIT_OK
