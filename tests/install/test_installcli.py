"""``armlx-validator install`` as a command, and what it needs of files."""

from __future__ import annotations

import json
import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

from armlx_chain.cli.main import run
from armlx_chain.errors import EXIT_ERROR, EXIT_OK, EXIT_USAGE, UsageError
from armlx_chain.settings import load_network
from verifier.daemon.cli import cli
from verifier.daemon.install.reach import reach_problems

ADDRESS = "0x" + "ab" * 20


def install(*words: str) -> int:
    return run(cli, ["install", *words], name="armlx-validator")


@pytest.mark.unit
@pytest.mark.parametrize("system", ["linux", "macos"])
def test_print_shows_every_file_of_any_system_and_changes_nothing(
    system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install("--print", "--system", system, "--json") == EXIT_OK
    files = json.loads(capsys.readouterr().out)["files"]
    assert len(files) >= 3
    for path, text in files.items():
        assert path.startswith("/")
        if path.endswith(".plist"):
            assert plistlib.loads(text.encode())["Label"] in path


@pytest.mark.unit
@pytest.mark.parametrize(
    "words",
    [
        ("--one-account", "--unsigned", ADDRESS),
        ("--unsigned", "me"),
        ("--unsigned", ADDRESS + "0"),
        ("--network", "devnet"),
        ("--network", "nowhere"),
        ("--account", "x\nUser=root"),
        ("--account", "../x"),
        ("--account", ""),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_looked_at(words: tuple[str, ...]) -> None:
    assert install("--print", *words) == EXIT_USAGE


@pytest.mark.unit
def test_one_account_is_said_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert install("--print", "--one-account", "--system", "linux") == EXIT_OK
    shown = capsys.readouterr()
    assert "has your key" in shown.err
    assert "--one-account" in shown.out


@pytest.mark.unit
def test_no_secret_of_the_environment_is_shown_or_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "canary-4f1d0c"
    for name in ("ETH_RPC_URL", "ETH_PASSWORD", "ETH_KEYSTORE", "ARMLX_PASSPHRASE", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"https://user:{canary}@rpc.example/{canary}")
    for words in (("--print",), ("--print", "--json"), ("--print", "--system", "macos"), ("--dry-run",)):
        install(*words)
        shown = capsys.readouterr()
        assert canary not in shown.out + shown.err


@pytest.mark.unit
@pytest.mark.parametrize("system", ["linux", "macos"])
def test_an_address_of_the_storage_with_a_key_stays_in_its_file(
    system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-4f1d0c"
    (tmp_path / "storage").write_text(f"https://indexer.example/{canary}\n")
    words = ("--print", "--system", system, "--storage-url")
    assert install(*words, f"file:{tmp_path}/storage") == EXIT_OK
    shown = capsys.readouterr()
    assert canary not in shown.out + shown.err
    assert f"file:{tmp_path}/storage" in shown.out
    for url in (f"https://me:{canary}@indexer.example", f"https://indexer.example/?{canary}"):
        assert install(*words, url) == EXIT_USAGE
        shown = capsys.readouterr()
        assert canary not in shown.out + shown.err
    assert install(*words, "https://a.example,https://b.example/v1") == EXIT_OK
    assert "https://a.example,https://b.example/v1" in capsys.readouterr().out.replace("</string>", "")


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="looks at a machine with systemd")
def test_a_dry_run_shows_the_plan_and_an_uninstall_of_nothing_has_nothing_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if Path("/etc/systemd/system/armlx-validator.service").exists():
        pytest.skip("a validator is installed here")
    if subprocess.run(["systemctl", "--version"], capture_output=True).returncode != 0:
        assert install("--dry-run") == EXIT_ERROR
        return
    assert install("--dry-run", "--json") == EXIT_OK
    document = json.loads(capsys.readouterr().out)
    assert document["done"] is False
    states = {step["title"]: step["state"] for step in document["steps"]}
    assert states["make the accounts"] == "to do"
    assert states["make the key, and keep a copy of its file elsewhere"] == "yours"
    assert not Path("/etc/systemd/system/armlx-validator.service").exists()
    assert install("--uninstall", "--json", "--yes") == EXIT_OK
    document = json.loads(capsys.readouterr().out)
    assert document["done"] is True
    assert {step["state"] for step in document["steps"]} == {"there"}


# -- who can start and change the program ----------------------------------------------------------------


@pytest.fixture
def way(tmp_path: Path) -> Path:
    """A program that everybody can start and only its owner change."""
    folder = tmp_path / "opt" / "bin"
    folder.mkdir(parents=True)
    program = folder / "armlx-validator"
    program.write_text("#!")
    for part in (tmp_path, tmp_path / "opt", folder, program):
        part.chmod(0o755)
    return program


@pytest.mark.unit
@pytest.mark.skipif(os.geteuid() != 0, reason="the program of a service belongs to root")
@pytest.mark.parametrize(
    ("part", "mode", "words"),
    [
        (0, 0o755, ""),
        (0, 0o750, "cannot read"),
        (0, 0o757, "can write"),
        (0, 0o775, "can write"),
        (1, 0o700, "cannot enter"),
        (1, 0o777, "can write"),
        (2, 0o1777, ""),
        (2, 0o1770, "cannot enter"),
    ],
)
def test_a_program_that_others_can_change_or_services_cannot_reach_is_named(
    way: Path, tmp_path: Path, part: int, mode: int, words: str
) -> None:
    place = [way, *way.parents][part]
    place.chmod(mode)
    problems = reach_problems([way, way], root=tmp_path.parent)
    assert len(problems) == (1 if words else 0), problems
    if words:
        assert words in problems[0]
        assert str(place) in problems[0]


@pytest.mark.unit
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_whose_the_program_is_and_where_a_link_leads_counts(way: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(way)
    os.chown(way, 12345, 12345)
    (problem,) = reach_problems([link], root=tmp_path.parent)
    assert "belongs to user 12345" in problem
    (missing,) = reach_problems([tmp_path / "nothing"], root=tmp_path.parent)
    assert "cannot be had" in missing


@pytest.mark.unit
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
@pytest.mark.parametrize("kind", ["to-the-program", "to-its-folder", "by-a-second-link"])
def test_whoever_can_change_a_link_to_the_program_is_named(way: Path, tmp_path: Path, kind: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    if kind == "to-its-folder":
        (theirs / "bin").symlink_to(way.parent)
        start = theirs / "bin" / way.name
    else:
        (theirs / "link").symlink_to(Path("..") / "opt" / "bin" / way.name)
        start = theirs / "link"
    if kind == "by-a-second-link":
        start = way.parent / "second"
        start.symlink_to(theirs / "link")
    assert reach_problems([start], root=tmp_path.parent) == []
    os.chown(theirs, 12345, 12345)
    (problem,) = reach_problems([start], root=tmp_path.parent)
    assert f"{theirs} belongs to user 12345" in problem
    os.chown(theirs, 0, 0)
    link = theirs / ("bin" if kind == "to-its-folder" else "link")
    os.lchown(link, 12345, 12345)
    (problem,) = reach_problems([start], root=tmp_path.parent)
    assert f"{link} belongs to user 12345" in problem


@pytest.mark.unit
def test_a_program_that_links_lead_to_in_a_circle_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (problem,) = reach_problems([tmp_path / "a"], root=tmp_path.parent)
    assert "cannot be had" in problem


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="asks what only root is asked")
def test_a_program_in_a_closed_home_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if subprocess.run(["systemctl", "--version"], capture_output=True).returncode != 0:
        pytest.skip("there is no systemd here")
    program = tmp_path / "armlx-validator"
    program.write_text("#!")
    tmp_path.chmod(0o700)
    assert install("--yes", "--program", str(program)) == EXIT_ERROR
    assert "cannot enter" in capsys.readouterr().err
    assert not Path("/etc/sysusers.d/armlx-validator.conf").exists()


# -- endpoints in a file ---------------------------------------------------------------------------------


@pytest.mark.unit
def test_endpoints_are_read_from_a_file_with_comments_and_commas(tmp_path: Path) -> None:
    path = tmp_path / "rpc-urls"
    path.write_text("# mine\nhttps://a.example/key  # first\n\n https://b.example , https://c.example\n")
    network = load_network("galileo", home=tmp_path, rpc_url=f"file:{path}")
    assert network.rpc_urls == ("https://a.example/key", "https://b.example", "https://c.example")


@pytest.mark.unit
@pytest.mark.parametrize("content", [b"", b"# only\n", b"\xff\xfe", b"https://a.example\n" * 2000])
def test_a_file_of_endpoints_that_is_none_is_refused_without_being_repeated(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "rpc-urls"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_network("galileo", home=tmp_path, rpc_url=f"file:{path}")
    assert "a.example" not in " ".join(caught.value.sentences())
    with pytest.raises(UsageError):
        load_network("galileo", home=tmp_path, rpc_url=f"file:{tmp_path / 'missing'}")
