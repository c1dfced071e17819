"""Revert data, decoded against the errors of all contracts, as sentences.

A ledger call can surface a token's error unchanged, so the union of all error tables is needed
(contracts specification, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import contracts_abi
from armlx_chain.errors import ContractRevert
from armlx_chain.protocol.text import one_line

SENTENCES = {
    # VerifierRegistry
    "AlreadyRegistered": "this account is already a verifier",
    "NotRegistered": "this account is not a verifier",
    "OwnableInvalidOwner": "{owner} cannot own the list of verifiers",
    "OwnableUnauthorizedAccount": "only the owner of the list of verifiers may do this, and {account} is not",
    "ZeroAddress": "the zero address cannot be a verifier",
    # ProjectRegistry
    "LedgerZero": "a registry cannot be made without the address of its ledger",
    "NotLedger": "only the proposal ledger may do this",
    "ScoreNotImproved": "the score is not greater than the project's current best",
    "UnknownProject": "there is no project with this id",
    # ProjectToken
    "ERC20InsufficientAllowance": "{spender} is allowed to take {allowance} tokens, and {needed} are needed;"
    " approve the stake first",
    "ERC20InsufficientBalance": "{sender} holds {balance} tokens, and {needed} are needed",
    "ERC20InvalidApprover": "{approver} cannot allow anything",
    "ERC20InvalidReceiver": "{receiver} cannot receive tokens",
    "ERC20InvalidSender": "{sender} cannot send tokens",
    "ERC20InvalidSpender": "{spender} cannot be allowed to spend tokens",
    "EthPayoutFailed": "the token's reserve cannot pay this sale (or the seller refuses payments); sell"
    " fewer",
    "EthRefundFailed": "the buyer's address refuses the refund of its overpayment",
    "InsufficientPayment": "the payment does not cover a single token; the price may have moved, quote again",
    "OverSupply": "more tokens than exist",
    "PoolCapExceeded": "the miner pool has no room for a reward of this stake",
    "ReentrancyGuardReentrantCall": "a call came back while another was in progress",
    "ZeroAmount": "the amount is zero",
    # ProposalLedger
    "ExpiryNotReached": "the proposal's week has not passed yet; it cannot be expired before its end",
    "LockActive": "the review cannot be handed back before its 24-hour lock ends",
    "LockExpired": "the 24-hour review lock has run out; release the review and claim it again",
    "NotVerifier": "this account is not on the verifiers' allow-list",
    "NothingToClaim": "there is no credit to collect",
    "RegistryZero": "a ledger cannot be made without the address of its registry",
    "SafeERC20FailedOperation": "the token {token} did not carry a transfer out",
    "UnknownProposal": "there is no proposal with this id",
    "VerifierRegistryZero": "a ledger cannot be made without the address of the list of verifiers",
    "WrongReviewer": "another verifier holds the review of this proposal",
    "WrongStatus": "the proposal is not in the state this step needs; somebody else may have moved it",
    "ZeroStake": "a stake of at least one token is needed",
    # 0G Storage
    "NotEnoughFee": "the storage fee is too low: {amount} sectors cost {price} wei each, and {paid} wei were"
    " paid",
}
"""One sentence for every error of every contract, with the error's own arguments by name."""
_PANICS = {
    0x00: "an unspecified panic",
    0x01: "a failed assertion",
    0x11: "an arithmetic overflow: the numbers are too large",
    0x12: "a division by zero",
    0x21: "a number that is none of an enumeration's",
    0x22: "a damaged byte array in storage",
    0x31: "an empty list that something was taken from",
    0x32: "a position past the end of a list",
    0x41: "too much memory",
    0x51: "a call of an uninitialised function",
}


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
        return Revert("Error", args, f"the contract says: {one_line(args[0], 200) if args else '?'}")
    if known.name == "Panic":
        code = int(args[0]) if args and args[0].isdigit() else -1
        return Revert("Panic", args, _PANICS.get(code, f"panic {code:#x}"))
    return Revert(known.name, args, _sentence(known, args))


def _sentence(known: contracts_abi.ErrorAbi, args: tuple[str, ...]) -> str:
    pattern = SENTENCES.get(known.name, known.name)
    values = args if len(args) == len(known.input_names) else ("?",) * len(known.input_names)
    return pattern.format_map(dict(zip(known.input_names, values, strict=True)))


def _arguments(types: tuple[str, ...], data: bytes) -> tuple[str, ...]:
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        return tuple(str(value)[:200] for value in decode(types, data))
    except (DecodingError, OverflowError, UnicodeDecodeError):
        return ("undecodable",)


def revert_error(what: str, data: bytes, sentence: str | None = None) -> ContractRevert:
    """The domain error for a revert of ``what`` (a few words, such as ``approving proposal 3``).

    Args:
        sentence: A fuller one than the error alone gives (``armlx_chain.chain.explain``).
    """
    revert = decode_revert(data)
    shown = revert.name if not revert.args else one_line(f"{revert.name}({', '.join(revert.args)})", 400)
    return ContractRevert(
        f"The contract refuses {what}: {sentence or revert.sentence} [{shown}].",
        details={"error": revert.name, "args": list(revert.args), "data": "0x" + data.hex(), "what": what},
    )
