"""A claim and an attestation to sign, with the keys of the well-known test mnemonic."""

from __future__ import annotations

from armlx_chain.formats.attestation import Attestation
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.typed import Domain
from armlx_chain.types import Address, ProjectId, ProposalId, Root, ScaledScore

MINER_KEY = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
VALIDATOR_KEY = "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"
MINER = Address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
VALIDATOR = Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906")
LEDGER = Address("0x701db5f8Ed847651209A438695dfe5520adD6A5A")


def zerog(number: int) -> Root:
    return Root("0g", bytes([number]) * 32)


def sha(number: int) -> Root:
    return Root("sha256", bytes([number]) * 32)


CLAIM = Claim(
    domain=Domain(31337, LEDGER),
    project_id=ProjectId(1),
    protocol_root=zerog(1),
    candidate_root=zerog(2),
    metric_name="val_bpb",
    metric_value="2.201400",
    control_value="2.213268",
    control_root=zerog(3),
    current_best=ScaledScore(-2213268),
    claimed_score=ScaledScore(-2201400),
    hardware_class="metal/Apple M4",
    environment_digest=sha(4),
    run_log_digest=sha(5),
    control_log_digest=sha(6),
    miner=MINER,
    reward_recipient=MINER,
    created_at=1_795_000_000,
)
ATTESTATION = Attestation(
    domain=Domain(31337, LEDGER),
    genesis_hash=b"\1" * 32,
    proposal_id=ProposalId(3),
    claim_digest=CLAIM.digest(),
    candidate_root=zerog(2),
    control_root=zerog(3),
    current_best=ScaledScore(-2213268),
    outcome="unimproved",
    reason="no-improvement",
    rule_id="paired-sprt/1",
    verified_score=None,
    mean_control=None,
    mean_candidate=None,
    mean_gain=None,
    lower_bound=None,
    pairs=0,
    noise=None,
    samples=(),
    hardware_class="metal/Apple M4",
    environment_digest=sha(4),
    evaluation_root=zerog(7),
    evaluation_seed=None,
    evaluation_block=None,
    report_root=zerog(8),
    validator=VALIDATOR,
    decided_at=1_795_003_600,
)
