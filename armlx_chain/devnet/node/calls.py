"""eth_call and eth_estimateGas: execution that leaves nothing behind.

As in geth, no fee is charged unless a price is given, then BASEFEE answers the real base fee and the sender
must be able to pay; a value always has to be covered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from armlx_chain.devnet.node.evm import GAS_LIMIT
from armlx_chain.devnet.node.transactions import INVALID_PARAMS, MAX_INITCODE_BYTES, intrinsic_gas, refused
from armlx_chain.errors import DevnetRpcError

if TYPE_CHECKING:
    from eth.abc import ComputationAPI
    from eth.vm.forks.cancun.state import CancunState

REVERTED = 3
"""JSON-RPC error code of a revert, as geth and anvil send it."""
CALL_STIPEND = 2_300
TRANSFER_GAS = 21_000
_ERROR_TOLERANCE = 0.015
"""geth's ``estimateGasErrorRatio``: the estimate may be this share above the least gas that works."""
_ERROR_STRING_SELECTOR = bytes.fromhex("08c379a0")
_PANIC_SELECTOR = bytes.fromhex("4e487b71")


@dataclass(frozen=True, slots=True)
class CallRequest:
    """The transaction object of eth_call and eth_estimateGas: 20-byte addresses, ``to`` empty to create."""

    sender: bytes
    to: bytes
    data: bytes
    value: int
    gas: int | None
    fee_cap: int
    tip_cap: int
    access_list: tuple[tuple[bytes, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class _CallTransaction:
    """What py-evm's executor reads of a transaction, without a signature."""

    sender: bytes
    to: bytes
    data: bytes
    value: int
    gas: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    access_list: tuple[tuple[bytes, tuple[int, ...]], ...]
    nonce: int
    intrinsic_gas: int = 0
    type_id: int = 2


def execute_call(state: CancunState, request: CallRequest) -> bytes:
    """Run a call and return its output.

    Raises:
        DevnetRpcError: 3 with the revert data if it reverted; -32000 for every other failure.
    """
    computation = _run(state, request, request.gas or GAS_LIMIT)
    raise_if_failed(computation)
    return bytes(computation.output)


def estimate_gas(open_fresh: Callable[[], CancunState], request: CallRequest) -> int:
    """The gas limit with which a transaction succeeds, at most 1.5 % too high.

    Args:
        open_fresh: Opens an untouched state for each attempt.
        request: The transaction; its gas, if given, is the highest limit tried.

    Raises:
        DevnetRpcError: 3 with the revert data if it reverts with all the gas, -32000 if it fails otherwise.
    """
    from eth.vm.forks.cancun import CancunVM

    highest = min(request.gas or GAS_LIMIT, GAS_LIMIT)
    if (
        not request.data
        and _is_plain_account(open_fresh(), request.to)
        and _works(open_fresh, request, TRANSFER_GAS)
    ):
        return TRANSFER_GAS
    computation = _run(open_fresh(), request, highest)
    raise_if_failed(computation)
    transaction = _as_transaction(open_fresh(), request, highest)
    used = int(CancunVM.finalize_gas_used(transaction, computation))  # type: ignore[arg-type]  # by its attributes
    lowest = used - 1
    # The refund is paid back only afterwards, and an inner call gets 63/64 of what is left (EIP-150).
    likely = (used + int(computation.get_gas_refund()) + CALL_STIPEND) * 64 // 63
    if likely < highest:
        lowest, highest = (lowest, likely) if _works(open_fresh, request, likely) else (likely, highest)
    while lowest + 1 < highest and (highest - lowest) > highest * _ERROR_TOLERANCE:
        middle = min((lowest + highest) // 2, lowest * 2)
        if _works(open_fresh, request, middle):
            highest = middle
        else:
            lowest = middle
    return highest


def raise_if_failed(computation: ComputationAPI) -> None:
    """Turn a failed execution into the JSON-RPC error that geth would answer.

    Raises:
        DevnetRpcError: if the execution failed.
    """
    from eth.exceptions import InvalidInstruction, OutOfGas, Revert

    if not computation.is_error:
        return
    error = computation.error
    if isinstance(error, Revert):
        data = bytes(computation.output)
        reason = revert_reason(data)
        message = "execution reverted" + (f": {reason}" if reason else "")
        raise DevnetRpcError(REVERTED, message, "0x" + data.hex())
    if isinstance(error, OutOfGas):
        raise refused("out of gas")
    if isinstance(error, InvalidInstruction):
        raise refused(f"invalid opcode: {error}")
    raise refused(f"execution failed: {type(error).__name__}")


def revert_reason(data: bytes) -> str:
    """The text of an ``Error(string)`` or the code of a ``Panic(uint256)``; empty for anything else."""
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        if data[:4] == _ERROR_STRING_SELECTOR:
            return str(decode(["string"], data[4:])[0])
        if data[:4] == _PANIC_SELECTOR:
            return f"panic code 0x{decode(['uint256'], data[4:])[0]:02x}"
    except (DecodingError, UnicodeDecodeError, OverflowError):
        return ""
    return ""


def _is_plain_account(state: CancunState, address: bytes) -> bool:
    from eth_typing import Address

    return bool(address) and not state.get_code(Address(address))


def _works(open_fresh: Callable[[], CancunState], request: CallRequest, gas: int) -> bool:
    transaction = _as_transaction(open_fresh(), request, gas)
    return gas >= transaction.intrinsic_gas and not _run(open_fresh(), request, gas).is_error


def _as_transaction(state: CancunState, request: CallRequest, gas: int) -> _CallTransaction:
    from eth_typing import Address

    transaction = _CallTransaction(
        sender=request.sender,
        to=request.to,
        data=request.data,
        value=request.value,
        gas=gas,
        max_fee_per_gas=request.fee_cap,
        max_priority_fee_per_gas=request.tip_cap,
        access_list=request.access_list,
        nonce=int(state.get_nonce(Address(request.sender))),
    )
    return replace(transaction, intrinsic_gas=_base_gas(transaction))


def _base_gas(transaction: Any) -> int:
    """Intrinsic gas without the init code's share, which py-evm charges while it runs."""
    from eth.vm.forks.berlin.transactions import calculate_txn_intrinsic_gas_berlin

    return int(calculate_txn_intrinsic_gas_berlin(transaction))


def _run(state: CancunState, request: CallRequest, gas: int) -> ComputationAPI:
    """Execute without the checks of nonce and signature that only a signed transaction has.

    Raises:
        DevnetRpcError: if gas or funds do not suffice to begin.
    """
    from eth_typing import Address

    transaction: Any = _as_transaction(state, request, gas)
    _check_call(transaction, int(state.get_balance(Address(request.sender))), state.base_fee)
    executor = state.get_transaction_executor()
    message = executor.build_evm_message(transaction)
    computation = executor.build_computation(message, transaction)
    return executor.finalize_computation(transaction, computation)


def _check_call(transaction: Any, balance: int, base_fee: int) -> None:
    if not transaction.to and len(transaction.data) > MAX_INITCODE_BYTES:
        raise refused(f"max initcode size exceeded: code size {len(transaction.data)}")
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise DevnetRpcError(INVALID_PARAMS, "max priority fee per gas higher than max fee per gas")
    if transaction.max_fee_per_gas < base_fee:
        raise refused(
            "max fee per gas less than block base fee: "
            f"maxFeePerGas: {transaction.max_fee_per_gas}, baseFee: {base_fee}"
        )
    needed = intrinsic_gas(transaction)
    if transaction.gas < needed:
        raise refused(f"intrinsic gas too low: gas {transaction.gas}, minimum needed {needed}")
    cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
    if balance < cost:
        raise refused(f"insufficient funds for gas * price + value: have {balance} want {cost}")
