"""Raw transactions: decoding, the chain id, and the checks that need no state.

- A transaction without replay protection, or signed for another chain id, is refused before anything else.
- The encoding must be canonical: the hash is that of the very bytes that were sent.
- Types 0, 1 and 2 only. Error texts follow geth's, which clients compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from armlx_chain.errors import DevnetRpcError

if TYPE_CHECKING:
    from eth.abc import SignedTransactionAPI

SERVER_ERROR = -32000
INVALID_PARAMS = -32602

MAX_RAW_BYTES = 128 * 1024
"""geth's limit on one pooled transaction (``txMaxSize``)."""
MAX_INITCODE_BYTES = 49_152
"""EIP-3860."""
INITCODE_WORD_GAS = 2
"""EIP-3860, gas for each 32 bytes of init code."""
HIGHEST_LEGACY_UNPROTECTED_V = 28
EIP155_V_OFFSET = 35
_LEGACY_LIST_PREFIX = 0xC0
_DYNAMIC_FEE_TYPE = 2


@dataclass(frozen=True, slots=True)
class SignedTx:
    """A decoded, signature-checked transaction for this chain.

    Attributes:
        raw: The bytes as sent.
        body: py-evm's transaction.
        hash: keccak256 of ``raw``.
        sender: 20 bytes.
        type_id: 0, 1 or 2.
        fee_cap: Wei per gas: gas price, or max fee per gas.
        tip_cap: Wei per gas: gas price, or max priority fee per gas.
    """

    raw: bytes
    body: SignedTransactionAPI
    hash: bytes
    sender: bytes
    type_id: int
    fee_cap: int
    tip_cap: int

    @property
    def max_cost(self) -> int:
        """Wei that the sender must hold: gas × price + value."""
        return self.body.gas * self.fee_cap + self.body.value

    def effective_price(self, base_fee: int) -> int:
        """Wei per gas actually paid under a base fee (EIP-1559)."""
        return min(self.fee_cap, base_fee + self.tip_cap)


def decode_transaction(raw: bytes, chain_id: int) -> SignedTx:
    """Decode a raw transaction and check what needs no state.

    Raises:
        DevnetRpcError: with geth's words, -32602 where the bytes are no transaction, else -32000.
    """
    from eth_utils import keccak

    if len(raw) > MAX_RAW_BYTES:
        raise refused(f"oversized data: transaction size {len(raw)}, limit {MAX_RAW_BYTES}")
    type_id = _type_of(raw)
    body = _parse(raw)
    _check_chain_id(body, type_id, chain_id)
    transaction = SignedTx(
        raw=raw,
        body=body,
        hash=bytes(keccak(raw)),
        sender=_recover_sender(body),
        type_id=type_id,
        fee_cap=body.max_fee_per_gas,
        tip_cap=body.max_priority_fee_per_gas,
    )
    _check_fields(transaction)
    return transaction


def refused(message: str) -> DevnetRpcError:
    """A transaction refused by the node (code -32000)."""
    return DevnetRpcError(SERVER_ERROR, message)


def intrinsic_gas(body: SignedTransactionAPI) -> int:
    """Gas that a transaction costs before its first instruction, init code included (EIP-3860)."""
    words = (len(body.data) + 31) // 32 if not body.to else 0
    return int(body.intrinsic_gas) + INITCODE_WORD_GAS * words


def _type_of(raw: bytes) -> int:
    if not raw:
        raise DevnetRpcError(INVALID_PARAMS, "typed transaction too short")
    if raw[0] >= _LEGACY_LIST_PREFIX:
        return 0
    if raw[0] not in (1, _DYNAMIC_FEE_TYPE):
        raise refused("transaction type not supported")
    return raw[0]


def _parse(raw: bytes) -> SignedTransactionAPI:
    from eth.exceptions import UnrecognizedTransactionType
    from eth.vm.forks.cancun import CancunVM
    from eth_utils import ValidationError
    from rlp.exceptions import RLPException  # type: ignore[import-untyped]

    try:
        body: SignedTransactionAPI = CancunVM.get_transaction_builder().decode(raw)
        canonical = body.encode()
    except (RLPException, ValidationError, UnrecognizedTransactionType, ValueError, TypeError) as exc:
        raise DevnetRpcError(INVALID_PARAMS, f"rlp: not a transaction ({type(exc).__name__})") from exc
    if canonical != raw:
        raise DevnetRpcError(INVALID_PARAMS, "rlp: non-canonical transaction encoding")
    return body


def _check_chain_id(body: SignedTransactionAPI, type_id: int, chain_id: int) -> None:
    """py-evm leaves the chain id unchecked, so it is read from the signature's v or the typed field here."""
    if type_id == 0:
        v: int = body.v  # type: ignore[attr-defined]  # legacy transactions only, where v is a field
        if v <= HIGHEST_LEGACY_UNPROTECTED_V:
            raise refused("only replay-protected (EIP-155) transactions allowed over RPC")
        have = (v - EIP155_V_OFFSET) // 2
    else:
        have = int(body.chain_id or 0)
    if have != chain_id:
        raise refused(f"invalid chain id for signer: have {have} want {chain_id}")


def _recover_sender(body: SignedTransactionAPI) -> bytes:
    from eth_keys.exceptions import BadSignature
    from eth_keys.exceptions import ValidationError as KeyValidationError
    from eth_utils import ValidationError

    try:
        body.check_signature_validity()
        return bytes(body.sender)
    except (BadSignature, KeyValidationError, ValidationError, ValueError) as exc:
        raise refused("invalid sender") from exc


def _check_fields(transaction: SignedTx) -> None:
    """geth's stateless pool rules."""
    from eth.constants import SECPK1_N

    body = transaction.body
    if not 0 < body.s <= SECPK1_N // 2:
        raise refused("invalid sender")
    if not body.to and len(body.data) > MAX_INITCODE_BYTES:
        raise refused(f"max initcode size exceeded: code size {len(body.data)}, limit {MAX_INITCODE_BYTES}")
    if max(transaction.fee_cap, transaction.tip_cap, body.value, body.gas) >= 1 << 256:
        raise refused("max fee per gas higher than 2^256-1")
    if transaction.tip_cap > transaction.fee_cap:
        raise refused(
            "max priority fee per gas higher than max fee per gas: "
            f"maxPriorityFeePerGas: {transaction.tip_cap}, maxFeePerGas: {transaction.fee_cap}"
        )
    needed = intrinsic_gas(body)
    if body.gas < needed:
        raise refused(f"intrinsic gas too low: gas {body.gas}, minimum needed {needed}")
