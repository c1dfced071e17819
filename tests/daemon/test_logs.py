"""Lines of the log: one JSON object each, with cycle and proposal, and nothing that is secret."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_keys.datatypes import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.errors import GuardRefused, RpcUnavailable, VerifierFault
from tests.daemon.observed import logging_restored, result, run
from verifier.daemon.logs import LogObserver, about, start_logging
from verifier.daemon.observer import Alarm, CycleOutcome
from verifier.daemon.redaction import HIDDEN, Redactor, secret_variables
from verifier.daemon.sorting import sort
from verifier.model import Role

pytestmark = pytest.mark.unit

KEY = "4f" * 31 + "a7"
ACCOUNT = PrivateKey(bytes.fromhex(KEY)).public_key.to_address()
MNEMONIC = "canary abandon ability able about above absent absorb abstract absurd abuse access"
PASSPHRASE = "correct horse 'battery' \"staple\" ÿ"
RPC = "https://user:s3cretpw@rpc.example:8443/v2/Kj8sd7fKJsdf87sdfkjS?apikey=QWERTYUIOP123"
CANARIES = {
    "key": KEY,
    "key-0x": "0x" + KEY,
    "key-upper": KEY.upper(),
    "mnemonic": MNEMONIC,
    "passphrase": PASSPHRASE,
    "url": RPC,
    "url-path": "Kj8sd7fKJsdf87sdfkjS",
    "url-user": "s3cretpw",
    "url-query": "QWERTYUIOP123",
}


def redactor() -> Redactor:
    return Redactor(secrets=[MNEMONIC, PASSPHRASE], addresses=[RPC], accounts=[ACCOUNT])


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged since, parsed; the process logs as before afterwards."""
    stream = io.StringIO()
    with logging_restored():
        start_logging(redactor(), stream=stream, level=logging.DEBUG)
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def assert_clean(text: str) -> None:
    shown = json.loads(f'"{text}"') if text.isascii() and "\\" in text and '"' not in text else text
    for name, canary in CANARIES.items():
        for spelling in {canary, json.dumps(canary)[1:-1], repr(canary)[1:-1]}:
            assert spelling not in text, name
            assert spelling not in shown, name


def test_an_event_is_one_line_with_all_its_members(lines: Lines) -> None:
    with about(cycle="c-1", proposal=12):
        logging.getLogger("some.part").info("a thing of %d parts", 3, extra={"fields": {"pairs": 8}})
    (line,) = lines()
    assert line["time"].endswith("+00:00")
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "some.part",
        "cycle": "c-1",
        "proposal": 12,
        "project": None,
        "message": "a thing of 3 parts",
        "fields": {"pairs": 8},
    }


def test_a_stranger_cannot_forge_a_line_or_move_a_cursor(lines: Lines) -> None:
    hostile = 'x\n{"level": "info", "message": "approved"}\r\x1b[2J\u2028\u202e'
    logging.getLogger("a").warning("it says %s", hostile)
    (line,) = lines()
    assert line["message"] == f"it says {hostile}"


def test_what_does_not_fit_its_text_is_still_worth_a_line(lines: Lines) -> None:
    logging.getLogger("a").warning("%d of %s", "x")
    assert lines()[0]["message"] == "%d of %s"


def test_a_long_text_is_cut_after_it_was_cleaned(lines: Lines) -> None:
    logging.getLogger("a").warning("x" * 7_990 + PASSPHRASE + "y" * 20_000)
    (line,) = lines()
    assert len(line["message"]) == 8_000
    assert PASSPHRASE[:10] not in line["message"]


def test_lanes_side_by_side_keep_their_lines_apart(lines: Lines) -> None:
    observer, meet = LogObserver(), threading.Barrier(3)
    observer.cycle_began("c-9")

    def lane(number: int) -> None:
        observer.proposal_began(number, 100 + number)
        meet.wait(timeout=60)
        logging.getLogger("lane").info("at work on %d", number)
        meet.wait(timeout=60)
        observer.proposal_ended(result(number), 1.0)
        logging.getLogger("lane").info("between proposals")

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    observer.cycle_ended("c-9", CycleOutcome.DONE, 2.0, [])
    logging.getLogger("main").info("idle")
    found = lines()
    at_work = [line for line in found if line["message"].startswith("at work")]
    assert {(line["proposal"], line["project"]) for line in at_work} == {(n, 100 + n) for n in range(3)}
    assert all(line["message"].endswith(str(line["proposal"])) for line in at_work)
    assert {line["cycle"] for line in at_work} == {"c-9"}
    assert {line["proposal"] for line in found if line["message"] == "between proposals"} == {None}
    assert (found[-1]["cycle"], found[-1]["proposal"]) == (None, None)


def test_everything_an_observer_is_told_is_said_without_secrets(lines: Lines) -> None:
    observer = LogObserver()
    everything = " | ".join(CANARIES.values())
    observer.cycle_began("c-1")
    observer.proposal_began(7, 1)
    observer.run_ended(Role.CANDIDATE, run(), 4.2)
    observer.fault(sort(VerifierFault(everything, next_step=everything)))
    observer.fault(sort(GuardRefused(everything)))
    observer.alarm(Alarm.GUARD_REFUSED, everything)
    observer.proposal_ended(result(sentence=everything), 4.2)
    observer.cycle_ended("c-1", CycleOutcome.STOPPED, 5.0, [result(sentence=everything)])
    found = lines()
    assert len(found) == 8
    assert_clean(json.dumps(found, ensure_ascii=False))
    assert_clean(json.dumps(found))
    assert [line["level"] for line in found[3:6]] == ["warning", "error", "error"]
    assert found[-1]["level"] == "error"
    assert {line["cycle"] for line in found} == {"c-1"}


