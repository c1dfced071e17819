"""Every error of this project, sorted once: what the daemon does next, whose doing it was, and a sentence.

- ``STOP``: a person must act; going on could lose, repeat or sign something. The daemon ends.
- ``CARRY_ON``: this cycle ends here, the next one tries again. Only for what no proposal can bring about:
  otherwise whoever submits one that does could keep every later proposal from being judged.
- ``NEXT_PROPOSAL``: this proposal is left for now, the others go on.

No weight leads to a rejection. Only a verdict does, and no error is a verdict: a ``VerifierFault`` is
recorded as undecided, and even a ``MinerFault`` that reaches this table only leaves its proposal for now.

The sentences are fixed texts. What an error says itself may quote an endpoint or a stranger, so it is kept
apart (``Sorted.message``) and goes through the logs' redaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from armlx_chain import errors
from armlx_chain.errors import ArmlxError

__all__ = ["TABLE", "Kind", "Sortable", "Sorted", "Weight", "sort"]

Sortable = ArmlxError | OSError | sqlite3.Error
"""What the daemon sorts. Anything else is a defect of this program and ends it with its trace."""


class Weight(StrEnum):
    """What the daemon does next."""

    STOP = "stop"
    CARRY_ON = "carry-on"
    NEXT_PROPOSAL = "next-proposal"


class Kind(StrEnum):
    """Where the trouble lies; a label of the metrics."""

    REQUEST = "request"
    """What the daemon was told to do makes no sense."""
    MACHINE = "machine"
    STORAGE = "storage"
    CHAIN = "chain"
    KEY = "key"
    """Keys, the guard and the transaction journal."""
    PAPERS = "papers"
    """Documents and models of strangers."""
    VERIFIER = "verifier"
    """This validator's own side; never a rejection."""
    MINER = "miner"


@dataclass(frozen=True, slots=True)
class Sorted:
    """An error in its place.

    Attributes:
        sentence: For the operator: what it means for the daemon and what to do. Holds no foreign text.
        code: The error's class, a stable name.
        message: What the error says itself. May quote strangers and endpoints.
    """

    weight: Weight
    kind: Kind
    sentence: str
    code: str = ""
    message: str = ""


_Place = tuple[Weight, Kind, str]
_STOP, _CARRY_ON, _NEXT = Weight.STOP, Weight.CARRY_ON, Weight.NEXT_PROPOSAL

_GENERAL: Final[dict[type[Exception], _Place]] = {
    errors.ArmlxError: (_STOP, Kind.REQUEST, "Something failed that nobody sorted; look at the log."),
    errors.UsageError: (_STOP, Kind.REQUEST, "The daemon was started in a way that makes no sense."),
    errors.Interrupted: (_STOP, Kind.REQUEST, "It was told to stop; what was finished is kept."),
    errors.MachineError: (
        _STOP,
        Kind.MACHINE,
        "A file or database of this machine fails, so nothing can be kept; mend it and start again.",
    ),
    errors.DevnetError: (_STOP, Kind.MACHINE, "The local world does not work; start it again."),
    errors.DevnetRpcError: (_STOP, Kind.MACHINE, "The local world's node refuses; start it again."),
    errors.MarketError: (_NEXT, Kind.CHAIN, "A price was outside its bounds; nothing was traded."),
    errors.CurveOverflow: (_NEXT, Kind.CHAIN, "A project's price formula overflows; nothing was traded."),
    errors.ClaimRefused: (_NEXT, Kind.PAPERS, "A claim cannot be accepted as it is; it is left."),
    OSError: (_NEXT, Kind.MACHINE, "A file of this machine fails; look at its space and permissions."),
    sqlite3.Error: (
        _STOP,
        Kind.MACHINE,
        "A database of this machine fails, so nothing can be kept; mend it and start again.",
    ),
}

_STORAGE: Final[dict[type[Exception], _Place]] = {
    errors.StorageError: (_NEXT, Kind.STORAGE, "Bytes could not be fetched or published; tried again later."),
    errors.RootFormatError: (_NEXT, Kind.PAPERS, "Something names its content in no known way; it is left."),
    errors.ContentMismatch: (
        _NEXT,
        Kind.STORAGE,
        "A gateway serves wrong bytes; no honest copy was found so far. Tried again later.",
    ),
    errors.ItemRejected: (_NEXT, Kind.STORAGE, "A stored item breaks a rule of its format; it is not used."),
    errors.ContentUnproven: (_NEXT, Kind.STORAGE, "Nobody proves that the bytes belong; they are not used."),
    errors.ContentNotFound: (_NEXT, Kind.STORAGE, "Something is not there yet; tried again later."),
    errors.ContentNotFinal: (_NEXT, Kind.STORAGE, "An upload is not complete yet; tried again later."),
    errors.ContentIncomplete: (_NEXT, Kind.STORAGE, "Parts of a stored file are missing; tried again later."),
    errors.ContentPruned: (_NEXT, Kind.STORAGE, "The nodes dropped a file; somebody must upload it again."),
    errors.ContentTooLarge: (_NEXT, Kind.PAPERS, "A file is larger than its kind may be; it is left."),
    errors.StorageUnavailable: (
        _NEXT,
        Kind.STORAGE,
        "No storage gateway answers; if it stays so, look at the connection or configure another.",
    ),
    errors.EncryptionError: (_NEXT, Kind.PAPERS, "A file is encrypted and cannot be read here; it is left."),
    errors.EndpointFault: (_NEXT, Kind.STORAGE, "A storage gateway misbehaved; tried again later."),
    errors.SchemeUnsupported: (_NEXT, Kind.STORAGE, "Content of a kind that cannot be proven here is left."),
}

