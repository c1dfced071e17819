"""Revert data, decoded against the errors of all contracts, as sentences.

A ledger call can surface a token's error unchanged, so the union of all error tables is needed
(contracts specification, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import contracts_abi
from armlx_chain.errors import ContractRevert

_SENTENCES = {
    "NotVerifier": "this account is not on the verifiers' allow-list",
    "UnknownProposal": "there is no proposal with this id",
    "UnknownProject": "there is no project with this id",
    "WrongStatus": "the proposal is not in the state this step needs; somebody else may have moved it",
    "WrongReviewer": "another verifier holds the review of this proposal",
    "LockActive": "the review cannot be handed back before its 24-hour lock ends",
    "LockExpired": "the 24-hour review lock has run out; release the review and claim it again",
    "ScoreNotImproved": "the score is not greater than the project's current best",
    "PoolCapExceeded": "the miner pool has no room for a reward of this stake",
    "ZeroStake": "a stake of at least one token is needed",
    "ZeroAmount": "the amount is zero",
    "InsufficientPayment": "the payment does not cover a single token",
    "OverSupply": "more tokens than exist",
    "EthPayoutFailed": "the token's reserve cannot pay this sale (or the seller refuses payments)",
    "EthRefundFailed": "the buyer refuses the refund of its overpayment",
    "ERC20InsufficientAllowance": "the ledger is not allowed to take the stake; approve it first",
    "ERC20InsufficientBalance": "the account holds too few tokens",
    "ExpiryNotReached": "the proposal's week has not passed yet",
    "NothingToClaim": "there is no credit to collect",
    "OwnableUnauthorizedAccount": "only the owner may do this",
    "AlreadyRegistered": "this account is already a verifier",
    "NotRegistered": "this account is not a verifier",
    "ReentrancyGuardReentrantCall": "a call came back while another was in progress",
    "NotLedger": "only the proposal ledger may do this",
    "NotEnoughFee": "the storage fee is too low",
}
_PANICS = {0x01: "a failed assertion", 0x11: "an arithmetic overflow", 0x12: "a division by zero"}


@dataclass(frozen=True, slots=True)
class Revert:
    """A decoded revert.

    Attributes:
        name: The error's name, ``Error``, ``Panic``, ``unknown`` or ``empty``.
        args: Its arguments, as text.
        sentence: What it means.
    """

    name: str
    args: tuple[str, ...]
    sentence: str


def decode_revert(data: bytes) -> Revert:
    """Decode revert data; never raises, whatever the bytes."""
    if len(data) < 4:
        return Revert("empty", (), "the contract refused without a reason")
    known = contracts_abi.errors_by_selector().get(data[:4])
    if known is None:
        return Revert("unknown", (data[:68].hex(),), f"an unknown error, 0x{data[:4].hex()}")
    args = _arguments(known.input_types, data[4:])
    if known.name == "Error":
        return Revert("Error", args, f"the contract says: {args[0] if args else '?'}")
    if known.name == "Panic":
        code = int(args[0]) if args and args[0].isdigit() else -1
        return Revert("Panic", args, _PANICS.get(code, f"panic {code:#x}"))
    return Revert(known.name, args, _SENTENCES.get(known.name, known.name))


def _arguments(types: tuple[str, ...], data: bytes) -> tuple[str, ...]:
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        return tuple(str(value)[:200] for value in decode(types, data))
    except (DecodingError, OverflowError, UnicodeDecodeError):
        return ("undecodable",)


def revert_error(what: str, data: bytes) -> ContractRevert:
    """The domain error for a revert of ``what`` (a few words, such as ``approving proposal 3``)."""
    revert = decode_revert(data)
    shown = revert.name if not revert.args else f"{revert.name}({', '.join(revert.args)})"
    return ContractRevert(
        f"The contract refuses {what}: {revert.sentence} [{shown}].",
        details={"error": revert.name, "args": list(revert.args), "data": "0x" + data.hex()},
    )
