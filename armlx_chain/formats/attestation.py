"""The attestation a validator signs, and its EIP-712 form.

It states a verdict and the figures it follows from, so that anyone can recompute the chained score:
C + max(1, ⌊10⁶·L⌋) with L the lower bound in the document. Where a figure does not exist (a run without a
model, a verdict without pairs), the document says ``null`` and the typed data an empty string, zero for the
score and the block, and 32 zero bytes for a digest; which of them must exist follows from the outcome.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, get_args

from armlx_chain.errors import MetricError
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.evidence import SIGNATURE_BYTES
from armlx_chain.formats.fields import Fields, decimal_text
from armlx_chain.formats.typed import DOMAIN_KEYS, Domain, Member, TypedData
from armlx_chain.protocol.score import chained_score
from armlx_chain.types import Address, BlockNumber, ProposalId, Root, ScaledScore

__all__ = ["ATTESTATION_TYPES", "Attestation", "AttestedOutcome", "Sample", "SignedAttestation"]

AttestedOutcome = Literal["reproduced", "unimproved", "refuted", "undecided"]

_KIND = "armlx-attestation"
_SIGNED_KIND = "armlx-signed-attestation"
_WHAT = "The attestation"
_MAX_SAMPLES = 64
_CODE = re.compile(r"[a-z0-9]+(?:[-./][a-z0-9]+)*")
_ZERO = bytes(32)

_SAMPLE_TYPE: tuple[Member, ...] = (
    ("string", "controlValidation"),
    ("string", "controlFresh"),
    ("string", "controlGraph"),
    ("string", "candidateValidation"),
    ("string", "candidateFresh"),
    ("string", "candidateGraph"),
)
_ATTESTATION_TYPE: tuple[Member, ...] = (
    ("bytes32", "genesisHash"),
    ("uint256", "proposalId"),
    ("bytes32", "claimDigest"),
    ("string", "candidateRoot"),
    ("string", "controlRoot"),
    ("int256", "currentBest"),
    ("string", "outcome"),
    ("string", "reason"),
    ("string", "ruleId"),
    ("int256", "verifiedScore"),
    ("string", "meanControl"),
    ("string", "meanCandidate"),
    ("string", "meanGain"),
    ("string", "lowerBound"),
    ("uint64", "pairs"),
    ("string", "noise"),
    ("Sample[]", "samples"),
    ("string", "hardwareClass"),
    ("string", "environmentDigest"),
    ("string", "evaluationRoot"),
    ("bytes32", "evaluationSeed"),
    ("uint64", "evaluationBlock"),
    ("string", "reportRoot"),
    ("address", "validator"),
    ("uint64", "decidedAt"),
)
ATTESTATION_TYPES: Final = {"Attestation": _ATTESTATION_TYPE, "Sample": _SAMPLE_TYPE}
_KEYS = tuple(name for _, name in _ATTESTATION_TYPE)
_SAMPLE_KEYS = tuple(name for _, name in _SAMPLE_TYPE)
_FIGURES = ("meanControl", "meanCandidate", "meanGain", "lowerBound", "noise")


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair: bits per byte of control and candidate on validation and fresh rows, and their graphs.

    A run that ended without a model has ``None`` in its three fields.
    """

    control_validation: Decimal | None
    control_fresh: Decimal | None
    control_graph: Root | None
    candidate_validation: Decimal | None
    candidate_fresh: Decimal | None
    candidate_graph: Root | None

    def to_json(self) -> dict[str, str | None]:
        return {
            "candidateFresh": _figure(self.candidate_fresh),
            "candidateGraph": _tag(self.candidate_graph),
            "candidateValidation": _figure(self.candidate_validation),
            "controlFresh": _figure(self.control_fresh),
            "controlGraph": _tag(self.control_graph),
            "controlValidation": _figure(self.control_validation),
        }


