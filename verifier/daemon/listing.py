"""The allow-list of verifiers: who is not on it judges in vain.

Its owner may strike a verifier off at any time, also while it runs a candidate. So the list is read at the
start, before every pass, and again before a verdict is signed: what is signed is final, and could not be
settled.
"""

from __future__ import annotations

from armlx_chain.chain.contracts import VerifierRegistry
from armlx_chain.errors import UsageError
from armlx_chain.types import Address

__all__ = ["NOT_LISTED", "require_listed"]

NOT_LISTED = "is not on the verifiers' allow-list"


def require_listed(verifiers: VerifierRegistry, account: Address) -> None:
    """Stop where an account could judge and settle nothing.

    Raises:
        UsageError: it is not on the list.
        ChainError: the list cannot be read.
    """
    if not verifiers.is_verifier(account):
        raise UsageError(
            f"{account} {NOT_LISTED} of {verifiers.address}.",
            meaning="It could judge, but not settle anything.",
            next_step="Ask the owner of the VerifierRegistry to add it, or use another --account.",
        )
