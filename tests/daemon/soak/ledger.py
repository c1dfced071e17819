"""The contracts as plain Python, written from their specification, over a state that remembers its past.

Only what a validator can reach is here: projects exist from the start, tokens are counted and not held. It is
compared with the contracts' bytecode in ``tests/contracts/test_contract_soak_ledger.py``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from eth_abi import decode, encode
from eth_utils import keccak, to_canonical_address, to_checksum_address

import contracts_abi

REVIEW_LOCK = 86_400
EXPIRY_WINDOW = 604_800
ZERO = "0x" + "00" * 20
SUBMITTED, REVIEWING, APPROVED, REJECTED, EXPIRED = range(5)
_UNSIGNED, _ADDRESS = "uint256", "address"


class Revert(Exception):
    """A call that the contracts refuse."""

    def __init__(self, error: str, *, of: str = "ProposalLedger") -> None:
        super().__init__(error)
        self.data = keccak(text=f"{error}()")[:4]


@dataclass(frozen=True, slots=True)
class Row:
    """A proposal's record."""

    project: int
    miner: str
    recipient: str
    code: bytes
    evidence: bytes
    metrics: bytes
    claimed: int
    verified: int
    stake: int
    submitted_at: int
    lock_until: int
    reviewer: str
    status: int

    def words(self) -> bytes:
        types = [
            _UNSIGNED, _ADDRESS, _ADDRESS, "bytes32", "bytes32", "bytes32", "int256", "int256", _UNSIGNED,
            "uint64", "uint64", _ADDRESS, "uint8",
        ]  # fmt: skip
        fields = (
            self.project, self.miner, self.recipient, self.code, self.evidence, self.metrics, self.claimed,
            self.verified, self.stake, self.submitted_at, self.lock_until, self.reviewer, self.status,
        )  # fmt: skip
        return encode(types, list(fields))


NO_ROW = Row(0, ZERO, ZERO, bytes(32), bytes(32), bytes(32), 0, 0, 0, 0, 0, ZERO, SUBMITTED)


@dataclass(frozen=True, slots=True)
class Venture:
    """A project's record, with its pool."""

    protocol: bytes
    snapshot: bytes
    benchmark: bytes
    baseline: int
    baseline_metrics: bytes
    best_code: bytes
    best: int
    best_metrics: bytes
    best_miner: str
    token: str
    creator: str
    created_at: int
    pool_cap: int

    def words(self) -> bytes:
        types = [
            "bytes32", "bytes32", "bytes32", "int256", "bytes32", "bytes32", "int256", "bytes32", _ADDRESS,
            _ADDRESS, _ADDRESS, "uint64",
        ]  # fmt: skip
        fields = (
            self.protocol, self.snapshot, self.benchmark, self.baseline, self.baseline_metrics,
            self.best_code, self.best, self.best_metrics, self.best_miner, self.token, self.creator,
            self.created_at,
        )  # fmt: skip
        return encode(types, list(fields))


class History:
    """Values by key and block; what is older than ``keep`` blocks is remembered as one value."""

    def __init__(self, keep: int = 64) -> None:
        self._keep = keep
        self._values: dict[Any, tuple[list[int], list[Any]]] = {}

    def get(self, key: Any, block: int) -> Any:
        """The value after a block, or None."""
        found = self._values.get(key)
        if found is None:
            return None
        index = bisect_right(found[0], block)
        return found[1][index - 1] if index else None

    def put(self, key: Any, value: Any, block: int) -> None:
        blocks, values = self._values.setdefault(key, ([], []))
        if blocks and blocks[-1] == block:
            values[-1] = value
            return
        blocks.append(block)
        values.append(value)
        old = bisect_right(blocks, block - self._keep) - 1
        if old > 0:
            del blocks[:old], values[:old]

    def undo_after(self, block: int) -> None:
        """Forget what blocks above this one wrote."""
        for key, (blocks, values) in list(self._values.items()):
            index = bisect_right(blocks, block)
            del blocks[index:], values[index:]
            if not blocks:
                del self._values[key]


Event = tuple[str, tuple[bytes, ...], bytes]
"""Address, topics and data."""


