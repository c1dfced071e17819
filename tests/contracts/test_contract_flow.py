"""Flow and Market: recorded submissions of the real contracts, the fee, the validity rules, the positions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak
from evm_contracts import ZERO, Contract, Refused, events
from evm_engines import Engine, Receipt
from evm_world import World, refuses
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "0g"
FLOW: dict[str, Any] = json.loads((VECTORS / "0g_flow.json").read_text())
SUBMISSIONS: dict[str, Any] = json.loads((VECTORS / "0g_submission.json").read_text())
BY_NAME = {vector["name"]: vector for vector in SUBMISSIONS["vectors"]}
PRICE = int(FLOW["price_per_sector"])
INVALID = ("Error", "Invalid submission")
SECTOR = 256


class Storage:
    """A fresh Flow with its Market, and somebody who pays."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.payer = engine.accounts[7]
        self.market = Contract.deploy(engine, "Market", PRICE, sender=self.payer)
        self.flow = Contract.deploy(engine, "Flow", self.market.address, sender=self.payer)

    def submit(self, submission: Any, value: int | None = None) -> Receipt:
        paid = fee(submission) if value is None else value
        return self.flow.send("submit", submission, sender=self.payer, value=paid)

    @property
    def length(self) -> int:
        return int(self.flow.call("tree")[0])


@pytest.fixture
def storage(world: World) -> Storage:
    """A Flow without submissions."""
    return Storage(world.engine)


def fee(submission: Any) -> int:
    return PRICE * sum(1 << int(height) for _, height in submission[0][2])


def made(length: int, heights: Sequence[int], submitter: str = "0x" + "11" * 20, tags: bytes = b"") -> Any:
    """A submission whose roots are made up: the chain cannot check them."""
    nodes = [(keccak(text=f"node {i}"), height) for i, height in enumerate(heights)]
    return ((length, tags, nodes), submitter)


def recorded(name: str, submitter: str | None = None, tags: bytes = b"") -> Any:
    vector = BY_NAME[name]
    nodes = [(bytes.fromhex(node["root"][2:]), node["height"]) for node in vector["nodes"]]
    return ((vector["length"], tags, nodes), submitter or vector["submitter"])


def test_positions_and_events_are_those_of_the_real_contract(storage: Storage) -> None:
    for step in FLOW["sequence"]:
        submission = recorded(step["name"], step["event"]["sender"])
        assert [height for _, height in submission[0][2]] == step["heights"]
        answered = storage.flow.call("submit", submission, sender=storage.payer, value=int(step["value_wei"]))
        wanted = step["return"]
        digest = bytes.fromhex(wanted["digest"][2:])
        assert answered == (wanted["index"], digest, wanted["startIndex"], wanted["length"])
        receipt = storage.submit(submission, int(step["value_wei"]))
        ((name, shown),) = events(receipt)
        assert name == "Submit"
        facts = {key: shown[key] for key in ("sender", "submissionIndex", "startPos", "length")}
        assert facts == {key: step["event"][key] for key in facts}
        assert "0x" + shown["identity"].hex() == step["event"]["identity"]
        assert shown["submission"]["length"] == step["size"]
        assert storage.length == step["tree_currentLength_after"]
    assert (
        storage.flow.call("numSubmissions") == storage.flow.call("submissionIndex") == len(FLOW["sequence"])
    )


def test_the_raw_log_is_the_recorded_one_byte_for_byte(storage: Storage) -> None:
    log = FLOW["raw_submit_log"]
    sender = "0x" + log["topics"][1][-40:]
    for step in FLOW["sequence"]:
        storage.submit(recorded(step["name"], sender))
    storage.submit(recorded("ctr_1", sender))
    (ours,) = storage.submit(recorded("ctr_257", sender, b"\x00")).logs
    assert ["0x" + topic.hex() for topic in ours.topics] == log["topics"]
    assert "0x" + ours.data.hex() == log["data"]


def test_calldata_of_every_recorded_submission_is_taken_for_its_exact_fee(storage: Storage) -> None:
    assert len(SUBMISSIONS["vectors"]) == 121
    for vector in SUBMISSIONS["vectors"]:
        submission = recorded(vector["name"], tags=bytes.fromhex(vector["tags"][2:]))
        data = storage.flow.data("submit", submission)
        assert "0x" + keccak(data).hex() == vector["submit_calldata_keccak256"]
        assert fee(submission) == int(vector["fee_wei_at_30733644962"])
        with pytest.raises(Refused):
            storage.flow.call("submit", submission, sender=storage.payer, value=fee(submission) - 1)
        _, digest, _, sectors = storage.flow.call(
            "submit", submission, sender=storage.payer, value=fee(submission)
        )
        assert "0x" + digest.hex() == vector["identity_keccak_of_concatenated_node_roots"]
        assert sectors == vector["sectors"]


def test_a_batch_is_its_submissions_one_after_another(storage: Storage) -> None:
    names = [step["name"] for step in FLOW["sequence"][:12]]
    batch = [recorded(name) for name in names]
    total = sum(fee(submission) for submission in batch)
    with refuses("NotEnoughFee", PRICE, BY_NAME[names[-1]]["sectors"], fee(batch[-1]) - 1):
        storage.flow.send("batchSubmit", batch, sender=storage.payer, value=total - 1)
    indexes, digests, starts, lengths = storage.flow.call(
        "batchSubmit", batch, sender=storage.payer, value=total
    )
    receipt = storage.flow.send("batchSubmit", batch, sender=storage.payer, value=total)
    wanted = [step["event"] for step in FLOW["sequence"][:12]]
    assert list(indexes) == [event["submissionIndex"] for event in wanted]
    assert list(starts) == [event["startPos"] for event in wanted]
    assert list(lengths) == [event["length"] for event in wanted]
    assert ["0x" + digest.hex() for digest in digests] == [event["identity"] for event in wanted]
    assert [shown["startPos"] for _, shown in events(receipt)] == list(starts)
    assert storage.flow.call("batchSubmit", [], sender=storage.payer) == ((), (), (), ())


