"""A daemon at work, as its operator sees it: pages, log, status; and nothing secret in any of them."""

from __future__ import annotations

import http.server
import json
import logging
import re
import sys
import threading
import traceback
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.cli.output import say
from armlx_chain.errors import RpcUnavailable
from armlx_chain.storage.zerog.price import RpcPriceReader
from armlx_chain.types import Address
from tests.daemon.observed import logging_restored
from tests.faults import simulated
from tests.faults.tinyworld import CAST, Ran, TinyWorld, call

pytestmark = pytest.mark.e2e

MNEMONIC = "canary abandon ability able about above absent absorb abstract absurd abuse access"
PASSPHRASE = "canary-passphrase-7f3a"
PATH_KEY, USER_KEY, QUERY_KEY = (
    "canaryPathKey0123456789",
    "canaryUserKey0123456789",
    "canaryQueryKey0123456789",
)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    with logging_restored():
        yield


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)
    monkeypatch.setenv("WALLET_MNEMONIC", MNEMONIC)
    monkeypatch.setenv("SOME_SECRET", PASSPHRASE + "-of-the-environment")


@pytest.fixture
def home(world: TinyWorld) -> Path:
    """A home whose validator's keystore has the canary as its passphrase."""
    from armlx_chain.signing import keystore

    home = world.home()
    (home / "keystores" / "validator.json").unlink()
    keystore.import_key(
        home / "keystores", "validator", lambda: key_of(world), lambda: PASSPHRASE, work_factor=1 << 4
    )
    return home


def key_of(world: TinyWorld) -> str:
    return world.devnet.accounts[CAST["validator"]].private_key_hex


def with_keys(url: str) -> str:
    return f"{url}/{PATH_KEY}?apikey={QUERY_KEY}"


def with_user(url: str) -> str:
    return url.replace("://", f"://{USER_KEY}:{USER_KEY}@")


def run(world: TinyWorld, home: Path, *extra: str, passphrase: str = PASSPHRASE, command: str = "run") -> Ran:
    file = world.folder / "canary-passphrase"
    file.write_text(passphrase + "\n")
    file.chmod(0o600)
    given = [
        *command.split(),
        "--despite-lost-verdicts",
        "--account",
        "validator",
        "--password-file",
        str(file),
    ]
    if command == "run":
        given += ["--cycles", "1", "--health-port", "0"]
    return call(world.unsigned([*given, *extra], home), validator=True)


def assert_nothing_secret(world: TinyWorld, home: Path, *texts: str) -> None:
    """Neither in what was shown nor in any file but the keystores."""
    key = key_of(world).removeprefix("0x")
    canaries = [key, key.upper(), MNEMONIC, PASSPHRASE, PATH_KEY, USER_KEY, QUERY_KEY]
    shown = [text.encode() for text in texts]
    for path in home.rglob("*"):
        if path.is_file() and "keystores" not in path.relative_to(home).parts:
            shown.append(path.read_bytes())
    assert len(shown) > len(texts) or not (home / "findings.sqlite").exists()
    for canary in canaries:
        for text in shown:
            assert canary.encode() not in text, (canary, text[:2000])
            assert bytes.fromhex(key) not in text


@pytest.fixture(autouse=True)
def tidy(world: TinyWorld) -> Iterator[None]:
    """Later tests meet no open proposal of this one."""
    yield
    waiting = [proposal for proposal in world.proposals() if proposal.is_open]
    if waiting:
        world.devnet.advance_time(8 * 86_400)
        for proposal in waiting:
            world.send("stranger", "expire", int(proposal.id))


def lines_of(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]


