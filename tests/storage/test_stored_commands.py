"""``decrypt`` and ``join`` through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from storage_sims import SimStorage
from storage_vectors import FOLDER

from armlx_chain.storage.zerog.merkle import root_of

pytestmark = pytest.mark.integration

CASE = next(
    case
    for case in json.loads((FOLDER / "0g_encryption.json").read_text())["cases"]
    if case["label"] == "v1_300"
)


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ARMLX_HOME": str(home)}
    command = [sys.executable, "-c", "from armlx_chain.cli.main import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def test_an_encrypted_file_is_fetched_recognised_and_opened(tmp_path: Path) -> None:
    data = bytes.fromhex(CASE["file_hex"][2:])
    (tmp_path / "key").write_text(CASE["aes_key"] + "\n")
    sealed, opened = tmp_path / "sealed", tmp_path / "opened"
    sim = SimStorage(data)
    try:
        fetched = run(
            "fetch", str(root_of(data)), "-o", str(sealed), "--storage-url", sim.url, home=tmp_path / "home"
        )
    finally:
        sim.stop()
    assert fetched.returncode == 0, fetched.stderr
    assert "begins like an encrypted file (version 1)" in fetched.stderr
    done = run(
        "decrypt",
        str(sealed),
        "--key-file",
        str(tmp_path / "key"),
        "-o",
        str(opened),
        "--json",
        home=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"ok": True, "file": str(opened), "bytes": 300, "version": 1}
    assert opened.read_bytes() == bytes((31 * index + 7) % 256 for index in range(300))
    assert CASE["aes_key"][2:] not in done.stdout + done.stderr


def test_a_plain_file_and_a_bad_key_are_errors_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"{}")
    (tmp_path / "key").write_bytes(bytes(32))
    (tmp_path / "bad").write_bytes(b"secret?")
    for key in ("key", "bad"):
        done = run(
            "decrypt",
            str(tmp_path / "plain"),
            "--key-file",
            str(tmp_path / key),
            "-o",
            str(tmp_path / "o"),
            home=tmp_path,
        )
        assert done.returncode == 4, done.stderr
        assert "secret?" not in done.stderr
        assert not (tmp_path / "o").exists()


def test_fragments_are_joined_and_proven(tmp_path: Path) -> None:
    pieces = [b"a" * 1024, b"b" * 1024, b"c" * 10]
    sim = SimStorage(*pieces)
    roots = [str(root_of(piece)) for piece in pieces]
    try:
        words = ("-o", str(tmp_path / "whole"), "--storage-url", sim.url, "--json")
        done = run("join", *roots, *words, home=tmp_path / "home")
        assert done.returncode == 0, done.stderr
        swapped = run(
            "join", roots[2], roots[0], "-o", str(tmp_path / "no"), *words[2:], home=tmp_path / "home"
        )
    finally:
        sim.stop()
    assert (tmp_path / "whole").read_bytes() == b"".join(pieces)
    assert json.loads(done.stdout)["bytes"] == 2058
    assert swapped.returncode == 3, "a short fragment can only be the last"
    assert not (tmp_path / "no").exists()
