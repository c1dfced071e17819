"""``status``: a project, or a proposal, as the chain holds it."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from armlx_chain.cli.context import App, network_options
from armlx_chain.cli.output import coin, emit, say, table
from armlx_chain.errors import UsageError


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Show this project.")
@click.option("--proposal", "proposal_id", type=click.IntRange(min=0), help="Show this proposal.")
@network_options
def status(app: App, project_id: int | None, proposal_id: int | None) -> None:
    """Show a project with its open proposals, or one proposal.

    \b
    Examples:
      armlx-chain status --project 0
      armlx-chain status --proposal 3 --json
    """
    if (project_id is None) == (proposal_id is None):
        raise UsageError("Give either --project or --proposal.")
    if proposal_id is not None:
        _proposal(app, proposal_id)
    elif project_id is not None:
        _project(app, project_id)


def _proposal(app: App, proposal_id: int) -> None:
    from armlx_chain.chain.contracts import ZERO_ADDRESS, Status
    from armlx_chain.cli.wiring import ledger_of
    from armlx_chain.types import Root

    ledger = ledger_of(app)
    found = ledger.find_proposal(proposal_id)
    if found is None:
        raise UsageError(
            f"There is no proposal {proposal_id}: ids run from 0 to {ledger.proposal_count() - 1}."
        )
    expires = found.submitted_at + ledger.expiry_window_seconds()
    rows: list[tuple[str, object]] = [
        ("proposal", f"{found.id} of project {found.project_id}"),
        ("status", found.status.name.lower()),
        ("miner", found.miner),
        ("reward to", found.reward_recipient),
        ("stake", found.stake),
        ("claimed score", f"{found.claimed_score} (chained)"),
        ("verified score", found.verified_score if found.status is Status.APPROVED else "-"),
        ("candidate", Root.zerog(found.code_hash)),
        ("evidence", Root.zerog(found.evidence_hash)),
        ("attestation", Root.zerog(found.metrics_hash) if any(found.metrics_hash) else "-"),
        ("reviewer", found.reviewer if found.reviewer != ZERO_ADDRESS else "-"),
        ("submitted", _when(found.submitted_at)),
        ("can be expired from", _when(expires) if found.is_open else "-"),
    ]
    data = {
        "proposal": int(found.id), "project": int(found.project_id), "status": found.status.name.lower(),
        "miner": found.miner, "reward_recipient": found.reward_recipient, "stake": int(found.stake),
        "claimed_score": int(found.claimed_score), "verified_score": int(found.verified_score),
        "candidate_root": str(Root.zerog(found.code_hash)),
        "evidence_root": str(Root.zerog(found.evidence_hash)),
        "metrics_root": str(Root.zerog(found.metrics_hash)), "reviewer": found.reviewer,
        "submitted_at": found.submitted_at, "expires_at": expires,
    }  # fmt: skip
    emit(data, table(rows), as_json=app.as_json)


def _project(app: App, project_id: int) -> None:
    from armlx_chain.cli.wiring import open_project, open_proposals, orientation_warning
    from armlx_chain.market.trade import read_market
    from armlx_chain.protocol.score import score_text
    from armlx_chain.types import Root

    project, token = open_project(app, project_id)
    market = read_market(token, project.id)
    waiting = open_proposals(app, project_id)
    warning = orientation_warning(app, project_id)
    if warning:
        say(f"warning: {warning}")
    rows: list[tuple[str, object]] = [
        ("project", f"{project.id}  {market.name} ({market.symbol})"),
        ("protocol", Root.zerog(project.protocol_hash)),
        ("snapshot", Root.zerog(project.repo_snapshot_hash)),
        ("benchmark", Root.zerog(project.benchmark_hash)),
        ("baseline score", f"{project.baseline_score} ({score_text(project.baseline_score)})"),
        ("best chained score", f"{project.best_score} ({score_text(project.best_score)})"),
        ("best by", project.best_miner if project.has_accepted else "nobody yet"),
        ("token", project.token),
        ("supply", market.supply),
        ("price", coin(market.spot_price)),
        ("miner pool", f"{market.pool_minted} of {market.pool_cap} minted"),
        ("open proposals", ", ".join(str(p.id) for p in waiting) or "none"),
    ]
    data = {
        "project": int(project.id), "name": market.name, "symbol": market.symbol, "token": project.token,
        "protocol_root": str(Root.zerog(project.protocol_hash)),
        "snapshot_root": str(Root.zerog(project.repo_snapshot_hash)),
        "benchmark_root": str(Root.zerog(project.benchmark_hash)),
        "baseline_score": int(project.baseline_score), "best_score": int(project.best_score),
        "best_miner": project.best_miner if project.has_accepted else None,
        "supply": int(market.supply), "spot_price_wei": int(market.spot_price),
        "pool_minted": int(market.pool_minted), "pool_cap": int(market.pool_cap),
        "open_proposals": [int(p.id) for p in waiting], "warning": warning,
    }  # fmt: skip
    emit(data, table(rows), as_json=app.as_json)


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
