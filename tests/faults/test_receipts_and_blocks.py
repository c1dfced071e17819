"""A receipt is believed only if the block that it names lists its transaction."""

from __future__ import annotations

from typing import Any

import pytest

from armlx_chain.chain.confirmation import is_settled, read_receipt
from armlx_chain.chain.fees import Fees
from armlx_chain.types import TxHash, Wei
from tests.faults.simchain import SimAccess, SimChain, SimTx

pytestmark = pytest.mark.unit

MINED, PHANTOM = TxHash("0x" + "aa" * 32), TxHash("0x" + "bb" * 32)


class TellsOfAnother(SimAccess):
    """Gives the mined transaction's receipt under another name too, as often as it is asked."""

    def receipt(self, tx_hash: TxHash) -> dict[str, Any] | None:
        real = super().receipt(MINED)
        return None if real is None else {**real, "transactionHash": bytes.fromhex(tx_hash[2:])}


@pytest.mark.parametrize("confirmations", [0, 3])
def test_a_phantom_receipt_told_twice_alike_is_not_believed(confirmations: int) -> None:
    chain = SimChain()
    chain.mine((SimTx(MINED, 0, Fees(Wei(2), Wei(1)), None),))
    for _ in range(confirmations):
        chain.mine(())
    access, head = TellsOfAnother(chain), len(chain.blocks) - 1
    verdicts = {}
    for tx_hash in (MINED, PHANTOM):
        raw = access.receipt(tx_hash)
        assert raw is not None
        seen = read_receipt(tx_hash, raw)
        assert seen is not None
        verdicts[tx_hash] = is_settled(access, seen, head=head, confirmations=confirmations)
    assert verdicts == {MINED: True, PHANTOM: False}
