"""One world for the tests of contracts and reads in this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ledger_world import LedgerWorld

from armlx_chain.devnet.world import Devnet


@pytest.fixture(scope="session")
def ledger_devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    with Devnet.start(tmp_path_factory.mktemp("ledger"), engine="embedded", with_storage=False) as running:
        yield running


@pytest.fixture(scope="module")
def ledger_world(ledger_devnet: Devnet) -> LedgerWorld:
    return LedgerWorld(ledger_devnet)