class Session:
    """One call or transaction: reads the state after a block, writes are kept apart until they are wanted."""

    def __init__(self, history: History, block: int, now: int) -> None:
        self._history = history
        self._block = block
        self.now = now
        self.written: dict[Any, Any] = {}
        self.events: list[Event] = []

    def get(self, key: Any, default: Any = None) -> Any:
        found = self.written[key] if key in self.written else self._history.get(key, self._block)
        return default if found is None else found

    def put(self, key: Any, value: Any) -> None:
        self.written[key] = value

    def row(self, number: int) -> Row:
        found: Row = self.get(("proposal", number), NO_ROW)
        return found

    def venture(self, number: int) -> Venture | None:
        found: Venture | None = self.get(("project", number))
        return found


@dataclass(frozen=True)
class Addresses:
    """Where everything is."""

    verifiers: str
    registry: str
    ledger: str
    flow: str


Handler = Callable[[Session, str, tuple[Any, ...]], bytes]


class Contracts:
    """Answers calls and carries out transactions."""

    def __init__(self, where: Addresses) -> None:
        self.where = where
        self._handlers: dict[tuple[str, bytes], tuple[Handler, list[str]]] = {}
        for contract, address, handlers in (
            ("VerifierRegistry", where.verifiers, _VERIFIERS),
            ("ProjectRegistry", where.registry, {**_REGISTRY, "proposalLedger": _constant(where.ledger)}),
            ("ProposalLedger", where.ledger, {**_READS, **_wiring(where), **_deeds(where)}),
        ):
            self._add(contract, address, handlers)

    def add_token(self, project: int, address: str) -> None:
        """The token of a project answers from now on."""
        reads: dict[str, Handler] = {
            "minerPoolCap": lambda s, _who, _args: _word(_there(s, project).pool_cap),
            "minerPoolMinted": lambda s, _who, _args: _word(s.get(("minted", project), 0)),
            "totalSupply": lambda s, _who, _args: _word(s.get(("supply", project), 0)),
            "balanceOf": lambda s, _who, args: _word(s.get(("balance", project, args[0].lower()), 0)),
            "proposalLedger": _constant(self.where.ledger),
            "decimals": _constant(0),
            "basePrice": _constant(10**15),
            "slope": _constant(10**12),
            "allowance": _constant(0),
            "name": lambda _s, _who, _args: encode(["string"], ["Soak"]),
            "symbol": lambda _s, _who, _args: encode(["string"], ["SOAK"]),
        }
        self._add("ProjectToken", address, reads)

    def code(self, address: str) -> bytes:
        """The code at an address, as far as anybody looks."""
        names = {
            self.where.verifiers: "VerifierRegistry",
            self.where.registry: "ProjectRegistry",
            self.where.ledger: "ProposalLedger",
        }
        name = names.get(to_checksum_address(address))
        if name is not None:
            return contracts_abi.runtime_bytecode(name)
        return b"\xfe" if any(where == address.lower() for where, _ in self._handlers) else b""

    def call(self, session: Session, sender: str, to: str, data: bytes) -> bytes:
        """What the call returns.

        Raises:
            Revert: it is refused.
        """
        if to.lower() == self.where.flow.lower() or not data:
            return b""
        found = self._handlers.get((to.lower(), data[:4]))
        if found is None:
            return b""
        handler, types = found
        return handler(session, sender, tuple(decode(types, data[4:])))

    def _add(self, contract: str, address: str, handlers: Mapping[str, Handler]) -> None:
        for entry in contracts_abi.abi(contract):
            if entry["type"] == "function" and entry["name"] in handlers:
                selector = contracts_abi.function_selector(contract, entry["name"])
                types = [part["type"] for part in entry["inputs"]]
                self._handlers[(address.lower(), selector)] = (handlers[entry["name"]], types)


def _there(session: Session, project: int) -> Venture:
    found = session.venture(project)
    if found is None:
        raise Revert("UnknownProject")
    return found


def _word(value: int) -> bytes:
    return encode([_UNSIGNED], [value])


def _constant(value: int | str) -> Handler:
    """Answers every caller alike."""
    found = _word(value) if isinstance(value, int) else encode([_ADDRESS], [value])
    return lambda _s, _who, _args: found


