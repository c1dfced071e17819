"""Fixtures of the fault tests; a conftest imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armlx_chain.devnet.world import Devnet
from tests.faults.processes import Launcher
from tests.faults.tinyworld import TinyWorld


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyWorld]:
    """A running local world with a tiny project; all tests of a folder share it."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ARMLX_DEVNET", str(folder / "devnet"))
        with Devnet.start(folder / "devnet") as devnet:
            yield TinyWorld(folder, devnet)


@pytest.fixture(scope="session")
def launcher(world: TinyWorld) -> Iterator[Launcher]:
    """Starts commands as processes of their own that know the world."""
    folder = world.folder / "jobs"
    folder.mkdir()
    with Launcher(folder) as running:
        yield running
