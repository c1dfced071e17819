"""From a run folder to a staked proposal on the ledger, once, whatever is killed when.

0. Everything is checked and planned; nothing is signed or sent (``plan_submission``).
1. The claim is signed and the evidence written to the submission record (``seal``): from here on its bytes
   never change, so a resumed submission is the same submission.
2. The missing stake is bought, the ledger allowed to take it, the proposal submitted; each step waits for the
   one before and is carried out at most once (``carry_out``).
3. Only when the proposal is mined are candidate, logs and evidence uploaded (``publish_artifacts``): code is
   public once uploaded, and the ledger pays whichever copy is reviewed first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from armlx_chain.chain.contracts import ProjectToken, ProposalLedger
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.claims import preflight
from armlx_chain.claims.preflight import ClaimFacts
from armlx_chain.claims.runfolder import RunFolder
from armlx_chain.claims.submission import Submission, SubmissionStore, submission_id
from armlx_chain.errors import ClaimRefused, MarketError
from armlx_chain.formats.bundle import Authorship, pack_candidate
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.typed import Domain, TypedData
from armlx_chain.market import trade
from armlx_chain.market.trade import Purchase
from armlx_chain.storage.interface import Publisher
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProposalId, Root, ScaledScore, Tokens, Wei

MAX_PURCHASES = 3
"""Others may move the price between a quote and a purchase; the remainder is bought at most this often."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the miner decided."""

    miner: Address
    reward_recipient: Address
    stake: int
    max_spend: Wei | None = None
    despite_verdict: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """A run's candidate, packed in the name of its miner.

    Attributes:
        id: Names this run of this miner; the record and the journal use it.
        data: The candidate bundle; ``root`` is its root, the proposal's ``codeHash``.
    """

    id: str
    run: RunFolder
    data: bytes
    root: Root


@dataclass(frozen=True, slots=True)
class SubmitPlan:
    """A checked submission.

    Attributes:
        purchase: What has to be bought first, if anything.
        unsigned: Claim and roots, before the signature.
    """

    packed: Packed
    terms: Terms
    score: ScaledScore
    stake: Tokens
    purchase: Purchase | None
    unsigned: Claim
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A proposal on the ledger with everything uploaded."""

    proposal_id: ProposalId
    receipt: Receipt
    candidate_root: Root
    evidence_root: Root


def pack_run(run: RunFolder, miner: Address) -> Packed:
    """Pack the candidate with its authorship.

    Raises:
        FormatError: for files that a bundle cannot hold.
    """
    authorship = Authorship(miner=miner, project_id=run.facts.project_id, chain_id=run.facts.chain_id)
    data = pack_candidate(run.files, authorship)
    root = root_of(data)
    return Packed(submission_id(run, miner, root), run, data, root)


def plan_submission(
    packed: Packed, terms: Terms, facts: ClaimFacts, *, control_root: Root, balance: Tokens, now: int
) -> SubmitPlan:
    """Check everything that can be checked before money moves.

    Args:
        balance: The miner's tokens.
        now: Seconds since 1970, for the claim.

    Raises:
        ClaimRefused, MarketError, FormatError: nothing was signed or sent.
    """
    run = packed.run
    preflight.require_winnable(facts)
    preflight.require_current(run, facts, control_root)
    score = preflight.require_gain(run, facts, despite_verdict=terms.despite_verdict)
    stake = preflight.require_stake(terms.stake, facts)
    missing = stake - balance
    purchase = trade.plan_purchase(facts.market, missing, max_spend=terms.max_spend) if missing > 0 else None
    return SubmitPlan(
        packed=packed,
        terms=terms,
        score=score,
        stake=stake,
        purchase=purchase,
        unsigned=_claim(run, terms, packed.root, score, now),
        warnings=tuple(preflight.warnings(score, packed.root, facts)),
    )


def _claim(run: RunFolder, terms: Terms, candidate_root: Root, score: ScaledScore, now: int) -> Claim:
    facts = run.facts
    return Claim(
        domain=Domain(facts.chain_id, Address(facts.ledger)),
        project_id=facts.project_id,
        protocol_root=facts.protocol_root,
        candidate_root=candidate_root,
        metric_name=facts.metric,
        metric_value=facts.value,
        control_value=facts.control_value,
        control_root=facts.control_root,
        current_best=facts.current_best,
        claimed_score=score,
        hardware_class=facts.hardware_class,
        environment_digest=Root.parse(facts.environment_digest),
        run_log_digest=Root("sha256", bytes.fromhex(facts.run_log_sha256)),
        control_log_digest=Root("sha256", bytes.fromhex(facts.control_log_sha256)),
        miner=terms.miner,
        reward_recipient=terms.reward_recipient,
        created_at=now,
    )


def seal(plan: SubmitPlan, store: SubmissionStore, sign: Callable[[TypedData], bytes]) -> Submission:
    """Sign the claim and write the record, or return the record made earlier for the same run."""
    existing = store.find(plan.packed.id)
    if existing is not None:
        return existing
    run = plan.packed.run
    evidence = Evidence(
        claim=plan.unsigned,
        signature=sign(plan.unsigned.typed_data()),
        run_log_root=root_of(run.run_log),
        environment_root=root_of(run.environment),
        control_log_root=root_of(run.control_log),
    ).encode()
    return store.create(
        Submission(
            id=plan.packed.id,
            evidence=evidence,
            candidate_root=plan.unsigned.candidate_root,
            evidence_root=root_of(evidence),
            stake=plan.stake,
            reward_recipient=plan.terms.reward_recipient,
        )
    )


def require_unsubmitted(store: SubmissionStore, identifier: str) -> None:
    """Refuse a run that was already submitted completely.

    Raises:
        ClaimRefused: naming the proposal.
    """
    proposal = store.finished(identifier)
    if proposal is not None:
        raise ClaimRefused(
            f"This run was already submitted as proposal {proposal}.",
            meaning="A second submission would lock a second stake on the same code. Nothing was sent.",
            next_step=f"Follow it with: armlx-chain status --proposal {proposal}",
            details={"proposal": int(proposal)},
        )


def mined_receipt(sender: TxSender, identifier: str) -> Receipt | None:
    """The receipt of this run's ``submit``, if it was mined before."""
    return sender.done(f"submit/{identifier}/submit")


