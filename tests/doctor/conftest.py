"""A local world for the checks that ask one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from armlx_chain.devnet.world import Devnet


@pytest.fixture(scope="package")
def world_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devnet")


@pytest.fixture(scope="package")
def world(world_folder: Path) -> Iterator[Devnet]:
    with Devnet.start(world_folder) as running:
        yield running
