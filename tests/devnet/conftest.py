"""Each test that takes ``devnet`` runs on the embedded engine and on anvil."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from devnet_tools import Play, Wire, require_anvil

from armlx_chain.devnet.world import Devnet


def _engines() -> list[object]:
    return [
        pytest.param("embedded", marks=pytest.mark.integration),
        pytest.param("anvil", marks=pytest.mark.peer),
    ]


@pytest.fixture(scope="session", params=_engines())
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "anvil":
            require_anvil(monkeypatch)
        yield request.param


@pytest.fixture(scope="session")
def devnet(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    directory = tmp_path_factory.mktemp(f"devnet-{engine}")
    with Devnet.start(directory, engine=engine, with_storage=False) as running:
        yield running


@pytest.fixture
def wire(devnet: Devnet) -> Wire:
    return Wire(devnet.rpc_url)


@pytest.fixture
def play(devnet: Devnet, wire: Wire) -> Play:
    return Play(devnet, wire)


@pytest.fixture
def manual_mining(wire: Wire) -> Iterator[None]:
    """Blocks on demand, back to automine afterwards."""
    wire("evm_setAutomine", False)
    yield
    wire("evm_setAutomine", True)
    wire("evm_mine")