@dataclass(frozen=True, slots=True)
class Attestation:
    """A verdict, as signed.

    Attributes:
        domain: Chain and ledger.
        genesis_hash: Hash of block 0: tells a restarted local chain from its predecessor.
        proposal_id: The proposal judged.
        claim_digest: EIP-712 digest of the miner's claim; ``None`` where no readable claim was found.
        candidate_root, control_root: Which codes were compared.
        current_best: C at the decision.
        outcome, reason, rule_id: The verdict, its deciding reason, the rule that decided.
        verified_score: C + max(1, ⌊10⁶·L⌋) for ``reproduced``, else ``None``.
        mean_control, mean_candidate: Absolute means over the pairs, on validation rows.
        mean_gain, lower_bound: D̄ and L, bits per byte, positive is better.
        pairs: How many pairs counted; one sample each.
        noise: s, the upper bound of the noise of one run.
        samples: All pairs, in order.
        hardware_class, environment_digest: Where it was measured.
        evaluation_root: Root of the benchmark manifest whose rows were scored.
        evaluation_seed, evaluation_block: What drew rows and probes, and the block it came from.
        report_root: Root of the full report.
        validator: Who signs.
        decided_at: Seconds since 1970, UTC.
    """

    domain: Domain
    genesis_hash: bytes
    proposal_id: ProposalId
    claim_digest: bytes | None
    candidate_root: Root
    control_root: Root
    current_best: ScaledScore
    outcome: AttestedOutcome
    reason: str
    rule_id: str
    verified_score: ScaledScore | None
    mean_control: Decimal | None
    mean_candidate: Decimal | None
    mean_gain: Decimal | None
    lower_bound: Decimal | None
    pairs: int
    noise: Decimal | None
    samples: tuple[Sample, ...]
    hardware_class: str
    environment_digest: Root
    evaluation_root: Root
    evaluation_seed: bytes | None
    evaluation_block: BlockNumber | None
    report_root: Root
    validator: Address
    decided_at: int

    def to_json(self) -> dict[str, object]:
        """The document as a tree."""
        message: dict[str, object] = {
            "candidateRoot": str(self.candidate_root),
            "claimDigest": _hex(self.claim_digest),
            "controlRoot": str(self.control_root),
            "currentBest": str(self.current_best),
            "decidedAt": self.decided_at,
            "environmentDigest": str(self.environment_digest),
            "evaluationBlock": self.evaluation_block,
            "evaluationRoot": str(self.evaluation_root),
            "evaluationSeed": _hex(self.evaluation_seed),
            "genesisHash": _hex(self.genesis_hash),
            "hardwareClass": self.hardware_class,
            "lowerBound": _figure(self.lower_bound),
            "meanCandidate": _figure(self.mean_candidate),
            "meanControl": _figure(self.mean_control),
            "meanGain": _figure(self.mean_gain),
            "noise": _figure(self.noise),
            "outcome": self.outcome,
            "pairs": self.pairs,
            "proposalId": str(self.proposal_id),
            "reason": self.reason,
            "reportRoot": str(self.report_root),
            "ruleId": self.rule_id,
            "samples": [sample.to_json() for sample in self.samples],
            "validator": self.validator,
            "verifiedScore": None if self.verified_score is None else str(self.verified_score),
        }
        return {"domain": self.domain.to_json(), "kind": _KIND, "message": message, "version": 1}

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable or the figures contradict the verdict.
        """
        data = canonical_json(self.to_json())
        Attestation.parse(data)
        return data

    def typed_data(self) -> TypedData:
        """The message to sign.

        Raises:
            FormatError: if a field is not acceptable or the figures contradict the verdict.
        """
        self.encode()
        message: dict[str, object] = {
            "genesisHash": self.genesis_hash,
            "proposalId": int(self.proposal_id),
            "claimDigest": self.claim_digest or _ZERO,
            "candidateRoot": str(self.candidate_root),
            "controlRoot": str(self.control_root),
            "currentBest": int(self.current_best),
            "outcome": self.outcome,
            "reason": self.reason,
            "ruleId": self.rule_id,
            "verifiedScore": int(self.verified_score or 0),
            "meanControl": _figure(self.mean_control) or "",
            "meanCandidate": _figure(self.mean_candidate) or "",
            "meanGain": _figure(self.mean_gain) or "",
            "lowerBound": _figure(self.lower_bound) or "",
            "pairs": self.pairs,
            "noise": _figure(self.noise) or "",
            "samples": [
                {key: value or "" for key, value in sample.to_json().items()} for sample in self.samples
            ],
            "hardwareClass": self.hardware_class,
            "environmentDigest": str(self.environment_digest),
            "evaluationRoot": str(self.evaluation_root),
            "evaluationSeed": self.evaluation_seed or _ZERO,
            "evaluationBlock": self.evaluation_block or 0,
            "reportRoot": str(self.report_root),
            "validator": self.validator,
            "decidedAt": self.decided_at,
        }
        return TypedData(self.domain, "Attestation", ATTESTATION_TYPES, message)

    def digest(self) -> bytes:
        """The EIP-712 digest.

        Raises:
            FormatError: if a field is not acceptable or the figures contradict the verdict.
        """
        return self.typed_data().digest()

    @classmethod
    def parse(cls, data: bytes) -> Attestation:
        """Read an attestation document.

        Raises:
            FormatError: if it is not canonical, breaks a rule, or its figures contradict its verdict.
        """
        return cls.read(parse_canonical(data, what=_WHAT))

    @classmethod
    def read(cls, tree: Any) -> Attestation:
        """Read an attestation from the tree of a canonical document.

        Raises:
            FormatError: if it breaks a rule, or its figures contradict its verdict.
        """
        fields = Fields(tree, ("domain", "kind", "message", "version"), what=_WHAT)
        fields.kind(_KIND)
        message = fields.child("message", _KEYS)
        attestation = _read_message(Domain.read(fields.child("domain", DOMAIN_KEYS)), message)
        _check(attestation, message)
        return attestation


@dataclass(frozen=True, slots=True)
class SignedAttestation:
    """What is published: the attestation and its signature. Its root is the ledger's ``metricsHash``."""

    attestation: Attestation
    signature: bytes

    def encode(self) -> bytes:
        """The canonical document.

        Raises:
            FormatError: if a field is not acceptable.
        """
        tree = {
            "attestation": self.attestation.to_json(),
            "kind": _SIGNED_KIND,
            "signature": "0x" + self.signature.hex(),
            "version": 1,
        }
        data = canonical_json(tree)
        SignedAttestation.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> SignedAttestation:
        """Read a signed attestation; the signature itself is checked by ``armlx_chain.signing.eip712``.

        Raises:
            FormatError: if it is not canonical or breaks a rule.
        """
        keys = ("attestation", "kind", "signature", "version")
        fields = Fields(parse_canonical(data, what=_WHAT), keys, what=_WHAT)
        fields.kind(_SIGNED_KIND)
        attestation = Attestation.read(fields.subtree("attestation"))
        return cls(attestation, fields.hex_bytes("signature", SIGNATURE_BYTES))


