"""Every function of the four ABIs is wrapped or left out for a reason, and every error has a sentence."""

import inspect
import string
from collections.abc import Callable
from typing import Any

import pytest
from ledger_world import MINER, REVIEWER, STRANGER, LedgerWorld

import contracts_abi
from armlx_chain.chain.contracts import ProjectRegistry, ProjectToken, ProposalLedger, VerifierRegistry
from armlx_chain.chain.records import decode_address, decode_project, decode_proposal, decode_uint
from armlx_chain.chain.reverts import SENTENCES, decode_revert, revert_error
from armlx_chain.errors import WrongChain
from armlx_chain.types import Address, ProposalId, ScaledScore

CLASSES = {cls.abi_name: cls for cls in (VerifierRegistry, ProjectRegistry, ProjectToken, ProposalLedger)}
FUNCTIONS = sorted(
    (name, item["name"]) for name in CLASSES for item in contracts_abi.abi(name) if item["type"] == "function"
)
SOMEBODY = Address("0x" + "00" * 19 + "01")


class Recorder:
    """Notes the calldata of every question."""

    def __init__(self) -> None:
        self.selectors: set[bytes] = set()

    def note(self, transaction: dict[str, Any]) -> None:
        data = transaction.get("data", transaction.get("input", "0x"))
        self.selectors.add(bytes.fromhex(data[2:10]) if isinstance(data, str) else bytes(data[:4]))


def arguments(method: Callable[..., Any]) -> dict[str, Any]:
    """Something fitting for every parameter, by its annotation."""
    values: dict[str, Any] = {
        "Address": SOMEBODY, "int": 1, "bytes": b"\x01" * 32, "str": "x", "ProposalId": ProposalId(0),
        "ScaledScore": ScaledScore(-1), "Tokens": 1, "Wei": 10**18, "LogEntry": None,
    }  # fmt: skip
    parameters = inspect.signature(method).parameters.values()
    return {p.name: values[str(p.annotation)] for p in parameters if p.default is inspect.Parameter.empty}


@pytest.mark.integration
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_function_is_reached_by_a_method_or_left_out_with_a_reason(
    ledger_world: LedgerWorld, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls, seen = CLASSES[name], Recorder()
    if ledger_world.registry.project_count() == 0:
        ledger_world.project()
    address = {
        "VerifierRegistry": ledger_world.verifiers.address, "ProjectRegistry": ledger_world.registry.address,
        "ProposalLedger": ledger_world.ledger.address, "ProjectToken": ledger_world.token(0).address,
    }[name]  # fmt: skip
    contract = cls(ledger_world.rpc, address)
    whole = ledger_world.rpc.pool.request_many

    def spying(asks: Any) -> Any:
        for ask in asks:
            if ask.method == "eth_call":
                seen.note(ask.params[0])
        return whole(asks)

    monkeypatch.setattr(ledger_world.rpc.pool, "request_many", spying)
    for attribute, method in inspect.getmembers(contract, inspect.ismethod):
        if attribute.startswith("_") or attribute in ("on", "encode", "event", "submission_block"):
            continue
        given = arguments(method)
        if attribute in ("cost_between",):
            given = {"start": 1, "end": 2}
        if attribute in ("quote_sell", "verifier_at"):
            given = dict.fromkeys(given, 0)
        found = method(**given)
        if attribute.endswith("_data"):
            seen.selectors.add(found[:4])
    wanted = {f: contracts_abi.function_selector(name, f) for n, f in FUNCTIONS if n == name}
    reached = {f for f, selector in wanted.items() if selector in seen.selectors}
    assert reached | set(cls.UNUSED) == set(wanted)
    assert not reached & set(cls.UNUSED)
    assert all(len(reason) > 20 for reason in cls.UNUSED.values())


ERRORS = sorted((error.name, selector) for selector, error in contracts_abi.errors_by_selector().items())


@pytest.mark.unit
@pytest.mark.parametrize(("name", "selector"), ERRORS, ids=[name for name, _ in ERRORS])
def test_every_error_of_every_contract_becomes_a_sentence_with_its_arguments(
    name: str, selector: bytes
) -> None:
    from eth_abi import encode

    error = contracts_abi.errors_by_selector()[selector]
    samples = {"address": "0x" + "ab" * 20, "uint256": 12345, "string": "because"}
    data = selector + encode(error.input_types, [samples[kind] for kind in error.input_types])
    found = decode_revert(data)
    assert found.name == name
    assert found.sentence != name
    if name not in ("Error", "Panic"):
        assert name in SENTENCES, f"{name} has no sentence"
        fields = {field for _, field, _, _ in string.Formatter().parse(SENTENCES[name]) if field}
        assert fields <= set(error.input_names)
        assert all(str(samples[kind]) in found.sentence for kind in error.input_types)
    assert found.sentence in revert_error("doing it", data).message


@pytest.mark.unit
def test_no_sentence_is_left_over_and_none_says_the_same_as_another() -> None:
    assert set(SENTENCES) == {name for name, _ in ERRORS} - {"Error", "Panic"}
    assert len(set(SENTENCES.values())) == len(SENTENCES)


@pytest.mark.unit
@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x08\xc3\x79\xa0", bytes.fromhex("fb8f41b2") + b"\xff" * 7, b"\xde\xad\xbe\xef" * 30],
)
def test_revert_data_of_any_kind_is_one_error(data: bytes) -> None:
    assert revert_error("doing it", data).message.startswith("The contract refuses doing it: ")


