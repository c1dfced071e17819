"""Which third of the corpus a session of tests takes on beyond what it always does.

``ARMLX_CORPUS_THIRD`` (0, 1 or 2) says which; without it, the day does (days since the year 1, modulo three,
in UTC). Failures and the names of the honest set's tests hold the number, so that they can be repeated.
"""

from __future__ import annotations

import datetime
import os
from typing import Final

from tests.attacks.load import cheats, honest

VARIABLE: Final = "ARMLX_CORPUS_THIRD"


def third() -> int:
    """The third that is due."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return int(chosen) % 3
    return datetime.datetime.now(datetime.UTC).date().toordinal() % 3


THIRD: Final = third()
_ORDER: Final = [*sorted(cheats()), *sorted(honest())]


def turns_up(name: str) -> bool:
    """Whether a variant is in the third that is due."""
    return _ORDER.index(name) % 3 == THIRD
