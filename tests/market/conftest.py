"""One local world for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armlx_chain.devnet.world import Devnet
from tests.market.marketworld import MarketWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketWorld]:
    folder = tmp_path_factory.mktemp("market")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ARMLX_DEVNET", str(folder / "devnet"))
        for name in (
            "ARMLX_HOT_CEILING",
            "ETH_PASSWORD",
            "ETH_KEYSTORE",
            "ETH_KEYSTORE_ACCOUNT",
            "ARMLX_JSON",
        ):
            environment.delenv(name, raising=False)
        with Devnet.start(folder / "devnet") as devnet:
            yield MarketWorld(folder, devnet)