def _wiring(where: Addresses) -> dict[str, Handler]:
    return {"registry": _constant(where.registry), "verifierRegistry": _constant(where.verifiers)}


def _project_words(session: Session, number: int) -> bytes:
    found = session.venture(number)
    return bytes(12 * 32) if found is None else found.words()


_VERIFIERS: dict[str, Handler] = {
    "isVerifier": lambda s, _who, args: _word(int(is_verifier(s, args[0]))),
    "verifierCount": lambda s, _who, _args: _word(len(s.get("verifiers", frozenset()))),
}
_REGISTRY: dict[str, Handler] = {
    "getProject": lambda s, _who, args: _project_words(s, args[0]),
    "nextProjectId": lambda s, _who, _args: _word(s.get("projects", 0)),
    "currentBestAggregateScore": lambda s, _who, args: encode(["int256"], [_there(s, args[0]).best]),
    "tokenOf": lambda s, _who, args: encode([_ADDRESS], [_there(s, args[0]).token]),
}
_READS: dict[str, Handler] = {
    "getProposal": lambda s, _who, args: s.row(args[0]).words(),
    "nextProposalId": lambda s, _who, _args: _word(s.get("proposals", 0)),
    "REVIEW_LOCK": _constant(REVIEW_LOCK),
    "EXPIRY_WINDOW": _constant(EXPIRY_WINDOW),
    "BPS_DENOMINATOR": _constant(10_000),
    "SLASH_BPS_TO_BURN": _constant(5_000),
    "SLASH_BPS_TO_VERIFIER_POOL": _constant(5_000),
    "claimable": lambda s, _who, args: _word(s.get(("credit", args[0], args[1].lower()), 0)),
}


def is_verifier(session: Session, account: str) -> bool:
    return account.lower() in session.get("verifiers", frozenset())


def _deeds(where: Addresses) -> dict[str, Handler]:
    deeds = _Deeds(where)
    return {
        "submit": deeds.submit,
        "claimReview": deeds.claim,
        "releaseReview": deeds.release,
        "approve": deeds.approve,
        "reject": deeds.reject,
        "expire": deeds.expire,
        "claimReward": deeds.collect,
    }