def _figure(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)


def _tag(root: Root | None) -> str | None:
    return None if root is None else str(root)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "0x" + value.hex()


def _optional_decimal(fields: Fields, key: str) -> Decimal | None:
    return None if fields.is_null(key) else fields.decimal(key)


def _optional_bytes32(fields: Fields, key: str) -> bytes | None:
    """``null`` or 32 bytes other than zero, which stand for ``null`` in the typed data."""
    value = None if fields.is_null(key) else fields.hex_bytes(key, 32)
    if value == _ZERO:
        fields.fail("null is expected instead of zeros.", key)
    return value


def _optional_graph(fields: Fields, key: str) -> Root | None:
    return None if fields.is_null(key) else fields.root(key, "sha256")


def _read_sample(fields: Fields) -> Sample:
    sample = Sample(
        control_validation=_optional_decimal(fields, "controlValidation"),
        control_fresh=_optional_decimal(fields, "controlFresh"),
        control_graph=_optional_graph(fields, "controlGraph"),
        candidate_validation=_optional_decimal(fields, "candidateValidation"),
        candidate_fresh=_optional_decimal(fields, "candidateFresh"),
        candidate_graph=_optional_graph(fields, "candidateGraph"),
    )
    for side in ("control", "candidate"):
        there = {not fields.is_null(side + part) for part in ("Validation", "Fresh", "Graph")}
        if len(there) != 1:
            fields.fail(f"the {side} has some of its three figures but not all.")
    return sample


