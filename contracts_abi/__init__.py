"""Interfaces, bytecode and deployments of the contracts this project speaks to.

- The JSON under ``compiled/`` comes from the Solidity under ``src/`` by ``contracts_abi/build`` and from
  nowhere else; ``contracts_abi/build --check`` proves it.
- ``VerifierRegistry``, ``ProposalLedger``, ``ProjectRegistry`` and ``ProjectToken`` have the interface and
  the behaviour of the contracts on Galileo. ``Flow`` and ``Market`` are small stand-ins for local networks
  with the interface of 0G Storage's; ``Multicall3`` carries many reads in one call, as the one that public
  networks have.
- Nothing here opens a socket or imports a chain library.

>>> from contracts_abi import abi, bytecode, deployment
>>> deployment("galileo").chain_id
16602
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

__all__ = [
    "Deployment",
    "ErrorAbi",
    "abi",
    "bytecode",
    "deployment",
    "deployments",
    "errors_by_selector",
    "event_topic",
    "function_selector",
    "names",
    "runtime_bytecode",
    "runtime_matches",
    "signature",
]

_NAMES = (
    "Flow", "Market", "Multicall3", "ProjectRegistry", "ProjectToken", "ProposalLedger", "VerifierRegistry",
)  # fmt: skip
_BUILTIN_ERRORS = (
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)


@dataclass(frozen=True, slots=True)
class ErrorAbi:
    """One error that revert data may carry.

    Attributes:
        name: For example ``ERC20InsufficientBalance``.
        selector: The first four bytes of the revert data.
        input_names: Names of the arguments, in order.
        input_types: ABI types of the arguments, in order, ready for ``eth_abi.decode``.
    """

    name: str
    selector: bytes
    input_names: tuple[str, ...]
    input_types: tuple[str, ...]

    @property
    def signature(self) -> str:
        return f"{self.name}({','.join(self.input_types)})"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts live on one network.

    Attributes:
        name: ``galileo``; ``local`` for a chain whose contracts were deployed in the usual order by the first
            of the public test accounts; or a name that a local network chose.
        rpc_urls: Public endpoints; none for local networks, which choose their own ports.
        flow: The Flow contract of 0G Storage. A storage node's own answer goes before it.
        runtime_hashes: keccak-256 of ``eth_getCode`` by contract name, where known: ``0x`` and 64 hex digits.
    """

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...]
    explorer_url: str | None
    indexer_url: str | None
    verifier_registry: str
    proposal_ledger: str
    project_registry: str
    flow: str | None = None
    multicall3: str | None = None
    runtime_hashes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def names() -> tuple[str, ...]:
    """All contracts that :func:`abi` knows."""
    return _NAMES


def abi(name: str) -> list[dict[str, Any]]:
    """A fresh copy of a contract's ABI.

    Raises:
        KeyError: for a name not in :func:`names`.
    """
    entries: list[dict[str, Any]] = json.loads(_artifact_text(name))["abi"]
    return entries


def bytecode(name: str) -> bytes:
    """Creation code, to which the encoded constructor arguments are appended.

    Raises:
        KeyError: for a name not in :func:`names`.
    """
    return bytes.fromhex(_artifact(name)["bytecode"][2:])


def runtime_bytecode(name: str) -> bytes:
    """Code after deployment, with zeros where the constructor's constants go.

    Raises:
        KeyError: for a name not in :func:`names`.
    """
    return bytes.fromhex(_artifact(name)["deployedBytecode"][2:])


def runtime_matches(name: str, code: bytes) -> bool:
    """Whether ``code`` from a chain is this contract's, whatever constants its constructor set.

    Raises:
        KeyError: for a name not in :func:`names`.
    """
    masked = bytearray(code)
    for span in _artifact(name)["immutables"]:
        masked[span["start"] : span["start"] + span["length"]] = bytes(span["length"])
    return bytes(masked) == runtime_bytecode(name)


