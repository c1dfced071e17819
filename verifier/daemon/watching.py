"""Everything that watches a running daemon, wired in one place.

::

    with watched(app, redactor_of(app, [signer.address], key=key), as_json=True, port=9464) as eyes:
        built = build(app, signer, choice, Talk(eyes.observer, …))
        eyes.gauge(modes=built.service.modes, rejections=built.service.rejections, …)
        built.daemon.run()
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.cli.output import talking_to
from armlx_chain.errors import ArmlxError
from verifier.daemon.health import SILENCE_SECONDS, HealthServer, Look, Pulse, Readiness, Standing
from verifier.daemon.logs import LogObserver, start_logging
from verifier.daemon.metrics import Metrics
from verifier.daemon.observer import Several, Silent
from verifier.daemon.readiness import calibration_look, network_looks, sandbox_look
from verifier.daemon.redaction import Redactor, secret_variables
from verifier.daemon.results import Result

if TYPE_CHECKING:
    from armlx_chain.cli.context import App, SignerChoice
    from verifier.daemon.mode import ModeKeeper
    from verifier.daemon.rejections import Rejections

__all__ = ["Eyes", "Gauger", "redactor_of", "watched"]

log = logging.getLogger("armlx.validator")

_MOST_SECRET: Final = 4096


@dataclass(slots=True)
class Eyes:
    """Whoever watches.

    Attributes:
        observer: What the daemon tells.
        looks: The checks of ``/readyz``; empty where no pages are served.
        port: Where the pages are, if they are.
    """

    observer: Several
    metrics: Metrics
    redactor: Redactor
    looks: dict[str, Look] = field(default_factory=dict)
    port: int | None = None

    def gauge(
        self,
        *,
        modes: ModeKeeper,
        rejections: Rejections,
        balance: Callable[[], int],
        machines: Callable[[], int],
    ) -> None:
        """From now on also what stands after each cycle is shown.

        Args:
            balance: The account's native coin in wei; may raise what the chain raises.
            machines: How many machines take sessions.
        """
        gauger = Gauger(self.metrics, modes=modes, rejections=rejections, balance=balance, machines=machines)
        gauger.read()
        self.observer.add(gauger)
        self.looks["mode"] = gauger.look


def redactor_of(
    app: App,
    accounts: Iterable[str],
    *,
    key: SignerChoice | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Redactor:
    """What must not be seen of this process: credentials of its endpoints, the key, the passphrase where it
    lies in a file, and secrets of the environment."""
    network = app.settings.network
    secrets = [*secret_variables(environment), *_passphrases(key)]
    return Redactor(secrets=secrets, addresses=(*network.rpc_urls, *network.storage_urls), accounts=accounts)


def _passphrases(key: SignerChoice | None) -> list[str]:
    """The passphrase, where it lies in a file. One that is typed, or the keyring's, is no text of this
    process for longer than it takes to open the key."""
    if key is None:
        return []
    source = key.passphrase_from or ""
    path = Path(source.removeprefix("file:")) if source.startswith("file:") else key.password_file
    if path is None:
        return []
    try:
        with path.expanduser().open("rb") as file:
            text = file.read(_MOST_SECRET).decode("utf-8", "replace")
    except OSError:
        return []  # whoever opens the key says so
    return [text.removesuffix("\n").removesuffix("\r")]


@contextmanager
def watched(
    app: App,
    redactor: Redactor,
    *,
    as_json: bool,
    port: int | None,
    silence: float = SILENCE_SECONDS,
    level: int = logging.INFO,
    with_machine: bool = True,
) -> Iterator[Eyes]:
    """Logs, metrics and health pages, while the block runs; what is said meanwhile goes to the log, too.

    Args:
        as_json: Whether lines of the log are JSON.
        port: Of the loopback address; 0 for any free one, None for no pages.
        silence: Seconds without a sign of life after which ``/healthz`` is unwell.
        with_machine: Whether runs are made on this machine, so that its sandbox and calibration matter.

    Raises:
        UsageError: the port is taken.
    """
    start_logging(redactor, as_json=as_json, level=level)
    metrics, pulse = Metrics(), Pulse(silence=silence)
    eyes = Eyes(Several(LogObserver(), metrics, pulse), metrics, redactor)
    with ExitStack() as stack:
        stack.enter_context(talking_to(lambda sentence: log.info("%s", sentence)))
        if port is not None:
            eyes.looks.update(network_looks(app))
            if with_machine:
                eyes.looks["sandbox"] = sandbox_look()
                eyes.looks["calibration"] = calibration_look(app.home / "calibrations")
            readiness = Readiness(eyes.looks, clean=redactor.clean)
            server = HealthServer(pulse=pulse, readiness=readiness, metrics=metrics, port=port)
            eyes.port = stack.enter_context(server).port
            log.info("health pages are at http://127.0.0.1:%d (healthz, readyz, metrics)", eyes.port)
        yield eyes


class Gauger(Silent):
    """An observer that reads what stands after each cycle: mode, rejections that wait, the account's balance.

    It reads the daemon's own database and chain, so it is told in the daemon's thread, between cycles. What
    cannot be read is left as it was.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        modes: ModeKeeper,
        rejections: Rejections,
        balance: Callable[[], int],
        machines: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._modes = modes
        self._rejections = rejections
        self._balance = balance
        self._machines = machines
        self._standing = Standing(False, "nothing was read yet")

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        self.read()

    def read(self) -> None:
        """Bring the gauges up to what stands now."""
        try:
            mode = self._modes.current()
            self._metrics.mode(mode.value)
            self._standing = Standing(True, f"{mode.value}: {self._modes.why()}")
            self._metrics.pending_rejections(len(self._rejections.pending()))
            self._metrics.machines(self._machines())
            self._metrics.balance(self._balance())
        except (ArmlxError, OSError, sqlite3.Error) as error:
            log.info("what stands could not be read: %s", error)

    def look(self) -> Standing:
        """The mode as it stood after the last cycle, for ``/readyz``. Dry mode judges too, so it is ready."""
        return self._standing
