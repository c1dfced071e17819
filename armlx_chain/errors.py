"""Every error this project raises on purpose, as one tree.

::

    ArmlxError
    ├── UsageError                    the request itself makes no sense                        (exit 2)
    ├── Interrupted                   stopped by a person or the system; what was finished is kept (exit 130)
    ├── MachineError                  a file or database of this machine fails                 (exit 1)
    ├── StorageError                  fetching or publishing bytes                             (exit 1)
    │   ├── RootFormatError           not a content address we know                            (exit 2)
    │   ├── ContentMismatch           bytes that do not belong to the root asked for           (exit 3)
    │   │   └── ItemRejected          a signed item or transaction that breaks a rule; carries its code
    │   ├── ContentUnproven           served, but nobody gives a proof that it belongs         (exit 3)
    │   ├── ContentNotFound           nobody has it (yet)                                      (exit 75)
    │   │   ├── ContentNotFinal       announced, its upload is not complete yet                (exit 75)
    │   │   ├── ContentIncomplete     said to be stored for good, but parts are missing        (exit 75)
    │   │   └── ContentPruned         it was stored, and the nodes dropped it                  (exit 1)
    │   ├── ContentTooLarge           more bytes than the limit                                (exit 1)
    │   ├── StorageUnavailable        no endpoint answered                                     (exit 75)
    │   ├── EncryptionError           an encrypted file, and no key that can open it           (exit 4)
    │   ├── EndpointFault             one endpoint misbehaved; the next is tried               (exit 75)
    │   └── SchemeUnsupported         a scheme this build cannot prove yet                     (exit 1)
    ├── ProtocolError                 protocol.json                                            (exit 1)
    │   ├── ProtocolInvalid           does not parse or breaks a rule; carries the path
    │   └── MetricError               the log does not yield exactly one metric                (exit 3)
    ├── FormatError                   a bundle, manifest, evidence, claim or attestation document (exit 1)
    ├── CandidateError                a candidate that cannot be packed or placed              (exit 1)
    ├── ChainError                    RPC, contracts and transactions                          (exit 1)
    │   ├── RpcUnavailable            no endpoint answered                                     (exit 75)
    │   │   └── EndpointsDisagree     endpoints contradict each other: nothing is decided      (exit 75)
    │   ├── WrongChain                another chain, or contracts wired otherwise              (exit 1)
    │   ├── ContractRevert            a call or transaction reverted; carries the decoded error (exit 6)
    │   ├── InsufficientFunds         native coin or tokens are missing                        (exit 1)
    │   ├── TransactionPending        sent, not yet mined: look again                          (exit 75)
    │   ├── TooEarly                  the contract allows it only later                        (exit 75)
    │   ├── JournalError              the transaction journal is inconsistent                  (exit 1)
    │   │   ├── AccountBusy           another process sends with this account now              (exit 75)
    │   │   └── EndpointBehind        an endpoint counts fewer transactions than we know of    (exit 75)
    │   └── PreconditionFailed        a recorded precondition no longer holds                  (exit 3)
    ├── ClaimRefused                  a claim that would lose its stake, or was already made   (exit 3)
    ├── MarketError                   a trade outside the bounds that were given               (exit 1)
    │   └── CurveOverflow             the contract's checked arithmetic would panic
    ├── SigningError                  keys, passphrases, signatures                            (exit 4)
    │   ├── KeystoreError
    │   └── GuardRefused              the single-sign guard refuses a second verdict
    ├── DevnetError                   the local world                                          (exit 1)
    │   └── DevnetRpcError            its node answered with a JSON-RPC error (code and data)
    ├── ChannelError                  a program inside a sandbox sent something that is no message (exit 1)
    ├── ModelUnsupported              a model that the trusted evaluation cannot judge         (exit 5)
    │   └── LogitsNotFinite           a model whose logits are infinite or not a number
    ├── VerifierFault                 something on the validator's side failed: never a rejection (exit 5)
    │   ├── SandboxUnavailable        no sandbox back-end works here
    │   ├── AcceleratorBusy           another process trains on it, and nobody wanted to wait  (exit 75)
    │   └── SetupRefused              a project's set-up that is not carried out here
    └── MinerFault                    proven fault of the candidate: may lead to a rejection   (exit 3)

Each message says what happened, what it means, and what to do next. Only the command line exits.
"""

from __future__ import annotations

from typing import Any, ClassVar

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_FINDING = 3
EXIT_KEY = 4
EXIT_UNDECIDED = 5
EXIT_REVERTED = 6
EXIT_TRY_LATER = 75
EXIT_INTERRUPTED = 130


