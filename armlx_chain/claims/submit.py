"""From a run folder to a staked proposal on the ledger, once, whatever is killed when.

0. Everything is checked and planned, with what each outcome costs; nothing is signed or sent
   (``plan_submission``).
1. The claim is signed and the evidence written to the submission record (``seal``): from here on its bytes
   never change, so a resumed submission is the same submission.
2. The missing stake is bought, the ledger allowed to take it, the proposal submitted; each step waits for the
   one before and is carried out at most once (``stake_and_submit``). Each is journalled with the control and
   best that the claim is about: once those move, nothing of it is sent any more.
3. Only when the proposal is mined are candidate, logs and evidence uploaded (``publish_artifacts``): code is
   public once uploaded, and the ledger pays whichever copy is reviewed first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from armlx_chain.chain.basis import Basis
from armlx_chain.chain.contracts import ProjectToken, ProposalLedger
from armlx_chain.chain.fees import Fees
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.claims import preflight
from armlx_chain.claims.outcomes import Costs, costs_of
from armlx_chain.claims.policies import Bid, require_policies
from armlx_chain.claims.preflight import ClaimFacts
from armlx_chain.claims.runfolder import RunFolder
from armlx_chain.claims.submission import Submission, SubmissionStore, submission_id
from armlx_chain.errors import ClaimRefused, MarketError
from armlx_chain.formats.bundle import Authorship, pack_candidate
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import SIGNATURE_BYTES, Evidence
from armlx_chain.formats.policy import Policy
from armlx_chain.formats.typed import Domain, TypedData
from armlx_chain.market import trade
from armlx_chain.market.trade import Purchase
from armlx_chain.storage.interface import Publisher
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.storage.zerog.shape import padded_chunks
from armlx_chain.types import Address, ProposalId, Root, ScaledScore, Tokens, Wei

MAX_PURCHASES = 3
"""Others may move the price between a quote and a purchase; the remainder is bought at most this often."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the miner decided.

    Attributes:
        max_spend: The most wei for missing tokens, all purchases together; ``None`` for what the plan shows.
        despite_verdict: Go on although this machine's own verdict was not ``reproduced``.
        despite_open: Go on although an open proposal claims as much.
        despite_policy: Go on although no validator whose policy is known would run it.
        accept_total_loss: Stake a single token, of which an expiry returns nothing.
    """

    miner: Address
    reward_recipient: Address
    stake: int
    max_spend: Wei | None = None
    despite_verdict: bool = False
    despite_open: bool = False
    despite_policy: bool = False
    accept_total_loss: bool = False


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
        budget: The most that may be sent for it: what the miner allowed, or else what the plan shows.
        unsigned: Claim and roots, before the signature.
        bid: The stake as validators' policies see it.
    """

    packed: Packed
    terms: Terms
    score: ScaledScore
    stake: Tokens
    purchase: Purchase | None
    budget: Wei
    unsigned: Claim
    bid: Bid
    warnings: tuple[str, ...]

    @property
    def artifacts(self) -> tuple[tuple[str, bytes], ...]:
        """What will be uploaded, in order; the evidence of the same length with an empty signature."""
        return artifacts(self.packed, _evidence(self.packed, self.unsigned, bytes(SIGNATURE_BYTES)))


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
    packed: Packed,
    terms: Terms,
    facts: ClaimFacts,
    *,
    control_root: Root,
    balance: Tokens,
    now: int,
    policies: Sequence[Policy] = (),
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
    preflight.require_new(terms.miner, packed.root, run.facts.candidate_sha256, facts)
    preflight.require_current(run, facts, control_root)
    score = preflight.require_gain(run, facts, despite_verdict=terms.despite_verdict)
    preflight.require_lead(score, facts, despite=terms.despite_open)
    stake = preflight.require_stake(terms.stake, facts, accept_total_loss=terms.accept_total_loss)
    missing = stake - balance
    bid = _bid(stake, max(missing, 0), terms.miner, facts)
    unwilling = require_policies(policies, bid, despite=terms.despite_policy)
    purchase = trade.plan_purchase(facts.market, missing, max_spend=terms.max_spend) if missing > 0 else None
    needed = Wei(0) if purchase is None else purchase.payment
    return SubmitPlan(
        packed=packed,
        terms=terms,
        score=score,
        stake=stake,
        purchase=purchase,
        budget=needed if terms.max_spend is None else terms.max_spend,
        unsigned=_claim(run, terms, packed.root, score, now),
        bid=bid,
        warnings=(
            *preflight.warnings(score, terms.miner, facts),
            *facts.known_code.alike(run.files),
            *unwilling,
        ),
    )


def _bid(stake: int, missing: int, miner: Address, facts: ClaimFacts) -> Bid:
    mine = sum(proposal.miner == miner for proposal in facts.open_proposals)
    return Bid(stake, facts.market.supply + missing, mine)


