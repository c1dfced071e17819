"""What a check of foreign bytes says: accepted, accepted with a warning, or rejected, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Caution", "Reason", "Verdict"]


class Reason(StrEnum):
    """Why bytes are not accepted (names of the specification, section 12)."""

    TOO_SHORT = "TOO_SHORT"
    TRUNCATED = "TRUNCATED"
    UNKNOWN_SIG_TYPE = "UNKNOWN_SIG_TYPE"
    UNSUPPORTED_SIG_TYPE = "UNSUPPORTED_SIG_TYPE"
    BAD_PRESENCE_BYTE = "BAD_PRESENCE_BYTE"
    TAG_BYTES_LIMIT = "TAG_BYTES_LIMIT"
    TAG_DECODE = "TAG_DECODE"
    TAG_TRAILING = "TAG_TRAILING"
    TAG_UTF8 = "TAG_UTF8"
    TAG_COUNT_MISMATCH = "TAG_COUNT_MISMATCH"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    ID_MISMATCH = "ID_MISMATCH"
    BAD_OWNER = "BAD_OWNER"
    WEAK_KEY = "WEAK_KEY"
    HIGH_S = "HIGH_S"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    NOT_VERIFIABLE = "NOT_VERIFIABLE"


class Caution(StrEnum):
    """What a person may want to know about accepted bytes."""

    V_NONSTANDARD = "V_NONSTANDARD"
    """The recovery byte is not what it should be: anyone can write the same content under further ids."""
    TAG_EMPTY = "TAG_EMPTY"
    TAG_LIMITS = "TAG_LIMITS"
    """More than 128 tags, a name beyond 1024 or a value beyond 3072 bytes: beyond the standard's text."""
    DATA_SIZE_HINT = "DATA_SIZE_HINT"
    """The metadata gives another payload length than the proven one."""
    ADDRESS_HINT = "ADDRESS_HINT"
    """The metadata gives another address than the proven owner's."""
    UNKNOWN_CHAIN = "UNKNOWN_CHAIN"
    """A datachain transaction of a chain id that is neither mainnet nor testnet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Accepted (``reason`` is ``None``) or rejected.

    Attributes:
        reason: Why not; ``None`` means accepted.
        detail: One sentence on the reason, for a person.
        cautions: Warnings; only meaningful where it is accepted.
    """

    reason: Reason | None = None
    detail: str = ""
    cautions: tuple[Caution, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.reason is None

    def __str__(self) -> str:
        if self.reason is None:
            return "accept" if not self.cautions else "accept-with-warning: " + ", ".join(self.cautions)
        return f"reject: {self.reason}: {self.detail}"
