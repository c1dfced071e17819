"""``armlx-validator gold``: the published baseline on this machine, before anything is signed."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, running_options, signer_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import EXIT_FINDING, EXIT_OK, UsageError
from verifier.daemon.runcli import runner_option

if TYPE_CHECKING:
    from armlx_chain.types import Address
    from verifier.daemon.gold import GoldRun
    from verifier.daemon.mode import ModeKeeper
    from verifier.environments.providing import PythonChoice
    from verifier.executors.interface import Executor


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=0), required=True, help="Project id.")
@runner_option
@running_options
@signer_options
@network_options
def gold(
    app: App,
    key: SignerChoice,
    project_id: int,
    runner: Path | None,
    calibrate: str | None,
    python: PythonChoice,
) -> int:
    """Reproduce a project's published baseline here, and keep the result for --go-live.

    The unmodified snapshot is judged like a stranger's candidate: gate, sandbox, deadline, evaluation,
    audits, pairs and rule. It passes within this machine's own calibrated noise. A failed run returns the
    validator to dry mode. Nothing is signed or sent; only the account's address is needed.

    \b
    Examples:
      armlx-validator gold --project 0 --account validator
      armlx-validator gold --project 0 --account validator --calibrate full
      armlx-validator gold --project 0 --account validator --runner /run/armlx-runner/runner.sock

    \b
    Exit codes: 0 it passed, 3 it did not, 5 it could not be made here.
    """
    from verifier.daemon.building import executor_here

    account = address_of(app, key)
    executor = executor_here(app, python.absolute(), calibrate, runner=runner)
    try:
        found = gold_run(app, account, project_id, executor)
    finally:
        executor.close()
    modes = modes_of(app, account)
    mode = modes.current()
    emit(
        {**found.to_json(), "project": project_id, "mode": mode.value, "why": modes.why()},
        [*_lines(found), f"The validator is {mode.value}: {modes.why()}"],
        as_json=app.as_json,
    )
    return EXIT_OK if found.passed else EXIT_FINDING


def gold_run(app: App, account: Address, project_id: int, executor: Executor) -> GoldRun:
    """Make a gold run on a machine of the executor, and record it for a validator.

    Raises:
        UsageError: there is no such project.
        VerifierFault: there is no calibration that holds, or the project does not run here.
    """
    from armlx_chain.cli.reproduce import show_progress
    from armlx_chain.cli.wiring import check_wiring, open_project
    from verifier.daemon.gold import run_gold

    check_wiring(app)
    project, _ = open_project(app, project_id)
    bench = executor.prepare(project, None)
    stamp = f"{datetime.now(tz=UTC):%Y%m%dT%H%M%SZ}"
    folder = app.home / "gold" / f"project-{project_id}-{stamp}-{secrets.token_hex(3)}"
    say(f"gold run of project {project_id}; its runs are kept in {folder}")
    found = run_gold(bench, seed=secrets.token_bytes(32), run_folder=folder, progress=show_progress)
    modes_of(app, account).gold(found.passed, found.sentence, found.key)
    return found


def modes_of(app: App, account: Address) -> ModeKeeper:
    """The recorded mode of a validator of this machine."""
    from armlx_chain.cli.wiring import chain_key
    from verifier.daemon.mode import ModeKeeper
    from verifier.daemon.service import is_practice
    from verifier.daemon.store import FindingStore

    store = FindingStore(
        app.home / "findings.sqlite",
        chain=chain_key(app.settings, app.rpc),
        ledger=app.settings.network.proposal_ledger,
        account=account,
    )
    return ModeKeeper(store.database, store.where, practice=is_practice(app), now=time.time)


def address_of(app: App, key: SignerChoice) -> Address:
    """The address of the account that the options name; its key stays closed where the keystore states it.

    Raises:
        UsageError: no account was named.
        SigningError: the keystore is not found, or it must be opened and cannot be.
    """
    from armlx_chain.cli.keys import find
    from armlx_chain.signing.keystore import inspect

    if key.account is None and key.keystore is None:
        raise UsageError(
            "A gold run belongs to a validator, and none was named.", next_step="Give --account NAME."
        )
    path = key.keystore or find(app.settings.keystore_folder, key.account or "").path
    stated = inspect(path).address
    return stated if stated is not None else key.load(app).address


def _lines(found: GoldRun) -> list[str]:
    rows = [
        ("gold run", "passed" if found.passed else "FAILED"),
        ("what it says", found.sentence),
        ("runs", ", ".join(str(score) for score in found.scores) or "none"),
        ("machine", found.key),
    ]
    return table(rows)
