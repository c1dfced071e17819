"""``armlx-chain root`` and ``armlx-chain verify`` as a person or a script runs them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shared_material import shared_bytes
from storage_vectors import counter_bytes

from armlx_chain.cli.main import cli, run
from armlx_chain.storage.zerog.merkle import root_of

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]
GALILEO = "0g:0xe4c1bb3a70f36fe29132775cfeb1b8dcadd65e9e61bccd40bb0cfd648499b6b3"
IRYS = json.loads((PROJECT / "tests/vectors/irys/04_data_items.json").read_text())["items"]
DATA = counter_bytes("command", 3_000_000)


def test_what_a_terminal_cannot_show_is_spelled_out_and_no_crash(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xe9.bin")
    (tmp_path / name).write_bytes(b"x")
    for encoding in ("latin-1", "utf-8"):
        done = subprocess.run(
            [sys.executable, "-c", "from armlx_chain.cli.main import main; main()", "root", name],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"\\udcff" in done.stdout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    return path


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def armlx(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> Outcome:
        code = run(cli, [str(argument) for argument in arguments], name="armlx-chain")
        return Outcome(code, *capsys.readouterr())

    return call


PROGRAM = "from armlx_chain.cli.main import main; main()"


def child(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False, cwd=PROJECT)


# --- root --------------------------------------------------------------------------------------------


def test_the_published_protocol_has_the_root_that_galileo_records(armlx: Any, tmp_path: Path) -> None:
    path = tmp_path / "protocol.json"
    path.write_bytes(shared_bytes("fixtures/protocols/armlx-0g-galileo.json"))
    assert armlx("root", path).out == f"{GALILEO}  {path}\n"
    found = armlx("verify", path, GALILEO, "--size", path.stat().st_size)
    assert (found.code, found.err) == (0, "")


def test_several_files_are_listed_in_the_order_given(armlx: Any, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x")
    found = armlx("root", other, file, "--json", "--threads", "2")
    assert found.code == 0
    assert found.json["files"] == [
        {"file": str(other), "root": str(root_of(b"x")), "bytes": 1},
        {"file": str(file), "root": str(root_of(DATA)), "bytes": len(DATA)},
    ]


def test_stdin_is_a_file_too(file: Path) -> None:
    done = child("root", "-", stdin=DATA)
    assert done.stdout.decode() == f"{root_of(DATA)}  -\n"
    done = child("verify", "-", root_of(DATA), "--size", len(DATA), "--json", stdin=DATA)
    assert done.returncode == 0
    assert json.loads(done.stdout)["bytes"] == len(DATA)


def test_an_empty_file_has_no_root(armlx: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    found = armlx("root", path, "--json")
    assert found.code == 1
    assert found.json["error"]["message"] == "An empty file cannot be stored."


@pytest.mark.parametrize(
    "arguments", [["root"], ["root", "no-such-file"], ["root", "."], ["verify", "no-such-file", GALILEO]]
)
def test_what_is_no_file_is_a_usage_error(armlx: Any, arguments: list[str]) -> None:
    assert armlx(*arguments).code == 2


def test_the_root_of_a_small_file_needs_neither_compiler_nor_network_libraries(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(DATA[:5000])
    code = (
        "import sys; from armlx_chain.cli.main import cli, run\n"
        f"assert run(cli, ['root', {str(path)!r}], name='armlx-chain') == 0\n"
        "heavy = ('llvmlite', 'numpy', 'web3', 'eth_abi', 'pyarrow', 'requests')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=PROJECT
    )
    assert done.stdout == f"{root_of(DATA[:5000])}  {path}\n[]\n", done.stderr


def in_a_terminal(*arguments: object) -> str:
    """What a person sees on stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=PROJECT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while block := os.read(ours, 4096):
                seen += block
        except OSError:  # the other end of a terminal is closed
            pass
        os.close(ours)
        assert process.wait(timeout=120) == 0
    return seen.decode()


