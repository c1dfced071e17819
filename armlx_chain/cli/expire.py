"""``expire`` and ``claim-reward``: what is left of a stake that nobody settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from armlx_chain.cli.context import App, SignerChoice, network_options, signer_options, spending_options
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.errors import ClaimRefused

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal, ProposalLedger
    from armlx_chain.chain.sender import TxSender
    from armlx_chain.claims.settling import Yield
    from armlx_chain.market.trade import MarketState
    from armlx_chain.types import Address

POLL_SECONDS = 2.0
LOCAL_POLL_SECONDS = 0.1

_ANYWAY = click.option("--anyway", is_flag=True, help="Send it although it costs more than it brings.")


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL", type=click.IntRange(min=0))
@click.option("--wait", is_flag=True, help="Wait for the block from which it is allowed.")
@click.option("--claim", is_flag=True, help="Collect the credit right after.")
@_ANYWAY
@signer_options
@spending_options
@network_options
def expire(
    app: App,
    key: SignerChoice,
    proposal_id: int,
    wait: bool,
    claim: bool,
    anyway: bool,
    yes: bool,
    dry_run: bool,
) -> int:
    """Expire PROPOSAL, which nobody settled within the ledger's window (a week).

    Half of the stake burns; the other half, rounded down, is credited to whoever sends this. Block
    timestamps decide, not this machine's clock.

    \b
    Examples:
      armlx-chain expire 3 --account me --claim
      armlx-chain expire 3 --account me --wait --yes --claim
    """
    from armlx_chain.claims import settling
    from armlx_chain.cli import claiming, wiring

    wiring.check_wiring(app)
    ledger = wiring.ledger_of(app)
    proposal = claiming.require_proposal(ledger, proposal_id)
    signer = key.load(app)
    sender = app.sender(signer)
    if not dry_run:
        sender.resume()
    done = sender.done(settling.expire_key(ledger.address, proposal))
    if done is None:
        proposal = _due(app, ledger, proposal, wait=wait and not dry_run)
        if not _agreed_to_expire(app, proposal, signer.address, anyway=anyway, yes=yes, dry_run=dry_run):
            return 0
    elif dry_run:
        say("It was expired by this account already. Dry run: nothing was sent.")
        emit({"dry_run": True, "proposal": proposal_id, "tx_hash": done.tx_hash}, [], as_json=app.as_json)
        return 0
    receipt, credited, burned = settling.expire(sender, ledger, proposal)
    say(f"proposal {proposal.id} has expired: {credited} credited, {burned} burned")
    claimed = _collected(sender, ledger, proposal) if claim else 0
    emit(
        {
            "proposal": int(proposal.id),
            "tx_hash": receipt.tx_hash,
            "credited": int(credited),
            "burned": int(burned),
            "claimed": claimed,
        },
        [_expired_line(int(proposal.id), credited, burned, claimed, int(proposal.project_id))],
        as_json=app.as_json,
    )
    return 0


def _collected(sender: TxSender, ledger: ProposalLedger, proposal: Proposal) -> int:
    """Collect what expiring brought, once; 0 where there is nothing to collect any more."""
    from armlx_chain.claims.settling import claim_reward, expire_key

    key = expire_key(ledger.address, proposal) + "/claim"
    if sender.done(key) is None and not ledger.claimable(proposal.project_id, sender.address):
        return 0
    _, claimed = claim_reward(sender, ledger, proposal.project_id, key=key)
    return int(claimed)


def _expired_line(proposal: int, credited: int, burned: int, claimed: int, project: int) -> str:
    text = f"Proposal {proposal} has expired: {burned} of its stake burned, {credited} credited to you"
    if claimed:
        return f"{text} and collected."
    if credited:
        return f"{text}. Collect with: armlx-chain claim-reward --project {project}"
    return f"{text}: half of one token is none."


def _due(app: App, ledger: ProposalLedger, proposal: Proposal, *, wait: bool) -> Proposal:
    """The proposal, once it may be expired.

    Raises:
        TooEarly: it may not yet, and nobody wants to wait.
        ClaimRefused: it is settled.
    """
    from armlx_chain.claims.settling import require_expirable, utc_time
    from armlx_chain.cli.claiming import latest_time, require_proposal

    window = ledger.expiry_window_seconds()
    if wait:
        due = proposal.submitted_at + window
        say(f"waiting for a block of second {due} ({utc_time(due)}) or later; stop with Ctrl-C")
        wait_for_block(lambda: latest_time(app), due, poll=_poll(app))
        proposal = require_proposal(ledger, proposal.id)
    require_expirable(proposal, window=window, now=latest_time(app))
    return proposal


def wait_for_block(
    latest: Callable[[], int], due: int, *, poll: float, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return once the latest block's timestamp is at least ``due``; every pause is at most a minute."""
    while (missing := due - latest()) > 0:
        sleep(max(poll, min(missing / 2, 60.0)) if poll >= 1 else poll)


def _poll(app: App) -> float:
    return LOCAL_POLL_SECONDS if app.settings.network.name == "devnet" else POLL_SECONDS


