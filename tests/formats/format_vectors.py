"""Builds the vectors of the formats; ``scripts/make-vectors`` writes them, a test compares them.

The keys are those of the well-known test mnemonic (accounts 2 and 3); they guard nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from armlx_chain.errors import ArmlxError, FormatError
from armlx_chain.formats.attestation import Attestation, Sample, SignedAttestation
from armlx_chain.formats.bundle import Authorship, pack_candidate, pack_tree
from armlx_chain.formats.canonical import canonical_json, parse_canonical
from armlx_chain.formats.claim import Claim
from armlx_chain.formats.evidence import Evidence
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestEntry, ManifestRole
from armlx_chain.formats.policy import Policy, SignedPolicy
from armlx_chain.formats.typed import Domain, TypedData
from armlx_chain.formats.verdictcase import About, Log, RuleInputs, VerdictCase
from armlx_chain.formats.verdictpack import VerdictBundle, VerdictPack
from armlx_chain.protocol.metric import extract_metric, rule_from_pattern
from armlx_chain.protocol.score import chained_score, claimed_score, encode_score
from armlx_chain.signing.eip712 import sign_claim
from armlx_chain.signing.signer import Signer
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, BlockNumber, ProjectId, ProposalId, Root, ScaledScore, Tokens
from verifier.daemon.agreement import Opinion

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "formats"
MINER_KEY = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
VALIDATOR_KEY = "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"
LEDGER = Address("0x701db5f8Ed847651209A438695dfe5520adD6A5A")
COLD = Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906")


def sha(text: str) -> Root:
    return Root("sha256", sha256(text.encode()).digest())


def zerog(text: str) -> Root:
    return root_of(text.encode())


def example_claim() -> Claim:
    return Claim(
        domain=Domain(31337, LEDGER),
        project_id=ProjectId(1),
        protocol_root=zerog("protocol"),
        candidate_root=zerog("candidate"),
        metric_name="val_bpb",
        metric_value="2.201400",
        control_value="2.213268",
        control_root=zerog("snapshot"),
        current_best=ScaledScore(-2213268),
        claimed_score=ScaledScore(-2201400),
        hardware_class="metal/Apple M4 Max/40 cores/64 GiB",
        environment_digest=sha("environment"),
        run_log_digest=sha("run log"),
        control_log_digest=sha("control log"),
        miner=Signer.from_hex(MINER_KEY).address,
        reward_recipient=COLD,
        created_at=1_795_000_000,
    )


def example_sample(shift: str = "0") -> Sample:
    return Sample(
        control_validation=Decimal("2.213268000") + Decimal(shift),
        control_fresh=Decimal("2.250000000"),
        control_graph=sha("control graph" + shift),
        candidate_validation=Decimal("2.201268000"),
        candidate_fresh=Decimal("2.238000000"),
        candidate_graph=sha("candidate graph" + shift),
    )


def example_attestation() -> Attestation:
    return Attestation(
        domain=Domain(31337, LEDGER),
        genesis_hash=sha("genesis").digest,
        proposal_id=ProposalId(7),
        claim_digest=example_claim().digest(),
        candidate_root=zerog("candidate"),
        control_root=zerog("snapshot"),
        current_best=ScaledScore(-2213268),
        outcome="reproduced",
        reason="improvement-confirmed",
        rule_id="paired-sprt/1",
        verified_score=ScaledScore(-2213268 + 9550),
        mean_control=Decimal("2.213268000"),
        mean_candidate=Decimal("2.201268000"),
        mean_gain=Decimal("0.012000000"),
        lower_bound=Decimal("0.009550511"),
        pairs=3,
        noise=Decimal("0.003000000"),
        samples=(example_sample("0"), example_sample("0.000000001"), example_sample("-0.000000001")),
        hardware_class="metal/Apple M4 Max/40 cores/64 GiB",
        environment_digest=sha("environment"),
        evaluation_root=zerog("manifest"),
        evaluation_seed=sha("seed").digest,
        evaluation_block=BlockNumber(120),
        report_root=zerog("report"),
        validator=Signer.from_hex(VALIDATOR_KEY).address,
        decided_at=1_795_003_600,
    )


def undecided_attestation() -> Attestation:
    """Every figure that may be missing is missing."""
    return replace(
        example_attestation(),
        claim_digest=None,
        outcome="undecided",
        reason="evidence",
        verified_score=None,
        mean_control=None,
        mean_candidate=None,
        mean_gain=None,
        lower_bound=None,
        pairs=0,
        noise=None,
        samples=(),
        evaluation_seed=None,
        evaluation_block=None,
    )


def signed(attestation: Attestation) -> SignedAttestation:
    # Straight from the key: vectors have no guard to keep.
    return SignedAttestation(attestation, Signer.from_hex(VALIDATOR_KEY)._sign_digest(attestation.digest()))


def example_evidence() -> Evidence:
    claim = example_claim()
    return Evidence(
        claim=claim,
        signature=sign_claim(Signer.from_hex(MINER_KEY), claim),
        run_log_root=zerog("run log"),
        environment_root=zerog("environment"),
        control_log_root=zerog("control log"),
    )


def example_policy() -> SignedPolicy:
    signer = Signer.from_hex(VALIDATOR_KEY)
    policy = Policy(
        domain=Domain(31337, LEDGER),
        validator=signer.address,
        minimum_stake=Tokens(5),
        largest_stake_ppm=200_000,
        open_proposals=3,
        machine_seconds=14_400,
        issued_at=1_795_000_000,
    )
    return SignedPolicy(policy, signer.sign_typed_data(policy.typed_data()))


def content(data: bytes) -> dict[str, Any]:
    return {
        "bytes": data.hex(),
        "size": len(data),
        "sha256": sha256(data).hexdigest(),
        "root": str(root_of(data)),
    }


def document(data: bytes) -> dict[str, Any]:
    return {"document": data.decode(), **content(data)}


def typed(data: TypedData) -> dict[str, Any]:
    return {
        "encodeType": data.encoded_type(),
        "domainSeparator": "0x" + data.domain_separator().hex(),
        "structHash": "0x" + data.struct_hash().hex(),
        "digest": "0x" + data.digest().hex(),
        "message": data.full_message(),
    }


def canonical_vectors() -> dict[str, Any]:
    accepted = {
        "sorted keys": {"b": 1, "a": 2, "B": 3},
        "escapes": {"text": '"\\/\b\f\n\r\t\x00\x1f\x7f'},
        "not ascii": {"text": "ü€😀\u2028"},
        "numbers": [0, -1, 2**53 - 1, -(2**53 - 1)],
        "nested": {"list": [[], {}, None, True, False]},
    }
    refused = {
        "white space": b'{"a": 1}',
        "unsorted": b'{"b":1,"a":2}',
        "twice": b'{"a":1,"a":1}',
        "fraction": b"[1.0]",
        "exponent": b"[1e3]",
        "minus zero": b"[-0]",
        "too large": b"[9007199254740992]",
        "not a number": b"[NaN]",
        "escaped letter": b'["\\u0061"]',
        "escaped slash": b'["\\/"]',
        "upper-case escape": b'["\\u001F"]',
        "lone surrogate": b'["\\ud800"]',
        "byte-order mark": b"\xef\xbb\xbf[]",
        "not utf-8": b'["\xff"]',
        "line end": b"[]\n",
        "key not ascii": '{"ü":1}'.encode(),
    }
    for name, data in refused.items():
        try:
            parse_canonical(data)
        except FormatError:
            continue
        raise AssertionError(f"{name} was accepted")
    return {
        "accepted": [
            {"name": name, "value": value, "bytes": canonical_json(value).hex()}
            for name, value in accepted.items()
        ],
        "refused": [{"name": name, "bytes": data.hex()} for name, data in refused.items()],
    }


def bundle_vectors() -> dict[str, Any]:
    trees: dict[str, Mapping[str, bytes | tuple[bytes, bool]]] = {
        "one file": {"train.py": b"print('hello')\n"},
        "folders and modes": {"b/run.sh": (b"#!/bin/sh\n", True), "b.txt": b"", "a/ü.txt": b"\x00" * 512},
        "long path": {f"{'d' * 80}/{'e' * 60}/{'f' * 40}.py": b"x"},
        "nothing": {},
    }
    bundles = []
    for name, tree in trees.items():
        files = [
            {"path": path, "data": (item[0] if isinstance(item, tuple) else item).hex(),
             "executable": isinstance(item, tuple)}
            for path, item in tree.items()
        ]  # fmt: skip
        bundles.append({"name": name, "files": files, **content(pack_tree(tree))})
    author = Authorship(Signer.from_hex(MINER_KEY).address, ProjectId(1), 31337)
    candidate = {"train.py": b"print('better')\n"}
    return {
        "trees": bundles,
        "candidate": {
            "authorship": author.to_json(),
            "files": [{"path": path, "data": data.hex()} for path, data in candidate.items()],
            **content(pack_candidate(candidate, author)),
        },
    }


def manifest_vectors() -> dict[str, Any]:
    manifest = BenchmarkManifest.of(
        ManifestEntry(path, len(path), zerog(path), role)
        for path, role in (
            ("tokenizer/token_bytes.npy", ManifestRole.BYTE_TABLE),
            ("tokenizer/tokenizer.pkl", ManifestRole.TOKENIZER),
            ("data/shard_00000.parquet", ManifestRole.TRAIN),
            ("data/shard_00001.parquet", ManifestRole.VALIDATION),
            ("data/shard_00002.parquet", ManifestRole.FRESH),
        )
    )
    return document(manifest.encode())


def metric_vectors() -> list[dict[str, Any]]:
    plain, ended = r"^val_bpb:\s+([0-9]+(?:\.[0-9]+)?)", r"^val_bpb:\s+([0-9]+(?:\.[0-9]+)?)$"
    logs: dict[str, tuple[str, bytes]] = {
        "plain": (plain, b"---\nval_bpb:          2.534000\ndepth: 8\n"),
        "after carriage returns": (ended, b"step 1\rstep 2\rval_bpb: 2.5\r\n"),
        "trailing blanks": (ended, b"val_bpb: 2.5 \t\x0b\x0c\n"),
        "bytes that are not utf-8": (ended, b"\xff\xfe\nval_bpb: 2.5"),
        "exponent": (plain, b"val_bpb: 0.95e1\n"),
        "text after": (plain, b"val_bpb: 0.95 (best)\n"),
        "twice": (plain, b"val_bpb: 2.5\nval_bpb: 2.4\n"),
        "across lines": (plain, b"val_bpb:\n2.5\n"),
        "not a number": (plain, b"val_bpb: nan\n"),
        "four digits": (plain, b"val_bpb: 2500\n"),
        "ten digits after the point": (plain, b"val_bpb: 2.0123456789\n"),
        "zero": (plain, b"val_bpb: 0.000000\n"),
        "indented": (plain, b" val_bpb: 2.5\n"),
        "empty": (plain, b""),
    }
    vectors = []
    for name, (pattern, log) in logs.items():
        try:
            value: str | None = extract_metric(log, rule_from_pattern("val_bpb", pattern)).text
        except ArmlxError:
            value = None
        vectors.append({"name": name, "pattern": pattern, "log": log.hex(), "value": value})
    return vectors


def score_vectors() -> dict[str, Any]:
    values = ("2.213268", "1.981456", "2.2132680000", "2.2132681", "2.2132689", "0", "999.999999999")
    best = ScaledScore(-2213268)
    bounds = ("0.0123459", "0.000001", "0.0000009", "0", "-0.5")
    return {
        "encode": [
            {"value": text, "minimize": encode_score(Decimal(text), "minimize"),
             "maximize": encode_score(Decimal(text), "maximize")}
            for text in values
        ],
        "chained": [
            {"best": best, "lowerBound": text, "score": chained_score(best, Decimal(text))} for text in bounds
        ],
        "claimed": [
            {"best": best, "gain": text, "score": claimed_score(best, Decimal(text))} for text in bounds
        ],
    }  # fmt: skip


def attestation_vectors() -> dict[str, Any]:
    vectors = {}
    for name, attestation in (("reproduced", example_attestation()), ("undecided", undecided_attestation())):
        vectors[name] = {
            "attestation": document(attestation.encode()),
            "signed": document(signed(attestation).encode()),
            "typedData": typed(attestation.typed_data()),
        }
    return {"validatorKey": "0x" + VALIDATOR_KEY, **vectors}


def run_record(role: str, value: str, log: bytes) -> dict[str, Any]:
    """A run as ``record.json`` states it."""
    return {
        "format": "armlx-run-record/1",
        "role": role,
        "ending": "graph",
        "detail": "A model was handed over.",
        "logSha256": sha256(log).hexdigest(),
        "wallSeconds": "3.5",
        "cpuSeconds": "3.25",
        "peakMemoryBytes": 1 << 20,
        "clock": "cpu",
        "secondsToGraph": "3.0",
        "validation": value,
        "fresh": value,
        "audits": [{"kind": "causality", "passed": True, "figures": {"probes": "64"}}],
        "printedMetric": value[:8],
        "steps": "40",
        "anomalies": [],
        "graphSha256": sha256(b"graph of the " + role.encode()).hexdigest(),
        "disturbances": [],
    }


def example_verdict() -> VerdictBundle:
    """One pair, whose candidate's log was too long to be kept."""
    evidence = example_evidence()
    claim = evidence.claim
    logs = {role: f"{role}\nval_bpb: 2.213268\n".encode() for role in ("control", "candidate")}
    case = VerdictCase(
        about=About(
            domain=claim.domain,
            genesis_hash=sha("genesis").digest,
            proposal_id=ProposalId(7),
            project_id=claim.project_id,
            validator=Signer.from_hex(VALIDATOR_KEY).address,
            judged_at=1_795_003_600,
            candidate_root=claim.candidate_root,
            claim_digest=claim.digest(),
            control_root=claim.control_root,
            current_best=claim.current_best,
            protocol_root=claim.protocol_root,
            snapshot_root=claim.control_root,
            evaluation_root=zerog("manifest"),
            evaluation_seed=sha("seed").digest,
            evaluation_block=BlockNumber(120),
            hardware_class=claim.hardware_class,
            environment_digest=claim.environment_digest,
            metric=("val_bpb", r"^val_bpb:\s*([0-9.]+)"),
        ),
        program="armlx-chain 0.1.0",
        rules=RuleInputs(24, Decimal("0.010000000"), Decimal("0.000000000"), True),
        noise={"s": "0.003000000", "runs": 20},
        pairs=({role: run_record(role, "2.213268000", logs[role]) for role in ("control", "candidate")},),
        logs=(Log("pair-01-control", len(logs["control"])), Log("pair-01-candidate", 1 << 21, "too-long")),
    )
    return VerdictBundle(
        case=case,
        logs={"pair-01-control": logs["control"]},
        evidence=evidence.encode(),
        environment={"system": "macOS 15.1 24B83", "package-mlx": "0.32.4"},
    )


