"""``status``: one's own standing in one screen; or a project, or a proposal, as the chain holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options
from armlx_chain.cli.output import coin, emit, say, table
from armlx_chain.errors import UsageError

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal
    from armlx_chain.chain.portfolio import Holding
    from armlx_chain.types import Address

SHOWN_PROPOSALS = 12


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Show this project.")
@click.option("--proposal", "proposal_id", type=click.IntRange(min=0), help="Show this proposal.")
@click.option("--address", help="Show this account. [default: of --account]")
@signer_options
@network_options
def status(
    app: App, key: SignerChoice, project_id: int | None, proposal_id: int | None, address: str | None
) -> None:
    """Show an account with its proposals, a project with its open ones, or one proposal.

    No key is opened: --account only names an address. An account's screen shows balances, credits, what it
    allows the ledger, pending transactions and unfinished submissions too.

    \b
    Examples:
      armlx-chain status --account me
      armlx-chain status --project 0
      armlx-chain status --proposal 3 --json
    """
    from armlx_chain.cli.claiming import account_address

    if project_id is not None and proposal_id is not None:
        raise UsageError("Give either --project or --proposal.")
    if proposal_id is not None:
        _proposal(app, proposal_id)
    elif project_id is not None:
        _project(app, project_id)
    else:
        account = account_address(app, key, address)
        if account is None:
            raise UsageError(
                "Nothing to show.", next_step="Give --account, --address, --project or --proposal."
            )
        _account(app, account)


def _account(app: App, account: Address) -> None:
    from armlx_chain.cli import wiring

    frontier = app.frontier.read()
    holdings = [
        _holding(app, held, frontier.projects[held.project_id].token)
        for held in wiring.holdings_of(app, account)
        if not held.is_empty
    ]
    mine = [proposal for _, proposal in sorted(frontier.proposals.items()) if proposal.miner == account]
    window, now = app.constants.expiry_window, frontier.block.timestamp
    pending = _pending(app, account)
    unfinished = _unfinished(app, account)
    data = {
        "account": account,
        "balance_wei": str(app.rpc.balance(account)),
        "time": now,
        "projects": holdings,
        "proposals": [_own_json(proposal, window, now) for proposal in mine],
        "pending": pending,
        "unfinished_submissions": unfinished,
    }
    rows: list[tuple[str, object]] = [("account", account), ("coins", coin(int(str(data["balance_wei"]))))]
    rows += [(f"project {held['project']}", _holding_line(held)) for held in holdings]
    rows += [(f"proposal {p.id}", _own_line(p, window, now)) for p in mine[-SHOWN_PROPOSALS:]]
    if len(mine) > SHOWN_PROPOSALS:
        rows.append(("", f"and {len(mine) - SHOWN_PROPOSALS} earlier ones; see --json"))
    rows += [("pending", f"{entry['key']} (nonce {entry['nonce']})") for entry in pending]
    rows += [("unfinished", f"submission {name}: run submit again, or abandon") for name in unfinished]
    rows += [] if mine else [("proposals", "none")]
    data["endpoints"] = _endpoints(app, rows)
    emit(data, table(rows), as_json=app.as_json)


def _endpoints(app: App, rows: list[tuple[str, object]]) -> list[str]:
    """How the chain's endpoints stand; on the screen where there are several."""
    sentences = [report.sentence() for report in app.rpc.endpoints()]
    if len(sentences) > 1:
        rows += [("endpoint", sentence) for sentence in sentences]
    return sentences


def _unfinished(app: App, account: Address) -> list[str]:
    """This account's submissions on this ledger that were begun and not completed."""
    from armlx_chain.cli.claiming import domain_of
    from armlx_chain.cli.wiring import submissions
    from armlx_chain.formats.evidence import Evidence

    domain, found = domain_of(app), []
    for record in submissions(app.settings).unfinished():
        claim = Evidence.parse(record.evidence).claim
        if claim.miner == account and claim.domain == domain:
            found.append(record.id)
    return found


def _holding(app: App, held: Holding, token: Address) -> dict[str, Any]:
    from armlx_chain.chain.contracts import ProjectToken

    return {
        "project": int(held.project_id),
        "symbol": ProjectToken(app.rpc, token).symbol(),
        "tokens": int(held.tokens),
        "credit": int(held.credit),
        "allowance": int(held.allowance),
    }


def _holding_line(held: dict[str, Any]) -> str:
    text = f"{held['tokens']} {held['symbol']}"
    if held["credit"]:
        text += f", {held['credit']} to collect (claim-reward)"
    if held["allowance"]:
        text += f", the ledger may take {held['allowance']}"
    return text


def _pending(app: App, account: Address) -> list[dict[str, object]]:
    """Signed transactions whose end is not known yet; nothing is made on disk to find out."""
    from armlx_chain.chain.journal import Journal
    from armlx_chain.cli.wiring import chain_key

    if not app.settings.journal_path.exists():
        return []
    journal = Journal(app.settings.journal_path, chain=chain_key(app.settings, app.rpc), account=account)
    try:
        waiting = journal.unfinished()
    finally:
        journal.close()
    return [{"key": entry.key, "nonce": entry.nonce, "tx_hash": entry.tx_hash} for entry in waiting]


def _own_json(proposal: Proposal, window: int, now: int) -> dict[str, object]:
    from armlx_chain.cli.proposals import proposal_json

    due = proposal.submitted_at + window
    return {**proposal_json(proposal, window), "can_expire": proposal.is_open and now >= due}


def _own_line(proposal: Proposal, window: int, now: int) -> str:
    from armlx_chain.chain.contracts import Status
    from armlx_chain.claims.settling import utc_time

    text = f"{proposal.status.name.lower()}, stake {proposal.stake}, claims {proposal.claimed_score}"
    if proposal.status is Status.APPROVED:
        return f"{text}, verified {proposal.verified_score}"
    if not proposal.is_open:
        return text
    due = proposal.submitted_at + window
    return f"{text}, " + ("can be expired now" if now >= due else f"can be expired from {utc_time(due)}")


def _proposal(app: App, proposal_id: int) -> None:
    from armlx_chain.chain.contracts import ZERO_ADDRESS, Status
    from armlx_chain.claims.settling import utc_time
    from armlx_chain.cli.claiming import require_proposal
    from armlx_chain.cli.proposals import proposal_json
    from armlx_chain.cli.wiring import ledger_of
    from armlx_chain.types import Root

    ledger = ledger_of(app)
    found = require_proposal(ledger, proposal_id)
    window = ledger.expiry_window_seconds()
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
        ("submitted", utc_time(found.submitted_at)),
        ("can be expired from", utc_time(found.submitted_at + window) if found.is_open else "-"),
    ]
    emit(proposal_json(found, window), table(rows), as_json=app.as_json)


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
    data["endpoints"] = _endpoints(app, rows)
    emit(data, table(rows), as_json=app.as_json)
