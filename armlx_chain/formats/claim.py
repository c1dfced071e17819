"""The claim a miner signs, and its EIP-712 form.

The claim states what was measured (the metric as the run log prints it, the control's value, both logs'
digests), on which class of hardware, and the chained score that follows: C + ⌊10⁶·gain⌋.

In the document and in the typed data a content address or digest is a tagged string (``0g:0x…``,
``sha256:…``); 256-bit integers are decimal strings in the document and integers in the typed data.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from armlx_chain.errors import FormatError, MetricError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.fields import Fields
from armlx_chain.formats.typed import DOMAIN_KEYS, Domain, Member, TypedData
from armlx_chain.protocol.metric import check_metric_text
from armlx_chain.protocol.model import Direction
from armlx_chain.protocol.score import claimed_score
from armlx_chain.types import Address, ProjectId, Root, ScaledScore

__all__ = ["CLAIM_TYPE", "Claim"]

_KIND = "armlx-claim"
_WHAT = "The claim"

CLAIM_TYPE: Final[tuple[Member, ...]] = (
    ("uint256", "projectId"),
    ("string", "protocolRoot"),
    ("string", "candidateRoot"),
    ("string", "metricName"),
    ("string", "metricValue"),
    ("string", "controlValue"),
    ("string", "controlRoot"),
    ("int256", "currentBest"),
    ("int256", "claimedScore"),
    ("string", "hardwareClass"),
    ("string", "environmentDigest"),
    ("string", "runLogDigest"),
    ("string", "controlLogDigest"),
    ("address", "miner"),
    ("address", "rewardRecipient"),
    ("uint64", "createdAt"),
)
_KEYS = tuple(name for _, name in CLAIM_TYPE)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a miner asserts.

    Attributes:
        domain: Chain and ledger.
        project_id: The project on that ledger.
        protocol_root: Root of the protocol document the run followed.
        candidate_root: Root of the candidate bundle: the proposal's ``codeHash``.
        metric_name: Name of the primary metric.
        metric_value: Its value, exactly as the run log prints it.
        control_value: The control's value, exactly as the control log prints it.
        control_root: Root of the control's code: the current best's bundle, or the snapshot.
        current_best: C when the claim was made.
        claimed_score: The chained score claimed.
        hardware_class: Backend, chip, GPU cores, memory, as one line.
        environment_digest: ``sha256:`` of the environment (system build, MLX, lock).
        run_log_digest, control_log_digest: ``sha256:`` of both logs, byte for byte.
        miner: Who signs and submits.
        reward_recipient: Who receives the reward.
        created_at: Seconds since 1970, UTC.
    """

    domain: Domain
    project_id: ProjectId
    protocol_root: Root
    candidate_root: Root
    metric_name: str
    metric_value: str
    control_value: str
    control_root: Root
    current_best: ScaledScore
    claimed_score: ScaledScore
    hardware_class: str
    environment_digest: Root
    run_log_digest: Root
    control_log_digest: Root
    miner: Address
    reward_recipient: Address
    created_at: int

    def gain(self, direction: Direction) -> Decimal:
        """By how much the run beats its control; positive is better. Exact."""
        difference = Decimal(self.control_value) - Decimal(self.metric_value)
        return difference if direction == "minimize" else -difference

    def expected_score(self, direction: Direction) -> ScaledScore:
        """The score that follows from the measured values: C + ⌊10⁶·gain⌋."""
        return claimed_score(self.current_best, self.gain(direction))

    def to_json(self) -> dict[str, object]:
        """The document as a tree."""
        message = {
            "candidateRoot": str(self.candidate_root),
            "claimedScore": str(self.claimed_score),
            "controlLogDigest": str(self.control_log_digest),
            "controlRoot": str(self.control_root),
            "controlValue": self.control_value,
            "createdAt": self.created_at,
            "currentBest": str(self.current_best),
            "environmentDigest": str(self.environment_digest),
            "hardwareClass": self.hardware_class,
            "metricName": self.metric_name,
            "metricValue": self.metric_value,
            "miner": self.miner,
            "projectId": str(self.project_id),
            "protocolRoot": str(self.protocol_root),
            "rewardRecipient": self.reward_recipient,
            "runLogDigest": str(self.run_log_digest),
        }
        return {"domain": self.domain.to_json(), "kind": _KIND, "message": message, "version": 1}

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable.
        """
        data = canonical_json(self.to_json())
        Claim.parse(data)
        return data

    def typed_data(self) -> TypedData:
        """The message to sign.

        Raises:
            FormatError: if a field is not acceptable.
        """
        self.encode()
        message = {
            **{key: value for key, value in _message(self).items() if isinstance(value, str)},
            "projectId": int(self.project_id),
            "currentBest": int(self.current_best),
            "claimedScore": int(self.claimed_score),
            "createdAt": self.created_at,
        }
        return TypedData(self.domain, "Claim", {"Claim": CLAIM_TYPE}, message)

    def digest(self) -> bytes:
        """The EIP-712 digest: what the signature covers and the attestation names.

        Raises:
            FormatError: if a field is not acceptable.
        """
        return self.typed_data().digest()

    @classmethod
    def parse(cls, data: bytes) -> Claim:
        """Read a claim document.

        Raises:
            FormatError: if it is not canonical or breaks a rule.
        """
        return cls.read(parse_canonical(data, what=_WHAT))

    @classmethod
    def read(cls, tree: Any) -> Claim:
        """Read a claim from the tree of a canonical document.

        Raises:
            FormatError: if it breaks a rule.
        """
        fields = Fields(tree, ("domain", "kind", "message", "version"), what=_WHAT)
        fields.kind(_KIND)
        domain = Domain.read(fields.child("domain", DOMAIN_KEYS))
        claim = _read_message(domain, fields.child("message", _KEYS))
        _check(claim, fields)
        return claim


def _message(claim: Claim) -> dict[str, object]:
    message = claim.to_json()["message"]
    if not isinstance(message, dict):
        raise FormatError("The claim has no message.")
    return message


def _read_message(domain: Domain, fields: Fields) -> Claim:
    return Claim(
        domain=domain,
        project_id=ProjectId(fields.uint256("projectId")),
        protocol_root=fields.root("protocolRoot", "0g", "irys"),
        candidate_root=fields.root("candidateRoot", "0g"),
        metric_name=fields.text("metricName"),
        metric_value=fields.text("metricValue", 16),
        control_value=fields.text("controlValue", 16),
        control_root=fields.root("controlRoot", "0g", "irys"),
        current_best=ScaledScore(fields.int256("currentBest")),
        claimed_score=ScaledScore(fields.int256("claimedScore")),
        hardware_class=fields.text("hardwareClass"),
        environment_digest=fields.root("environmentDigest", "sha256"),
        run_log_digest=fields.root("runLogDigest", "sha256"),
        control_log_digest=fields.root("controlLogDigest", "sha256"),
        miner=fields.address("miner"),
        reward_recipient=fields.address("rewardRecipient"),
        created_at=fields.integer("createdAt"),
    )


def _check(claim: Claim, fields: Fields) -> None:
    for key, value in (("metricValue", claim.metric_value), ("controlValue", claim.control_value)):
        try:
            check_metric_text(value, claim.metric_name)
        except MetricError as refused:
            fields.fail(refused.message, f"message.{key}")
    if claim.claimed_score <= claim.current_best:
        fields.fail("the claimed score does not beat the current best.", "message.claimedScore")
