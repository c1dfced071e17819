"""One verdict per proposal and key, whatever happens in between."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from guard_processes import KEY, contender, dies_inside
from signing_examples import ATTESTATION, LEDGER, VALIDATOR, VALIDATOR_KEY

from armlx_chain.errors import EXIT_KEY, GuardRefused, SigningError
from armlx_chain.formats.typed import Domain
from armlx_chain.signing.eip712 import check_attestation_signature, guard_key, sign_attestation, sign_recorded
from armlx_chain.signing.guard import GuardKey, SingleSignGuard
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, ProposalId

pytestmark = pytest.mark.unit

SPAWN = multiprocessing.get_context("spawn")


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM verdicts").fetchone()[0])


def test_the_same_bytes_again_are_fine_and_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "guard.sqlite"
    for _ in range(2):
        SingleSignGuard(path).check_and_insert(KEY, b"approve")
    with pytest.raises(GuardRefused) as caught:
        SingleSignGuard(path).check_and_insert(KEY, b"reject")
    assert caught.value.exit_code == EXIT_KEY
    assert SingleSignGuard(path).recorded(KEY) == b"approve"
    assert rows(path) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, chain_id=16602),
        replace(KEY, genesis_hash=b"\2" * 32),
        replace(KEY, ledger=VALIDATOR),
        replace(KEY, proposal_id=ProposalId(2**256 - 1)),
        replace(KEY, signer=LEDGER),
    ],
)
def test_another_world_proposal_or_key_is_another_entry(tmp_path: Path, other: GuardKey) -> None:
    guard = SingleSignGuard(tmp_path / "guard.sqlite")
    guard.check_and_insert(KEY, b"approve")
    assert guard.recorded(other) is None
    guard.check_and_insert(other, b"reject")


def test_another_spelling_of_an_address_is_not_another_key(tmp_path: Path) -> None:
    guard = SingleSignGuard(tmp_path / "guard.sqlite")
    guard.check_and_insert(KEY, b"approve")
    lower = replace(KEY, ledger=Address(LEDGER.lower()), signer=Address(VALIDATOR.lower()))
    with pytest.raises(GuardRefused):
        guard.check_and_insert(lower, b"reject")


def test_the_record_is_private_and_written_through(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "guard.sqlite"
    SingleSignGuard(path).check_and_insert(KEY, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_of_eight_processes_exactly_one_may_sign(tmp_path: Path) -> None:
    path = tmp_path / "guard.sqlite"
    barrier, results = SPAWN.Barrier(8), SPAWN.Queue()
    workers = [SPAWN.Process(target=contender, args=(path, n, barrier, results)) for n in range(8)]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    signed = [what for kind, what in outcomes if kind == "signed"]
    refused = [what for kind, what in outcomes if kind == "refused"]
    assert len(signed) == 1
    assert len(refused) == 7
    assert all("Another verdict" in what for what in refused), refused
    assert SingleSignGuard(path).recorded(KEY) == b"verdict " + signed[0].encode()


def test_a_process_killed_inside_leaves_neither_lock_nor_entry(tmp_path: Path) -> None:
    path = tmp_path / "guard.sqlite"
    ready = SPAWN.Event()
    worker = SPAWN.Process(target=dies_inside, args=(path, ready))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    assert ready.is_set()
    SingleSignGuard(path).check_and_insert(KEY, b"approve")
    assert rows(path) == 1


def test_a_record_that_cannot_be_kept_refuses_the_signature(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is not a database, and it is longer than a header of one " * 40)
    (tmp_path / "folder").mkdir()
    SingleSignGuard(tmp_path / "future").check_and_insert(KEY, b"x")
    with closing(sqlite3.connect(tmp_path / "future")) as database:
        database.execute("PRAGMA user_version = 3")
    for name in ("text", "folder", "future", "text/below"):
        with pytest.raises(GuardRefused):
            SingleSignGuard(tmp_path / name).check_and_insert(KEY, b"x")


def test_a_guard_that_refuses_yields_no_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer.from_hex(VALIDATOR_KEY)
    used: list[bytes] = []
    genuine = Signer._sign_digest
    monkeypatch.setattr(
        Signer,
        "_sign_digest",
        lambda self, digest: used.append(digest) or genuine(self, digest),  # type: ignore[func-returns-value]
    )
    guard = SingleSignGuard(tmp_path / "guard.sqlite")
    first = sign_attestation(signer, guard, ATTESTATION)
    check_attestation_signature(first)
    assert sign_attestation(signer, guard, ATTESTATION) == first
    with pytest.raises(GuardRefused):
        sign_attestation(signer, guard, replace(ATTESTATION, decided_at=ATTESTATION.decided_at + 1))
    with pytest.raises(GuardRefused):
        sign_attestation(signer, SingleSignGuard(tmp_path), ATTESTATION)
    assert used == [ATTESTATION.digest()] * 2
    assert guard.recorded(guard_key(ATTESTATION)) == ATTESTATION.encode()


def test_the_verdict_is_on_record_before_the_key_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = SingleSignGuard(tmp_path / "guard.sqlite")

    def pulled_plug(self: Signer, digest: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Signer, "_sign_digest", pulled_plug)
    with pytest.raises(KeyboardInterrupt):
        sign_attestation(Signer.from_hex(VALIDATOR_KEY), guard, ATTESTATION)
    assert guard.recorded(guard_key(ATTESTATION)) == ATTESTATION.encode()
    monkeypatch.undo()
    signer = Signer.from_hex(VALIDATOR_KEY)
    later = replace(ATTESTATION, decided_at=ATTESTATION.decided_at + 60)
    with pytest.raises(GuardRefused):
        sign_attestation(signer, guard, later)
    resumed = sign_recorded(signer, guard, guard_key(later))
    assert resumed is not None
    assert resumed.attestation == ATTESTATION
    check_attestation_signature(resumed)
    assert sign_recorded(signer, guard, replace(guard_key(later), proposal_id=ProposalId(9))) is None


def test_a_verdict_is_signed_only_by_the_validator_it_names(tmp_path: Path) -> None:
    guard = SingleSignGuard(tmp_path / "guard.sqlite")
    stranger = Signer.from_hex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
    with pytest.raises(SigningError):
        sign_attestation(stranger, guard, ATTESTATION)
    assert guard.recorded(guard_key(ATTESTATION)) is None


def test_a_restarted_local_chain_is_another_world(tmp_path: Path) -> None:
    signer, guard = Signer.from_hex(VALIDATOR_KEY), SingleSignGuard(tmp_path / "guard.sqlite")
    sign_attestation(signer, guard, ATTESTATION)
    sign_attestation(signer, guard, replace(ATTESTATION, genesis_hash=b"\2" * 32, decided_at=5))
    sign_attestation(signer, guard, replace(ATTESTATION, domain=Domain(16602, LEDGER), decided_at=5))
