"""``proposals``: what waits and what became of it, and whether one's papers belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import emit, say, table
from armlx_chain.errors import EXIT_FINDING, EXIT_OK, EXIT_TRY_LATER, UsageError

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal
    from armlx_chain.claims.authorship import Finding

_HEADS = ("id", "status", "stake", "claimed", "gain", "verified", "miner", "expires")


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Of this project.")
@click.option("--all", "everything", is_flag=True, help="Settled ones too.")
@click.option("--verify", "verify_id", type=click.IntRange(min=0), help="Check the papers of this proposal.")
@network_options
def proposals(app: App, project_id: int | None, everything: bool, verify_id: int | None) -> int:
    """List a project's proposals, or check one's papers: evidence, signature, logs, and who packed its code.

    With --verify the exit code is 0 if everything belongs together, 3 if something contradicts, 75 if
    something is not published yet.

    \b
    Examples:
      armlx-chain proposals --project 0
      armlx-chain proposals --project 0 --all --json
      armlx-chain proposals --verify 3
    """
    if (project_id is None) == (verify_id is None):
        raise UsageError("Give either --project or --verify.")
    if verify_id is not None:
        return _verify(app, verify_id)
    _list(app, project_id or 0, everything)
    return EXIT_OK


def _list(app: App, project_id: int, everything: bool) -> None:
    from armlx_chain.cli import wiring
    from armlx_chain.cli.claiming import latest_time

    project, _ = wiring.open_project(app, project_id)
    found = wiring.project_proposals(app, project_id)
    chosen = [proposal for proposal in found if everything or proposal.is_open]
    window, now = wiring.ledger_of(app).expiry_window_seconds(), latest_time(app)
    rows = [_row(proposal, int(project.best_score), window, now) for proposal in chosen]
    data = {
        "project": project_id,
        "best_score": int(project.best_score),
        "time": now,
        "proposals": [proposal_json(proposal, window) for proposal in chosen],
    }
    empty = "There is no proposal." if everything else "There is no open proposal; see --all."
    emit(data, columns(_HEADS, rows) if rows else [empty], as_json=app.as_json)


def _row(proposal: Proposal, best: int, window: int, now: int) -> tuple[str, ...]:
    from armlx_chain.chain.contracts import Status

    left = proposal.submitted_at + window - now
    expires = (
        "-"
        if not proposal.is_open
        else "now"
        if left <= 0
        else f"in {left // 3600} h {left % 3600 // 60} min"
    )
    verified = str(proposal.verified_score) if proposal.status is Status.APPROVED else "-"
    gain = f"{proposal.claimed_score - best:+d}" if proposal.is_open else "-"
    return (
        str(proposal.id),
        proposal.status.name.lower(),
        str(proposal.stake),
        str(proposal.claimed_score),
        gain,
        verified,
        proposal.miner,
        expires,
    )


def proposal_json(proposal: Proposal, window: int) -> dict[str, object]:
    """A proposal's record as every command shows it."""
    from armlx_chain.types import Root

    return {
        "proposal": int(proposal.id),
        "project": int(proposal.project_id),
        "status": proposal.status.name.lower(),
        "miner": proposal.miner,
        "reward_recipient": proposal.reward_recipient,
        "stake": int(proposal.stake),
        "claimed_score": int(proposal.claimed_score),
        "verified_score": int(proposal.verified_score),
        "candidate_root": str(Root.zerog(proposal.code_hash)),
        "evidence_root": str(Root.zerog(proposal.evidence_hash)),
        "metrics_root": str(Root.zerog(proposal.metrics_hash)),
        "reviewer": proposal.reviewer,
        "submitted_at": proposal.submitted_at,
        "expires_at": proposal.submitted_at + window,
    }


def columns(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Rows below heads, each column as wide as it needs."""
    widths = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [heads, *rows]]  # fmt: skip


def _verify(app: App, proposal_id: int) -> int:
    from armlx_chain.claims.authorship import Verdict, check_author
    from armlx_chain.cli import claiming, wiring
    from armlx_chain.types import Root

    wiring.check_wiring(app)
    proposal = claiming.require_proposal(wiring.ledger_of(app), proposal_id)
    others = wiring.project_proposals(app, int(proposal.project_id))
    findings = [check_author(proposal, others, app.settings.network.chain_id, app.storage)]
    findings.append(_check_papers(app, proposal))
    worst = max((finding.verdict for finding in findings), key=list(Verdict).index)
    code = {Verdict.HOLDS: EXIT_OK, Verdict.MISSING: EXIT_TRY_LATER, Verdict.CONTRADICTS: EXIT_FINDING}[worst]
    rows: list[tuple[str, object]] = [
        (finding.what, f"{finding.verdict.value}: {finding.sentence}") for finding in findings
    ]
    if code != EXIT_OK:
        say(f"proposal {proposal.id}: not everything holds")
    data = {
        "proposal": int(proposal.id),
        "candidate_root": str(Root.zerog(proposal.code_hash)),
        "holds": code == EXIT_OK,
        "findings": [finding.to_json() for finding in findings],
    }
    emit(data, table(rows), as_json=app.as_json)
    return code


def _check_papers(app: App, proposal: Proposal) -> Finding:
    """Everything a validator compares before it runs anything."""
    from armlx_chain.claims.authorship import Finding, Verdict
    from armlx_chain.cli import claiming, wiring
    from armlx_chain.errors import FormatError, ProtocolInvalid, StorageError
    from armlx_chain.protocol.parse import parse_protocol
    from armlx_chain.types import Root
    from verifier.daemon.dossier import read_dossier

    project, _ = wiring.open_project(app, int(proposal.project_id))
    try:
        root = Root.zerog(project.protocol_hash)
        protocol = parse_protocol(app.storage.fetch(root, max_bytes=wiring.PROTOCOL_LIMIT_BYTES).data)
        dossier = read_dossier(proposal, protocol, claiming.domain_of(app), app.storage)
    except (FormatError, ProtocolInvalid) as error:
        return Finding("papers", Verdict.CONTRADICTS, error.message)
    except StorageError as error:
        return Finding("papers", Verdict.MISSING, error.message)
    claim = dossier.claim
    sentence = (
        f"signed by {claim.miner}; {claim.metric_name} {claim.metric_value} against {claim.control_value} on"
        f" {claim.hardware_class}; both logs state it, and the score follows"
    )
    return Finding("papers", Verdict.HOLDS, sentence)
