"""Validators' published policies: where they are found, and what they mean for a stake.

Sources are a file, a folder of ``*.json``, an ``http(s)`` address or a ``0g:`` root; the folder ``policies``
in the home is always read. A policy counts only if it is signed, is about this chain and ledger, and its
signer is on the allow-list now; of two policies of one validator the later one counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from armlx_chain.errors import (
    ClaimRefused,
    EndpointFault,
    FormatError,
    SigningError,
    StorageUnavailable,
    UsageError,
)
from armlx_chain.formats.policy import MAX_POLICY_BYTES, PARTS_PER_MILLION, Policy, SignedPolicy
from armlx_chain.formats.typed import Domain
from armlx_chain.signing.eip712 import check_policy_signature
from armlx_chain.storage.http import BoundedHttp
from armlx_chain.storage.interface import Storage
from armlx_chain.types import Address, Root, Tokens

__all__ = [
    "LEAST_STAKE",
    "Bid",
    "PolicyReader",
    "objections",
    "policy_line",
    "read_policy",
    "require_policies",
    "stake_for",
]

log = logging.getLogger(__name__)

LEAST_STAKE = Tokens(2)
"""The least stake of which an expiry gives anything back."""
MAX_POLICIES = 64
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Bid:
    """What a policy is compared with.

    Attributes:
        supply: The token's supply once the stake is bought.
        open_already: Open proposals of the same miner in the same project, this one not counted.
    """

    stake: int
    supply: int
    open_already: int


class PolicyReader:
    """Finds policies and keeps those that count.

    Args:
        domain: Chain and ledger they must be about.
        is_verifier: Whether an account is on the allow-list.
        storage: For roots; called only when one is given.
        folder: Always read, if it exists.
    """

    def __init__(
        self,
        *,
        domain: Domain,
        is_verifier: Callable[[Address], bool],
        storage: Callable[[], Storage],
        folder: Path,
        http: BoundedHttp | None = None,
    ) -> None:
        self._domain = domain
        self._is_verifier = is_verifier
        self._storage = storage
        self._folder = folder
        self._http = http

    def read(self, sources: Sequence[str]) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
        """The policies that count, by validator, and a sentence for each document that does not.

        Raises:
            UsageError, StorageError: a named source cannot be read.
        """
        latest: dict[Address, Policy] = {}
        ignored: list[str] = []
        for name, data in self._documents(sources):
            try:
                policy = self._checked(data)
            except (FormatError, SigningError) as error:
                ignored.append(f"the policy {name} does not count: {error.message}")
                continue
            known = latest.get(policy.validator)
            if known is None or known.issued_at < policy.issued_at:
                latest[policy.validator] = policy
        return tuple(latest[key] for key in sorted(latest)), tuple(ignored)

    def _checked(self, data: bytes) -> Policy:
        signed = SignedPolicy.parse(data)
        check_policy_signature(signed)
        policy = signed.policy
        if policy.domain != self._domain:
            raise FormatError("it is about another chain or ledger.")
        if not self._is_verifier(policy.validator):
            raise FormatError(f"{policy.validator} is not on the verifiers' allow-list.")
        return policy

    def _documents(self, sources: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        found = list(_folder_documents(self._folder)) if self._folder.is_dir() else []
        for source in sources:
            found += self._from(source)
        if len(found) > MAX_POLICIES:
            raise UsageError(f"{len(found)} policies were found; at most {MAX_POLICIES} are read.")
        return found

    def _from(self, source: str) -> list[tuple[str, bytes]]:
        if source.startswith(("http://", "https://")):
            return [(source, self._download(source))]
        path = Path(source)
        if path.is_dir():
            return list(_folder_documents(path))
        if path.exists():
            return [(source, _read(path))]
        if source.startswith(("0g:", "0x")):
            root = Root.parse(source)
            return [(str(root), self._storage().fetch(root, max_bytes=MAX_POLICY_BYTES).data)]
        raise UsageError(
            f"There is no policy at {source}.", next_step="Give a file, a folder, an address or a 0g: root."
        )

    def _download(self, url: str) -> bytes:
        try:
            answer = (self._http or BoundedHttp()).get(url, limit=MAX_POLICY_BYTES, seconds=_SECONDS)
        except EndpointFault as error:
            raise StorageUnavailable(f"The policy at {url} cannot be read: {error.message}") from error
        if answer.status != 200:
            raise StorageUnavailable(f"The policy at {url} cannot be read: status {answer.status}.")
        return answer.body


def stake_for(policies: Sequence[Policy]) -> Tokens:
    """The least stake that every policy runs and of which an expiry gives something back."""
    return Tokens(max([LEAST_STAKE, *(policy.minimum_stake for policy in policies)]))


def objections(policy: Policy, bid: Bid) -> list[str]:
    """Why this validator would not run the proposal; empty if it would."""
    found = []
    if bid.stake < policy.minimum_stake:
        found.append(f"it asks for a stake of at least {policy.minimum_stake}")
    if bid.stake * PARTS_PER_MILLION > policy.largest_stake_ppm * bid.supply:
        most = policy.largest_stake_ppm * bid.supply // PARTS_PER_MILLION
        found.append(f"it takes at most {most} of a supply of {bid.supply}")
    if policy.open_proposals and bid.open_already >= policy.open_proposals:
        found.append(
            f"it looks at {policy.open_proposals} open proposals of one miner, and {bid.open_already} of"
            " yours are open"
        )
    return found


def policy_line(policy: Policy, bid: Bid) -> str:
    """One validator's policy, and what it means here."""
    time = f"{policy.machine_seconds} s a day" if policy.machine_seconds else "any time"
    number = f"{policy.open_proposals} open a miner" if policy.open_proposals else "any number open"
    against = objections(policy, bid)
    verdict = "would not run this: " + "; ".join(against) if against else "would run this"
    whole, part = divmod(policy.largest_stake_ppm, PARTS_PER_MILLION // 100)
    share = f"{whole}.{part:04d}".rstrip("0").rstrip(".") + " %"
    return f"stake from {policy.minimum_stake}, up to {share} of supply, {number}, {time}: {verdict}"


def require_policies(policies: Sequence[Policy], bid: Bid, *, despite: bool) -> list[str]:
    """Somebody must be willing to run the proposal, where anybody said what they run.

    Returns:
        A warning for each validator that would not.

    Raises:
        ClaimRefused: no validator whose policy is known would.
    """
    against = {policy.validator: objections(policy, bid) for policy in policies}
    warnings = [
        f"validator {who} would not run this: {'; '.join(reasons)}"
        for who, reasons in against.items()
        if reasons
    ]
    if policies and len(warnings) == len(policies) and not despite:
        raise ClaimRefused(
            "None of the validators whose policy is known would run this: "
            + "; ".join(dict.fromkeys(reason for reasons in against.values() for reason in reasons))
            + ".",
            meaning="The proposal would expire, and at least half of the stake with it. Nothing was sent.",
            next_step=f"Stake {stake_for(policies)}, wait, or pass --despite-policy.",
            details={"least_stake": int(stake_for(policies))},
        )
    return warnings


def read_policy(path: Path) -> Policy:
    """A policy from a file, its signature checked; chain, ledger and allow-list are the caller's to check.

    Raises:
        UsageError: the file cannot be read.
        FormatError, SigningError: it is no policy, or its signature is not its validator's.
    """
    signed = SignedPolicy.parse(_read(path))
    check_policy_signature(signed)
    return signed.policy


def _folder_documents(folder: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted(folder.glob("*.json"))[: MAX_POLICIES + 1]:
        yield str(path), _read(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The policy {path} cannot be read ({error.strerror}).") from error
