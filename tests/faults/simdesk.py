"""An account on a simulated chain, and what its tests look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_utils import to_checksum_address

from armlx_chain.chain.fees import FeePolicy
from armlx_chain.chain.journal import Attempt, Journal, State
from armlx_chain.chain.rawtx import read_signed
from armlx_chain.chain.sender import Intent, Receipt, TxSender
from armlx_chain.types import Address, Wei
from tests.faults.schedules import Killed
from tests.faults.simchain import ACCOUNT, GWEI, SimAccess, SimChain, SimSigner

CAP = Wei(10 * GWEI)
THERE = Address(to_checksum_address("0x" + "e1" * 20))


class Desk:
    """An account on a simulated chain; ``during`` is called whenever the sender sleeps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = SimChain()
        self.chain.pass_time(20.0)
        self.access = SimAccess(self.chain)
        self.holds = True
        self.during: Callable[[], None] = lambda: None
        self.journal = self.open()

    def open(self) -> Journal:
        return Journal(self.path / "journal.sqlite", chain="31337:test", account=ACCOUNT)

    def sender(self, *, confirmations: int = 0, **options: Any) -> TxSender:
        return TxSender(
            rpc=self.access,
            signer=SimSigner(),
            journal=self.journal,
            confirmations=confirmations,
            check_precondition=lambda _: self.holds,
            fees=FeePolicy(cap=CAP),
            clock=lambda: self.chain.now,
            sleep=self._sleep,
            **options,
        )

    def _sleep(self, seconds: float) -> None:
        self.chain.pass_time(seconds)
        self.during()

    def do(self, key: str = "deed", *, facts: dict[str, Any] | None = None, **options: Any) -> Receipt:
        intent = Intent(key=key, to=THERE, data=b"", value=Wei(1), what="a deed", precondition=facts)
        return self.sender(**options).execute(intent)

    def killed_at(self, event: str, **options: Any) -> None:
        def hook(reached: str, _attempt: Attempt) -> None:
            if reached == event:
                raise Killed

        with pytest.raises(Killed):
            self.do(hook=hook, **options)

    def when(self, condition: Callable[[], bool], act: Callable[[], None]) -> None:
        """Do something once, at the first sleep at which a condition holds."""
        done = []

        def look() -> None:
            if not done and condition():
                done.append(True)
                act()

        self.during = look

    @property
    def rows(self) -> list[Attempt]:
        return self.journal._all()

    @property
    def states(self) -> list[State]:
        return [row.state for row in self.rows]

    @property
    def effects(self) -> int:
        return self.chain.effects()[THERE]

    def mined(self) -> bool:
        return self.chain.used() > 0


def max_fee(attempt: Attempt) -> int:
    return int(read_signed(attempt.raw)[1].max_fee)