_PAPERS: Final[dict[type[Exception], _Place]] = {
    errors.ProtocolError: (_NEXT, Kind.PAPERS, "A project's protocol cannot be used; it is left."),
    errors.ProtocolInvalid: (_NEXT, Kind.PAPERS, "A project's protocol breaks a rule; it is left."),
    errors.MetricError: (_NEXT, Kind.PAPERS, "A log does not yield one metric; the proposal is left."),
    errors.FormatError: (_NEXT, Kind.PAPERS, "A document is not what it should be; the proposal is left."),
    errors.CandidateError: (_NEXT, Kind.PAPERS, "A candidate cannot be put in place; it is left."),
    errors.ChannelError: (_NEXT, Kind.PAPERS, "A sandboxed program sent no message; the proposal is left."),
    errors.ModelUnsupported: (_NEXT, Kind.PAPERS, "A model cannot be judged here; the proposal is left."),
    errors.LogitsNotFinite: (_NEXT, Kind.PAPERS, "A model predicts what is no number; the proposal is left."),
    errors.MinerFault: (
        _NEXT,
        Kind.MINER,
        "A candidate's fault was met outside a verdict; only a verdict can reject, so the proposal is left.",
    ),
}

_CHAIN: Final[dict[type[Exception], _Place]] = {
    errors.ChainError: (_CARRY_ON, Kind.CHAIN, "The chain could not be asked; the next cycle tries again."),
    errors.RpcUnavailable: (
        _CARRY_ON,
        Kind.CHAIN,
        "No RPC endpoint answers; if it stays so, look at the connection or configure another.",
    ),
    errors.EndpointsDisagree: (
        _CARRY_ON,
        Kind.CHAIN,
        "RPC endpoints contradict each other, so nothing is decided; if it stays so, replace the wrong one.",
    ),
    errors.WrongChain: (
        _STOP,
        Kind.CHAIN,
        "The endpoint is of another chain, or the contracts are wired otherwise; correct the settings.",
    ),
    errors.ContractRevert: (_NEXT, Kind.CHAIN, "The ledger refuses it now; the next cycle looks again."),
    errors.InsufficientFunds: (
        _CARRY_ON,
        Kind.CHAIN,
        "The account cannot pay for its transactions; send it native coin.",
    ),
    errors.TransactionPending: (_CARRY_ON, Kind.CHAIN, "A transaction is on its way; the next cycle looks."),
    errors.TooEarly: (_NEXT, Kind.CHAIN, "The contract allows it only later; a later cycle does it."),
    errors.JournalError: (
        _STOP,
        Kind.KEY,
        "The transaction journal is inconsistent, or the account's key is used elsewhere.",
    ),
    errors.AccountBusy: (
        _CARRY_ON,
        Kind.CHAIN,
        "Another process sends with this account; the next cycle tries again. Two validators of one account "
        "only get into each other's way: stop one.",
    ),
    errors.EndpointBehind: (
        _CARRY_ON,
        Kind.CHAIN,
        "The endpoint lags behind what this account has sent, or a local chain was reset; the next cycle "
        "asks again.",
    ),
    errors.PreconditionFailed: (_NEXT, Kind.CHAIN, "What it rested on has moved; nothing was sent."),
}

_KEYS: Final[dict[type[Exception], _Place]] = {
    errors.SigningError: (_STOP, Kind.KEY, "Nothing can be signed with this key; nothing was."),
    errors.KeystoreError: (_STOP, Kind.KEY, "The key cannot be opened; look at the keystore and passphrase."),
    errors.GuardRefused: (
        _STOP,
        Kind.KEY,
        "The single-sign guard refuses: entries are missing, or the key was used elsewhere. Nothing is "
        "signed until that is cleared up.",
    ),
}

_VERIFIER: Final[dict[type[Exception], _Place]] = {
    errors.VerifierFault: (
        _NEXT,
        Kind.VERIFIER,
        "Something failed on this validator's side: the proposal stays undecided, and others may judge it.",
    ),
    errors.SandboxUnavailable: (
        _NEXT,
        Kind.VERIFIER,
        "No sandbox works on this machine, so nothing is run; see: armlx-validator doctor.",
    ),
    errors.AcceleratorBusy: (
        _NEXT,
        Kind.VERIFIER,
        "Another process uses the accelerator; a later cycle tries again.",
    ),
    errors.SetupRefused: (
        _NEXT,
        Kind.VERIFIER,
        "A project's set-up is not carried out on this machine; its proposals stay undecided.",
    ),
}

TABLE: Final[dict[type[Exception], _Place]] = {
    **_GENERAL,
    **_STORAGE,
    **_PAPERS,
    **_CHAIN,
    **_KEYS,
    **_VERIFIER,
}
"""The place of every class; one that is defined elsewhere has its nearest ancestor's."""


def sort(error: Sortable) -> Sorted:
    """Put an error in its place. Pure."""
    weight, kind, sentence = next(TABLE[known] for known in type(error).__mro__ if known in TABLE)
    return Sorted(weight, kind, sentence, type(error).__name__, _own_words(error))


def _own_words(error: Sortable) -> str:
    return " ".join(error.sentences()) if isinstance(error, ArmlxError) else str(error)
