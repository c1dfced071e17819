"""The chosen network: its chain, this machine's clock beside it, and its storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from armlx_chain.cli.doctoring.findings import Check, Finding, of_error
from armlx_chain.errors import ArmlxError, UsageError

if TYPE_CHECKING:
    from armlx_chain.cli.context import App

CLOCK_BEHIND_SECONDS: Final = 30.0
"""A block cannot be from the future: where the newest one is, this machine's clock is behind."""
_STORAGE_SECONDS: Final = 15.0


def network_checks(app: App, *, wall: Callable[[], float] = time.time) -> list[Check]:
    """Reachability, chain id, wiring, clock, storage."""
    return [
        Check("Network", "the chain's endpoints", lambda: _chain(app)),
        Check("Network", "the contracts", lambda: _contracts(app)),
        Check("Network", "this machine's clock", lambda: _clock(app, wall)),
        *storage_checks(app),
    ]


def storage_checks(app: App) -> list[Check]:
    """Storage alone: all that an account without keys asks of the network."""
    return [Check("Network", "storage", lambda: _storage(app))]


def skipped_network() -> list[Check]:
    """In their place where nobody wants to be asked."""
    finding = Finding("chain, clock, storage", "skipped", "--offline was given")
    return [Check("Network", "nothing", lambda: [finding])]


def _chain(app: App) -> Iterator[Finding]:
    network = app.settings.network
    head = app.rpc.block()
    seen = f"{network.name}: chain id {network.chain_id} as configured, block {int(head.number)}"
    yield Finding("chain", "ok", seen)
    for report in app.rpc.endpoints():
        healthy = report.fault is None
        step = "" if healthy else "Name others with --rpc-url; the rest is used meanwhile."
        yield Finding("endpoint", "ok" if healthy else "note", report.sentence(), step)
    if len(network.rpc_urls) == 1:
        step = "Name two of different operators with --rpc-url A,B: then they are compared."
        yield Finding("endpoints", "note", "one endpoint is believed about everything", step)


def _contracts(app: App) -> Iterator[Finding]:
    if not _reachable(app):
        yield Finding("contracts", "skipped", "the chain is out of reach")
        return
    _ = app.constants
    yield Finding("contracts", "ok", "code, wiring and constants are as this program expects them")


def _clock(app: App, wall: Callable[[], float]) -> Iterator[Finding]:
    if not _reachable(app):
        yield Finding("clock", "skipped", "the chain is out of reach")
        return
    head = app.rpc.block()
    ahead = wall() - head.timestamp
    limit = app.settings.network.max_head_age_seconds
    step = "Set the clock by the network: timedatectl set-ntp true, or System Settings on a Mac."
    if limit is None:
        # The local world mines on demand and its time may be moved by hand.
        yield Finding("clock", "ok", f"{ahead:.0f} s after the newest block; this chain mines on demand")
    elif ahead < -CLOCK_BEHIND_SECONDS:
        yield Finding("clock", "fault", f"{-ahead:.0f} s behind the newest block", step)
    elif ahead > limit:
        yield Finding("clock", "fault", f"{ahead:.0f} s ahead of the newest block", step)
    else:
        yield Finding("clock", "ok", f"{ahead:.0f} s after the newest block")


def _reachable(app: App) -> bool:
    try:
        app.rpc.block()
    except ArmlxError:
        return False
    return True


def _storage(app: App) -> Iterator[Finding]:
    from armlx_chain.storage.http import BoundedHttp, Timeouts
    from armlx_chain.storage.zerog.endpoints import IndexerApi

    try:
        urls = app.settings.network.storage_urls
    except UsageError as error:
        yield Finding("storage", "skipped", error.message)
        return
    if not urls:
        step = "Name one with --storage-url, or use what is in the cache."
        yield Finding("storage", "fault", f"no storage of {app.network_name} is known", step)
        return
    http = BoundedHttp(Timeouts(total=_STORAGE_SECONDS), configured=urls)
    try:
        for url in urls:
            try:
                nodes = IndexerApi(url, http).nodes()
            except ArmlxError as error:
                step = "Check this address, or name another with --storage-url."
                yield of_error("storage", error, otherwise=step)
                continue
            yield Finding("storage", "ok", f"{url} answers and names {len(nodes)} nodes")
    finally:
        http.close()
