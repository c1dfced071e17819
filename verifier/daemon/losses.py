"""What the ledger knows of this validator's verdicts, compared with its guard.

A guard that was restored together with its mark from one backup looks whole. But every verdict that was
settled stands on the ledger with its reviewer. A settled one that the guard does not have proves that entries
are missing here, and others that were signed and not settled may be missing with it: those nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from armlx_chain.chain.contracts import Proposal, Status
from armlx_chain.errors import GuardRefused
from armlx_chain.signing.guard import SingleSignGuard
from armlx_chain.types import Address, ProposalId


def lost_verdicts(
    proposals: Iterable[Proposal],
    guard: SingleSignGuard,
    *,
    chain_id: int,
    genesis_hash: bytes,
    ledger: Address,
    account: Address,
) -> tuple[ProposalId, ...]:
    """The proposals that this account settled and the guard knows nothing of.

    Raises:
        GuardRefused: the guard's record cannot be read.
    """
    settled = [
        p.id for p in proposals if p.status in (Status.APPROVED, Status.REJECTED) and p.reviewer == account
    ]
    if not settled:
        return ()
    mine = (str(chain_id), genesis_hash, ledger.lower(), account.lower())
    known = set()
    for entry in guard.entries():
        chain, genesis, where, number, signer = entry.key.columns()
        if (chain, genesis, where, signer) == mine:
            known.add(number)
    return tuple(number for number in settled if str(number) not in known)


def require_whole(lost: tuple[ProposalId, ...], account: Address) -> None:
    """Stop before anything is judged where verdicts are missing.

    Raises:
        GuardRefused: some are.
    """
    if lost:
        shown = ", ".join(str(number) for number in lost[:10]) + (" …" if len(lost) > 10 else "")
        raise GuardRefused(
            f"{account} settled verdicts that this machine's guard does not know: proposals {shown}.",
            meaning="The guard lost entries, or this key was used elsewhere. Others, signed and not yet "
            "settled, may be missing too, so nothing is signed here.",
            next_step="Merge the guard that has them with: armlx-validator guard import FILE. If none has, "
            "and nobody else signs with this key, pass --despite-lost-verdicts.",
        )
