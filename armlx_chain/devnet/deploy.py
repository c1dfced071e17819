"""Puts the reference contracts on a fresh chain, and finds them again on an old one.

The deployer's first transactions are always the same six, so that every address follows from its nonce and a
deployment that was cut off is simply continued:

=====  ==========================================================================
nonce  step
=====  ==========================================================================
0      VerifierRegistry(deployer)
1      ProposalLedger(address of nonce 2, VerifierRegistry)
2      ProjectRegistry(ProposalLedger)
3      Market(price of a sector)
4      Flow(Market)
5      VerifierRegistry.addVerifier(account 3)
=====  ==========================================================================
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from armlx_chain.devnet.accounts import DevAccount
from armlx_chain.devnet.rpc.client import RpcClient
from armlx_chain.errors import DevnetError
from armlx_chain.types import Address, Wei

PRICE_PER_SECTOR = Wei(30_733_644_962)
"""Wei for 256 bytes: what 0G's turbo network charges (storage specification, section 4.4)."""
DEPLOYER, VALIDATOR = 0, 3
STEP_COUNT = 6
_GAS = 8_000_000
_TIP = 10**9
_POLL_SECONDS = 0.02
_RECEIPT_POLLS = 1500


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the contracts are."""

    verifier_registry: Address
    proposal_ledger: Address
    project_registry: Address
    market: Address
    flow: Address


def predicted_addresses(deployer: Address) -> Addresses:
    """The addresses that the six steps give (CREATE: last 20 bytes of keccak256(rlp([sender, nonce])))."""
    made = [_create_address(deployer, nonce) for nonce in range(5)]
    return Addresses(
        verifier_registry=made[0],
        proposal_ledger=made[1],
        project_registry=made[2],
        market=made[3],
        flow=made[4],
    )


def deploy(rpc: RpcClient, chain_id: int, accounts: tuple[DevAccount, ...]) -> Addresses:
    """Carry out the steps that are still missing, and check the whole.

    Raises:
        DevnetError: if a step fails or the contracts are not what they should be.
    """
    deployer, validator = accounts[DEPLOYER], accounts[VALIDATOR]
    addresses = predicted_addresses(deployer.address)
    done = int(rpc.call("eth_getTransactionCount", deployer.address, "latest"), 16)
    if done < STEP_COUNT:
        for nonce, (to, payload) in enumerate(_steps(addresses, deployer.address, validator.address)):
            if nonce >= done:
                _send(rpc, chain_id, deployer, nonce, to, payload)
    check(rpc, addresses, validator.address)
    return addresses


def check(rpc: RpcClient, addresses: Addresses, validator: Address) -> None:
    """Compare code and wiring with what was meant (contracts specification, section 2).

    Raises:
        DevnetError: naming the first thing that differs.
    """
    from contracts_abi import runtime_matches

    for name, address in (
        ("VerifierRegistry", addresses.verifier_registry),
        ("ProposalLedger", addresses.proposal_ledger),
        ("ProjectRegistry", addresses.project_registry),
        ("Market", addresses.market),
        ("Flow", addresses.flow),
    ):
        code = bytes.fromhex(rpc.call("eth_getCode", address, "latest")[2:])
        if not runtime_matches(name, code):
            raise DevnetError(
                f"At {address} there is not the {name} of this version.",
                next_step="Move the devnet's directory away and start a new one.",
            )
    wiring = (
        (addresses.proposal_ledger, "registry()", addresses.project_registry),
        (addresses.proposal_ledger, "verifierRegistry()", addresses.verifier_registry),
        (addresses.project_registry, "proposalLedger()", addresses.proposal_ledger),
        (addresses.flow, "market()", addresses.market),
    )
    for contract, function, wanted in wiring:
        if _read_word(rpc, contract, _selector(function)) != int(wanted, 16):
            raise DevnetError(f"{function} of the contract at {contract} is not {wanted}.")
    question = _selector("isVerifier(address)") + _word(validator)
    if _read_word(rpc, addresses.verifier_registry, question) != 1:
        raise DevnetError(f"Account {validator} is no longer registered as a verifier on this devnet.")


def _steps(addresses: Addresses, owner: Address, validator: Address) -> list[tuple[str | None, bytes]]:
    from contracts_abi import bytecode

    return [
        (None, bytecode("VerifierRegistry") + _word(owner)),
        (
            None,
            bytecode("ProposalLedger")
            + _word(addresses.project_registry)
            + _word(addresses.verifier_registry),
        ),
        (None, bytecode("ProjectRegistry") + _word(addresses.proposal_ledger)),
        (None, bytecode("Market") + PRICE_PER_SECTOR.to_bytes(32, "big")),
        (None, bytecode("Flow") + _word(addresses.market)),
        (addresses.verifier_registry, _selector("addVerifier(address)") + _word(validator)),
    ]


def _send(
    rpc: RpcClient, chain_id: int, account: DevAccount, nonce: int, to: str | None, payload: bytes
) -> None:
    from eth_account import Account

    base_fee = int(rpc.call("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
    transaction: dict[str, Any] = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "gas": _GAS,
        "maxFeePerGas": 2 * base_fee + _TIP,
        "maxPriorityFeePerGas": _TIP,
        "value": 0,
        "data": payload,
    }
    if to is not None:
        transaction["to"] = to
    signed = Account.sign_transaction(transaction, account.private_key_hex)
    tx_hash = rpc.call("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    if int(_wait_for_receipt(rpc, tx_hash)["status"], 16) != 1:
        raise DevnetError(f"Step {nonce} of the deployment failed in transaction {tx_hash}.")


def _wait_for_receipt(rpc: RpcClient, tx_hash: str) -> Any:
    """The receipt; anvil answers a transaction before it has mined it.

    Raises:
        DevnetError: if it is not mined within some seconds.
    """
    for _ in range(_RECEIPT_POLLS):
        receipt = rpc.call("eth_getTransactionReceipt", tx_hash)
        if receipt is not None:
            return receipt
        time.sleep(_POLL_SECONDS)
    raise DevnetError(f"The deployment's transaction {tx_hash} is not mined.")


def _read_word(rpc: RpcClient, contract: Address, payload: bytes) -> int:
    answer = rpc.call("eth_call", {"to": contract, "data": "0x" + payload.hex()}, "latest")
    return int(answer, 16) if len(answer) > 2 else 0


def _create_address(sender: Address, nonce: int) -> Address:
    import rlp  # type: ignore[import-untyped]
    from eth_utils import keccak, to_checksum_address

    encoded = rlp.encode([bytes.fromhex(sender[2:]), nonce])
    return Address(to_checksum_address(keccak(encoded)[-20:]))


def _selector(signature: str) -> bytes:
    from eth_utils import keccak

    return bytes(keccak(text=signature)[:4])


def _word(address: str) -> bytes:
    return bytes.fromhex(address[2:]).rjust(32, b"\0")