@contextmanager
def pages_while_judging(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[int, str]]]:
    """Fetches the daemon's pages from the middle of its cycle."""
    seen: dict[str, tuple[int, str]] = {}
    prepare = simulated.prepare

    def fetch(port: str, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def looking(*arguments: Any, **options: Any) -> Any:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", sys.stderr.getvalue())  # type: ignore[attr-defined]
        assert found is not None
        say("a shard is proven")
        for page in ("healthz", "readyz", "metrics"):
            seen[page] = fetch(found.group(1), page)
        return prepare(*arguments, **options)

    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", looking)
    yield seen


def test_a_day_of_a_daemon_shows_everything_but_its_secrets(
    world: TinyWorld, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = world.submitted()
    with pages_while_judging(monkeypatch) as pages:
        ran = run(world, home, "--rpc-url", with_keys(world.devnet.rpc_url))
    assert ran.code == 0, ran.err
    lines = lines_of(ran)
    assert [line["fields"]["step"] for line in lines if line["message"] == "proposal ended"] == ["approved"]
    assert {line["proposal"] for line in lines if line["message"] == "run ended"} == {proposal.id}
    assert {line["cycle"] for line in lines if line["message"] == "run ended"} == {"cycle-1"}
    assert [line["proposal"] for line in lines if line["message"] == "a shard is proven"] == [proposal.id]
    of_it = " ".join(line["message"] for line in lines if line["proposal"] == proposal.id)
    for deed in ("is signed: attestation", "claiming the review", "approving", "transaction 0x", "in block"):
        assert deed in of_it, "one proposal can be followed by its id to its settlement"
    assert pages["healthz"][0] == 200
    assert set(json.loads(pages["readyz"][1])["checks"]) >= {"storage", "sandbox", "calibration", "mode"}
    assert "armlx_cycle_running 1.0" in pages["metrics"][1]
    assert 'armlx_mode{mode="live"} 1.0' in pages["metrics"][1]
    status = call(world.unsigned(["status"], home), validator=True)
    as_json = call(world.unsigned(["status", "--json"], home), validator=True)
    assert (status.code, as_json.code) == (0, 0), status.err
    (validator,) = as_json.document["validators"]
    assert validator["validator"] == world.address("validator").lower()
    assert (validator["mode"], validator["queue"]) == ("live", [])
    assert validator["cycles"][0]["outcome"] == "done"
    assert set(validator["machine_seconds_today"]) == {"0"}
    assert int(validator["purse"]["wei"]) > 0
    assert "queue: empty" in status.out
    shown = [ran.out, ran.err, status.out, as_json.out, *(text for _, text in pages.values())]
    assert_nothing_secret(world, home, *shown)


@contextmanager
def telling() -> Iterator[str]:
    """An endpoint that refuses, and repeats in its answer all that it was asked with."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = f"no access for {self.path} {self.headers}".encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 (the name is given)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=60)


@pytest.mark.parametrize("command", ["run", "once"])
def test_an_endpoint_that_refuses_does_not_bring_its_key_into_the_open(
    world: TinyWorld, home: Path, command: str
) -> None:
    with telling() as url:
        ran = run(world, home, "--rpc-url", with_user(with_keys(url)), command=command)
    assert ran.code != 0
    assert url in ran.err, "it is named, by scheme, host and port"
    assert_nothing_secret(world, home, ran.out, ran.err)


def test_even_the_most_talkative_command_says_no_path_of_an_endpoint(world: TinyWorld, home: Path) -> None:
    logger = logging.getLogger("urllib3")
    before = logger.level
    try:
        given = world.unsigned(["-vv", "status", "--rpc-url", with_keys(world.devnet.rpc_url)], home)
        ran = call(given, validator=True)
        assert ran.code == 0, ran.err
        assert not logger.isEnabledFor(logging.WARNING), "it names every path that it asks for"
        assert_nothing_secret(world, home, ran.out, ran.err)
    finally:
        logger.setLevel(before)


def test_a_price_that_cannot_be_read_names_no_address() -> None:
    """The storage's own client refuses an address with a user name, before it asks anybody."""
    with telling() as url:
        for address in (with_keys(url), with_user(url)):
            with pytest.raises(RpcUnavailable) as refused:
                RpcPriceReader(address).price_per_sector(Address("0x" + "11" * 20))
            shown = "".join(traceback.format_exception(refused.value))
            assert "storage price" in shown
            assert not [key for key in (PATH_KEY, USER_KEY, QUERY_KEY) if key in shown]


def test_storage_that_is_out_of_reach_is_waited_for_without_showing_its_key(
    world: TinyWorld, home: Path
) -> None:
    proposal = world.submitted()
    with telling() as url:
        ran = run(world, home, "--storage-url", f"{url}/{PATH_KEY}")
    assert ran.code == 0, ran.err
    (end,) = [line for line in lines_of(ran) if line["message"] == "proposal ended"]
    assert (end["proposal"], end["fields"]["step"]) in ((proposal.id, "waiting"), (proposal.id, "left"))
    status = call(world.unsigned(["status", "--offline"], home), validator=True)
    assert f"proposal {proposal.id} of project" in status.out
    assert_nothing_secret(world, home, ran.out, ran.err, status.out)


@pytest.mark.parametrize("command", ["run", "once"])
def test_a_wrong_passphrase_is_not_repeated(world: TinyWorld, home: Path, command: str) -> None:
    ran = run(world, home, passphrase=PASSPHRASE + MNEMONIC, command=command)
    assert ran.code == 4
    assert_nothing_secret(world, home, ran.out, ran.err)


def test_status_without_a_chain_or_a_validator_says_so(world: TinyWorld, home: Path) -> None:
    nobody = call(world.unsigned(["status"], home), validator=True)
    assert (nobody.code, "No validator has worked here yet." in nobody.out) == (0, True)
    stranger = call(
        world.unsigned(["status", "--validator", "0x" + "11" * 20, "--json"], home), validator=True
    )
    assert stranger.code == 2
    assert stranger.error["code"] == "UsageError"
