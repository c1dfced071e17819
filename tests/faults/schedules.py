"""One seeded schedule: a few intents, a world that misbehaves, a process that dies; then the account is
settled against the chain itself.

The world (simulated, or anvil behind the fault proxy) is calmed after some rounds; from there everything must
come to its end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from armlx_chain.chain.access import ChainAccess
from armlx_chain.chain.fees import FeePolicy
from armlx_chain.chain.journal import Attempt, Journal, State
from armlx_chain.chain.lifecycle import Patience
from armlx_chain.chain.rawtx import read_signed
from armlx_chain.chain.rpc import NodeRefused
from armlx_chain.chain.sender import Intent, TransactionSigner, TxSender
from armlx_chain.errors import (
    ContractRevert,
    InsufficientFunds,
    JournalError,
    PreconditionFailed,
    RpcUnavailable,
    TransactionPending,
    WrongChain,
)
from armlx_chain.types import Wei

CAP = Wei(60 * 10**9)
ROUNDS = 6
CALM_ROUNDS = 12
_EXPECTED = (
    RpcUnavailable,
    NodeRefused,
    TransactionPending,
    WrongChain,
    JournalError,
    InsufficientFunds,
    ContractRevert,
)
"""What a person may be told under such faults; all of it means: run the same command again."""


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


class World(Protocol):
    """Where a schedule is played."""

    @property
    def signer(self) -> TransactionSigner: ...

    @property
    def confirmations(self) -> int: ...

    def connect(self) -> ChainAccess:
        """What a new process asks the chain through."""

    def clock(self) -> float: ...

    def sleep(self, seconds: float) -> None:
        """Let time pass, and something happen."""

    def calm(self) -> None:
        """No faults from here on."""

    def intent(self, number: int) -> Intent: ...

    def effect(self, number: int) -> int:
        """How often this intent happened, counted on the canonical chain."""

    def used(self) -> int:
        """Transactions of the account on the canonical chain."""

    def strangers(self) -> int:
        """How many of them somebody else made."""

    def was_sent_since(self, tx_hash: str, moment: float) -> bool:
        """Whether these bytes were broadcast after a moment."""


@dataclass
class Tally:
    """What happened, over many schedules."""

    schedules: int = 0
    intents: int = 0
    restarts: int = 0
    kills: int = 0
    told: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    duplicated: int = 0
    lost: int = 0
    gaps: int = 0
    other: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.duplicated or self.lost or self.gaps or self.other)


class Schedule:
    """Plays one schedule and checks its end."""

    def __init__(self, seed: int, world: World, path: Path, tally: Tally, *, kill: float = 0.12) -> None:
        self._seed = seed
        self._rng = random.Random(f"schedule {seed}")
        self._world = world
        self._path = path
        self._tally = tally
        self._kill = kill
        self._withdrawn: dict[int, float] = {}
        self._numbers = range(self._rng.randint(1, 3))
        self._conditional = {number for number in self._numbers if self._rng.random() < 0.35}
        self._journal = self._open()

    def play(self) -> None:
        """Carry everything out, then compare with the chain."""
        self._tally.schedules += 1
        self._tally.intents += len(self._numbers)
        refused = {number for number in self._numbers if not self._carry_out(number)}
        self._check(refused)
        self._journal.close()

    def _open(self) -> Journal:
        return Journal(self._path, chain="31337:simulated", account=self._world.signer.address)

    def _sender(self) -> TxSender:
        world = self._world
        return TxSender(
            rpc=world.connect(),
            signer=world.signer,
            journal=self._journal,
            confirmations=world.confirmations,
            check_precondition=lambda facts: facts["number"] not in self._withdrawn,
            fees=FeePolicy(cap=CAP),
            patience=Patience(),
            hook=self._maybe_die,
            clock=world.clock,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)
        for number in self._conditional - self._withdrawn.keys():
            if self._rng.random() < 0.03:
                self._withdrawn[number] = self._world.clock()

    def _maybe_die(self, _event: str, _attempt: Attempt) -> None:
        if self._rng.random() < self._kill:
            self._tally.kills += 1
            raise Killed

    def _carry_out(self, number: int) -> bool:
        """Run "the same command again" until it ends; False where its precondition failed."""
        intent = self._world.intent(number)
        if number in self._conditional:
            intent = _with_condition(intent, number)
        for turn in range(ROUNDS + CALM_ROUNDS):
            if turn == ROUNDS:
                self._calm()
            try:
                self._sender().execute(intent)
            except Killed:
                self._restart()
            except PreconditionFailed:
                if self._withdrawn.get(number) is not None:
                    return False
                self._tally.other.append(f"seed {self._seed}: a precondition that holds was called failed")
                return False
            except _EXPECTED as error:
                self._tally.told[type(error).__name__] += 1
                self._world.sleep(1.0)
            else:
                return True
        self._tally.other.append(f"seed {self._seed}: intent {number} did not end")
        return False

    def _calm(self) -> None:
        self._world.calm()
        self._kill = 0.0

    def _restart(self) -> None:
        self._tally.restarts += 1
        self._journal.close()
        self._journal = self._open()

    def _check(self, refused: set[int]) -> None:
        self._calm()
        try:
            self._sender().resume()
        except _EXPECTED as error:
            self._tally.other.append(f"seed {self._seed}: the end cannot be reached: {error}")
        rows = self._journal._all()
        self._tally.attempts.update(row.state.value for row in rows)
        for number in self._numbers:
            self._check_effect(number, number in refused, rows)
        self._check_nonces(rows)
        for row in rows:
            if read_signed(row.raw)[1].max_fee > CAP:
                self._tally.other.append(f"seed {self._seed}: {row.key} offered more than the cap")

    def _check_effect(self, number: int, was_refused: bool, rows: list[Attempt]) -> None:
        key, count = self._world.intent(number).key, self._world.effect(number)
        mined = sum(row.key == key and row.state is State.MINED for row in rows)
        if count > 1:
            self._tally.duplicated += 1
            self._tally.other.append(f"seed {self._seed}: intent {number} happened {count} times")
        if count != mined or (count == 0 and not was_refused):
            self._tally.lost += 1
            self._tally.other.append(
                f"seed {self._seed}: intent {number} happened {count} times, recorded {mined} times"
            )
        moment = self._withdrawn.get(number)
        for row in rows:
            if row.key == key and moment is not None and self._world.was_sent_since(row.tx_hash, moment):
                self._tally.other.append(f"seed {self._seed}: {key} was sent although its basis was gone")

    def _check_nonces(self, rows: list[Attempt]) -> None:
        ours = sorted({row.nonce for row in rows if row.state in (State.MINED, State.REVERTED)})
        if len(ours) + self._world.strangers() != self._world.used() or self._journal.unfinished():
            self._tally.gaps += 1
            self._tally.other.append(
                f"seed {self._seed}: nonces {ours}, {self._world.strangers()} of strangers, chain counts"
                f" {self._world.used()}, {len(self._journal.unfinished())} unfinished"
            )


def _with_condition(intent: Intent, number: int) -> Intent:
    facts: dict[str, Any] = {"number": number}
    return Intent(intent.key, intent.to, intent.data, intent.value, intent.what, facts)


def play_many(
    seeds: range,
    make_world: Callable[[int, Tally], World],
    folder: Path,
    tally: Tally,
    *,
    kill: float = 0.12,
) -> None:
    """Play one schedule for each seed."""
    for seed in seeds:
        path = folder / f"{seed}.sqlite"
        Schedule(seed, make_world(seed, tally), path, tally, kill=kill).play()
        for left in folder.glob(f"{seed}.sqlite*"):
            left.unlink()
