from __future__ import annotations

from pathlib import Path

import pytest

from armlx_chain.devnet.benchmark.data import make_data


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark's files, as ``~/.cache/autoresearch`` would hold them."""
    folder = tmp_path_factory.mktemp("benchmark") / "autoresearch"
    make_data(folder)
    return folder
