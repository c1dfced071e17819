"""The committed JSON is what the committed Solidity compiles to, and every refusal of the check is loud."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import contracts_abi

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def compiler() -> None:
    """Skips, or fails where peers are required, without the pinned compiler."""
    if shutil.which("node") and (ROOT / "contracts_abi/solc/node_modules/.armlx-lock").exists():
        return
    reason = "the pinned solc was not found: run scripts/install-peers"
    if os.environ.get("ARMLX_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def copy(tmp_path: Path, compiler: None) -> Path:
    """The build with the two smallest contracts, in a folder that may be spoiled."""
    here, there = ROOT / "contracts_abi", tmp_path / "contracts_abi"
    for part in ("solc", "src/storage"):
        shutil.copytree(here / part, there / part, symlinks=True)
    (there / "compiled").mkdir()
    for part in ("build", "compiled/Flow.json", "compiled/Market.json"):
        shutil.copy2(here / part, there / part)
    return tmp_path


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(folder / "contracts_abi/build"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.peer
def test_the_committed_code_is_what_the_source_compiles_to(compiler: None) -> None:
    done = check(ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.peer
def test_the_check_sees_one_changed_digit_a_foreign_file_and_a_missing_one(copy: Path) -> None:
    compiled = copy / "contracts_abi/compiled"
    market = json.loads((compiled / "Market.json").read_text())
    last = market["bytecode"][-1]
    market["bytecode"] = market["bytecode"][:-1] + ("0" if last != "0" else "1")
    (compiled / "Market.json").write_text(json.dumps(market, indent=1) + "\n")
    (compiled / "Flow.json").unlink()
    (compiled / "Stranger.json").write_text("{}")
    before = sorted(path.name for path in compiled.iterdir())
    done = check(copy)
    assert done.returncode == 1
    named = [line.split(" ")[0].rpartition("/")[2] for line in done.stderr.splitlines()]
    assert sorted(named) == ["Flow.json", "Market.json", "Stranger.json"]
    assert sorted(path.name for path in compiled.iterdir()) == before, "a check writes nothing"


@pytest.mark.unit
@pytest.mark.parametrize("name", contracts_abi.names())
def test_every_artifact_names_the_recorded_compiler(name: str) -> None:
    artifact = json.loads((ROOT / "contracts_abi/compiled" / f"{name}.json").read_text())
    assert artifact["contractName"] == name
    assert artifact["compiler"]["version"].startswith("0.8.24+")
    settings = artifact["compiler"]["settings"]
    assert settings["optimizer"] == {"enabled": True, "runs": 200}
    assert (settings["viaIR"], settings["evmVersion"]) == (True, "cancun")
    assert len(contracts_abi.runtime_bytecode(name)) <= 24_576
