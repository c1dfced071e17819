"""What a validator keeps: guard, findings, policy, this machine's calibrations. Nothing is changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.cli.doctoring.findings import Check, Finding, State
from armlx_chain.cli.doctoring.operator import Who

if TYPE_CHECKING:
    from armlx_chain.cli.context import App

_SOON: Final = timedelta(days=3)
_GOLD: Final = "armlx-validator doctor --gold --project N"
_DATABASES: Final = ("findings.sqlite", "journal.sqlite", "guard.sqlite")


def keeping_checks(
    app: App, who: Who, *, chain: bool, calibrations: bool, wall: Callable[[], float], records: bool = True
) -> list[Check]:
    """The validator's durable state.

    Args:
        records: This is the account that signs.
        chain: The chain may be asked what this key settled.
        calibrations: Candidates run under this account, so its calibrations lie here.
    """
    if _is_foreign(app.home):
        return [Check("Records", "whose the records are", lambda: _foreign(app.home))]
    checks = []
    if records:
        checks.append(Check("Records", "the databases", lambda: _databases(app.home)))
        checks.append(Check("Records", "the single-sign guard", lambda: _guard(app.home)))
    if chain:
        checks.append(Check("Records", "the guard beside the ledger", lambda: _losses(app, who)))
        checks.append(Check("Validator", "the policy", lambda: _policy(app, who)))
        checks.append(Check("Validator", "the mode", lambda: _mode(app, who, wall)))
    if calibrations:
        folder = app.home / "calibrations"
        checks.append(Check("Machine", "calibrations", lambda: _calibrations(folder, wall)))
    return checks


def _is_foreign(home: Path) -> bool:
    return home.exists() and home.stat().st_uid != os.geteuid()


def _foreign(home: Path) -> Iterator[Finding]:
    """Opening a database leaves files beside it, which their owner could not open afterwards."""
    step = f"Run it as the account that owns it: sudo -u '#{home.stat().st_uid}' …"
    yield Finding("records", "fault", f"{home} is another account's; nothing in it was opened", step)


def _databases(home: Path) -> Iterator[Finding]:
    found = [home / name for name in _DATABASES if (home / name).exists()]
    if not found:
        yield Finding("databases", "ok", "there is none yet; the first pass makes them")
        return
    for path in found:
        problem = _damage(path)
        if problem is None:
            yield Finding(path.name, "ok", f"whole and writable, {path.stat().st_size // 1024} KiB")
        else:
            step = "Stop the validator and bring back the newest copy; never start with an empty one."
            yield Finding(path.name, "fault", problem, step)


def _damage(path: Path) -> str | None:
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        return f"{path} cannot be read and written by this account"
    try:
        with _reading(path) as database:
            said = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return f"{path} cannot be read: {error}"
    return None if said == "ok" else f"{path} is damaged: {said}"


def _reading(path: Path) -> closing[sqlite3.Connection]:
    """For reading only: a look must never migrate what a running daemon has open."""
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0))


def _guard(home: Path) -> Iterator[Finding]:
    from armlx_chain.settings import guard_path
    from armlx_chain.signing.guard import SingleSignGuard
    from armlx_chain.signing.highwater import HighWater

    path = guard_path(home)
    if not path.exists():
        once = HighWater(path.with_name(f"{path.name}.mark")).read()
        if once:
            step = "Bring back its newest copy, or: armlx-validator guard import FILE"
            yield Finding("guard", "fault", f"it is gone, and once had {once} entries", step)
        else:
            yield Finding("guard", "ok", "nothing was signed here yet")
        return
    guard = SingleSignGuard(path)
    entries, refusals = guard.entries(), guard.refusals()
    seen = f"{len(entries)} verdicts signed, none missing; it can be written"
    yield Finding("guard", "ok", seen)
    if refusals:
        step = "See why: armlx-validator guard show. One key must be used in one place only."
        yield Finding("refusals", "note", f"a second verdict was refused {refusals} times", step)


def _losses(app: App, who: Who) -> Iterator[Finding]:
    from armlx_chain.settings import guard_path
    from armlx_chain.signing.guard import SingleSignGuard
    from verifier.daemon.losses import lost_verdicts, require_whole

    if who.address is None:
        yield Finding("lost verdicts", "skipped", "the account is not known")
        return
    settled = list(app.frontier.read().proposals.values())
    path = guard_path(app.home)
    mine = [one for one in settled if one.reviewer == who.address]
    if not path.exists() and not mine:
        yield Finding("lost verdicts", "ok", "this key settled nothing yet")
        return
    network = app.settings.network
    lost = lost_verdicts(
        settled,
        SingleSignGuard(path),
        chain_id=network.chain_id,
        genesis_hash=app.rpc.genesis_hash,
        ledger=network.proposal_ledger,
        account=who.address,
    )
    require_whole(lost, who.address)
    yield Finding("lost verdicts", "ok", "the guard knows all that this key settled on the ledger")


def _policy(app: App, who: Who) -> Iterator[Finding]:
    from armlx_chain.cli.claiming import domain_of
    from verifier.daemon.admission import own_policy

    if who.address is None:
        yield Finding("policy", "skipped", "the account is not known")
        return
    policy = own_policy(app.home / "policies", domain_of(app), who.address)
    if policy.issued_at == 0:
        own = app.home / "policies" / "own.json"
        step = f"armlx-chain policy sign -o {own}, and put a copy where miners find it."
        yield Finding("policy", "note", "none is published: everybody's proposals are run", step)
        return
    issued = datetime.fromtimestamp(policy.issued_at, tz=UTC).strftime("%Y-%m-%d")
    time = f"{policy.machine_seconds} s" if policy.machine_seconds else "any time"
    seen = f"of {issued}: stakes from {policy.minimum_stake}, {time} for one project in a day"
    yield Finding("policy", "ok", seen)


def _mode(app: App, who: Who, wall: Callable[[], float]) -> Iterator[Finding]:
    from armlx_chain.cli.wiring import chain_key
    from verifier.daemon.mode import Mode, ModeKeeper
    from verifier.daemon.service import is_practice

    path = app.home / "findings.sqlite"
    if who.address is None or not path.exists():
        yield Finding("mode", "note", "dry: no pass was made yet", _GOLD)
        return
    where = (
        chain_key(app.settings, app.rpc),
        app.settings.network.proposal_ledger.lower(),
        who.address.lower(),
    )
    try:
        with _reading(path) as database:
            modes = ModeKeeper(database, where, practice=is_practice(app), now=wall)
            mode, why, golds = modes.current(), modes.why(), modes.golds()
    except sqlite3.Error as error:
        step = "Run: armlx-validator once; it brings the database up to this version."
        yield Finding("mode", "note", f"it cannot be told ({error})", step)
        return
    rows = tuple(f"gold run {'passed' if gold.passed else 'FAILED'}: {gold.sentence}" for gold in golds)
    state: State = "ok" if mode is Mode.LIVE else "note"
    yield Finding("mode", state, f"{mode.value}: {why}", f"{_GOLD} --go-live", rows)


def _calibrations(folder: Path, wall: Callable[[], float]) -> Iterator[Finding]:
    from armlx_chain.errors import VerifierFault
    from verifier import calibrationfile

    step = "armlx-validator calibrate --project N, with nothing else running"
    latest: dict[tuple[str, str], calibrationfile.Stored] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            stored = calibrationfile.decode(path.read_bytes(), name=path.name)
        except VerifierFault as damaged:
            yield Finding("calibration", "fault", damaged.message, f"rm {path}, then: {step}")
            continue
        key = (stored.project, stored.noise.hardware_class)
        if key not in latest or latest[key].measured_at < stored.measured_at:
            latest[key] = stored
    if not latest:
        yield Finding("calibration", "note", "this machine's noise was measured for no project yet", step)
    now = datetime.fromtimestamp(wall(), tz=UTC)
    for (project, hardware), stored in sorted(latest.items()):
        name = f"calibration {project.rpartition(':')[2][:10]}"
        problem = stored.age_problem(now)
        left = stored.ends_at - now
        seen = f"{hardware}: noise at most {stored.noise.s} bpb, holds for {left.days} days"
        if problem is not None:
            yield Finding(name, "fault", problem, step)
        elif left < _SOON or stored.noise.shortcut:
            weak = f"; a shortcut: {stored.noise.shortcut}" if stored.noise.shortcut else ""
            yield Finding(name, "note", seen + weak, step)
        else:
            yield Finding(name, "ok", seen)
