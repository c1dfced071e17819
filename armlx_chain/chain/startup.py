"""What is checked before anything is sent (contracts specification, section 12).

1. every endpoint serves the configured chain, and several the same one (``Rpc.check_chain``);
2. there is code at the three addresses, and it is the code that is known, where it is known;
3. ledger, registry and list of verifiers point at each other, all pairs;
4. the ledger's five constants are the ones that every plan here counts with;
5. of a project: its token is the registry's, points at the ledger and has no decimals.

Each failure is a sentence with what to do. All reads are of one confirmed block, with two witnesses where two
endpoints are configured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from eth_utils.crypto import keccak

import contracts_abi
from armlx_chain.chain.contracts import ProjectRegistry, ProjectToken, ProposalLedger
from armlx_chain.chain.explain import explainer
from armlx_chain.chain.pool import Policy
from armlx_chain.chain.records import Project, decode_address, decode_project, decode_uint
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.wire import Ask
from armlx_chain.errors import ContractRevert, UsageError, WrongChain
from armlx_chain.settings import Network
from armlx_chain.types import Address

SEVERAL_TIMEOUT_SECONDS = 10.0
"""Where another endpoint can be asked, less patience is due than with the only one."""
ONLY_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LedgerConstants:
    """The ledger's constants, as read from it. Seconds, and basis points."""

    review_lock: int = 86_400
    expiry_window: int = 604_800
    bps_denominator: int = 10_000
    slash_bps_to_burn: int = 5_000
    slash_bps_to_verifier_pool: int = 5_000


KNOWN_CONSTANTS = LedgerConstants()
"""Those of the ledger on Galileo and of our reference contract (contracts specification, section 6)."""
_CONSTANTS = (
    ("review_lock", "REVIEW_LOCK"),
    ("expiry_window", "EXPIRY_WINDOW"),
    ("bps_denominator", "BPS_DENOMINATOR"),
    ("slash_bps_to_burn", "SLASH_BPS_TO_BURN"),
    ("slash_bps_to_verifier_pool", "SLASH_BPS_TO_VERIFIER_POOL"),
)


