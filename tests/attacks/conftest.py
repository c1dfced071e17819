"""One court for all trials of a session."""

from __future__ import annotations

import pytest

from tests.attacks.court import Court, convene


@pytest.fixture(scope="session")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    """The small benchmark, prepared and calibrated once."""
    return convene(tmp_path_factory.mktemp("court"))
