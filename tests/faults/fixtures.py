"""Fixtures of the fault tests; a conftest imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armlx_chain.devnet.world import Devnet
from tests.faults.processes import DEVNET, Launcher
from tests.faults.tinyworld import TinyWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyWorld]:
    """A running local world with a tiny project, for the tests of one file."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(DEVNET, str(folder / "devnet"))
        with Devnet.start(folder / "devnet") as devnet:
            yield TinyWorld(folder, devnet)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Starts commands as processes of their own, in the world of the running test."""
    with Launcher(tmp_path_factory.mktemp("jobs")) as running:
        yield running
