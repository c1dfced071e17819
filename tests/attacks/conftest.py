"""One court for all trials of a session, and one docket of cheats, two at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.court import Court, convene
from tests.attacks.docket import Docket
from tests.attacks.load import Variant, cheats
from tests.attacks.rotation import turns_up
from tests.attacks.trial import CANARY, CANARY_VARIABLE

AT_ONCE = 2


@pytest.fixture(scope="session")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    """The small benchmark, prepared and calibrated once."""
    return convene(tmp_path_factory.mktemp("court"))


def shown_bare(cheat: Variant) -> bool:
    """Every escape, and a third of the others; those aimed at the verifier alone show nothing bare."""
    if "escape" in cheat.facts:
        return True
    return cheat.facts["shows"] != "harness" and turns_up(cheat.name)


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
    place = tmp_path_factory.mktemp("docket")
    docket = Docket(court, place, workers=AT_ONCE, pairs=1, bare=shown_bare)
    # Those that sleep until they are ended come first: meanwhile the tests that do not wait use their core.
    docket.add(sorted((known[name] for name in asked), key=lambda cheat: cheat.facts["shows"] != "endless"))
    yield docket
    docket.close()
    patch.undo()
