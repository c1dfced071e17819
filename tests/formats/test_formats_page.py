"""The page that a stranger implements from names what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import format_vectors
import pytest

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


_INSIDE = {"authorship.json", "case.json", "protocol.json"}
"""Files inside bundles and of the project itself."""
_RUN_FOLDER = {
    f"{name}.json"
    for name in ("environment", "measurements", "record", "report", "run", "session", "unverified")
}


def test_the_page_names_every_vector_file_and_no_other() -> None:
    named = set(re.findall(r"`([a-z]+\.json)`", PAGE)) - _INSIDE - _RUN_FOLDER
    assert named == {path.name for path in format_vectors.FOLDER.glob("*.json")}


def test_the_page_states_the_types_that_are_signed() -> None:
    for typed in (
        format_vectors.example_claim().typed_data(),
        format_vectors.example_attestation().typed_data(),
        format_vectors.example_policy().policy.typed_data(),
    ):
        assert f"\n{typed.encoded_type()}\n" in PAGE
        for kind, member in typed.types[typed.primary_type]:
            assert re.search(rf"`{member}`.*\| `{re.escape(kind)}` \|", PAGE), member