def _agreed_to_expire(
    app: App, proposal: Proposal, account: Address, *, anyway: bool, yes: bool, dry_run: bool
) -> bool:
    from armlx_chain.claims.outcomes import claim_gas
    from armlx_chain.claims.settling import expected_credit, yield_of
    from armlx_chain.types import Wei

    credit, burned = expected_credit(proposal)
    market = _market(app, int(proposal.project_id))
    found = yield_of(credit, market, burned=burned, gas=Wei(claim_gas() * _gas_price(app)))
    rows: list[tuple[str, object]] = [
        ("chain", f"{app.settings.network.name} ({app.settings.network.chain_id})"),
        ("from", account),
        ("proposal", f"{proposal.id} of project {proposal.project_id}, {proposal.status.name.lower()}"),
        ("miner", f"{proposal.miner}" + (" (you)" if proposal.miner == account else " (somebody else)")),
        ("burned", f"{burned} {market.symbol}"),
        ("credited", f"{credit} {market.symbol}, which sell for {coin(found.value)} now"),
        ("gas", f"at most {coin(found.gas)}, collecting included"),
    ]
    _require_it_pays(found, anyway=anyway, what=f"Expiring proposal {proposal.id}")
    go = confirm(rows, yes=yes, dry_run=dry_run)
    if not go:
        plan = {"proposal": int(proposal.id), "credited": int(credit), "burned": int(burned)}
        emit({"dry_run": True, **plan, **_yield_json(found)}, [], as_json=app.as_json)
    return go


@click.command("claim-reward")
@click.option("--project", "project_id", type=click.IntRange(min=0), help="Only this project. [default: all]")
@_ANYWAY
@signer_options
@spending_options
@network_options
def claim_reward(
    app: App, key: SignerChoice, project_id: int | None, anyway: bool, yes: bool, dry_run: bool
) -> int:
    """Collect what the ledger has credited to this account: for expiring, or for rejecting as a verifier.

    \b
    Examples:
      armlx-chain claim-reward --account me
      armlx-chain claim-reward --project 0 --account me --dry-run
    """
    from armlx_chain.claims import settling
    from armlx_chain.cli import wiring
    from armlx_chain.types import ProjectId

    wiring.check_wiring(app)
    signer, ledger = key.load(app), wiring.ledger_of(app)
    sender = app.sender(signer)
    if not dry_run:
        sender.resume()
    credits = (
        {int(held.project_id): held.credit for held in wiring.holdings_of(app, signer.address)}
        if project_id is None
        else {project_id: ledger.claimable(project_id, signer.address)}
    )
    credits = {number: credit for number, credit in credits.items() if credit}
    if not credits:
        emit({"claimed": []}, ["There is nothing to collect."], as_json=app.as_json)
        return 0
    worth = _worthwhile(app, credits, anyway=anyway)
    sent = {number: credits[number] for number in worth}
    if not confirm(_reward_rows(app, signer.address, sent), yes=yes, dry_run=dry_run):
        plan = [{"project": number, "tokens": int(credit)} for number, credit in sent.items()]
        emit({"dry_run": True, "claimed": plan}, [], as_json=app.as_json)
        return 0
    claimed = []
    for number in worth:
        receipt, tokens = settling.claim_reward(sender, ledger, ProjectId(number))
        claimed.append({"project": number, "tokens": int(tokens), "tx_hash": receipt.tx_hash})
    lines = [f"Collected {entry['tokens']} tokens of project {entry['project']}." for entry in claimed]
    emit({"claimed": claimed}, lines, as_json=app.as_json)
    return 0


def _worthwhile(app: App, credits: Mapping[int, int], *, anyway: bool) -> list[int]:
    """The projects whose credit is worth its gas; each that is not is said.

    Raises:
        ClaimRefused: none is.
    """
    from armlx_chain.claims.outcomes import CLAIM_REWARD_GAS
    from armlx_chain.claims.settling import yield_of
    from armlx_chain.types import Wei

    gas = Wei(CLAIM_REWARD_GAS * _gas_price(app))
    found = {n: yield_of(credit, _market(app, n), burned=0, gas=gas) for n, credit in credits.items()}
    worth = [number for number in credits if anyway or found[number].pays]
    for number in sorted(set(credits) - set(worth)):
        say(f"project {number}: {credits[number]} tokens do not pay for their gas; left (see --anyway)")
    if not worth:
        _require_it_pays(found[min(found)], anyway=False, what="Collecting")
    return worth


def _reward_rows(app: App, account: Address, credits: Mapping[int, int]) -> list[tuple[str, object]]:
    network = app.settings.network
    credited = [(f"project {number}", f"{credit} tokens") for number, credit in credits.items()]
    return [("chain", f"{network.name} ({network.chain_id})"), ("to", account), *credited]


def _require_it_pays(found: Yield, *, anyway: bool, what: str) -> None:
    if found.pays or anyway:
        return
    raise ClaimRefused(
        f"{what} does not pay: it brings {found.credit} tokens, which sell for {coin(found.value)}, and"
        f" costs up to {coin(found.gas)} of gas.",
        meaning="Nothing was sent.",
        next_step="Pass --anyway to send it all the same.",
        details=_yield_json(found),
    )


def _yield_json(found: Yield) -> dict[str, object]:
    return {"credit": int(found.credit), "value_wei": str(found.value), "gas_wei": str(found.gas)}


def _market(app: App, project_id: int) -> MarketState:
    from armlx_chain.cli.wiring import open_project
    from armlx_chain.market.trade import read_market

    project, token = open_project(app, project_id)
    return read_market(token, project.id)


def _gas_price(app: App) -> int:
    from armlx_chain.cli.claiming import present_fees

    return int(present_fees(app).max_fee)
