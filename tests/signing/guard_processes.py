"""What the guard's tests run in other processes; imports little, so that they start fast."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from armlx_chain.errors import GuardRefused
from armlx_chain.signing.guard import GuardKey, SingleSignGuard
from armlx_chain.types import Address, ProposalId

LEDGER = Address("0x701db5f8Ed847651209A438695dfe5520adD6A5A")
VALIDATOR = Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906")
KEY = GuardKey(31337, b"\1" * 32, LEDGER, ProposalId(3), VALIDATOR)


def contender(path: Path, number: int, barrier: Any, results: Any) -> None:
    """Try to enter a verdict of one's own at the same moment as all others."""
    barrier.wait(60)
    try:
        SingleSignGuard(path).check_and_insert(KEY, b"verdict %d" % number)
    except GuardRefused as refused:
        results.put(("refused", refused.message))
    else:
        results.put(("signed", str(number)))


def dies_inside(path: Path, ready: Any) -> None:
    """Be killed between the insertion and its commit."""
    guard = SingleSignGuard(path)
    with guard._transaction() as database:
        database.execute("INSERT INTO verdicts VALUES ('1', x'00', 'l', '1', 's', x'00', x'00')")
        ready.set()
        os.kill(os.getpid(), signal.SIGKILL)