def _read_message(domain: Domain, fields: Fields) -> Attestation:
    outcome = fields.text("outcome")
    if outcome not in get_args(AttestedOutcome):
        fields.fail("the outcome is not known.", "outcome")
    samples = tuple(_read_sample(item) for item in fields.children("samples", _SAMPLE_KEYS, _MAX_SAMPLES))
    no_score, no_block = fields.is_null("verifiedScore"), fields.is_null("evaluationBlock")
    return Attestation(
        domain=domain,
        genesis_hash=fields.hex_bytes("genesisHash", 32),
        proposal_id=ProposalId(fields.uint256("proposalId")),
        claim_digest=_optional_bytes32(fields, "claimDigest"),
        candidate_root=fields.root("candidateRoot", "0g"),
        control_root=fields.root("controlRoot", "0g", "irys"),
        current_best=ScaledScore(fields.int256("currentBest")),
        outcome=outcome,  # type: ignore[arg-type]
        reason=_code(fields, "reason"),
        rule_id=_code(fields, "ruleId"),
        verified_score=None if no_score else ScaledScore(fields.int256("verifiedScore")),
        mean_control=_optional_decimal(fields, "meanControl"),
        mean_candidate=_optional_decimal(fields, "meanCandidate"),
        mean_gain=_optional_decimal(fields, "meanGain"),
        lower_bound=_optional_decimal(fields, "lowerBound"),
        pairs=fields.integer("pairs"),
        noise=_optional_decimal(fields, "noise"),
        samples=samples,
        hardware_class=fields.text("hardwareClass"),
        environment_digest=fields.root("environmentDigest", "sha256"),
        evaluation_root=fields.root("evaluationRoot", "0g"),
        evaluation_seed=_optional_bytes32(fields, "evaluationSeed"),
        evaluation_block=None if no_block else BlockNumber(fields.integer("evaluationBlock")),
        report_root=fields.root("reportRoot", "0g"),
        validator=fields.address("validator"),
        decided_at=fields.integer("decidedAt"),
    )


def _code(fields: Fields, key: str) -> str:
    text = fields.text(key, 64)
    if not _CODE.fullmatch(text):
        fields.fail("a code of lower-case words is expected.", key)
    return text


def _check(attestation: Attestation, fields: Fields) -> None:
    """The verdict and its figures must agree."""
    if attestation.pairs != len(attestation.samples):
        fields.fail("there must be one sample for each pair.", "pairs")
    if (attestation.evaluation_seed is None) != (attestation.evaluation_block is None):
        fields.fail("seed and block belong together.", "evaluationBlock")
    if attestation.outcome in ("reproduced", "refuted"):
        for key in ("claimDigest", "evaluationSeed"):
            if fields.is_null(key):
                fields.fail(f"a verdict {attestation.outcome!r} needs it.", key)
    if attestation.outcome == "reproduced":
        _check_reproduced(attestation, fields)
    elif attestation.verified_score is not None:
        fields.fail("only a reproduced improvement has a verified score.", "verifiedScore")


def _check_reproduced(attestation: Attestation, fields: Fields) -> None:
    for key in _FIGURES:
        if fields.is_null(key):
            fields.fail("a reproduced improvement needs it.", key)
    if attestation.pairs == 0 or any(sample.candidate_graph is None for sample in attestation.samples):
        fields.fail("a reproduced improvement needs pairs of runs with models.", "samples")
    try:
        expected = chained_score(attestation.current_best, attestation.lower_bound or Decimal(0))
    except MetricError as refused:
        fields.fail(refused.message, "verifiedScore")
    if attestation.verified_score != expected:
        fields.fail("the verified score is not C + max(1, ⌊10⁶·L⌋).", "verifiedScore")
