"""The driver for cases of others: recorded vectors go through it as JSON lines, with the recorded answers."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from irys_vectors import item, load, payload, raw_item

from armlx_chain.encodings import base64url_encode
from armlx_chain.storage.irys.items import parse_item

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parent.parent.parent
DRIVER = PROJECT / "scripts" / "conformance" / "irys"


def drive(requests: list[Any]) -> list[dict[str, Any]]:
    lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)
    done = subprocess.run(
        [sys.executable, str(DRIVER)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def text(data: bytes) -> str:
    return base64url_encode(data)


def cases() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Requests, and what their answers must contain."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for case in load("01")["conversions"]:
        forms = {name: case[name] for name in ("hex", "base64url", "base58")}
        found.append(({"do": "format_id", "id": case["hex"]}, forms))
    for case in load("03")["cases"]:
        raw = text(bytes.fromhex(case["bytes_hex"]))
        found.append(({"do": "encode_tags", "tags": case["tags"]}, {"raw": raw}))
        found.append(({"do": "decode_tags", "raw": raw}, {"tags": case["tags"]}))
    for case in load("04")["items"]:
        request = {"do": "verify_item", "raw": text(raw_item(case)), "id": case["id"]["base58"]}
        wanted = {"verdict": "accept", "tags": case["tags"], "address": case["address"]}
        found.append((request, wanted))
    for case in load("05")["cases"]:
        if "raw_base64" in case:
            raw = text(base64.b64decode(case["raw_base64"]))
            request = {"do": "verify_item", "raw": raw, "id": case["requested_id"]["hex"]}
            found.append((request, {"verdict": case["strict_expect"]}))
    for case in load("06")["cases"]:
        data = parse_item(raw_item(item(case["base"]))).data
        if "payload_base64" in case:
            data = base64.b64decode(case["payload_base64"])
        request = {"do": "rebuild", "metadata": case["metadata"], "payload": text(data)}
        found.append(({**request, "id": case["requested_id"]["hex"]}, {"verdict": case["expect"]}))
    for case in load("07")["cases"]:
        request = {"do": "verify_receipt", "receipt": case["receipt"]}
        found.append((request, {"verdict": case["expect"]}))
    for case in load("11")["cases"]:
        raw = text(base64.b64decode(case["raw_base64"]))
        found.append(({"do": "verify_bundle", "raw": raw}, {}))
    return found + transactions()


def transactions() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for number, do in (("09", "verify_l1"), ("10", "verify_chain_tx")):
        for case in load(number)["cases"]:
            request = {"do": do, "header": case["header"], "id": case["id"]["hex"]}
            data = text(payload(case["payload_recipe"]))
            found.append(({**request, "payload": data}, {"verdict": case["expect"]}))
    for case in load("08")["cases"]:
        data = text(payload(case["payload_recipe"]))
        for chunking, name in (("irys", "irys_datachain"), ("arweave", "arweave")):
            request = {"do": "data_root", "payload": data, "chunking": chunking}
            found.append((request, case[name]["data_root"]))
    return found


def test_the_recorded_cases_get_the_recorded_answers_over_json_lines() -> None:
    asked = cases()
    answers = drive([request for request, _ in asked])
    assert len(answers) == len(asked) > 300
    for (request, wanted), answer in zip(asked, answers, strict=True):
        assert "error" not in answer, (request["do"], answer)
        assert {name: answer.get(name) for name in wanted} == wanted, request["do"]


def test_the_deep_hash_of_a_tree_is_asked_for_as_lists_of_texts() -> None:
    def tree(node: Any) -> Any:
        return text(bytes.fromhex(node["hex"])) if isinstance(node, dict) else [tree(child) for child in node]

    recorded = load("02")["cases"]
    answers = drive([{"do": "deep_hash", "tree": tree(case["input"])} for case in recorded])
    assert [answer["hash"] for answer in answers] == [
        text(bytes.fromhex(case["sha384_hex"])) for case in recorded
    ]


def test_a_bad_request_is_answered_and_the_next_one_served() -> None:
    bad: list[Any] = [
        *("nonsense", "[]", "7", "{}", '{"do":"fly"}', "[" * 5000),
        {"do": "verify_item", "raw": "*", "id": "00" * 32},
        {"do": "verify_item", "raw": "", "id": "?"},
        {"do": "data_root", "payload": "", "chunking": "irys"},
        {"do": "decode_tags", "raw": "AQ"},
        {"do": "rebuild", "metadata": [], "payload": "", "id": "00" * 32},
    ]
    answers = drive([*bad, {"do": "parse_id", "text": "x"}])
    assert [("error" in answer) for answer in answers] == [True] * len(bad) + [False]
    assert answers[-1] == {"candidates": []}
    assert answers[-3]["reason"] == "TAG_DECODE"
