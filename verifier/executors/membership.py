"""A machine's membership in a cluster: a Dask worker that carries out one job at a time.

When the scheduler goes away, what runs is ended (nobody would learn of it) and the worker looks for the
scheduler again until it is told to stop.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from armlx_chain.errors import UsageError
from verifier.executors.certificates import Place
from verifier.executors.cluster import dask_kit, secured
from verifier.executors.site import Site
from verifier.executors.task import serve_as

__all__ = ["serve_cluster"]

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


async def serve_cluster(scheduler: str, place: Place, site: Site, *, scratch: Path) -> None:
    """Carry out jobs of a cluster until cancelled.

    Args:
        scheduler: ``tls://HOST:PORT``.

    Raises:
        UsageError: the address is not one of TLS.
    """
    if not scheduler.startswith("tls://"):
        raise UsageError(
            f"{scheduler} is not an address of the form tls://HOST:PORT.",
            meaning="Without certificates anybody on the network could run programs here.",
        )
    serve_as(site)
    pause = _FIRST_PAUSE
    while True:
        try:
            await _member(scheduler, place, site, scratch)
            pause = _FIRST_PAUSE
        except (OSError, TimeoutError, RuntimeError, ValueError) as problem:
            log.warning("the scheduler at %s is not there: %s", scheduler, problem)
        site.kill()
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _member(scheduler: str, place: Place, site: Site, scratch: Path) -> None:
    """One membership, to its end."""
    kit = dask_kit()
    worker = kit.Worker(
        scheduler,
        nthreads=1,
        name=site.machine,
        security=secured(place),
        local_directory=str(scratch),
        memory_limit=0,
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        death_timeout=10,
    )
    try:
        await worker
        log.info("member of the cluster at %s", scheduler)
        await worker.finished()
    finally:
        site.kill()
        await worker.close(timeout=5)