def verdict_vectors() -> dict[str, Any]:
    """The layers of a pack; its report is a report in form alone."""
    bundle = example_verdict()
    packed = bundle.encode()
    report = canonical_json(
        {"evidence": {"bundle-bytes": str(len(packed)), "bundle-root": str(root_of(packed))}}
    )
    attestation = replace(example_attestation(), report_root=root_of(report))
    pack = VerdictPack(report, packed, signed(attestation).encode()).encode()
    opinion = Opinion(
        domain=attestation.domain,
        genesis_hash=attestation.genesis_hash,
        proposal_id=attestation.proposal_id,
        candidate_root=attestation.candidate_root,
        control_root=attestation.control_root,
        current_best=attestation.current_best,
        rule_id=attestation.rule_id,
        outcome=attestation.outcome,
        reason=attestation.reason,
        lower_bound=attestation.lower_bound,
        machine="0123456789abcdef",
        decided_at=attestation.decided_at,
    )
    return {
        "case": document(bundle.case.encode()),
        "bundle": content(packed),
        "report": document(report),
        "pack": content(pack),
        "opinion": document(opinion.encode()),
    }


def build() -> dict[str, Any]:
    claim, evidence = example_claim(), example_evidence()
    return {
        "canonical.json": canonical_vectors(),
        "bundle.json": bundle_vectors(),
        "manifest.json": manifest_vectors(),
        "metric.json": metric_vectors(),
        "score.json": score_vectors(),
        "claim.json": {
            "minerKey": "0x" + MINER_KEY,
            "claim": document(claim.encode()),
            "typedData": typed(claim.typed_data()),
            "signature": "0x" + evidence.signature.hex(),
        },
        "evidence.json": document(evidence.encode()),
        "attestation.json": attestation_vectors(),
        "verdict.json": verdict_vectors(),
        "policy.json": {
            "validatorKey": "0x" + VALIDATOR_KEY,
            "policy": document(example_policy().policy.encode()),
            "signed": document(example_policy().encode()),
            "typedData": typed(example_policy().policy.typed_data()),
        },
    }


def text_of(vector: Any) -> str:
    return json.dumps(vector, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def stale() -> list[str]:
    """Names of vector files that differ from what the code yields, or should not be there."""
    expected = {name: text_of(vector) for name, vector in build().items()}
    present = {path.name: path.read_text(encoding="ascii") for path in FOLDER.glob("*.json")}
    return sorted(name for name in expected | present if expected.get(name) != present.get(name))


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        differing = stale()
        print("\n".join(differing) or "All vectors are as the code yields them.")
        return 1 if differing else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, vector in build().items():
        (FOLDER / name).write_text(text_of(vector), encoding="ascii")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