def signature(entry: Mapping[str, Any]) -> str:
    """The canonical signature of an ABI's function, event or error, as ``transfer(address,uint256)``."""
    return f"{entry['name']}({','.join(_type_of(item) for item in entry.get('inputs', ()))})"


def function_selector(name: str, function: str) -> bytes:
    """The four bytes that call ``function`` of contract ``name``.

    Raises:
        KeyError: for an unknown contract, or if not exactly one function has that name.
    """
    return _keccak(signature(_entry(name, "function", function)))[:4]


def event_topic(name: str, event: str) -> bytes:
    """The 32 bytes of ``topics[0]`` of an event of contract ``name``.

    Raises:
        KeyError: for an unknown contract, or if not exactly one event has that name.
    """
    return _keccak(signature(_entry(name, "event", event)))


@cache
def errors_by_selector() -> Mapping[bytes, ErrorAbi]:
    """Every error of every contract here, with ``Error(string)`` and ``Panic(uint256)``.

    A call to the ledger surfaces the token's and the registry's errors unchanged, which its own ABI does not
    name: revert data is always decoded against the union.
    """
    found: dict[bytes, ErrorAbi] = {}
    declared = [entry for name in _NAMES for entry in _artifact(name)["abi"] if entry["type"] == "error"]
    for entry in [*_BUILTIN_ERRORS, *declared]:
        selector = _keccak(signature(entry))[:4]
        found[selector] = ErrorAbi(
            name=entry["name"],
            selector=selector,
            input_names=tuple(item["name"] for item in entry["inputs"]),
            input_types=tuple(_type_of(item) for item in entry["inputs"]),
        )
    return MappingProxyType(found)


def deployments() -> tuple[str, ...]:
    """Names of the networks whose addresses come with this package."""
    folder = files(__name__).joinpath("deployments")
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".json")))


@cache
def deployment(name: str) -> Deployment:
    """The addresses on a named network.

    Raises:
        KeyError: for a name not in :func:`deployments`.
    """
    if name not in deployments():
        raise KeyError(name)
    data = json.loads(files(__name__).joinpath("deployments", f"{name}.json").read_text(encoding="utf-8"))
    return Deployment(
        name=data["name"],
        chain_id=data["chain_id"],
        rpc_urls=tuple(data["rpc_urls"]),
        explorer_url=data["explorer_url"],
        indexer_url=data["indexer_url"],
        verifier_registry=data["verifier_registry"],
        proposal_ledger=data["proposal_ledger"],
        project_registry=data["project_registry"],
        flow=data["flow"],
        multicall3=data["multicall3"],
        runtime_hashes=MappingProxyType(data["runtime_hashes"]),
    )


def _keccak(text: str) -> bytes:
    from eth_utils.crypto import keccak  # takes a third of a second to import; addresses do not need it

    return keccak(text=text)


def _type_of(item: Mapping[str, Any]) -> str:
    """The canonical type, with tuples spelled out."""
    kind: str = item["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type_of(component) for component in item["components"])
    return f"({inner}){kind[len('tuple') :]}"


def _entry(name: str, kind: str, wanted: str) -> Mapping[str, Any]:
    """The one ABI entry of that kind and name.

    Raises:
        KeyError: if there is none, or more than one.
    """
    matches = [item for item in _artifact(name)["abi"] if item["type"] == kind and item["name"] == wanted]
    if len(matches) != 1:
        raise KeyError(f"{name}.{wanted}: {len(matches)} {kind}s have this name")
    entry: Mapping[str, Any] = matches[0]
    return entry


@cache
def _artifact_text(name: str) -> str:
    if name not in _NAMES:
        raise KeyError(name)
    return files(__name__).joinpath("compiled", f"{name}.json").read_text(encoding="utf-8")


@cache
def _artifact(name: str) -> dict[str, Any]:
    artifact: dict[str, Any] = json.loads(_artifact_text(name))
    return artifact
