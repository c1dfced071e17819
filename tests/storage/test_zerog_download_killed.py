"""A download that is killed goes on, fetches nothing twice, and never shows an unfinished file."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_campaign import campaign

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("damage", [0.0, 1.0])
def test_killed_again_and_again_it_ends_with_the_file_and_nothing_fetched_twice(
    tmp_path: Path, damage: float
) -> None:
    outcome = campaign(tmp_path, segments=24, kills=3, damage=damage, seed=7)
    assert outcome.problems == []
    assert outcome.kills >= 1
