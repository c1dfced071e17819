"""The helper that finds the real documents: a skip that can be made a failure."""

from __future__ import annotations

from pathlib import Path

import pytest
import shared_material

pytestmark = pytest.mark.unit


def test_missing_material_is_a_skip_with_a_reason_or_a_failure_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_material, "SHARED", tmp_path)
    monkeypatch.delenv("ARMLX_REQUIRE_SHARED", raising=False)
    with pytest.raises(pytest.skip.Exception, match="does not lie beside"):
        shared_material.shared_bytes("x.json")
    monkeypatch.setenv("ARMLX_REQUIRE_SHARED", "1")
    with pytest.raises(pytest.fail.Exception, match="does not lie beside"):
        shared_material.shared_bytes("x.json")
    (tmp_path / "x.json").write_bytes(b"{}")
    assert shared_material.shared_bytes("x.json") == b"{}"
