"""One court for all trials of a session, and one docket of cheats, two at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.court import Court, convene
from tests.attacks.docket import Docket
from tests.attacks.load import cheats
from tests.attacks.trial import CANARY, CANARY_VARIABLE

AT_ONCE = 2


@pytest.fixture(scope="session")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    """The small benchmark, prepared and calibrated once."""
    return convene(tmp_path_factory.mktemp("court"))


@pytest.fixture(scope="session")
def docket(
    court: Court, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Docket]:
    """The cheats that this session's tests ask for, being tried from now on."""
    patch = pytest.MonkeyPatch()
    patch.setenv(CANARY_VARIABLE, CANARY)  # what one of the escapes is after
    asked = [
        str(item.callspec.params["cheat"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and "cheat" in getattr(item, "fixturenames", ())
    ]
    known = cheats()
    docket = Docket(court, tmp_path_factory.mktemp("docket"), workers=AT_ONCE, pairs=1)
    docket.add(known[name] for name in asked)
    yield docket
    docket.close()
    patch.undo()
