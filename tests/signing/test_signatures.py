"""The signer keeps its key; signatures have one spelling and one author."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import traceback
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from hypothesis import given, settings
from hypothesis import strategies as st
from signing_examples import ATTESTATION, CLAIM, MINER_KEY, VALIDATOR_KEY

from armlx_chain.errors import FormatError, GuardRefused, SigningError
from armlx_chain.formats.attestation import SignedAttestation
from armlx_chain.formats.evidence import Evidence
from armlx_chain.signing.eip712 import (
    check_attestation_signature,
    check_claim_signature,
    check_evidence_signature,
    recover,
    sign_claim,
    sign_typed,
)
from armlx_chain.signing.signer import Signer
from armlx_chain.types import ProjectId, Root

pytestmark = pytest.mark.unit

MINER, VALIDATOR = Signer.from_hex(MINER_KEY), Signer.from_hex("0x" + VALIDATOR_KEY)
TRANSACTION: dict[str, Any] = {
    "type": 2, "chainId": 31337, "nonce": 3, "to": CLAIM.domain.ledger, "value": 5, "data": "0x1234",
    "gas": 100_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 2 * 10**9,
}  # fmt: skip
SPELLINGS = (
    MINER_KEY, MINER_KEY.upper(), str(int(MINER_KEY, 16)), repr(bytes.fromhex(MINER_KEY)),
    str(list(bytes.fromhex(MINER_KEY))),
)  # fmt: skip


def shown(text: str) -> bool:
    return any(spelling[:24] in text for spelling in SPELLINGS)


def test_no_ordinary_way_of_showing_a_signer_shows_its_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").info("%s %r %s", MINER, MINER, {"signer": [MINER]})
    texts = [
        repr(MINER), str(MINER), f"{MINER}", f"{MINER!r:>80}", f"{MINER:>80}", "%s" % MINER,  # noqa: UP031
        str([MINER]), str(dir(MINER)), str(MINER.__class__.__dict__), caplog.text,
    ]  # fmt: skip
    assert not any(shown(text) for text in texts)
    assert MINER.address in repr(MINER)
    with pytest.raises(TypeError):
        vars(MINER)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_signer_does_not_travel(protocol: int) -> None:
    buffer = io.BytesIO()
    with pytest.raises(SigningError):
        pickle.Pickler(buffer, protocol).dump([MINER])
    assert bytes.fromhex(MINER_KEY) not in buffer.getvalue()
    for act in (copy.copy, copy.deepcopy):
        with pytest.raises(SigningError):
            act(MINER)


def test_a_refused_key_is_not_repeated_in_the_traceback() -> None:
    key = b"\xff" * 32
    with pytest.raises(SigningError) as caught:
        Signer(key)
    text = "".join(traceback.format_exception(caught.value))
    assert "ff" * 8 not in text
    assert "\\xff" not in text
    assert str(int.from_bytes(key, "big"))[:20] not in text


def test_a_signed_transaction_is_for_one_chain_and_from_one_sender() -> None:
    raw = MINER.sign_transaction({**TRANSACTION, "from": MINER.address})
    assert raw == MINER.sign_transaction(TRANSACTION)
    assert Account.recover_transaction(raw) == MINER.address
    assert TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["chainId"] == 31337


@pytest.mark.parametrize(
    "change",
    [
        {"chainId": None}, {"chainId": 0}, {"chainId": "31337"}, {"chainId": True}, {"from": 3},
        {"from": VALIDATOR.address}, {"nonce": "x"}, {"to": "x"}, {"gas": None}, {"value": -1},
        {"value": 2**256}, {"surprise": 1}, {"data": "zz"}, {"type": 9},
    ],
    ids=str,
)  # fmt: skip
def test_a_transaction_that_cannot_be_signed_ends_in_one_error(change: dict[str, Any]) -> None:
    with pytest.raises(SigningError) as caught:
        MINER.sign_transaction({**TRANSACTION, **change})
    assert not shown(caught.value.message)


def test_a_claim_is_signed_by_its_miner_only() -> None:
    signature = sign_claim(MINER, CLAIM)
    check_claim_signature(CLAIM, signature)
    assert recover(CLAIM.typed_data(), signature) == MINER.address
    with pytest.raises(SigningError, match="belongs to"):
        sign_claim(VALIDATOR, CLAIM)


def test_a_signature_covers_every_member_of_the_claim() -> None:
    signature = sign_claim(MINER, CLAIM)
    other = Root("0g", b"\7" * 32)
    changes: list[dict[str, Any]] = [
        {"domain": replace(CLAIM.domain, chain_id=16602)}, {"project_id": ProjectId(2)},
        {"protocol_root": other}, {"candidate_root": other}, {"control_root": other},
        {"metric_name": "val_bpc"}, {"metric_value": "2.201401"}, {"control_value": "2.213269"},
        {"current_best": CLAIM.current_best - 1}, {"claimed_score": CLAIM.claimed_score + 1},
        {"hardware_class": "cpu"}, {"environment_digest": Root("sha256", b"\7" * 32)},
        {"run_log_digest": Root("sha256", b"\7" * 32)}, {"control_log_digest": Root("sha256", b"\7" * 32)},
        {"reward_recipient": VALIDATOR.address}, {"miner": VALIDATOR.address}, {"created_at": 5},
    ]  # fmt: skip
    assert len(changes) == len(CLAIM.__dataclass_fields__)
    for change in changes:
        with pytest.raises(SigningError):
            check_claim_signature(replace(CLAIM, **change), signature)


def test_the_evidence_of_another_miner_is_refused() -> None:
    evidence = Evidence(CLAIM, sign_claim(MINER, CLAIM), *[Root("0g", bytes([n]) * 32) for n in (1, 2, 3)])
    check_evidence_signature(evidence)
    forged = replace(evidence, signature=sign_typed(VALIDATOR, CLAIM.typed_data()))
    with pytest.raises(SigningError, match="was signed by"):
        check_evidence_signature(forged)


def test_the_mirrored_signature_is_refused() -> None:
    signature = sign_claim(MINER, CLAIM)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    mirrored_s = order - int.from_bytes(signature[32:64], "big")
    mirrored = signature[:32] + mirrored_s.to_bytes(32, "big") + bytes([55 - signature[64]])
    with pytest.raises(SigningError, match="upper half"):
        check_claim_signature(CLAIM, mirrored)


@pytest.mark.parametrize("last", [0, 1, 26, 29, 255])
def test_other_recovery_numbers_are_refused(last: int) -> None:
    with pytest.raises(SigningError):
        check_claim_signature(CLAIM, sign_claim(MINER, CLAIM)[:64] + bytes([last]))


@given(signature=st.binary(max_size=70) | st.binary(min_size=64, max_size=64).map(lambda b: b + b"\x1b"))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_somebody_elses_signature_or_none(signature: bytes) -> None:
    with pytest.raises(SigningError):
        check_claim_signature(CLAIM, signature)


@pytest.mark.parametrize(
    "signature",
    [
        bytes(64) + b"\x1b",
        b"\xff" * 32 + bytes(31) + b"\1\x1b",
        bytes(31) + b"\1" + bytes(32) + b"\x1c",
    ],
    ids=["zeros", "r beyond the order", "s is zero"],
)
def test_degenerate_signatures_end_in_one_error(signature: bytes) -> None:
    with pytest.raises(SigningError):
        check_claim_signature(CLAIM, signature)


def test_an_attestation_cannot_be_signed_past_the_guard() -> None:
    for act in (VALIDATOR.sign_typed_data, lambda typed: sign_typed(VALIDATOR, typed)):
        with pytest.raises(GuardRefused):
            act(ATTESTATION.typed_data())


def test_an_attestation_signed_by_another_is_refused() -> None:
    forged = MINER._sign_digest(ATTESTATION.digest())
    with pytest.raises(SigningError, match="was signed by"):
        check_attestation_signature(SignedAttestation(ATTESTATION, forged))


def test_a_contradictory_claim_is_not_signed() -> None:
    with pytest.raises(FormatError):
        sign_claim(MINER, replace(CLAIM, claimed_score=CLAIM.current_best))
