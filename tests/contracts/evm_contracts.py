"""Calling contracts by name, with decoded answers, events and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import eth_abi
from eth_utils import keccak, to_checksum_address
from evm_engines import CallFailed, Engine, Receipt

import contracts_abi

_COMPILED_FOR_TESTS = Path(__file__).resolve().parent / "compiled"
ZERO = "0x" + "0" * 40
EMPTY = "(empty)"
NOT_A_REVERT = "(out of gas or an invalid instruction)"
Event = tuple[str, dict[str, Any]]


class Refused(Exception):
    """A decoded refusal: ``name`` and ``arguments``; ``EMPTY`` for a revert without data."""

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        super().__init__(f"{name}{arguments}")
        self.name = name
        self.arguments = arguments


@cache
def own_artifact(name: str) -> dict[str, Any]:
    """A contract of the tests' own, as compiled from ``src/``."""
    artifact: dict[str, Any] = json.loads((_COMPILED_FOR_TESTS / f"{name}.json").read_text(encoding="utf-8"))
    return artifact


@cache
def _abi(name: str) -> tuple[dict[str, Any], ...]:
    return tuple(contracts_abi.abi(name) if name in contracts_abi.names() else own_artifact(name)["abi"])


def creation_code(name: str, *arguments: Any) -> bytes:
    """Creation bytecode with its constructor arguments."""
    if name in contracts_abi.names():
        code = contracts_abi.bytecode(name)
    else:
        code = bytes.fromhex(own_artifact(name)["bytecode"][2:])
    inputs: list[Any] = next((entry["inputs"] for entry in _abi(name) if entry["type"] == "constructor"), [])
    encoded: bytes = eth_abi.encode(_types(inputs), arguments)
    return code + encoded


def refusal(failure: CallFailed) -> Refused:
    """What a failed call says, decoded."""
    return decode_refusal(failure.data) if failure.reverted else Refused(NOT_A_REVERT, ())


def decode_refusal(data: bytes) -> Refused:
    """Decode revert data against the union of all errors."""
    if not data:
        return Refused(EMPTY, ())
    error = contracts_abi.errors_by_selector()[data[:4]]
    values = eth_abi.decode(error.input_types, data[4:])
    return Refused(
        error.name, tuple(_tidy(kind, value) for kind, value in zip(error.input_types, values, strict=True))
    )


class Contract:
    """A deployed contract. ``call`` asks, ``send`` acts; both raise :class:`Refused`."""

    def __init__(self, engine: Engine, name: str, address: str) -> None:
        self.engine = engine
        self.name = name
        self.address = address

    @classmethod
    def deploy(cls, engine: Engine, name: str, *arguments: Any, sender: str | None = None) -> Contract:
        receipt = transact(engine, sender or engine.accounts[0], None, creation_code(name, *arguments))
        assert receipt.created is not None
        return cls(engine, name, receipt.created)

    def _function(self, function: str) -> Mapping[str, Any]:
        return next(e for e in _abi(self.name) if e["type"] == "function" and e["name"] == function)

    def data(self, function: str, *arguments: Any) -> bytes:
        """Calldata of a call."""
        entry = self._function(function)
        selector = keccak(text=contracts_abi.signature(entry))[:4]
        return selector + eth_abi.encode(_types(entry["inputs"]), arguments)

    def call(self, function: str, *arguments: Any, sender: str | None = None, value: int = 0) -> Any:
        caller = sender or self.engine.accounts[9]
        try:
            answer = self.engine.call(caller, self.address, self.data(function, *arguments), value)
        except CallFailed as failure:
            raise refusal(failure) from failure
        return self.decode(function, answer)

    def decode(self, function: str, answer: bytes) -> Any:
        outputs = self._function(function)["outputs"]
        kinds = _types(outputs)
        values = [_named(o, v) for o, v in zip(outputs, eth_abi.decode(kinds, answer), strict=True)]
        return values[0] if len(values) == 1 else tuple(values)

    def send(
        self, function: str, *arguments: Any, sender: str, value: int = 0, at: int | None = None
    ) -> Receipt:
        """Mine a transaction, at a given block timestamp if ``at`` is given."""
        if at is not None:
            self.engine.set_next_time(at)
        return transact(self.engine, sender, self.address, self.data(function, *arguments), value)


def transact(engine: Engine, sender: str, to: str | None, data: bytes, value: int = 0) -> Receipt:
    """A raw transaction, its failure decoded."""
    try:
        return engine.send(sender, to, data, value)
    except CallFailed as failure:
        raise refusal(failure) from failure


@cache
def _events_by_topic() -> dict[bytes, dict[str, Any]]:
    entries = [e for name in contracts_abi.names() for e in _abi(name) if e["type"] == "event"]
    return {keccak(text=contracts_abi.signature(entry)): entry for entry in entries}


def events(receipt: Receipt) -> list[Event]:
    """All events of a transaction in order: name and arguments."""
    found: list[Event] = []
    for log in receipt.logs:
        entry = _events_by_topic()[log.topics[0]]
        indexed = [item for item in entry["inputs"] if item["indexed"]]
        plain = [item for item in entry["inputs"] if not item["indexed"]]
        assert len(indexed) == len(log.topics) - 1
        values = {
            i["name"]: eth_abi.decode(_types([i]), t)[0] for i, t in zip(indexed, log.topics[1:], strict=True)
        }
        values |= dict(zip((i["name"] for i in plain), eth_abi.decode(_types(plain), log.data), strict=True))
        found.append((entry["name"], {i["name"]: _named(i, values[i["name"]]) for i in entry["inputs"]}))
    return found


def emitters(receipt: Receipt) -> list[str]:
    """The addresses that emitted the events, in order."""
    return [log.address for log in receipt.logs]


def _types(items: Any) -> list[str]:
    return [_type(item) for item in items]


def _type(item: Mapping[str, Any]) -> str:
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_types(item['components']))}){kind[5:]}"


def _named(item: Mapping[str, Any], value: Any) -> Any:
    """A struct as a dict, an address with its checksum, anything else as it is."""
    if item["type"] == "tuple":
        return {part["name"]: _named(part, v) for part, v in zip(item["components"], value, strict=True)}
    return _tidy(item["type"], value)


def _tidy(kind: str, value: Any) -> Any:
    return to_checksum_address(value) if kind == "address" else value
