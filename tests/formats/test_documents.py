"""Manifest, claim, evidence and attestation: attacks on every member."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from format_vectors import (
    example_attestation,
    example_claim,
    example_evidence,
    example_sample,
    signed,
    undecided_attestation,
    zerog,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import FormatError
from armlx_chain.formats.attestation import Attestation, Sample, SignedAttestation
from armlx_chain.formats.canonical import canonical_json
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.types import Address, Root, ScaledScore

pytestmark = pytest.mark.unit

ENTRY = ManifestEntry("data/a", 3, zerog("a"), ManifestRole.TRAIN)
DOCUMENTS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "manifest": (
        BenchmarkManifest.of([ENTRY, replace(ENTRY, path="b", role=ManifestRole.FRESH)]).encode(),
        BenchmarkManifest.parse,
    ),
    "claim": (example_claim().encode(), Claim.parse),
    "evidence": (example_evidence().encode(), Evidence.parse),
    "attestation": (example_attestation().encode(), Attestation.parse),
    "undecided": (undecided_attestation().encode(), Attestation.parse),
    "signed": (signed(example_attestation()).encode(), SignedAttestation.parse),
}
every_document = pytest.mark.parametrize("name", DOCUMENTS)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *[place for key, item in items for place in places(item, (*path, key))]]


def changed(data: bytes, path: tuple[Any, ...], value: Any) -> bytes:
    tree = json.loads(data)
    here = tree
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return canonical_json(tree)


@every_document
def test_documents_read_back_as_they_were_written(name: str) -> None:
    data, parse = DOCUMENTS[name]
    assert parse(data).encode() == data


@every_document
def test_every_member_refuses_values_of_other_kinds(name: str) -> None:
    data, parse = DOCUMENTS[name]
    wrong: list[Any] = [True, -1, 2**53 - 1, "", "x", "0x", [], {}, ["x"], {"x": 1}, "9" * 80, "٣", "\x1b[2J"]
    tolerant = {"hardwareClass", "metricName", "reason", "ruleId"}
    counters = {"createdAt", "decidedAt", "evaluationBlock", "size", "chainId"}
    paths = {"path"}
    tried = 0
    for path in places(json.loads(data))[1:]:
        for value in wrong:
            if path[-1] in tolerant and value in ("x", "0x", "9" * 80):
                continue
            if path[-1] in counters and value == 2**53 - 1 and value is not True:
                continue
            if path[-1] in paths and isinstance(value, str) and value in ("x", "0x", "9" * 80, "٣"):
                continue
            if changed(data, path, value) == data:
                continue
            with pytest.raises(FormatError):
                parse(changed(data, path, value))
                pytest.fail(f"{path} = {value!r} was accepted")
            tried += 1
    assert tried > 100


@every_document
def test_every_object_refuses_further_and_missing_keys(name: str) -> None:
    data, parse = DOCUMENTS[name]
    tree = json.loads(data)
    for path in places(tree):
        here = tree
        for key in path:
            here = here[key]
        if not isinstance(here, dict):
            continue
        for variant in ({**here, "extra": 1}, *({k: v for k, v in here.items() if k != key} for key in here)):
            whole = changed(data, path, variant) if path else canonical_json(variant)
            with pytest.raises(FormatError):
                parse(whole)


@every_document
@given(place=st.integers(0, 6_000), patch=st.binary(max_size=4), cut=st.integers(0, 20))
@settings(max_examples=150, deadline=None)
def test_any_change_of_bytes_is_another_document_or_one_error(
    name: str, place: int, patch: bytes, cut: int
) -> None:
    data, parse = DOCUMENTS[name]
    at = place % len(data)
    bent = data[:at] + patch + data[at + cut :]
    try:
        assert parse(bent).encode() == bent
    except FormatError:
        return


@every_document
def test_white_space_and_another_version_are_refused(name: str) -> None:
    data, parse = DOCUMENTS[name]
    for bent in (
        data + b"\n",
        b" " + data,
        changed(data, ("version",), 2),
        changed(data, ("kind",), "armlx"),
    ):
        with pytest.raises(FormatError):
            parse(bent)


def test_a_manifest_is_sorted_and_free_of_doubles() -> None:
    other = replace(ENTRY, path="data/B")
    assert [entry.path for entry in BenchmarkManifest.of([ENTRY, other]).entries] == ["data/B", "data/a"]
    for entries in ([], [ENTRY, ENTRY], [ENTRY, replace(ENTRY, path="data/A")]):
        with pytest.raises(FormatError):
            BenchmarkManifest.of(entries)
    with pytest.raises(FormatError):
        BenchmarkManifest.parse(BenchmarkManifest((ENTRY, other)).encode())
    with pytest.raises(FormatError):
        BenchmarkManifest.of([replace(ENTRY, path="../a")])


@pytest.mark.parametrize(
    "change",
    [
        {"metric_value": "nan"},
        {"metric_value": "1e-3"},
        {"metric_value": "2.2014000000"},
        {"metric_value": "0.000000"},
        {"control_value": "2,2"},
        {"claimed_score": ScaledScore(-2213268)},
        {"claimed_score": ScaledScore(-2213269)},
        {"claimed_score": ScaledScore(2**255)},
        {"claimed_score": 1.5},
        {"candidate_root": Root("sha256", b"x" * 32)},
        {"run_log_digest": zerog("x")},
        {"miner": Address("0x" + "0" * 40)},
        {"miner": Address("0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc")},
        {"reward_recipient": Address("")},
        {"hardware_class": "x\ny"},
        {"hardware_class": "x" * 201},
        {"created_at": -1},
        {"created_at": 1.5},
        {"project_id": -1},
        {"project_id": 2**256},
    ],
    ids=str,
)
def test_a_claim_with_an_unacceptable_member_cannot_be_encoded_or_signed(change: dict[str, Any]) -> None:
    claim = replace(example_claim(), **change)
    for act in (claim.encode, claim.digest):
        with pytest.raises(FormatError):
            act()


def test_a_claims_score_follows_from_its_values() -> None:
    claim = example_claim()
    assert claim.gain("minimize") == Decimal("0.011868")
    assert claim.expected_score("minimize") == claim.claimed_score
    assert claim.expected_score("maximize") < claim.current_best


@pytest.mark.parametrize(
    "change",
    [
        {"verified_score": ScaledScore(-2213268 + 9551)},
        {"verified_score": None},
        {"verified_score": ScaledScore(0)},
        {"lower_bound": None},
        {"lower_bound": Decimal("NaN")},
        {"lower_bound": Decimal("0.0095505111")},
        {"mean_gain": None},
        {"noise": None},
        {"claim_digest": None},
        {"claim_digest": bytes(32)},
        {"evaluation_seed": None, "evaluation_block": None},
        {"evaluation_seed": None},
        {"evaluation_block": None},
        {"evaluation_seed": bytes(32)},
        {"outcome": "refuted"},
        {"outcome": "superseded"},
        {"pairs": 2},
        {"pairs": 0, "samples": ()},
        {"samples": (example_sample(),) * 2},
        {"pairs": 65, "samples": (example_sample(),) * 65},
        {"samples": (example_sample(), example_sample(), replace(example_sample(), candidate_graph=None))},
        {
            "samples": (
                example_sample(),
                example_sample(),
                Sample(Decimal(1), Decimal(1), None, None, None, None),
            )
        },
        {"reason": "Because I say so"},
        {"rule_id": "../x"},
        {"genesis_hash": b"x"},
    ],
    ids=lambda change: ",".join(change),
)
def test_an_attestation_whose_figures_contradict_it_cannot_be_encoded_or_signed(
    change: dict[str, Any],
) -> None:
    attestation = replace(example_attestation(), **change)
    for act in (attestation.encode, attestation.digest):
        with pytest.raises(FormatError):
            act()


def test_an_approval_below_a_millionth_moves_by_one() -> None:
    small = replace(
        example_attestation(), lower_bound=Decimal("-0.5"), verified_score=ScaledScore(-2213268 + 1)
    )
    assert Attestation.parse(small.encode()) == small


def test_a_null_and_its_stand_in_are_two_documents_but_never_both_valid() -> None:
    bare = undecided_attestation()
    assert json.loads(bare.encode())["message"]["verifiedScore"] is None
    assert bare.typed_data().message["verifiedScore"] == 0
    with pytest.raises(FormatError):
        replace(bare, verified_score=ScaledScore(0)).encode()


def test_a_signature_has_65_bytes() -> None:
    with pytest.raises(FormatError):
        replace(example_evidence(), signature=b"x" * 64).encode()