def stake_and_submit(
    plan: SubmitPlan,
    submission: Submission,
    *,
    sender: TxSender,
    ledger: ProposalLedger,
    token: ProjectToken,
    progress: Progress,
) -> Receipt:
    """Buy what is missing, allow the ledger to take it, submit; resumes wherever an earlier attempt stopped.

    Raises:
        ChainError, MarketError: run it again to resume; nothing is doubled.
    """
    base = f"submit/{submission.id}"
    _provide_stake(plan, submission, base, sender, token, progress)
    _allow_ledger(submission, base, sender, token, ledger, progress)
    return _submit(submission, base, sender, ledger)


def publish_artifacts(
    packed: Packed,
    submission: Submission,
    receipt: Receipt,
    *,
    store: SubmissionStore,
    ledger: ProposalLedger,
    publisher: Publisher,
    progress: Progress,
) -> Submitted:
    """Upload candidate, logs, environment and evidence of a mined proposal; resumable.

    Raises:
        StorageError, ChainError: run it again to resume.
    """
    proposal_id = ProposalId(ledger.event(receipt, "ProposalSubmitted")["id"])
    progress(
        f"proposal {proposal_id} is on the ledger (block {receipt.block_number}); uploading its artifacts"
    )
    parts = (
        ("candidate", packed.data),
        ("run log", packed.run.run_log),
        ("control log", packed.run.control_log),
        ("environment", packed.run.environment),
        ("evidence", submission.evidence),
    )
    for label, data in parts:
        root = publisher.publish(data, label=label)
        progress(f"uploaded {label}: {root}")
    store.finish(submission.id, proposal_id)
    return Submitted(proposal_id, receipt, submission.candidate_root, submission.evidence_root)


def _provide_stake(
    plan: SubmitPlan,
    submission: Submission,
    base: str,
    sender: TxSender,
    token: ProjectToken,
    progress: Progress,
) -> None:
    sender.resume()
    for number in range(1, MAX_PURCHASES + 1):
        missing = submission.stake - token.balance_of(sender.address)
        if missing <= 0:
            return
        market = trade.read_market(token, plan.packed.run.facts.project_id)
        purchase = trade.plan_purchase(market, missing, max_spend=plan.terms.max_spend)
        _, bought, spent = trade.buy(sender, token, purchase, key=f"{base}/buy/{number}")
        progress(f"bought {bought} {market.symbol} for {spent} wei")
    if token.balance_of(sender.address) < submission.stake:
        raise MarketError(
            f"The stake of {submission.stake} tokens could not be bought in {MAX_PURCHASES} purchases.",
            next_step="Others are trading; run the same command again.",
        )


def _allow_ledger(
    submission: Submission,
    base: str,
    sender: TxSender,
    token: ProjectToken,
    ledger: ProposalLedger,
    progress: Progress,
) -> None:
    """Allow exactly the stake, where the present allowance does not cover it."""
    if token.allowance(sender.address, ledger.address) >= submission.stake:
        return
    sender.execute(
        Intent(
            key=f"{base}/approve",
            to=token.address,
            data=token.encode("approve", ledger.address, submission.stake),
            what=f"allowing the ledger to take {submission.stake} tokens",
        )
    )
    progress(f"the ledger may take {submission.stake} tokens as stake")


def _submit(submission: Submission, base: str, sender: TxSender, ledger: ProposalLedger) -> Receipt:
    claim = Evidence.parse(submission.evidence).claim
    return sender.execute(
        Intent(
            key=f"{base}/submit",
            to=ledger.address,
            data=ledger.encode(
                "submit",
                int(claim.project_id),
                submission.candidate_root.digest,
                submission.evidence_root.digest,
                int(claim.claimed_score),
                submission.stake,
                submission.reward_recipient,
            ),
            what="submitting the proposal",
        )
    )
