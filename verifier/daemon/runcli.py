"""``armlx-validator run`` and ``once``: the validator as a service, and a single pass of it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, running_options, signer_options
from armlx_chain.cli.output import emit, say
from armlx_chain.errors import Interrupted

if TYPE_CHECKING:
    from armlx_chain.signing.signer import Signer
    from verifier.daemon.building import RunChoice, Talk
    from verifier.daemon.cyclelog import CycleRow
    from verifier.daemon.results import Result
    from verifier.daemon.watching import Eyes
    from verifier.environments.providing import PythonChoice

log = logging.getLogger("armlx.validator")
F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_HEALTH_PORT = 9464


def runner_option(command: F) -> F:
    """``--runner``: where sessions run."""
    return click.option(
        "--runner",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Let the process at this socket make the runs: armlx-validator worker, or scheduler for several"
        " machines. [default: this process]",
    )(command)


_RULES: Final = (
    click.option(
        "--auto-reject", is_flag=True, help="Send rejections without asking. They slash the miner's stake."
    ),
    click.option(
        "--max-rejections",
        type=click.IntRange(min=0),
        default=3,
        show_default=True,
        help="Rejections in a day (UTC) at most, whoever consents.",
    ),
    click.option("--go-live", is_flag=True, help="Leave dry mode; needs a gold run that passed."),
    click.option("--dry", is_flag=True, help="Judge and report; sign nothing and send nothing."),
    click.option(
        "--policy",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="Your own signed policy. [default: policies/own.json in the home]",
    ),
    click.option(
        "--expire-others",
        is_flag=True,
        help="Expire proposals that you had nothing to do with, a day after their week. Half of the stake is"
        " yours then.",
    ),
    click.option(
        "--collect-from",
        type=click.IntRange(min=0),
        default=1,
        show_default=True,
        metavar="TOKENS",
        help="Collect credits of so many tokens or more, where they are worth the gas; 0 for none.",
    ),
)
"""Options of the rules of service, named as the fields of ``ServiceChoice``."""
_RUNS: Final = (
    click.option(
        "--claim-first",
        is_flag=True,
        help="Claim a review before the first run instead of when the verdict is ready. A lease cannot be"
        " handed back for 24 hours.",
    ),
    click.option(
        "--pairs",
        type=click.IntRange(8, 24),
        default=8,
        show_default=True,
        help="Pairs after which a test ends undecided for now; the next pass continues it to 24.",
    ),
    click.option(
        "--despite-lost-verdicts",
        "despite_lost",
        is_flag=True,
        help="Go on although this key settled verdicts that the guard of this machine does not know.",
    ),
    click.option(
        "--drain-seconds",
        type=click.FloatRange(min=0),
        default=600.0,
        show_default=True,
        help="After SIGTERM or Ctrl-C: how long a pair that was begun may take to end.",
    ),
    click.option(
        "--one-account",
        is_flag=True,
        help="Sign although strangers' code runs under this account: whoever gets out of the sandbox has the"
        " key.",
    ),
    click.option(
        "--unsigned",
        metavar="ADDRESS",
        help="Judge for this validator without its key; verdicts are left unsigned.",
    ),
    click.option(
        "--agree",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        metavar="M",
        help="Sign only what M of your machines found, this one included; the lowest bound counts.",
    ),
    click.option(
        "--opinions",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder in which your machines tell each other what they found.",
    ),
)
"""Options of how and where it judges, named as the fields of ``RunChoice``; and ``--unsigned``."""


def service_options(command: F) -> F:
    """What ``run`` and ``once`` share; the command receives ``choice`` and ``unsigned``.

    Any option of the command that is named as a field of ``RunChoice`` or ``ServiceChoice`` goes there.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, python: PythonChoice, unsigned: str | None, **given: Any) -> Any:
        from verifier.daemon.building import RunChoice
        from verifier.daemon.service import ServiceChoice

        def chosen(kind: type[Any]) -> dict[str, Any]:
            return {part.name: given.pop(part.name) for part in fields(kind) if part.name in given}

        rules = ServiceChoice(**chosen(ServiceChoice))
        choice = RunChoice(python=python.absolute(), service=rules, **chosen(RunChoice))
        if choice.one_account and not unsigned:
            say("warning: strangers' code runs under the account that holds the key")
        return command(*args, choice=choice, unsigned=unsigned, **given)

    for option in reversed((*_RULES, *_RUNS, runner_option, running_options)):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