@pytest.mark.parametrize("name", CANARIES)
def test_a_canary_in_any_part_of_an_event_is_hidden(lines: Lines, name: str) -> None:
    canary, logger = CANARIES[name], logging.getLogger("a.part")
    logger.info("plain " + canary)
    logger.info("given %s and %r", canary, {"k": canary})
    logger.info("fields", extra={"fields": {"deep": [{"er": canary}], canary: 1}})
    try:
        raise RpcUnavailable(f"no answer from {canary}") from ValueError(canary)
    except RpcUnavailable:
        logger.exception("failed")
    logger.warning("stack", stack_info=True)
    found = lines()
    assert len(found) == 5
    assert_clean(json.dumps(found))
    assert_clean(json.dumps(found, ensure_ascii=False))
    assert found[3]["error"] == "RpcUnavailable"
    assert "ValueError" in found[3]["trace"]


def test_a_defect_that_nobody_catches_is_a_redacted_line_too(lines: Lines) -> None:
    def defect() -> None:
        raise KeyError(PASSPHRASE)

    try:
        defect()
    except KeyError:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    thread = threading.Thread(target=defect, name="lane")
    thread.start()
    thread.join(timeout=60)
    found = lines()
    assert [line["error"] for line in found] == ["KeyError", "KeyError"]
    assert [line["level"] for line in found] == ["critical", "critical"]
    assert_clean(json.dumps(found))


def test_a_plain_log_is_redacted_as_well(lines: Lines) -> None:
    stream = io.StringIO()
    start_logging(redactor(), stream=stream, as_json=False)
    try:
        raise ValueError(MNEMONIC)
    except ValueError:
        logging.getLogger("a").exception("with %s", RPC)
    assert "https://rpc.example:8443/…" in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert_clean(stream.getvalue())


# --- redaction ----------------------------------------------------------------------------------------


def test_hashes_and_roots_stay_readable() -> None:
    text = f"0g:0x{'ab' * 32} settled in 0x{'cd' * 32}, account {ACCOUNT}, proposal 12"
    assert redactor().clean(text) == text


def test_the_key_of_an_account_in_use_is_known_without_being_told() -> None:
    bare = Redactor(accounts=[ACCOUNT.upper().replace("0X", "0x")])
    assert bare.clean(f"key=0x{KEY}; {KEY.upper()}") == f"key={HIDDEN}; {HIDDEN}"
    assert bare.clean("0" * 64) == "0" * 64
    assert bare.clean("f" * 64) == "f" * 64, "beyond the curve's order, so no key"
    longer = KEY + "00"
    assert bare.clean(longer) == longer, "a longer number is another number"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at https://rpc.example/", "at https://rpc.example"),
        ("at https://rpc.example/v3/abc", "at https://rpc.example/…"),
        ("at wss://a:b@rpc.example:1/", "at wss://rpc.example:1/…"),
        ("(http://[::1]:8545/?k=v)", "(http://[::1]:8545/…"),
        ("no http://127.0.0.1:9 here", "no http://127.0.0.1:9 here"),
        ("http://127.0.0.1:9: in use", "http://127.0.0.1:9: in use"),
        ("https://rpc.example, https://b:9.", "https://rpc.example, https://b:9."),
        ("bad http://[oops/ end", f"bad {HIDDEN} end"),
    ],
)
def test_addresses_keep_scheme_host_and_port_alone(text: str, expected: str) -> None:
    assert Redactor().clean(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcDEF123", "password=abcDEF123", '"passphrase": "abcDEF123"',
        "PRIVATE_KEY=abcDEF123", "x-api-key: abcDEF123", "ETH_PASSWORD=abcDEF123", "Cookie: abcDEF123",
        "authorization: Basic abcDEF123", "client_secret='abcDEF123'",
    ],
)  # fmt: skip
def test_what_is_called_a_credential_is_hidden(text: str) -> None:
    shown = Redactor().clean(text)
    assert "abcDEF123" not in shown
    assert HIDDEN in shown


def test_a_short_password_of_an_endpoint_is_hidden_where_it_stands_alone() -> None:
    redactor = Redactor(addresses=["https://user:p%40ss1@rpc.example/rpc"])
    for text in ("user:p%40ss1@rpc.example is no address", "login with p@ss1 was refused"):
        assert "ss1" not in redactor.clean(text)
    assert redactor.clean("the rpc of a user") == "the rpc of a user"


def test_secret_variables_are_those_whose_names_say_so() -> None:
    environment = {
        "ETH_PASSWORD": "a passphrase", "AWS_SECRET_ACCESS_KEY": "0123456789", "PATH": "/usr/bin:/bin",
        "ETH_PASSWORD_FILE": "/run/passphrase", "GITHUB_TOKEN": "short", "HOME": "/home/somebody",
    }  # fmt: skip
    assert secret_variables(environment) == ["a passphrase", "0123456789"]


SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=4, max_size=40)


@given(
    secret=SECRETS.filter(lambda text: text.strip() == text and text not in HIDDEN),
    around=st.text(max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_a_named_secret_never_survives_wherever_it_stands(secret: str, around: str) -> None:
    shown = Redactor(secrets=[secret]).clean(around + secret + around)
    assert secret not in shown.replace(HIDDEN, "\0")


@given(text=st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_cleaning_never_fails_and_what_is_clean_stays_as_it_is(text: str) -> None:
    once = redactor().clean(text)
    assert redactor().clean(once) == once