class ArmlxError(Exception):
    """Base of all errors of this project.

    Args:
        message: What happened, in one sentence.
        meaning: What that means for the person, if the first sentence does not say it.
        next_step: What to do now.
        details: Further facts for ``--json``; integers, strings and lists of them only.
    """

    exit_code: ClassVar[int] = EXIT_ERROR

    def __init__(
        self,
        message: str,
        *,
        meaning: str | None = None,
        next_step: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.meaning = meaning
        self.next_step = next_step
        self.details = details or {}

    @property
    def code(self) -> str:
        """A stable, machine-readable name: the class name."""
        return type(self).__name__

    def sentences(self) -> list[str]:
        """The message and its two optional companions, in reading order."""
        return [part for part in (self.message, self.meaning, self.next_step) if part]


class UsageError(ArmlxError):
    exit_code = EXIT_USAGE


class Interrupted(ArmlxError):
    exit_code = EXIT_INTERRUPTED


class MachineError(ArmlxError):
    pass


class StorageError(ArmlxError):
    pass


class RootFormatError(StorageError):
    exit_code = EXIT_USAGE


class ContentMismatch(StorageError):
    exit_code = EXIT_FINDING


class ContentUnproven(StorageError):
    exit_code = EXIT_FINDING


class ItemRejected(ContentMismatch):
    """A signed item, transaction or receipt of Irys that is not what it should be.

    Attributes:
        reason: The rule's code, as ``BAD_SIGNATURE``; also in the details.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, details={"reason": str(reason)})
        self.reason = reason


class ContentNotFound(StorageError):
    exit_code = EXIT_TRY_LATER


class ContentNotFinal(ContentNotFound):
    pass


class ContentIncomplete(ContentNotFound):
    pass


class ContentPruned(ContentNotFound):
    exit_code = EXIT_ERROR


class ContentTooLarge(StorageError):
    pass


class StorageUnavailable(StorageError):
    exit_code = EXIT_TRY_LATER


class EncryptionError(StorageError):
    exit_code = EXIT_KEY


class EndpointFault(StorageError):
    exit_code = EXIT_TRY_LATER


class SchemeUnsupported(StorageError):
    pass


class ProtocolError(ArmlxError):
    pass


class ProtocolInvalid(ProtocolError):
    pass


class MetricError(ProtocolError):
    exit_code = EXIT_FINDING


class FormatError(ArmlxError):
    pass


class CandidateError(ArmlxError):
    pass


class ChainError(ArmlxError):
    pass


class RpcUnavailable(ChainError):
    exit_code = EXIT_TRY_LATER


class EndpointsDisagree(RpcUnavailable):
    pass


class WrongChain(ChainError):
    pass


class ContractRevert(ChainError):
    exit_code = EXIT_REVERTED


class InsufficientFunds(ChainError):
    pass


class TransactionPending(ChainError):
    exit_code = EXIT_TRY_LATER


class TooEarly(ChainError):
    exit_code = EXIT_TRY_LATER


class JournalError(ChainError):
    pass


class AccountBusy(JournalError):
    exit_code = EXIT_TRY_LATER


class EndpointBehind(JournalError):
    exit_code = EXIT_TRY_LATER


class PreconditionFailed(ChainError):
    exit_code = EXIT_FINDING


class ClaimRefused(ArmlxError):
    exit_code = EXIT_FINDING


class MarketError(ArmlxError):
    pass


class CurveOverflow(MarketError):
    """An intermediate of a price formula leaves 256 bits; the contract answers with Panic(0x11)."""


class SigningError(ArmlxError):
    exit_code = EXIT_KEY


class KeystoreError(SigningError):
    pass


class GuardRefused(SigningError):
    pass


class DevnetError(ArmlxError):
    pass


class DevnetRpcError(DevnetError):
    """A JSON-RPC error: raised inside the local node for the caller, and by our client of that node.

    Attributes:
        rpc_code: The JSON-RPC error code, such as -32000, or 3 for a revert.
        rpc_data: The error's ``data`` member (hex text for a revert), or None.
    """

    def __init__(self, rpc_code: int, message: str, rpc_data: str | None = None) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.rpc_data = rpc_data


class ChannelError(ArmlxError):
    """What a program inside a sandbox sent is not a well-formed message."""


class ModelUnsupported(ArmlxError):
    """The model cannot be exported or loaded, uses primitives outside the list, or is beyond a limit."""

    exit_code = EXIT_UNDECIDED


class LogitsNotFinite(ModelUnsupported):
    pass


class VerifierFault(ArmlxError):
    """Something on the validator's own side failed. It can never lead to a rejection."""

    exit_code = EXIT_UNDECIDED


class SandboxUnavailable(VerifierFault):
    pass


class AcceleratorBusy(VerifierFault):
    exit_code = EXIT_TRY_LATER


class SetupRefused(VerifierFault):
    pass


class MinerFault(ArmlxError):
    """A fault proven on the candidate's side. The only error type that can lead to a rejection."""

    exit_code = EXIT_FINDING