def open_chain(
    network: Network,
    *,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> Rpc:
    """The network's chain behind its endpoints, their chain ids compared; step 1.

    Raises:
        WrongChain: an endpoint serves another chain.
        RpcUnavailable: none answers.
        UsageError: an endpoint's address makes no sense.
    """
    several = len(network.rpc_urls) > 1
    policy = Policy(
        timeout_seconds=SEVERAL_TIMEOUT_SECONDS if several else ONLY_TIMEOUT_SECONDS,
        max_head_age_seconds=network.max_head_age_seconds,
    )
    rpc = Rpc(network.rpc_urls, expected_chain_id=network.chain_id, policy=policy, clock=clock, wall=wall)
    rpc.check_chain()
    rpc.explain = explainer(rpc, ledger=network.proposal_ledger, registry=network.project_registry)
    return rpc


def check_deployment(rpc: Rpc, network: Network) -> LedgerConstants:
    """Steps 2 to 4, in a handful of round trips.

    Raises:
        WrongChain: the first thing that is not as it should be.
        RpcUnavailable, EndpointsDisagree: the chain cannot be read.
    """
    view = rpc.at_depth(network.confirmations)
    _check_code(view, network)
    ledger = ProposalLedger(view, network.proposal_ledger)
    registry = ProjectRegistry(view, network.project_registry)
    wiring = (
        (ledger, "registry", network.project_registry),
        (ledger, "verifierRegistry", network.verifier_registry),
        (registry, "proposalLedger", network.proposal_ledger),
    )
    reads = [(contract.address, contract.encode(function)) for contract, function, _ in wiring]
    reads += [(ledger.address, ledger.encode(function)) for _, function in _CONSTANTS]
    words = [_word(outcome) for outcome in view.call_many(reads, "the start-up checks")]
    for (contract, function, expected), word in zip(wiring, words[:3], strict=True):
        actual = decode_address(word)
        if actual != expected:
            raise _otherwise(
                f"{contract.abi_name}.{function} is {actual}, but {expected} is configured",
                {"actual": actual, "expected": expected},
            )
    return _check_constants([decode_uint(word) for word in words[3:]])


def check_project(
    rpc: Rpc, network: Network, project_id: int, *, depth: int = 0
) -> tuple[Project, ProjectToken]:
    """Step 5: a project and its token, as of ``depth`` blocks ago.

    Returns:
        The record, and the token on the chain's newest state.

    Raises:
        UsageError: there is no such project.
        WrongChain: record, registry and token do not fit together.
    """
    view = rpc.at_depth(depth)
    registry = ProjectRegistry(view, network.project_registry)
    if not 0 <= project_id < 1 << 256:
        raise _no_project(network, project_id, registry.project_count())
    asks = (("getProject", (project_id,)), ("tokenOf", (project_id,)), ("nextProjectId", ()))
    reads = [(registry.address, registry.encode(name, *args)) for name, args in asks]
    record, token_word, count = [_answered(o) for o in view.call_many(reads, f"reading project {project_id}")]
    project = decode_project(project_id, record)
    if project is None:
        raise _no_project(network, project_id, decode_uint(count))
    _check_token(view, network, project, decode_address(token_word))
    return project, ProjectToken(rpc, project.token)


def _check_token(view: Rpc, network: Network, project: Project, of_registry: Address) -> None:
    if of_registry != project.token:
        raise _otherwise(
            f"The registry names {of_registry} and {project.token} as the token of project {project.id}", {}
        )
    token = ProjectToken(view, project.token)
    reads = [(token.address, token.encode(name)) for name in ("proposalLedger", "decimals")]
    ledger, decimals = [_word(outcome) for outcome in view.call_many(reads, f"reading {token.address}")]
    if decode_address(ledger) != network.proposal_ledger or decode_uint(decimals) != 0:
        raise _otherwise(
            f"The token of project {project.id} does not belong to the configured ledger, or has decimals",
            {"token": token.address},
        )


def _check_code(view: Rpc, network: Network) -> None:
    addresses = {
        "VerifierRegistry": network.verifier_registry,
        "ProposalLedger": network.proposal_ledger,
        "ProjectRegistry": network.project_registry,
    }
    answers = view.ask_many([Ask("eth_getCode", [address, "latest"]) for address in addresses.values()])
    for (name, address), answer in zip(addresses.items(), answers, strict=True):
        code = view.bytes_of(answer, "eth_getCode")
        if not code:
            raise _otherwise(f"There is no contract at {address}, where the {name} should be", {})
        known = network.runtime_hashes.get(name)
        matches = (
            "0x" + keccak(code).hex() == known.lower()
            if known is not None
            else contracts_abi.runtime_matches(name, code)
        )
        if not matches:
            raise _otherwise(f"The contract at {address} is not the {name} that is known", {})


def _check_constants(values: list[int]) -> LedgerConstants:
    found = LedgerConstants(**dict(zip((name for name, _ in _CONSTANTS), values, strict=True)))
    for name, function in _CONSTANTS:
        actual, expected = getattr(found, name), getattr(KNOWN_CONSTANTS, name)
        if actual != expected:
            raise _otherwise(
                f"ProposalLedger.{function} is {actual}, but this version counts with {expected}",
                {"actual": actual, "expected": expected},
            )
    return found


def _answered(outcome: bytes | ContractRevert) -> bytes:
    if isinstance(outcome, ContractRevert):
        raise _otherwise("A contract refuses a plain question", {"refusal": outcome.message}) from outcome
    if not outcome:
        raise _otherwise("There is no such contract at a configured address", {})
    return outcome


def _word(outcome: bytes | ContractRevert) -> bytes:
    word = _answered(outcome)
    if len(word) != 32:
        raise _otherwise("A contract answers a plain question with something else", {})
    return word


def _otherwise(what: str, details: dict[str, object]) -> WrongChain:
    return WrongChain(
        f"{what}.",
        meaning="Nothing was sent: what is there is not what this program was made for.",
        next_step="Check --network and --rpc-url. If both are right, do not use this deployment.",
        details=details,
    )


def _no_project(network: Network, project_id: int, count: int) -> UsageError:
    known = f"ids run from 0 to {count - 1}" if count else "there is none yet"
    return UsageError(f"There is no project {project_id} on {network.name}: {known}.")