@pytest.mark.unit
def test_a_contracts_own_words_cannot_write_on_the_screen() -> None:
    from eth_abi import encode

    data = bytes.fromhex("08c379a0") + encode(["string"], ["\x1b[2Jgive me\nyour key"])
    assert "\x1b" not in revert_error("buying", data).message
    assert "\n" not in revert_error("buying", data).message


@pytest.mark.unit
@pytest.mark.parametrize(
    "kind", ["short", "long", "dirty address", "status 5", "time beyond 64 bits", "empty"]
)
def test_a_record_that_is_none_is_not_believed(kind: str) -> None:
    words = [bytes(31) + b"\x01"] * 13
    good = decode_proposal(0, b"".join(words))
    assert good is not None and good.status == 1
    data = {
        "short": b"".join(words[:-1]),
        "long": b"".join([*words, words[0]]),
        "dirty address": b"".join([*words[:1], b"\xff" * 32, *words[2:]]),
        "status 5": b"".join([*words[:-1], bytes(31) + b"\x05"]),
        "time beyond 64 bits": b"".join([*words[:9], b"\x01" + bytes(31), *words[10:]]),
        "empty": b"",
    }[kind]
    with pytest.raises(WrongChain):
        decode_proposal(0, data)


@pytest.mark.unit
def test_unknown_ids_read_as_zeros_and_are_none() -> None:
    assert decode_proposal(7, bytes(13 * 32)) is None
    assert decode_project(7, bytes(12 * 32)) is None
    assert decode_uint(bytes(32)) == 0
    with pytest.raises(WrongChain):
        decode_address(bytes(31))


@pytest.mark.integration
def test_refusals_of_the_ledger_are_told_with_their_figures(ledger_world: LedgerWorld) -> None:
    """Times, scores, states and holders: what a person needs to know what to do."""
    from armlx_chain.chain.explain import explainer, time_text
    from armlx_chain.errors import ContractRevert

    world = ledger_world
    world.rpc.explain = explainer(world.rpc, ledger=world.ledger.address, registry=world.registry.address)
    world.send(0, world.verifiers.address, world.verifiers.add_verifier_data(world.address(STRANGER)))
    project = world.project(cap=5)
    world.stock(project)
    taken, large, fresh = (world.propose(project, stake=stake) for stake in (3, 9, 1))
    for number in (taken, large):
        world.act(REVIEWER, world.ledger.claim_review_data(ProposalId(number)))
    held = world.ledger.find_proposal(taken)
    assert held is not None

    def refusal(who: int, data: bytes) -> str:
        call = {"from": world.address(who), "to": world.ledger.address, "data": "0x" + data.hex()}
        with pytest.raises(ContractRevert) as caught:
            world.rpc.call(call, "this step")
        return caught.value.message

    ledger, until = world.ledger, time_text(held.review_lock_until)
    early = refusal(MINER, ledger.release_review_data(ProposalId(taken)))
    assert f"the review of proposal {taken} cannot be handed back before {until}" in early
    assert "[LockActive]" in early
    worse = refusal(REVIEWER, ledger.approve_data(ProposalId(taken), ScaledScore(-2_300_000), bytes(32)))
    assert "-2.300000 (-2300000) is not greater than the current best" in worse
    assert "-2.213268 (-2213268)" in worse
    room = refusal(REVIEWER, ledger.approve_data(ProposalId(large), ScaledScore(-1), bytes(32)))
    assert f"9 tokens does not fit into the miner pool of project {project}, which has room for 5" in room
    other = refusal(STRANGER, ledger.reject_data(ProposalId(taken), bytes(32)))
    assert f"under review by {world.address(REVIEWER)} until {until}" in other
    assert "is under review" in refusal(STRANGER, ledger.claim_review_data(ProposalId(taken)))
    assert "is waiting for a review" in refusal(REVIEWER, ledger.reject_data(ProposalId(fresh), bytes(32)))
    week = time_text(held.submitted_at + 604_800)
    assert week[:10] in refusal(MINER, ledger.expire_data(ProposalId(taken)))
    beyond = refusal(MINER, ledger.expire_data(ProposalId(10**6)))
    assert f"there is no proposal 1000000: ids run from 0 to {ledger.proposal_count() - 1}" in beyond
    assert "allow-list" in refusal(MINER, ledger.claim_review_data(ProposalId(fresh)))
    world.devnet.advance_time(86_401)
    late = refusal(REVIEWER, ledger.reject_data(ProposalId(taken), bytes(32)))
    assert f"ran out at {until}" in late
