"""Where runs are made, and whether that is far enough from the key."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.cli.context import App
from armlx_chain.cli.output import say
from armlx_chain.errors import UsageError, VerifierFault
from verifier.daemon.nokey import NoKey
from verifier.daemon.service import is_practice
from verifier.environments.choice import PythonChoice

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Project
    from armlx_chain.signing.signer import Signer
    from verifier.controls import PastBest
    from verifier.executors.interface import Executor
    from verifier.judging import Prepared
    from verifier.materials import Materials
    from verifier.model import Noise
    from verifier.session import ProgressCallback

__all__ = ["executor_here", "nearness", "unsafe"]

_BESIDE: Final = "Strangers' code would run under the account that holds the key"


def unsafe(app: App, signer: Signer, runner: Path | None, *, one_account: bool) -> str | None:
    """Why nothing is signed in this run: there is no key, or strangers' code runs beside it.

    Args:
        runner: Socket of the process that makes the runs; ``None`` for this one.
        one_account: The operator accepts the danger.

    Raises:
        VerifierFault: there is no such socket.
    """
    if isinstance(signer, NoKey):
        return "It was started with --unsigned, so it has no key; its verdicts are left unsigned."
    if one_account or is_practice(app):
        return None
    near = _BESIDE if runner is None else nearness(*_served(runner), os.geteuid())
    if near is None:
        return None
    return (
        f"{near}, so verdicts are left unsigned. Set up two accounts with: armlx-validator install; or "
        "accept the danger with --one-account."
    )


def nearness(served: os.stat_result, folder: os.stat_result, account: int) -> str | None:
    """Why a runner is not far enough from the key, as the beginning of a sentence; ``None`` if it is.

    Args:
        served: Its socket, whose owner runs it.
        folder: The one that the socket lies in.
        account: Who holds the key.
    """
    if served.st_uid == account:
        return _BESIDE
    if served.st_uid == 0:
        return "Strangers' code would run under root, who can read every key"
    if folder.st_uid not in (0, served.st_uid, account) or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "Anybody who can write into the folder of the runner's socket could say what was measured"
    return None


def _served(socket: Path) -> tuple[os.stat_result, os.stat_result]:
    """A runner's socket and its folder.

    Raises:
        VerifierFault: there is none.
    """
    try:
        place = socket.resolve(strict=True)
        return place.stat(), place.parent.stat()
    except OSError as error:
        raise VerifierFault(
            f"No runner answers at {socket} ({error.strerror}).",
            next_step=f"Start one, under an account without keys: armlx-validator worker --socket {socket}",
        ) from error


def executor_here(
    app: App,
    python: PythonChoice,
    calibrate: str | None,
    *,
    runner: Path | None = None,
    progress: ProgressCallback | None = None,
) -> Executor:
    """Sessions in this process, or in the keyless one whose socket ``runner`` is.

    Args:
        progress: Told of every run of a calibration that is made here.

    Raises:
        UsageError: a shortcut of a calibration was asked for on a real network, or measuring here what a
            runner measures.
    """
    from armlx_chain.cli.reproduce import prepare_here
    from verifier.executors.local import LocalExecutor, machine_id

    if runner is not None:
        return _behind(app, runner, calibrate)
    return LocalExecutor(
        prepare=lambda project, brake: prepare_here(app, project, python, brake),
        noise=_noise_source(app, calibrate, progress),
        machine=machine_id(app.home),
    )


def _behind(app: App, runner: Path, calibrate: str | None) -> Executor:
    """A runner or a cluster: it calibrates itself, and the daemon fetches no data of a benchmark."""
    from armlx_chain.cli.reproduce import earlier_bests, load_here
    from verifier.controls import MAX_EARLIER
    from verifier.executors.remote import RemoteExecutor, connect_to

    if calibrate is not None:
        raise UsageError(
            "A runner's noise is measured by the runner.",
            next_step="Give --calibrate to armlx-validator worker, where the candidates run.",
        )

    def load(project: Project) -> tuple[Materials, Sequence[PastBest]]:
        materials = load_here(app, project, with_data=False)
        is_best = materials.control_note is None
        return materials, () if is_best else earlier_bests(app, project)[:MAX_EARLIER]

    return RemoteExecutor(connect_to(runner), load=load, check=_good_enough(app), say=say)


def _noise_source(
    app: App, calibrate: str | None, progress: ProgressCallback | None
) -> Callable[[Prepared], Noise]:
    """The machine's noise. A shortcut is good enough to practise, never to settle other people's stakes."""
    from armlx_chain.cli.reproduce import noise_of, show_progress

    if calibrate == "quick" and not is_practice(app):
        raise UsageError(
            "A quick calibration is for the local world only: on a real network stakes depend on it.",
            next_step="Use --calibrate full.",
        )
    check = _good_enough(app)
    return lambda prepared: check(noise_of(prepared, calibrate=calibrate, progress=progress or show_progress))


def _good_enough(app: App) -> Callable[[Noise], Noise]:
    """Refuses a calibration that stakes must not depend on."""
    practice = is_practice(app)

    def check(found: Noise) -> Noise:
        if found.shortcut is not None and not practice:
            raise VerifierFault(
                "This machine's calibration is a shortcut: " + found.shortcut,
                next_step="Measure it in full: armlx-validator calibrate --project N, or --calibrate full.",
            )
        return found

    return check
