"""``verify-verdict``: replay a verdict from what it left behind, on any machine, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import emit, say
from armlx_chain.errors import (
    EXIT_FINDING,
    ContentMismatch,
    ContentNotFound,
    FormatError,
    MachineError,
    RootFormatError,
    UsageError,
)
from armlx_chain.types import Root

if TYPE_CHECKING:
    from armlx_chain.formats.verdictpack import VerdictPack
    from armlx_chain.storage.interface import Fetcher
    from verifier.replay import Check, Replayed

PACK_FILE = "verdict.tar"
ATTESTATION_LIMIT_BYTES = 1 << 20
_SENTENCE = 2_000
"""Characters of a check that are shown to a person."""


@click.command(name="verify-verdict")
@click.argument("what", metavar="ROOT|FILE")
@click.option("--offline", is_flag=True, envvar="ARMLX_OFFLINE", help="Take ROOT from the cache only.")
@click.option("--chain", "with_chain", is_flag=True, help="Compare with the ledger, too.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the verdict to this file, which can be handed on and verified without a network.",
)
@network_options
def verify_verdict(app: App, what: str, offline: bool, with_chain: bool, output: Path | None) -> int:
    """Replay the verdict in FILE, or the one that ROOT leads to, and check everything it states.

    FILE is a validator's verdict.tar, or the report folder that holds it. ROOT is the metricsHash of a
    settled proposal (the signed attestation), from which report and bundle are found, or the root of a
    verdict.tar. Checked are: signature, roots, logs, candidate, claim, environment, noise; that the rule,
    asked again about the records, gives this verdict and score; with --chain also proposal, seed and
    settlement, and that control and current best were this project's. What no replay can show, such as that
    the runs took place, is said with every result.

    Exits 0 for a sound verdict "reproduced", 3 for "unimproved" and "refuted" and wherever something does not
    hold, 5 for "undecided".

    \b
    Examples:
      armlx-chain verify-verdict ~/.armlx-chain/reports/0x…/12
      armlx-chain verify-verdict 0g:0x… --chain --network devnet
      armlx-chain verify-verdict 0g:0x… -o verdict-12.tar
      armlx-chain verify-verdict verdict-12.tar --json
    """
    from armlx_chain.cli.reproduce import EXIT_BY_OUTCOME
    from verifier.replay import replay

    if offline and with_chain:
        raise UsageError("--offline and --chain exclude each other.")
    try:
        pack = _pack(app, what, offline=offline)
        found = replay(pack)
    except FormatError as damaged:
        raise ContentMismatch(
            f"This is no verdict that hangs together: {damaged.message}",
            meaning="It was changed, is not complete, or was made by another version.",
            next_step=damaged.next_step or "Fetch it again, or ask its validator for verdict.tar.",
        ) from damaged
    checks = (*found.checks, *(_compared(app, found) if with_chain else ()))
    not_shown = _not_shown(with_chain=with_chain)
    if output is not None:
        from armlx_chain.storage.files import write_file

        write_file(output, pack.encode())
        say(f"Wrote {output}.")
    is_sound = all(check.holds != "no" for check in checks)
    facts = {**_facts(found, checks, is_sound=is_sound), "not_shown": not_shown}
    emit(facts, _lines(found, checks, not_shown, is_sound=is_sound), as_json=app.as_json)
    return EXIT_BY_OUTCOME[found.outcome.value] if is_sound else EXIT_FINDING


def _pack(app: App, what: str, *, offline: bool) -> VerdictPack:
    from armlx_chain.formats.verdictpack import PACK_LIMITS, VerdictPack

    path = Path(what)
    if path.is_dir():
        path = path / PACK_FILE
    if path.exists():
        try:
            with path.open("rb") as file:
                return VerdictPack.parse(file.read(PACK_LIMITS.archive_bytes + 1))
        except OSError as error:
            raise MachineError(f"{path} cannot be read ({error.strerror}).") from error
    try:
        root = Root.parse(what)
    except RootFormatError as refused:
        raise UsageError(
            f"{what[:100]!a} is neither a file here nor a root.",
            next_step="Give a verdict.tar, a report folder, or the root in a proposal's metricsHash.",
        ) from refused
    return fetch_pack(root, app.open_storage(offline=offline))


def fetch_pack(root: Root, storage: Fetcher) -> VerdictPack:
    """The verdict that a root leads to.

    Raises:
        StorageError: a part cannot be had.
        FormatError: a part is damaged.
    """
    from armlx_chain.formats.attestation import SignedAttestation
    from armlx_chain.formats.verdictpack import (
        BUNDLE_LIMITS,
        MAX_REPORT_BYTES,
        PACK_LIMITS,
        VerdictPack,
        parse_report,
    )
    from verifier.replay import bundle_of

    data = storage.fetch(root, max_bytes=PACK_LIMITS.archive_bytes).data
    if not data.startswith(b"{"):
        return VerdictPack.parse(data)
    if len(data) > ATTESTATION_LIMIT_BYTES:
        raise FormatError(f"{root} is no attestation: it has {len(data)} bytes.")
    report_root = SignedAttestation.parse(data).attestation.report_root
    report = storage.fetch(report_root, max_bytes=MAX_REPORT_BYTES).data
    named = bundle_of(parse_report(report))
    if named is None:
        raise ContentNotFound(
            "The report of this verdict names no bundle.",
            meaning="Its validator kept none (an earlier version of the program): nothing can be replayed.",
        )
    bundle_root, size = named
    limit = BUNDLE_LIMITS.archive_bytes
    return VerdictPack(report, storage.fetch(bundle_root, max_bytes=limit, expected_size=size).data, data)


def _compared(app: App, found: Replayed) -> tuple[Check, ...]:
    from armlx_chain.chain.contracts import ProjectRegistry, VerifierRegistry
    from armlx_chain.cli.reproduce import earlier_bests
    from armlx_chain.cli.wiring import check_wiring, ledger_of
    from verifier.replaychain import compare_with_ledger

    check_wiring(app)
    network = app.settings.network
    return compare_with_ledger(
        found,
        ledger_of(app),
        ProjectRegistry(app.rpc, network.project_registry),
        VerifierRegistry(app.rpc, network.verifier_registry),
        past_bests=lambda project: earlier_bests(app, project),
        seed_delay_blocks=network.seed_delay_blocks,
        confirmations=network.confirmations,
    )


def _facts(found: Replayed, checks: tuple[Check, ...], *, is_sound: bool) -> dict[str, Any]:
    about = found.bundle.case.about
    return {
        "sound": is_sound,
        "signed": found.is_signed,
        "outcome": found.outcome.value,
        "reason": found.reason.value,
        "score": None if found.score is None else str(int(found.score)),
        "proposal": int(about.proposal_id),
        "project": int(about.project_id),
        "chain_id": about.domain.chain_id,
        "ledger": about.domain.ledger,
        "validator": about.validator,
        "program": found.bundle.case.program,
        "attestation": None if found.signed_root is None else str(found.signed_root),
        "report": str(found.report_root),
        "bundle": str(found.bundle_root),
        "checks": [
            {"name": check.name, "holds": check.holds.value, "sentence": check.sentence} for check in checks
        ],
    }


_MARKS = {"yes": "holds", "no": "DOES NOT HOLD", "open": "not checked"}


def _not_shown(*, with_chain: bool) -> list[str]:
    from verifier.replaychecks import NOT_SHOWN

    ledger = "that proposal, seed, control and current best are the ledger's (--chain compares them)"
    return [*NOT_SHOWN, *(() if with_chain else (ledger,))]


def _lines(found: Replayed, checks: tuple[Check, ...], not_shown: list[str], *, is_sound: bool) -> list[str]:
    from verifier.report import plain

    about = found.bundle.case.about
    width = max(len(mark) for mark in _MARKS.values())
    # One line each: a validator's own words must not look like a check of ours.
    lines = [
        f"{_MARKS[check.holds.value]:<{width}}  {check.name}: {plain(check.sentence, _SENTENCE)}"
        for check in checks
    ]
    verdict = f"{found.outcome.value} ({found.reason.value})"
    if not is_sound:
        end = f"This verdict, {verdict}, does NOT follow from what it rests on. Do not rely on it."
    elif found.is_signed:
        end = f"{verdict}: signed by {about.validator}, and it follows from what it rests on."
    else:
        end = f"{verdict}: it follows from what it rests on; nobody signed it."
    unchecked = [check.name for check in checks if check.holds == "open"]
    return [
        *lines,
        "",
        *(f"Not shown: {what}." for what in not_shown),
        "",
        f"Proposal {about.proposal_id} of project {about.project_id}: {end}",
        *([f"Could not be checked here: {', '.join(unchecked)}."] if unchecked else []),
    ]
