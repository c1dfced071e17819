"""Every test that asks for ``engine`` or ``world`` runs on the embedded EVM and on anvil."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from evm_engines import AnvilEngine, EmbeddedEngine, Engine, find_anvil
from evm_world import World, deploy_world


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("embedded", marks=pytest.mark.integration),
        pytest.param("anvil", marks=pytest.mark.peer),
    ],
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    started = EmbeddedEngine() if request.param == "embedded" else _anvil()
    yield started
    started.close()


def _anvil() -> Engine:
    program = find_anvil()
    if program is None:
        reason = "anvil was not found: run scripts/install-peers, put anvil on PATH or set ARMLX_ANVIL"
        if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return AnvilEngine(program)


@pytest.fixture(scope="session")
def deployed(engine: Engine) -> World:
    """The world as deployed, for tests that only ask."""
    return deploy_world(engine)


@pytest.fixture
def world(deployed: World) -> World:
    """The world as deployed, whatever the test before did to it."""
    deployed.engine.restore(deployed.mark)
    return deployed
