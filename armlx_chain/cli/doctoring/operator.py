"""A validator's account on its network: registration, coin, endpoints that agree, contracts that answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from armlx_chain.cli.doctoring.findings import Check, Finding, of_error
from armlx_chain.errors import ArmlxError, KeystoreError

if TYPE_CHECKING:
    from armlx_chain.cli.context import App, SignerChoice
    from armlx_chain.types import Address

SETTLEMENT_GAS: Final = 400_000
"""Claim and approve of one proposal: about 300,000 on Galileo (contracts specification), and a third more."""
UPLOADS_PER_VERDICT: Final = 4
"""Report, attestation, verdict bundle, and the winner's bundle announced again."""
SETTLEMENTS_NEEDED: Final = 3
SETTLEMENTS_WISHED: Final = 20
_PUSH4: Final = b"\x63"


@dataclass(frozen=True, slots=True)
class Who:
    """The validator's account, as far as it is known without its passphrase.

    Attributes:
        problem: Why it is not known, as a finding.
    """

    address: Address | None
    problem: Finding | None = None


def who_signs(app: App, key: SignerChoice) -> Who:
    """The account that the options name. No key is opened."""
    from armlx_chain.cli.keys import find
    from armlx_chain.signing.keystore import inspect

    if key.account is None and key.keystore is None:
        step = "Give --account NAME or --keystore FILE, or: armlx-chain wallet new NAME"
        return Who(None, Finding("account", "skipped", "no account was named", step))
    try:
        path = key.keystore or find(app.home / "keystores", key.account or "").path
        address = inspect(path).address
    except KeystoreError as error:
        return Who(None, of_error("account", error))
    if address is None:
        step = "Re-import it (armlx-chain wallet import): the file then states it."
        return Who(None, Finding("account", "note", f"{path} does not state its address", step))
    return Who(address)


def operator_checks(app: App, who: Who) -> list[Check]:
    """Everything that is read from the chain for a validator."""
    return [
        Check("Network", "whether the endpoints agree", lambda: _agreement(app)),
        Check("Network", "the contracts' functions", lambda: _selectors(app)),
        Check("Validator", "the account", lambda: _account(app, who)),
        Check("Validator", "coin for gas", lambda: _coin(app, who)),
    ]


def _agreement(app: App) -> Iterator[Finding]:
    """Each endpoint by itself: chain id, first block, and one confirmed block."""
    from dataclasses import replace

    from armlx_chain.chain.startup import open_chain

    network = app.settings.network
    if len(network.rpc_urls) < 2:
        step = "Name two or three of different operators: what decides about money is then told alike by two."
        yield Finding("agreement", "note", "one endpoint cannot contradict itself", step)
        return
    number = max(0, int(app.rpc.block().number) - max(network.confirmations, 1))
    told: dict[tuple[bytes, bytes | None], list[str]] = {}
    for url in network.rpc_urls:
        try:
            alone = open_chain(replace(network, rpc_urls=(url,)))
            block = alone.witnessed_block(number)
            key = (alone.genesis_hash, None if block is None else block.hash)
        except ArmlxError as error:
            yield of_error("endpoint alone", error, otherwise="Name another endpoint in its place.")
            continue
        told.setdefault(key, []).append(alone.url)
    if len(told) > 1:
        groups = tuple(" and ".join(names) for names in told.values())
        step = "Find out which is right before anything is signed; take the other away."
        yield Finding("agreement", "fault", f"they show different blocks at {number}", step, groups)
    else:
        count = sum(map(len, told.values()))
        yield Finding("agreement", "ok", f"{count} endpoints show the same first block and block {number}")


def _selectors(app: App) -> Iterator[Finding]:
    """Every function that this program calls is in the code on the chain."""
    import contracts_abi

    network = app.settings.network
    addresses = {
        "VerifierRegistry": network.verifier_registry,
        "ProposalLedger": network.proposal_ledger,
        "ProjectRegistry": network.project_registry,
    }
    for name, address in addresses.items():
        code = app.rpc.code(address)
        functions = [str(entry["name"]) for entry in contracts_abi.abi(name) if entry["type"] == "function"]
        missing = [one for one in functions if _lacks(code, contracts_abi.function_selector(name, one))]
        if missing:
            step = "Check --network; if it is right, do not use this deployment."
            shown = ", ".join(missing[:5])
            yield Finding(name, "fault", f"the code at {address} has no {shown}", step)
        else:
            yield Finding(name, "ok", f"{address}: {len(code)} bytes of code, all {len(functions)} functions")


def _lacks(code: bytes, selector: bytes) -> bool:
    """Compilers push a selector, without its leading zeros, to compare it with the call's."""
    short = selector.lstrip(b"\0")
    return bytes([_PUSH4[0] - 4 + len(short)]) + short not in code


def _account(app: App, who: Who) -> Iterator[Finding]:
    from armlx_chain.chain.contracts import VerifierRegistry

    if who.address is None:
        yield who.problem or Finding("account", "skipped", "it is not known")
        return
    network = app.settings.network
    if VerifierRegistry(app.rpc, network.verifier_registry).is_verifier(who.address):
        yield Finding("registration", "ok", f"{who.address} is on the verifiers' list of {network.name}")
        return
    step = "Ask the owner of the VerifierRegistry to add it. Until then it can judge and settle nothing."
    yield Finding("registration", "fault", f"{who.address} is not on the verifiers' list", step)


def _coin(app: App, who: Who) -> Iterator[Finding]:
    from armlx_chain.claims.outcomes import UPLOAD_GAS
    from armlx_chain.cli.claiming import present_fees
    from armlx_chain.cli.output import coin

    if who.address is None:
        yield Finding("coin", "skipped", "the account is not known")
        return
    balance = app.rpc.balance(who.address)
    one = (SETTLEMENT_GAS + UPLOADS_PER_VERDICT * UPLOAD_GAS) * int(present_fees(app).max_fee)
    count = balance // one if one else 0
    seen = f"{coin(balance)}, enough for some {count} verdicts at the present fee"
    step = f"Send it some coin: one verdict costs about {coin(one)}."
    if count < SETTLEMENTS_NEEDED:
        yield Finding("coin", "fault", seen, step)
    elif count < SETTLEMENTS_WISHED:
        yield Finding("coin", "note", seen, step)
    else:
        yield Finding("coin", "ok", seen)
