"""``armlx-chain environment`` and ``armlx-chain snapshot`` as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.cli.main import cli, run
from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import protocol_document, snapshot_files
from verifier.sandbox.interface import Sandbox

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    make_data(folder)
    return folder


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    for name, content in snapshot_files().items():
        (folder / name).write_bytes(content)
    document = protocol_document(baseline_notes="-", created_at="2026-11-22T00:00:00Z")
    (tmp_path / "protocol.json").write_bytes(document)
    return folder


def call(capsys: pytest.CaptureFixture[str], home: Path, *words: object, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    ended = run(cli, [*map(str, words), "--home", str(home), "--json"], name="armlx-chain")
    out = capsys.readouterr().out
    assert ended == code, out
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_snapshot_is_made_checked_and_shown(
    capsys: pytest.CaptureFixture[str], data: Path, repo: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    made = call(capsys, tmp_path, "snapshot", "make", "--repo", repo, "--data", data, "-o", manifest)
    assert (made["train"], made["validation"], made["fresh"], made["tokenizer"]) == (4, 1, 1, 1)
    checked = call(capsys, tmp_path, "snapshot", "check", manifest, "--data", data)
    assert (checked["read"], checked["faults"]) == (0, [])
    full = call(capsys, tmp_path, "snapshot", "check", manifest, "--data", data, "--full")
    assert full["read"] == full["files"] == 8
    shown = call(capsys, tmp_path, "snapshot", "show", manifest, "--data", data, "--walk")
    assert shown["root"] == made["root"]
    assert all(entry["documents"] > 1000 for entry in shown["entries"] if entry["path"].endswith("parquet"))


def test_a_missing_shard_is_a_finding_with_the_command_that_gets_it(
    capsys: pytest.CaptureFixture[str], data: Path, repo: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    call(capsys, tmp_path, "snapshot", "make", "--repo", repo, "--data", data, "-o", manifest)
    shard = data / "data/shard_00001.parquet"
    shard.rename(data / "away")
    try:
        found = call(capsys, tmp_path, "snapshot", "check", manifest, "--data", data, code=3)
        assert found["faults"] == [{"path": "data/shard_00001.parquet", "what": "is missing"}]
        code = run(cli, ["snapshot", "check", str(manifest), "--data", str(data)], name="armlx-chain")
        assert code == 3 and "uv run prepare.py --num-shards 4" in capsys.readouterr().out
    finally:
        (data / "away").rename(shard)


def test_without_a_data_folder_the_command_that_makes_one_is_named(
    capsys: pytest.CaptureFixture[str], repo: Path, tmp_path: Path
) -> None:
    words = ["snapshot", "make", "--repo", repo, "--data", tmp_path / "nowhere", "-o", tmp_path / "m"]
    refused = call(capsys, tmp_path, *words, code=2)
    assert "uv run prepare.py" in json.dumps(refused)
    assert not (tmp_path / "m").exists()


def test_a_protocol_that_installs_nothing_runs_its_data_step_with_this_interpreter(
    capsys: pytest.CaptureFixture[str], sandbox: Sandbox, data: Path, repo: Path, tmp_path: Path
) -> None:
    words = ["environment", "make", "--repo", repo, "--protocol", tmp_path / "protocol.json", "--data", data]
    made = call(capsys, tmp_path, *words)
    assert made["made"] == "this interpreter" and made["data_steps"] == 1
    assert call(capsys, tmp_path, "environment", "show")["environments"] == []
    assert call(capsys, tmp_path, "environment", "collect")["removed"] == []


def test_an_unknown_environment_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for action in ("check", "remove"):
        refused = call(capsys, tmp_path, "environment", action, "abc", code=2)
        assert "environment show" in json.dumps(refused)
