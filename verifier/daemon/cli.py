"""``armlx-validator``: the validator's command line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain import __version__
from armlx_chain.cli.calibrate import calibrate as calibrate_command
from armlx_chain.cli.context import App, SignerChoice, network_options, running_options, signer_options
from armlx_chain.cli.main import run as run_command
from armlx_chain.cli.output import emit, say
from verifier.daemon.guardcli import guard as guard_group
from verifier.daemon.installcli import install as install_command
from verifier.daemon.rejectcli import confirm as confirm_command
from verifier.daemon.rejectcli import pending as pending_command
from verifier.daemon.statuscli import status as status_command

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal
    from armlx_chain.signing.guard import SingleSignGuard
    from armlx_chain.signing.signer import Signer
    from verifier.daemon.copyindex import CopyIndex
    from verifier.daemon.once import Contracts, Validator
    from verifier.daemon.results import Result
    from verifier.daemon.store import FindingStore
    from verifier.environments.providing import PythonChoice
    from verifier.executors.interface import Executor
    from verifier.judging import Prepared
    from verifier.model import Noise


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="armlx-validator")
@click.option("-v", "--verbose", count=True, help="More talk on stderr; twice for everything.")
def cli(verbose: int) -> None:
    """Re-run other miners' submissions and approve or reject them."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")


cli.add_command(calibrate_command)
cli.add_command(install_command)
cli.add_command(status_command)


@cli.command()
@click.option(
    "--auto-reject", is_flag=True, help="Send rejections without asking. They slash the miner's stake."
)
@click.option(
    "--pairs",
    type=click.IntRange(8, 24),
    default=8,
    show_default=True,
    help="Pairs after which a test ends undecided for now; the next pass continues it to 24.",
)
@click.option(
    "--despite-lost-verdicts",
    "despite_lost",
    is_flag=True,
    help="Go on although this key settled verdicts that the guard of this machine does not know.",
)
@running_options
@signer_options
@network_options
def once(
    app: App,
    key: SignerChoice,
    auto_reject: bool,
    pairs: int,
    despite_lost: bool,
    calibrate: str | None,
    python: PythonChoice,
) -> int:
    """One pass: bring every open proposal as far as it can be brought now.

    Exits 0 when every proposal reached its due state, whatever the verdicts.

    \b
    Examples:
      armlx-validator once --account validator
      armlx-validator once --account validator --auto-reject --calibrate quick --network devnet
    """
    signer = key.load(app)
    results = build_validator(
        app,
        signer,
        auto_reject=auto_reject,
        calibrate=calibrate,
        python=python.absolute(),
        pairs=pairs,
        despite_lost=despite_lost,
    ).run()
    if not results:
        say("There is no open proposal.")
    emit({"proposals": [_as_json(result) for result in results]}, _lines(results), as_json=app.as_json)
    return 0


def build_validator(
    app: App,
    signer: Signer,
    *,
    auto_reject: bool,
    calibrate: str | None,
    python: PythonChoice,
    pairs: int = 8,
    despite_lost: bool = False,
) -> Validator:
    """Everything one pass needs, wired in order.

    Raises:
        UsageError: the account is not a registered verifier.
        WrongChain: the contracts are not wired as configured.
    """
    from armlx_chain.cli import wiring
    from armlx_chain.cli.reproduce import show_progress
    from armlx_chain.formats.typed import Domain
    from armlx_chain.signing.guard import SingleSignGuard
    from armlx_chain.storage.fetch import open_storage
    from verifier.daemon.finish import Finisher
    from verifier.daemon.once import Timing, Validator
    from verifier.daemon.service import ServiceChoice, build_service
    from verifier.daemon.settle import Settler
    from verifier.daemon.testing import Tester
    from verifier.daemon.verdictpack import PackKeeper

    wiring.check_wiring(app)
    contracts = _contracts(app, signer)
    settings, network = app.settings, app.settings.network
    sender = app.sender(signer)
    settler = Settler(sender=sender, ledger=contracts.ledger)
    store, copies = _stores(app, signer)
    guard = SingleSignGuard(settings.guard_path)
    choice = ServiceChoice(auto_reject=auto_reject)
    service = build_service(app, store, settler, choice, now=time.time, ask=ask_to_reject())

    def folder_of(proposal_id: int) -> Path:
        return settings.home / "reports" / network.proposal_ledger / str(proposal_id)

    packs = PackKeeper(
        domain=Domain(network.chain_id, network.proposal_ledger),
        genesis_hash=app.rpc.genesis_hash,
        validator=signer.address,
        folder_of=folder_of,
        tests=store.tests,
    )
    return Validator(
        contracts=contracts,
        storage=app.storage,
        settler=settler,
        finisher=Finisher(
            registry=contracts.registry,
            settler=settler,
            signer=signer,
            guard=guard,
            store=store,
            publisher=wiring.make_publisher(settings, sender),
            mode=service.modes.hindrance,
            consent=service.rejections.hindrance,
            folder_of=folder_of,
            packs=packs,
        ),
        store=store,
        timing=Timing(network.seed_delay_blocks, network.confirmations),
        folder_of=folder_of,
        executor=_executor(app, python, calibrate),
        tester=Tester(
            tests=store.tests,
            folder_of=folder_of,
            progress=show_progress,
            pairs=pairs,
        ),
        packs=packs,
        copies=copies,
        again=open_storage(list(network.storage_urls), None),
        say=say,
        require_whole=_whole_guard(app, signer, guard, despite_lost=despite_lost),
        multicall=network.multicall3,
    )