class _Deeds:
    """The ledger's transactions, with the refusals in the specification's order."""

    def __init__(self, where: Addresses) -> None:
        self._where = where

    def submit(self, s: Session, who: str, args: tuple[Any, ...]) -> bytes:
        project, code, evidence, claimed, stake, recipient = args
        if stake == 0:
            raise Revert("ZeroStake")
        if s.venture(project) is None:
            raise Revert("UnknownProject")
        number = s.get("proposals", 0)
        recipient = to_checksum_address(recipient) if recipient != ZERO else who
        row = replace(
            NO_ROW, project=project, miner=who, recipient=recipient, code=code, evidence=evidence,
            claimed=claimed, stake=stake, submitted_at=s.now,
        )  # fmt: skip
        s.put("proposals", number + 1)
        s.put(("proposal", number), row)
        self._event(
            s, "ProposalSubmitted", (number, project, who), ["address", "bytes32", "int256", "uint256"],
            (recipient, code, claimed, stake),
        )  # fmt: skip
        return _word(number)

    def claim(self, s: Session, who: str, args: tuple[Any, ...]) -> bytes:
        row = self._known(s, args[0], verifier=who)
        if row.status != SUBMITTED:
            raise Revert("WrongStatus")
        until = s.now + REVIEW_LOCK
        s.put(("proposal", args[0]), replace(row, status=REVIEWING, reviewer=who, lock_until=until))
        self._event(s, "ReviewClaimed", (args[0], who), ["uint64"], (until,))
        return b""

    def release(self, s: Session, _who: str, args: tuple[Any, ...]) -> bytes:
        row = self._known(s, args[0])
        if row.status != REVIEWING:
            raise Revert("WrongStatus")
        if s.now < row.lock_until:
            raise Revert("LockActive")
        s.put(("proposal", args[0]), replace(row, status=SUBMITTED, reviewer=ZERO, lock_until=0))
        self._event(s, "ReviewReleased", (args[0],), [], ())
        return b""

    def approve(self, s: Session, who: str, args: tuple[Any, ...]) -> bytes:
        number, score, metrics = args
        row = self._reviewed(s, number, who)
        venture = _there(s, row.project)
        if score <= venture.best:
            raise Revert("ScoreNotImproved")
        minted = s.get(("minted", row.project), 0) + row.stake
        if minted > venture.pool_cap:
            raise Revert("PoolCapExceeded")
        s.put(("proposal", number), replace(row, status=APPROVED, verified=score, metrics=metrics))
        s.put(
            ("project", row.project),
            replace(venture, best=score, best_code=row.code, best_metrics=metrics, best_miner=row.miner),
        )
        s.put(("minted", row.project), minted)
        s.put(("supply", row.project), s.get(("supply", row.project), 0) + row.stake)
        self._registry_event(
            s,
            "BestUpdated",
            (row.project, row.miner),
            ["int256", "bytes32", "bytes32"],
            (score, row.code, metrics),
        )
        self._event(s, "ProposalApproved", (number, who), ["int256", "bytes32"], (score, metrics))
        return b""

    def reject(self, s: Session, who: str, args: tuple[Any, ...]) -> bytes:
        number, metrics = args
        row = self._reviewed(s, number, who)
        s.put(("proposal", number), replace(row, status=REJECTED, metrics=metrics))
        self._slash(s, number, row, who)
        self._event(s, "ProposalRejected", (number, who), ["bytes32"], (metrics,))
        return b""

    def expire(self, s: Session, who: str, args: tuple[Any, ...]) -> bytes:
        row = self._known(s, args[0])
        if row.status not in (SUBMITTED, REVIEWING):
            raise Revert("WrongStatus")
        if s.now < row.submitted_at + EXPIRY_WINDOW:
            raise Revert("ExpiryNotReached")
        s.put(("proposal", args[0]), replace(row, status=EXPIRED))
        self._slash(s, args[0], row, who)
        self._event(s, "ProposalExpired", (args[0], who), [], ())
        return b""

    def collect(self, s: Session, who: str, args: tuple[Any, ...]) -> bytes:
        key = ("credit", args[0], who.lower())
        amount = s.get(key, 0)
        if not amount:
            raise Revert("NothingToClaim")
        s.put(key, 0)
        self._event(s, "RewardClaimed", (args[0], who), [_UNSIGNED], (amount,))
        return _word(amount)

    def _known(self, s: Session, number: int, *, verifier: str | None = None) -> Row:
        if verifier is not None and not is_verifier(s, verifier):
            raise Revert("NotVerifier")
        if number >= s.get("proposals", 0):
            raise Revert("UnknownProposal")
        return s.row(number)

    def _reviewed(self, s: Session, number: int, who: str) -> Row:
        row = self._known(s, number, verifier=who)
        if row.status != REVIEWING:
            raise Revert("WrongStatus")
        if row.reviewer.lower() != who.lower():
            raise Revert("WrongReviewer")
        if s.now >= row.lock_until:
            raise Revert("LockExpired")
        return row

    def _slash(self, s: Session, number: int, row: Row, beneficiary: str) -> None:
        credit = row.stake // 2
        key = ("credit", row.project, beneficiary.lower())
        s.put(key, s.get(key, 0) + credit)
        s.put(("supply", row.project), s.get(("supply", row.project), 0) - (row.stake - credit))
        self._event(
            s, "StakeSlashed", (number, beneficiary), [_UNSIGNED, _UNSIGNED], (credit, row.stake - credit)
        )

    def _event(
        self, s: Session, name: str, indexed: tuple[Any, ...], types: list[str], values: tuple[Any, ...]
    ) -> None:
        topics = (contracts_abi.event_topic("ProposalLedger", name), *(_topic(part) for part in indexed))
        s.events.append((self._where.ledger, topics, encode(types, list(values))))

    def _registry_event(
        self, s: Session, name: str, indexed: tuple[Any, ...], types: list[str], values: tuple[Any, ...]
    ) -> None:
        topics = (contracts_abi.event_topic("ProjectRegistry", name), *(_topic(part) for part in indexed))
        s.events.append((self._where.registry, topics, encode(types, list(values))))


def _topic(part: Any) -> bytes:
    return part.to_bytes(32, "big") if isinstance(part, int) else to_canonical_address(part).rjust(32, b"\0")
