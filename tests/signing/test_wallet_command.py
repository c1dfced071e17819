"""``wallet`` through the real command line: no secret in arguments, in a child's environment or in a log."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import keyring
import pytest
from keyring.backends import fail
from test_vault import MemoryKeyring

from armlx_chain.cli import main as chain_main
from armlx_chain.cli.amounts import parse_amount
from armlx_chain.cli.wallet import wallet
from armlx_chain.devnet.accounts import derive_accounts
from armlx_chain.devnet.rpc.embedded import EmbeddedChain
from armlx_chain.settings import DEVNET_STATE
from armlx_chain.signing import keystore
from armlx_chain.signing.accounts import foundry_folder
from armlx_chain.signing.keystore import import_key, load
from armlx_chain.types import Wei

pytestmark = pytest.mark.integration

KEY = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
ADDRESS = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
COLD = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
WORDS = "test test test test test test test test test test test junk"
PASSPHRASE = "blue-wombat-97"
CHAIN_ID = 31337


@dataclass
class Person:
    """Somebody's home folder, and what their commands say."""

    folder: Path
    home: Path
    password_file: Path

    def run(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        out, err = io.StringIO(), io.StringIO()
        given = ["wallet", *map(str, arguments), "--home", str(self.home), "--json"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended = chain_main.run(chain_main.cli, given, name="armlx-chain")
        assert ended == code, out.getvalue() + err.getvalue()
        self.said = out.getvalue() + err.getvalue()
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    def keystore(self, name: str, key: str = KEY) -> Path:
        return import_key(self.home / "keystores", name, lambda: key, lambda: PASSPHRASE, work_factor=4).path


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    for name in ("ETH_PASSWORD", "ETH_KEYSTORE", "ETH_KEYSTORE_ACCOUNT", "ARMLX_JSON", "ARMLX_HOT_CEILING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # What runs in this process makes cheap keystores; what runs in another one pays the full cost.
    for name in ("create", "import_signer"):
        monkeypatch.setattr(keystore, name, partial(getattr(keystore, name), work_factor=4))
    password_file = tmp_path / "password"
    password_file.write_text(PASSPHRASE + "\n")
    password_file.chmod(0o600)
    return Person(tmp_path, tmp_path / "home", password_file)


@pytest.fixture
def memory_keyring() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def test_no_option_of_any_command_takes_a_secret() -> None:
    """Secrets are files, prompts and entries of a keyring; an option may only say which."""
    options = [
        (command.name, parameter)
        for command in _commands(chain_main.cli, click.Context(chain_main.cli))
        for parameter in command.params
        if any(word in " ".join(parameter.opts) for word in ("pass", "key", "mnemonic", "word", "secret"))
    ]
    assert len(options) > 10
    for command, parameter in options:
        plain = not isinstance(parameter, click.Option) or not parameter.is_flag
        named = parameter.opts[0] in ("--passphrase-from", "--from-passphrase")
        assert not plain or named or isinstance(parameter.type, click.Path), (command, parameter.opts)


def _commands(group: click.Command, context: click.Context) -> Iterator[click.Command]:
    if not isinstance(group, click.Group):
        yield group
        return
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if found is not None:
            yield from _commands(found, context)


@pytest.mark.parametrize("option", ["--passphrase-from", "--from-passphrase"])
def test_a_passphrase_given_in_place_of_its_source_is_refused_and_not_repeated(
    person: Person, option: str
) -> None:
    other = person.keystore("other")
    given = (
        [option, PASSPHRASE]
        if option != "--from-passphrase"
        else ["--from-keystore", other, option, PASSPHRASE]
    )
    command = "new" if option != "--from-passphrase" else "import"
    answer = person.run(command, "me", *given, code=2)
    assert "never belongs on a command line" in answer["error"]["meaning"]
    assert PASSPHRASE not in person.said
    assert not (person.home / "keystores" / "me.json").exists()


def test_a_key_from_standard_input_leaves_no_trace_but_its_keystore(person: Person) -> None:
    script = (
        "import os, subprocess, sys\n"
        "from armlx_chain.cli.main import cli, run\n"
        "code = run(cli, sys.argv[1:], name='armlx-chain')\n"
        "print(open('/proc/self/cmdline').read() if os.path.exists('/proc/self/cmdline') else '')\n"
        "print(subprocess.run(['env'], capture_output=True, text=True).stdout)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "-vv", "wallet", "import", "me", "--key-file", "-",
         "--passphrase-from", f"file:{person.password_file}", "--home", str(person.home)],
        input=KEY + "\n", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for secret in (KEY, PASSPHRASE):
        assert secret not in done.stdout + done.stderr
    path = person.home / "keystores" / "me.json"
    assert load(path, lambda: PASSPHRASE).address == ADDRESS
    assert KEY not in path.read_text()


def test_a_new_passphrase_is_typed_twice_on_a_terminal_and_never_echoed(person: Person) -> None:
    shown, code = on_terminal(
        ["wallet", "new", "me", "--home", str(person.home)],
        [(b"New passphrase", PASSPHRASE), (b"The same again", PASSPHRASE)],
    )
    assert code == 0, shown
    assert PASSPHRASE not in shown
    assert load(person.home / "keystores" / "me.json", lambda: PASSPHRASE).address in shown


def test_two_different_passphrases_make_no_keystore(person: Person) -> None:
    shown, code = on_terminal(
        ["wallet", "new", "me", "--home", str(person.home)],
        [(b"New passphrase", PASSPHRASE), (b"The same again", "blue-wombat-98")],
    )
    assert code == 4
    assert "differ" in shown
    assert not (person.home / "keystores").exists()


def test_a_service_that_nobody_can_be_asked_in_says_where_a_passphrase_may_lie(person: Person) -> None:
    person.keystore("me")
    script = "from armlx_chain.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "wallet", "import", "again",
         "--from-keystore", str(person.home / "keystores" / "me.json"), "--home", str(person.home), "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    error = json.loads(done.stdout)["error"]
    assert "nobody to ask" in error["message"] and "--password-file" in error["next"]
    assert "GetPassWarning" not in done.stderr


def on_terminal(arguments: list[str], answers: list[tuple[bytes, str]]) -> tuple[str, int]:
    """Run the command line on a pseudo-terminal and type answers to its questions."""
    terminal, inner = pty.openpty()
    script = (
        "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from armlx_chain.cli.main import main; main()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    shown, waiting, deadline = b"", list(answers), time.monotonic() + 200
    while time.monotonic() < deadline:
        try:
            read = os.read(terminal, 4096)
        except OSError:
            break
        if not read:
            break
        shown += read
        if waiting and waiting[0][0] in shown:
            _wait_for_silence(terminal, deadline)
            os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
    os.close(terminal)
    return shown.decode(), child.wait(timeout=60)


def _wait_for_silence(terminal: int, deadline: float) -> None:
    """A question is shown a moment before the terminal stops echoing and drops what was typed."""
    while termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_mnemonic_file_and_another_keystore_are_imported(person: Person) -> None:
    words = person.folder / "words"
    words.write_text(WORDS)
    words.chmod(0o600)
    source = ["--passphrase-from", f"file:{person.password_file}"]
    path = "m/44'/60'/0'/0/2"
    made = person.run("import", "third", "--mnemonic-file", words, "--derivation-path", path, *source)
    assert made["address"] == ADDRESS
    other = person.keystore("other").rename(person.folder / "UTC--other")
    again = person.run("import", "copy", "--from-keystore", other, "--from-passphrase", source[1], *source)
    assert again["address"] == ADDRESS
    assert WORDS not in person.said


@pytest.mark.parametrize(
    "given",
    [
        ["--key-file", "x", "--mnemonic"],
        ["--derivation-path", "m/0"],
        ["--extra-word"],
        ["--from-passphrase", "prompt"],
    ],
)
def test_sources_that_contradict_each_other_are_refused(person: Person, given: list[str]) -> None:
    assert person.run("import", "me", *given, code=2)["error"]["code"] == "UsageError"
    assert not (person.home / "keystores").exists()


def test_foundrys_accounts_are_listed_and_a_name_in_both_folders_is_refused(person: Person) -> None:
    mine = person.keystore("me")
    folder = foundry_folder(person.folder)
    folder.mkdir(parents=True)
    (folder / "me").write_bytes(mine.read_bytes())
    rows = person.run("list")["accounts"]
    assert [(row["name"], row["origin"], row["exposed"]) for row in rows] == [
        ("me", "own", False), ("me", "foundry", True),
    ]  # fmt: skip
    refused = person.run("address", "me", code=4)["error"]
    assert str(mine) in refused["message"]
    assert str(folder / "me") in refused["message"]


def test_an_address_is_proven_on_request(person: Person) -> None:
    path = person.keystore("me")
    assert person.run("address", "me") == {"ok": True, "name": "me", "address": ADDRESS, "proven": False}
    source = ["--passphrase-from", f"file:{person.password_file}"]
    assert person.run("address", "me", "--check", *source)["proven"] is True
    path.write_text(path.read_text().replace(ADDRESS[2:].lower(), COLD[2:].lower()))
    assert person.run("address", "me")["address"] == COLD
    assert "states the address" in person.run("address", "me", "--check", *source, code=4)["error"]["message"]


def test_the_keyring_keeps_a_passphrase_that_opened_the_keystore(
    person: Person, memory_keyring: MemoryKeyring
) -> None:
    person.keystore("me")
    person.run("keyring", "set", "me", "--password-file", person.password_file)
    assert list(memory_keyring.entries.values()) == [PASSPHRASE]
    assert person.run("address", "me", "--check", "--passphrase-from", "keyring")["address"] == ADDRESS
    assert person.run("keyring", "forget", "me")["forgotten"] is True
    assert memory_keyring.entries == {}
    refused = person.run("address", "me", "--check", "--passphrase-from", "keyring", code=4)
    assert "holds no passphrase" in refused["error"]["message"]


def test_a_wrong_passphrase_never_reaches_the_keyring(person: Person, memory_keyring: MemoryKeyring) -> None:
    person.keystore("me")
    wrong = person.folder / "wrong"
    wrong.write_text("red-wombat-97")
    wrong.chmod(0o600)
    person.run("keyring", "set", "me", "--password-file", wrong, code=4)
    assert memory_keyring.entries == {}


def test_without_a_usable_keyring_nothing_is_made(person: Person) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    try:
        refused = person.run("new", "me", "--passphrase-from", "keyring", code=4)
    finally:
        keyring.set_keyring(before)
    assert "no keyring here" in refused["error"]["message"]
    assert not (person.home / "keystores").exists()


def test_a_cold_address_is_set_shown_and_forgotten(person: Person) -> None:
    person.keystore("me")
    assert person.run("set-reward", "me", COLD)["reward_address"] == COLD
    person.run("set-reward", "me", COLD.lower(), code=2)
    person.run("set-reward", "me", ADDRESS, code=2)
    person.run("set-reward", "me", code=2)
    assert json.loads((person.home / "wallet.json").read_text())["accounts"] == {ADDRESS: {"reward": COLD}}
    assert person.run("set-reward", "me", "--forget")["forgotten"] is True


def test_a_cold_address_whose_key_lies_here_is_worth_a_warning(person: Person) -> None:
    person.keystore("me")
    person.keystore("other", "7c" * 32)
    other = person.run("address", "other")["address"]
    assert person.run("set-reward", "me", other)["is_hot"] is True
    assert "it is not cold" in person.said


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedChain]:
    balances = {bytes.fromhex(ADDRESS[2:]): Wei(3 * 10**17)}
    running = EmbeddedChain(tmp_path_factory.mktemp("chain"), chain_id=CHAIN_ID, balances=balances)
    yield running
    running.stop()


def test_a_hot_balance_above_the_ceiling_is_worth_a_warning(
    person: Person, chain: EmbeddedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.keystore("me")
    person.run("set-reward", "me", COLD)
    (person.home / "devnet").mkdir()
    names = ("verifier_registry", "proposal_ledger", "project_registry", "flow")
    (person.home / "devnet" / DEVNET_STATE).write_text(
        json.dumps({"chain_id": CHAIN_ID, "rpc_url": chain.url, "storage_url": chain.url,
                    "addresses": dict.fromkeys(names, COLD)})
    )  # fmt: skip

    def shown(*options: str) -> dict[str, Any]:
        (row,) = person.run("balance", "--network", "devnet", *options)["accounts"]
        found: dict[str, Any] = row
        return found

    plain = shown()
    assert (plain["balance_wei"], plain["reward_address"], plain["warning"]) == (str(3 * 10**17), COLD, None)
    assert "hot key" in shown("--ceiling", "0.2og")["warning"]
    assert shown("--ceiling", "0.3og")["warning"] is None
    monkeypatch.setenv("ARMLX_HOT_CEILING", "100 gwei")
    assert "100000000000 wei" in shown()["warning"]
    monkeypatch.setenv("ARMLX_HOT_CEILING", "plenty")
    person.run("balance", "--network", "devnet", code=2)


def test_the_test_mnemonics_third_account_is_the_miner() -> None:
    assert derive_accounts(3)[2].address == ADDRESS


@pytest.mark.parametrize(
    ("text", "wei"),
    [("0", 0), ("250", 250), ("1wei", 1), ("3gwei", 3 * 10**9), ("0.02og", 2 * 10**16),
     ("1.5 0G", 15 * 10**17),
     ("0.000000001gwei", 1), ("1a0gi", 10**18), ("2ether", 2 * 10**18), ("1.0wei", 1)],
)  # fmt: skip
def test_amounts_are_read_exactly(text: str, wei: int) -> None:
    assert parse_amount(text) == wei


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "1e18",
        "0x10",
        "1.5",
        "0.5wei",
        "0.0000000001gwei",
        ".5og",
        "1 btc",
        "9" * 79,
        "9" * 78,
        "1 2",
    ],
)
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_amount(text)


def test_the_wallet_group_has_no_export() -> None:
    assert "export" not in wallet.commands
