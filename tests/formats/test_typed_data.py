"""EIP-712: our encoder against a library and against words put together by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from eth_utils import keccak
from format_vectors import example_attestation, example_claim, undecided_attestation
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import FormatError
from armlx_chain.formats.typed import Domain, TypedData
from armlx_chain.types import Address, ProjectId, ScaledScore

pytestmark = pytest.mark.unit

ADDRESS = Address("0x701db5f8Ed847651209A438695dfe5520adD6A5A")
CLAIM_TYPE = (
    "Claim(uint256 projectId,string protocolRoot,string candidateRoot,string metricName,string metricValue,"
    "string controlValue,string controlRoot,int256 currentBest,int256 claimedScore,string hardwareClass,"
    "string environmentDigest,string runLogDigest,string controlLogDigest,address miner,"
    "address rewardRecipient,uint64 createdAt)"
)
SAMPLE_TYPE = (
    "Sample(string controlValidation,string controlFresh,string controlGraph,string candidateValidation,"
    "string candidateFresh,string candidateGraph)"
)


def text(value: object) -> bytes:
    return keccak(text=str(value))


def separator() -> bytes:
    kind = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    return keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [kind, text("armlx-chain"), text("1"), 31337, ADDRESS],
        )
    )


def test_a_claims_digest_by_hand() -> None:
    c = example_claim()
    kinds = ["bytes32", "uint256", *["bytes32"] * 6, "int256", "int256", *["bytes32"] * 4, "address",
             "address", "uint64"]  # fmt: skip
    words = [keccak(text=CLAIM_TYPE), c.project_id, text(c.protocol_root), text(c.candidate_root),
             text(c.metric_name), text(c.metric_value), text(c.control_value), text(c.control_root),
             c.current_best, c.claimed_score, text(c.hardware_class), text(c.environment_digest),
             text(c.run_log_digest), text(c.control_log_digest), c.miner, c.reward_recipient,
             c.created_at]  # fmt: skip
    struct = keccak(encode(kinds, words))
    assert c.digest() == keccak(b"\x19\x01" + separator() + struct)
    assert c.typed_data().encoded_type() == CLAIM_TYPE


def figure(value: object) -> bytes:
    return text("" if value is None else value)


@pytest.mark.parametrize(
    "attestation", [example_attestation(), undecided_attestation()], ids=["full", "bare"]
)
def test_an_attestations_digest_by_hand(attestation: Any) -> None:
    a = attestation
    kind = a.typed_data().encoded_type()
    assert kind.endswith(")" + SAMPLE_TYPE)
    assert kind.startswith("Attestation(bytes32 genesisHash,uint256 proposalId,bytes32 claimDigest,")
    samples = b"".join(
        keccak(keccak(text=SAMPLE_TYPE) + b"".join(figure(part) for part in (
            s.control_validation, s.control_fresh, s.control_graph,
            s.candidate_validation, s.candidate_fresh, s.candidate_graph)))
        for s in a.samples
    )  # fmt: skip
    words = [
        keccak(text=kind), a.genesis_hash, encode(["uint256"], [a.proposal_id]), a.claim_digest or bytes(32),
        text(a.candidate_root), text(a.control_root), encode(["int256"], [a.current_best]), text(a.outcome),
        text(a.reason), text(a.rule_id), encode(["int256"], [a.verified_score or 0]), figure(a.mean_control),
        figure(a.mean_candidate), figure(a.mean_gain), figure(a.lower_bound), encode(["uint64"], [a.pairs]),
        figure(a.noise), keccak(samples), text(a.hardware_class), text(a.environment_digest),
        text(a.evaluation_root), a.evaluation_seed or bytes(32),
        encode(["uint64"], [a.evaluation_block or 0]), text(a.report_root),
        encode(["address"], [a.validator]), encode(["uint64"], [a.decided_at]),
    ]  # fmt: skip
    assert a.digest() == keccak(b"\x19\x01" + separator() + keccak(b"".join(words)))


@given(
    project=st.integers(0, 2**256 - 1),
    best=st.integers(-(2**255), 2**255 - 2),
    name=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    chain=st.integers(0, 2**53 - 1),
)
@settings(max_examples=150, deadline=None)
def test_the_library_agrees_on_any_claim(project: int, best: int, name: str, chain: int) -> None:
    claim = replace(
        example_claim(),
        project_id=ProjectId(project),
        current_best=ScaledScore(best),
        claimed_score=ScaledScore(best + 1),
        metric_name=name,
        domain=Domain(chain, ADDRESS),
    )
    typed = claim.typed_data()
    signable = encode_typed_data(full_message=typed.full_message())
    assert typed.digest() == keccak(b"\x19" + signable.version + signable.header + signable.body)


def test_nested_structures_are_named_in_order() -> None:
    types = {"B": (("A[]", "x"), ("C", "y")), "A": (("bool", "v"),), "C": (("A", "a"), ("int8", "n"))}
    message = {"x": [{"v": True}, {"v": False}], "y": {"a": {"v": True}, "n": -1}}
    typed = TypedData(Domain(1, ADDRESS), "B", types, message)
    assert typed.encoded_type() == "B(A[] x,C y)A(bool v)C(A a,int8 n)"
    assert encode_typed_data(full_message=typed.full_message()).body == typed.struct_hash()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint64", -1),
        ("uint64", 2**64),
        ("int8", 128),
        ("int8", -129),
        ("uint256", True),
        ("uint256", "1"),
        ("uint256", 1.0),
        ("string", b"x"),
        ("bytes32", b"x" * 31),
        ("bytes32", "x" * 32),
        ("address", ADDRESS.lower()),
        ("bool", 1),
        ("fixed128", 1),
    ],
)
def test_values_that_do_not_fit_their_type_are_refused(kind: str, value: object) -> None:
    typed = TypedData(Domain(1, ADDRESS), "M", {"M": ((kind, "v"),)}, {"v": value})
    with pytest.raises(FormatError):
        typed.digest()


def test_chain_and_ledger_separate_signatures() -> None:
    claim = example_claim()
    other_chain = replace(claim, domain=Domain(16602, claim.domain.ledger))
    other_ledger = replace(claim, domain=Domain(31337, claim.miner))
    assert len({claim.digest(), other_chain.digest(), other_ledger.digest()}) == 3