@click.command()
@service_options
@signer_options
@network_options
def once(app: App, key: SignerChoice, choice: RunChoice, unsigned: str | None) -> int:
    """One pass: bring every open proposal as far as it can be brought now.

    Exits 0 when every proposal reached its due state, whatever the verdicts; 1 on errors, 2 on usage, 4 where
    the key or the guard refuses, 75 to try again later, 130 interrupted.

    \b
    Examples:
      armlx-validator once --account validator
      armlx-validator once --account validator --auto-reject --calibrate quick --network devnet
    """
    from armlx_chain.cli.reproduce import show_progress
    from verifier.daemon.building import Talk, build
    from verifier.daemon.observer import Silent
    from verifier.daemon.watching import redactor_of

    signer = _signer(app, key, unsigned)
    clean = redactor_of(app, [signer.address], key=key).clean
    built = build(app, signer, choice, Talk(Silent(), say, show_progress, clean))
    try:
        with built.drain.on_signals():
            cycle = built.daemon.cycle("once")
    finally:
        built.executor.close()
    if cycle.error is not None:
        raise cycle.error
    if built.drain.is_asked:
        raise Interrupted("Stopped.", meaning="What was finished is kept; the next pass goes on with it.")
    if not cycle.results:
        say("There is no open proposal.")
    entries = [_as_json(result) for result in cycle.results]
    emit({"proposals": entries}, _lines(cycle.results), as_json=app.as_json)
    return 0


@click.command()
@click.option(
    "--poll",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds after which all records are looked at, if no event comes before.",
)
@click.option(
    "--look", type=click.FloatRange(min=0.05), help="Seconds between two looks at the ledger's events."
)
@click.option("--cycles", type=click.IntRange(min=1), help="End after so many cycles. [default: never]")
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_HEALTH_PORT,
    show_default=True,
    help="Of /healthz, /readyz and /metrics, on this machine only; 0 for any free one.",
)
@click.option("--no-health", is_flag=True, help="Serve no pages.")
@click.option("--log", "log_form", type=click.Choice(["json", "text"]), default="json", show_default=True)
@service_options
@signer_options
@network_options
def run(
    app: App,
    key: SignerChoice,
    choice: RunChoice,
    unsigned: str | None,
    poll: float,
    cycles: int | None,
    health_port: int,
    no_health: bool,
    log_form: str,
) -> int:
    """Validate until told to stop: SIGTERM or Ctrl-C once lets what was begun end, twice stops at once.

    Starts dry on a real network: it judges and reports, and signs nothing until --go-live after a gold run.
    Logs go to stderr, one JSON object a line. With --json a summary is printed at the end.

    \b
    Examples:
      armlx-validator run --account validator --passphrase-from file:/etc/armlx/passphrase
      armlx-validator run --account validator --go-live --claim-first
      armlx-validator run --account validator --network devnet --calibrate quick --log text

    \b
    Exit codes: 0 told to stop, or --cycles done; 1 a person must act (the message says what); 2 usage;
    4 key or passphrase, or the guard refuses; 75 the chain cannot be asked at the start.
    """
    from verifier.daemon.alarms import Bell
    from verifier.daemon.building import build
    from verifier.daemon.watching import redactor_of, watched

    signer = _signer(app, key, unsigned)
    # Nobody is asked at the terminal: the daemon would stand still until somebody comes by.
    choice = replace(choice, pace=replace(choice.pace, poll=poll), asks=False)
    redactor = redactor_of(app, [signer.address], key=key)
    port = None if no_health else health_port
    with watched(app, redactor, as_json=log_form == "json", port=port) as eyes:
        built = build(app, signer, choice, _talk(eyes))
        modes, executor = built.service.modes, built.executor
        log.info("mode %s: %s", modes.current().value, modes.why())
        eyes.gauge(
            modes=modes,
            rejections=built.service.rejections,
            balance=lambda: int(app.rpc.balance(signer.address)),
            machines=lambda: len(executor.machines()),
        )
        eyes.observer.add(Bell(eyes.observer, modes, built.service.rejections, built.guard.refusals))
        try:
            with built.drain.on_signals():
                built.daemon.run(cycles)
        finally:
            executor.close()
    done = [_cycle_json(row) for row in reversed(built.store.cycles.cycles())]
    emit({"cycles": done, "drained": built.drain.is_asked}, ["Stopped in order."], as_json=app.as_json)
    return 0


def _signer(app: App, key: SignerChoice, unsigned: str | None) -> Signer:
    from verifier.daemon.nokey import NoKey

    return key.load(app) if unsigned is None else NoKey(unsigned)


def _talk(eyes: Eyes) -> Talk:
    """Everything that is said goes to the log, which takes secrets out."""
    from verifier.daemon.building import Talk

    return Talk(
        eyes.observer,
        say=lambda sentence: log.info("%s", sentence),
        show=lambda progress: log.debug("%s", progress.message),
        clean=eyes.redactor.clean,
    )


def _cycle_json(row: CycleRow) -> dict[str, object]:
    return {
        "cycle": row.number,
        "why": row.why,
        "began": row.began,
        "ended": row.ended,
        "outcome": row.outcome,
        "sentence": row.sentence,
        "proposals": row.proposals,
    }


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