def test_the_fee_is_counted_from_the_balance_and_overpayment_stays(storage: Storage) -> None:
    submission = made(1000, [2])
    price = fee(submission)
    assert price == 4 * PRICE
    for paid in (0, price - 1):
        with refuses("NotEnoughFee", PRICE, 4, paid):
            storage.submit(submission, paid)
    before = storage.engine.balance(storage.payer)
    storage.submit(submission, 3 * price)
    assert before - storage.engine.balance(storage.payer) == 3 * price, "nothing is refunded"
    assert storage.engine.balance(storage.flow.address) == 2 * price
    for _ in range(2):
        storage.submit(submission, 0)
    with refuses("NotEnoughFee", PRICE, 4, 0):
        storage.submit(submission, 0)
    assert storage.engine.balance(storage.market.address) == 3 * price


@pytest.mark.parametrize(
    ("heights", "refused", "taken"),
    [
        ([2], [0, 512, 513, 768, 1025], [769, 1000, 1024]),
        ([4, 1], [1, 4095, 4096, 4609], [4097, 4608]),
        ([4], [0, 3839, 3840, 4097], [3841, 4096]),
        ([0], [0, 257], [1, 256]),
        ([10, 7], [262_144, 1152 * SECTOR + 1], [262_145, 1152 * SECTOR]),
        ([5, 1], [5000, 34 * SECTOR], []),
        ([], [0, 1, 256], []),
        ([2, 2], [8 * SECTOR], []),
        ([4, 2, 3], [28 * SECTOR], []),
        ([64], [2**72], []),
        ([200], [2**208], []),
    ],
)
def test_the_validity_rules(
    storage: Storage, heights: list[int], refused: list[int], taken: list[int]
) -> None:
    for length in refused:
        with refuses(*INVALID):
            storage.submit(made(length, heights), 10**18)
    for length in taken:
        storage.submit(made(length, heights))
    assert storage.flow.call("numSubmissions") == len(taken)


def test_a_submitter_of_zero_is_invalid_and_rising_heights_panic(storage: Storage) -> None:
    with refuses(*INVALID):
        storage.submit(made(1000, [2], ZERO))
    with refuses("Panic", 0x11):
        storage.submit(made(1000, [1, 4]))
    assert storage.length == 1


def test_an_invalid_submission_is_invalid_whatever_was_paid(storage: Storage) -> None:
    with refuses(*INVALID):
        storage.submit(made(0, [2]), 0)


def test_one_bad_entry_refuses_the_whole_batch(storage: Storage) -> None:
    with refuses(*INVALID):
        batch = [made(1000, [2]), made(0, [2])]
        storage.flow.send("batchSubmit", batch, sender=storage.payer, value=10**18)
    assert (storage.length, storage.flow.call("submissionIndex")) == (1, 0)


def test_the_fixed_answers(storage: Storage) -> None:
    assert storage.flow.call("market") == storage.market.address
    assert storage.market.call("pricePerSector") == PRICE
    assert storage.flow.call("paused") is False
    assert storage.flow.call("tree") == (1, 0)


def test_a_file_may_end_exactly_at_a_segment_border(storage: Storage) -> None:
    ends_at_border, next_file = made(512 * SECTOR, [9]), made(256 * SECTOR, [8])
    assert events(storage.submit(ends_at_border))[0][1]["startPos"] == 512
    assert events(storage.submit(next_file))[0][1]["startPos"] == 1024


def place(cursor: int, heights: Sequence[int]) -> tuple[int, int]:
    """The position rule, written out: where the file starts, and the cursor after it."""

    def align(x: int, h: int) -> int:
        return -(-x // (1 << h)) * (1 << h)

    total = sum(2**h for h in heights)
    start = align(cursor, heights[0])
    if start % 1024 and start // 1024 != (start + total - 1) // 1024:
        cursor = start + 1024 - start % 1024
    starts = []
    for height in heights:
        starts.append(align(cursor, height))
        cursor = starts[-1] + 2**height
    return starts[0], cursor


@st.composite
def many_heights(draw: st.DrawFn) -> list[list[int]]:
    files = []
    for _ in range(draw(st.integers(1, 12))):
        top = draw(st.one_of(st.integers(5, 11), st.integers(0, 20)))
        below = [top - d for d in range(1, 4) if top - d >= 0]
        files.append([top, *[height for height in below if draw(st.booleans())]])
    return files


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(many_heights())
@example([[9], [9], [8]])
@example([[8], [8], [8], [9], [9, 7], [7], [10, 9], [9]])
def test_any_sequence_of_files_lands_where_the_rule_says(deployed: World, files: list[list[int]]) -> None:
    deployed.engine.restore(deployed.mark)
    storage, cursor = Storage(deployed.engine), 1
    batch, starts = [], []
    for heights in files:
        capacity = sum(2**h for h in heights)
        batch.append(made(capacity * SECTOR, heights))
        start, cursor = place(cursor, heights)
        starts.append(start)
    receipt = storage.flow.send(
        "batchSubmit", batch, sender=storage.payer, value=sum(fee(submission) for submission in batch)
    )
    assert [shown["startPos"] for _, shown in events(receipt)] == starts
    assert storage.length == cursor
