"""``armlx-validator worker``, ``scheduler``, ``certificates``: processes that make runs and hold no key."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options, running_options
from armlx_chain.cli.output import emit, say
from armlx_chain.errors import UsageError

if TYPE_CHECKING:
    from verifier.environments.choice import PythonChoice
    from verifier.executors.site import Backend, Site

_SOCKET = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.option("--socket", "path", type=_SOCKET, help="Serve the daemon of this machine at this socket.")
@click.option("--scheduler", help="Join the cluster whose scheduler is at tls://HOST:PORT.")
@click.option("--certificates", type=_FOLDER, help="This machine's folder of certificates, for a cluster.")
@click.option("--group", is_flag=True, help="Let accounts of this group open the socket, too.")
@running_options
@network_options
def worker(
    app: App,
    path: Path | None,
    scheduler: str | None,
    certificates: Path | None,
    group: bool,
    calibrate: str | None,
    python: PythonChoice,
) -> int:
    """Make runs for a daemon, without a key: over a socket of this machine, or as one machine of a cluster.

    It fetches what a run needs by root, proves it, measures this machine's noise (with --calibrate) and runs
    candidates in the sandbox. Secrets in its environment are dropped at the start; a home with keys in it is
    refused. Ends on SIGTERM; what runs then is ended with it.

    \b
    Examples:
      armlx-validator worker --socket /run/armlx/runner.sock --home ~/.armlx-runner --calibrate full
      armlx-validator worker --scheduler tls://studio.local:8786 --certificates ~/cluster/worker \\
          --home ~/.armlx-runner --calibrate full
    """
    if (path is None) == (scheduler is None):
        raise UsageError("A worker serves one place.", next_step="Give --socket PATH or --scheduler ADDRESS.")
    _become_keyless(app.home)
    from verifier.executors.working import scratch_of, site_here

    site = site_here(app, python.absolute(), calibrate)
    if path is not None:
        serve_socket(path, site, group=group, at_end=site.kill)
        return _ended(app, str(path))
    if certificates is None or scheduler is None:
        raise UsageError(
            "A cluster's member needs certificates.",
            next_step="Make them once with: armlx-validator certificates FOLDER; copy FOLDER/worker here.",
        )
    join_cluster(scheduler, certificates, site, scratch_of(app.home))
    return _ended(app, scheduler)


@click.command()
@click.option("--socket", "path", type=_SOCKET, required=True, help="Serve the daemon at this socket.")
@click.option("--listen", default="127.0.0.1:8786", show_default=True, help="HOST:PORT for the workers.")
@click.option("--certificates", type=_FOLDER, required=True, help="The scheduler's folder of certificates.")
@click.option("--group", is_flag=True, help="Let accounts of this group open the socket, too.")
@network_options
def scheduler(app: App, path: Path, listen: str, certificates: Path, group: bool) -> int:
    """Lead a cluster of workers on a daemon's behalf, without a key.

    Dask's scheduler and client live in this process and nowhere near a key: members of a cluster can run
    programs in it. Give the daemon this socket with --runner. Ends on SIGTERM.

    \b
    Examples:
      armlx-validator scheduler --socket /run/armlx/runner.sock --listen 192.168.1.10:8786 \\
          --certificates ~/cluster/scheduler --home ~/.armlx-runner
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{listen!r} is not of the form HOST:PORT.")
    _become_keyless(app.home)
    from verifier.executors.certificates import read_place
    from verifier.executors.cluster import Cluster

    with Cluster(host.strip("[]"), int(port), read_place(certificates)) as cluster:
        say(f"The scheduler listens at {cluster.address}.")
        serve_socket(path, cluster, group=group)
    return _ended(app, str(path))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", "hosts", multiple=True, help="The scheduler's name or address; may be repeated.")
@click.option("--json", "as_json", is_flag=True, envvar="ARMLX_JSON", help="One JSON object on stdout.")
def certificates(folder: Path, hosts: tuple[str, ...], as_json: bool) -> int:
    """Make the certificates of one cluster: FOLDER/scheduler, and FOLDER/worker for every machine.

    The authority that signs them is thrown away, so nobody can ever be added; to let a machine go, make new
    ones. Whoever holds a certificate can run programs on every machine of the cluster.

    \b
    Examples:
      armlx-validator certificates ~/cluster --host studio.local
    """
    from verifier.executors.certificates import make_certificates

    ends = make_certificates(folder, now=datetime.now(tz=UTC), hosts=hosts)
    lines = [f"{folder / role}: until {end:%Y-%m-%d}" for role, end in ends.items()]
    lines.append("Copy the worker's folder to each machine over a channel that nobody else reads.")
    members = {role: {"folder": str(folder / role), "until": end.isoformat()} for role, end in ends.items()}
    emit({"certificates": members}, lines, as_json=as_json)
    return 0


def _ended(app: App, served: str) -> int:
    emit({"served": served}, [], as_json=app.as_json)
    return 0


def serve_socket(
    path: Path, backend: Backend, *, group: bool = False, at_end: Callable[[], None] = lambda: None
) -> None:
    """Serve conversations at a socket until SIGTERM or SIGINT.

    Raises:
        UsageError, MachineError: the socket cannot be had.
    """
    from verifier.executors.server import Server, listen

    server = Server(listen(path, group=group), backend)
    _at_signals(lambda: threading.Thread(target=server.close, daemon=True).start())
    say(f"Ready at {path}.")
    try:
        server.run()
    finally:
        server.close()
        at_end()
        path.unlink(missing_ok=True)


def join_cluster(address: str, certificates: Path, site: Site, scratch: Path) -> None:
    """Be a machine of a cluster until SIGTERM or SIGINT.

    Raises:
        UsageError: certificates are missing, or Dask is.
    """
    from verifier.executors.certificates import read_place
    from verifier.executors.membership import serve_cluster

    place = read_place(certificates)

    async def serve() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel if task is not None else loop.stop)
        await serve_cluster(address, place, site, scratch=scratch)

    say(f"Machine {site.machine} looks for {address}.")
    try:
        asyncio.run(serve())
    except asyncio.CancelledError:
        say("Stopped.")


def _at_signals(end: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end())


def _become_keyless(home: Path) -> None:
    """Begin again without secrets: what a process was started with stays readable as long as it runs."""
    from verifier.executors.keyless import CLEARED, clear_environment, require_no_keys

    require_no_keys(home)
    dropped = clear_environment(os.environ)
    if dropped and CLEARED not in os.environ:
        say(f"{len(dropped)} variables of the environment are dropped.")
        os.execve(sys.executable, sys.orig_argv, {**os.environ, CLEARED: "1"})  # noqa: S606 (itself)