def test_a_bar_is_shown_for_a_large_file_on_a_terminal_only(tmp_path: Path, file: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as stream:
        stream.truncate(200 << 20)
    shown = in_a_terminal("root", large)
    assert "large.bin" in shown
    assert "100%" in shown
    assert in_a_terminal("root", file) == ""
    done = child("root", large)
    assert done.stderr == b""


# --- verify: 0G --------------------------------------------------------------------------------------


def test_verify_says_that_only_the_length_is_unproven(armlx: Any, file: Path) -> None:
    found = armlx("verify", file, root_of(DATA))
    assert found.code == 0
    assert found.out == f"{file}: 3000000 bytes belong to {root_of(DATA)}\n"
    assert "only the length remains unproven" in found.err
    assert "up to 3145728 bytes have the same root" in found.err
    as_json = armlx("verify", file, root_of(DATA), "--json").json
    assert (as_json["ok"], as_json["length_settled"]) == (True, False)


def test_verify_with_the_length_leaves_nothing_open(armlx: Any, file: Path) -> None:
    found = armlx("verify", file, root_of(DATA).hex, "--size", len(DATA), "--json")
    assert (found.code, found.json["length_settled"], found.json["warnings"], found.err) == (0, True, [], "")


def test_zeros_that_the_root_cannot_see_are_found_by_the_length(armlx: Any, file: Path) -> None:
    file.write_bytes(DATA + bytes(500))
    assert armlx("verify", file, root_of(DATA)).code == 0
    found = armlx("verify", file, root_of(DATA), "--size", len(DATA))
    assert found.code == 3
    assert "3000500 bytes where 3000000 belong" in found.err
    assert "does not commit to zero bytes" in found.err
    assert found.out == ""


@pytest.mark.parametrize("place", [0, 255, 262_144, 2_999_999])
def test_a_changed_byte_is_a_finding(armlx: Any, file: Path, place: int) -> None:
    changed = bytearray(DATA)
    changed[place] ^= 1
    file.write_bytes(changed)
    found = armlx("verify", file, root_of(DATA), "--json")
    assert found.code == 3
    assert found.json["exit_code"] == 3
    assert found.json["error"]["code"] == "ContentMismatch"
    assert found.json["error"]["details"]["found"] == str(root_of(bytes(changed)))


@pytest.mark.parametrize("root", ["0x12", "", "sha1:" + "ab" * 20, "0g:" + "zz" * 32, "irys:0OIl"])
def test_what_is_no_root_is_a_usage_error(armlx: Any, file: Path, root: str) -> None:
    assert armlx("verify", file, root).code == 2


def test_the_same_digest_under_another_scheme_is_a_finding(armlx: Any, file: Path) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    assert armlx("verify", file, f"0g:0x{digest}").code == 3
    assert armlx("verify", file, f"sha256:{root_of(DATA).digest.hex()}").code == 3
    assert armlx("verify", file, f"irys:{digest}").code == 3


# --- verify: other schemes ---------------------------------------------------------------------------


def test_a_sha256_root_settles_the_length_too(armlx: Any, file: Path) -> None:
    found = armlx("verify", file, f"sha256:{hashlib.sha256(DATA).hexdigest()}", "--json")
    assert (found.code, found.json["length_settled"], found.json["warnings"]) == (0, True, [])
    found = armlx("verify", file, f"sha256:{hashlib.sha256(DATA).hexdigest()}", "--size", 5)
    assert found.code == 3
    assert "zero bytes" not in found.err


ACCEPTED = [item for item in IRYS if item["expect"] == "accept" and "raw_base64" in item][:12]


@pytest.mark.parametrize("item", ACCEPTED, ids=lambda item: str(item["name"]))
def test_a_signed_item_proves_its_irys_id(armlx: Any, tmp_path: Path, item: dict[str, Any]) -> None:
    path = tmp_path / "item"
    path.write_bytes(base64.b64decode(item["raw_base64"]))
    found = armlx("verify", path, "irys:" + item["id"]["hex"], "--json")
    assert found.code == 0, found.err
    assert found.json["payload_sha256"] == item["data_sha256"]
    assert found.json["payload_bytes"] == item["data_size"]
    assert found.json["length_settled"] is True
    assert "signed by" in armlx("verify", path, "irys:" + item["id"]["hex"]).out


def test_a_changed_item_or_its_payload_alone_does_not_prove_an_id(armlx: Any, tmp_path: Path) -> None:
    item = max(ACCEPTED, key=lambda item: int(item["data_size"]))
    raw = bytearray(base64.b64decode(item["raw_base64"]))
    path = tmp_path / "item"
    payload = bytes(raw[int(item["data_offset"]) :])
    raw[-1] ^= 1
    for wrong in (bytes(raw), payload, raw[:-1], b"", b"x"):
        path.write_bytes(wrong)
        found = armlx("verify", path, "irys:" + item["id"]["hex"])
        assert found.code == 3
        assert "give its raw bytes" in found.err