def plan_costs(plan: SubmitPlan, *, allowance: Tokens, fees: Fees, price_per_sector: Wei) -> Costs:
    """What the submission may take of the native coin, at the present fees.

    Args:
        price_per_sector: What the storage market asks for 256 bytes.
    """
    sectors = sum(padded_chunks(len(data)) for _, data in plan.artifacts)
    return costs_of(
        purchase=Wei(0) if plan.purchase is None else plan.purchase.payment,
        allowing=allowance < plan.stake,
        fees=fees,
        storage_fee=Wei(sectors * price_per_sector),
        uploads=len(plan.artifacts),
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
    evidence = _evidence(plan.packed, plan.unsigned, sign(plan.unsigned.typed_data()))
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


def _evidence(packed: Packed, claim: Claim, signature: bytes) -> bytes:
    return Evidence(
        claim=claim,
        signature=signature,
        run_log_root=root_of(packed.run.run_log),
        environment_root=root_of(packed.run.environment),
        control_log_root=root_of(packed.run.control_log),
    ).encode()


def artifacts(packed: Packed, evidence: bytes) -> tuple[tuple[str, bytes], ...]:
    """Everything a proposal leads to, in the order of uploading, with words for a person."""
    return (
        ("candidate", packed.data),
        ("run log", packed.run.run_log),
        ("control log", packed.run.control_log),
        ("environment", packed.run.environment),
        ("evidence", evidence),
    )


def require_same_terms(existing: Submission | None, terms: Terms) -> None:
    """A submission that was begun is carried on as it was begun, or not at all.

    Raises:
        ClaimRefused: stake or reward recipient differ from the recorded ones.
    """
    if existing is None:
        return
    begun = (existing.stake, existing.reward_recipient)
    if begun != (terms.stake, terms.reward_recipient):
        raise ClaimRefused(
            f"The submission of this run was begun with a stake of {existing.stake} and the reward recipient"
            f" {existing.reward_recipient}.",
            meaning="What was signed then does not change. Nothing was sent.",
            next_step=f"Carry it on with --stake {existing.stake} --reward-recipient"
            f" {existing.reward_recipient}, or run reproduce again for a submission of its own.",
        )


def begun_facts(identifier: str) -> dict[str, str]:
    """For the journal: the submission that a step belongs to, which must not have been given up."""
    return {"submission": identifier}


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
    steps = _Steps(plan, submission, sender, ledger, token, progress)
    # One lock over all steps: between them a second process with the same run would see the stake gone from
    # the account, and buy it again.
    with sender.exclusive():
        sender.resume()
        mined = mined_receipt(sender, submission.id)
        if mined is not None:
            return mined
        steps.provide_stake()
        steps.allow_ledger()
        return steps.submit()


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
    for label, data in artifacts(packed, submission.evidence):
        root = publisher.publish(data, label=label)
        progress(f"uploaded {label}: {root}")
    store.finish(submission.id, proposal_id)
    return Submitted(proposal_id, receipt, submission.candidate_root, submission.evidence_root)


class _Steps:
    """The transactions of one submission, all on the same basis."""

    def __init__(
        self,
        plan: SubmitPlan,
        submission: Submission,
        sender: TxSender,
        ledger: ProposalLedger,
        token: ProjectToken,
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._submission = submission
        self._claim = Evidence.parse(submission.evidence).claim
        self._sender = sender
        self._ledger = ledger
        self._token = token
        self._progress = progress
        basis = Basis(self._claim.project_id, self._claim.control_root.digest, self._claim.current_best)
        self._facts = {**basis.facts(), **begun_facts(submission.id)}

    def provide_stake(self) -> None:
        """Buy what the account lacks, with all purchases of this submission within the budget."""
        budget = int(self._plan.budget)
        for number in range(1, MAX_PURCHASES + 1):
            key = self._key(f"buy/{number}")
            earlier = self._sender.done(key)
            if earlier is not None:
                if self._plan.terms.max_spend is not None:
                    budget -= int(self._token.event(earlier, "Bought")["ethSpent"])
                continue
            missing = self._missing()
            if missing <= 0:
                return
            market = trade.read_market(self._token, self._claim.project_id)
            purchase = trade.plan_purchase(market, missing, max_spend=Wei(max(budget, 0)))
            _, bought, spent = trade.buy(self._sender, self._token, purchase, key=key, facts=self._facts)
            budget -= spent
            self._progress(f"bought {bought} {market.symbol} for {spent} wei")
        if self._missing() > 0:
            raise MarketError(
                f"The stake of {self._submission.stake} tokens could not be bought in {MAX_PURCHASES}"
                " purchases.",
                next_step="Others are trading: buy the rest with armlx-chain buy, then run this again.",
            )

    def _missing(self) -> int:
        return self._submission.stake - self._token.balance_of(self._sender.address)

    def allow_ledger(self) -> None:
        """Allow exactly the stake, where the present allowance does not cover it."""
        stake = self._submission.stake
        if self._token.allowance(self._sender.address, self._ledger.address) >= stake:
            return
        self._sender.execute(
            Intent(
                key=self._approval_key(),
                to=self._token.address,
                data=self._token.encode("approve", self._ledger.address, stake),
                what=f"allowing the ledger to take {stake} tokens",
                precondition=self._facts,
            )
        )
        self._progress(f"the ledger may take {stake} tokens as stake")

    def _approval_key(self) -> str:
        """A new name where an allowance was given before and is gone: another submission used it up, or was
        given up. Setting it again is harmless; ``approve`` sets and does not add."""
        key, number = self._key("approve"), 1
        while self._sender.done(key) is not None:
            number += 1
            key = self._key(f"approve/{number}")
        return key

    def submit(self) -> Receipt:
        """Put the proposal on the ledger."""
        submission = self._submission
        return self._sender.execute(
            Intent(
                key=self._key("submit"),
                to=self._ledger.address,
                data=self._ledger.encode(
                    "submit",
                    int(self._claim.project_id),
                    submission.candidate_root.digest,
                    submission.evidence_root.digest,
                    int(self._claim.claimed_score),
                    submission.stake,
                    submission.reward_recipient,
                ),
                what="submitting the proposal",
                precondition=self._facts,
            )
        )

    def _key(self, step: str) -> str:
        return f"submit/{self._submission.id}/{step}"