def _stores(app: App, signer: Signer) -> tuple[FindingStore, CopyIndex]:
    from armlx_chain.cli.wiring import chain_key
    from verifier.daemon.copyindex import CopyIndex
    from verifier.daemon.store import FindingStore

    home, chain = app.settings.home, chain_key(app.settings, app.rpc)
    ledger = app.settings.network.proposal_ledger
    findings = FindingStore(home / "findings.sqlite", chain=chain, ledger=ledger, account=signer.address)
    return findings, CopyIndex(home / "copies.sqlite", chain=chain, ledger=ledger)


def _whole_guard(
    app: App, signer: Signer, guard: SingleSignGuard, *, despite_lost: bool
) -> Callable[[Iterable[Proposal]], None]:
    from verifier.daemon.losses import lost_verdicts, require_whole

    def check(proposals: Iterable[Proposal]) -> None:
        lost = lost_verdicts(
            proposals,
            guard,
            chain_id=app.settings.network.chain_id,
            genesis_hash=app.rpc.genesis_hash,
            ledger=app.settings.network.proposal_ledger,
            account=signer.address,
        )
        if lost and despite_lost:
            say(f"{len(lost)} settled verdicts of this key are not in this machine's guard")
        else:
            require_whole(lost, signer.address)

    return check


def _contracts(app: App, signer: Signer) -> Contracts:
    from armlx_chain.chain.contracts import VerifierRegistry
    from armlx_chain.cli.wiring import ledger_of, registry_of
    from armlx_chain.errors import UsageError
    from verifier.daemon.once import Contracts

    verifiers = VerifierRegistry(app.rpc, app.settings.network.verifier_registry)
    if not verifiers.is_verifier(signer.address):
        raise UsageError(
            f"{signer.address} is not on the verifiers' allow-list of {app.settings.network.name}.",
            meaning="It could judge, but not settle anything.",
            next_step="Ask the owner of the VerifierRegistry to add it, or use another --account.",
        )
    return Contracts(verifiers=verifiers, registry=registry_of(app), ledger=ledger_of(app))


def _executor(app: App, python: PythonChoice, calibrate: str | None) -> Executor:
    """Where sessions run: in this process."""
    from armlx_chain.cli.reproduce import prepare_here
    from verifier.executors.local import LocalExecutor, machine_id

    return LocalExecutor(
        prepare=lambda project, brake: prepare_here(app, project, python, brake),
        noise=_noise_source(app, calibrate),
        machine=machine_id(app.home),
    )


def _noise_source(app: App, calibrate: str | None) -> Callable[[Prepared], Noise]:
    """The machine's noise. A shortcut is good enough to practise, never to settle other people's stakes."""
    from armlx_chain.cli.reproduce import noise_of
    from armlx_chain.errors import UsageError, VerifierFault

    practice = app.settings.network.name == "devnet"
    if calibrate == "quick" and not practice:
        raise UsageError(
            "A quick calibration is for the local world only: on a real network stakes depend on it.",
            next_step="Use --calibrate full.",
        )

    def noise(prepared: Prepared) -> Noise:
        found = noise_of(prepared, calibrate=calibrate)
        if found.shortcut is not None and not practice:
            raise VerifierFault(
                "This machine's calibration is a shortcut: " + found.shortcut,
                next_step="Measure it in full: armlx-validator calibrate --project N, or --calibrate full.",
            )
        return found

    return noise


def ask_to_reject() -> Callable[[Proposal, str], bool] | None:
    """Asks the person at this terminal; ``None`` where nobody is."""
    if not sys.stdin.isatty():
        return None

    def ask(proposal: Proposal, explanation: str) -> bool:
        say(f"Proposal {proposal.id} is refuted: {explanation}")
        return click.confirm(f"Reject it, which slashes {proposal.stake} tokens?", err=True)

    return ask


def _as_json(result: Result) -> dict[str, object]:
    return {
        "proposal": int(result.proposal_id),
        "step": result.step.value,
        "outcome": result.outcome,
        "reason": result.reason,
        "sentence": result.sentence,
        "report": None if result.report_folder is None else str(result.report_folder),
    }


def _lines(results: list[Result]) -> list[str]:
    lines = []
    for result in results:
        finding = "" if result.outcome is None else f" — {result.outcome} ({result.reason})"
        lines += [f"proposal {result.proposal_id}: {result.step.value}{finding}", f"  {result.sentence}"]
    return lines


cli.add_command(guard_group)
cli.add_command(pending_command)
cli.add_command(confirm_command)


def main() -> None:
    """Console script."""
    sys.exit(run_command(cli, sys.argv[1:], name="armlx-validator"))
