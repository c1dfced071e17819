"""How packs are kept beside a report, and what goes into them from a worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from armlx_chain.errors import FormatError, VerifierFault
from armlx_chain.formats.verdictpack import VerdictPack
from tests.daemon.verdicts import Desk
from verifier.executors.jobs import Facts
from verifier.hardware import EnvironmentFacts

pytestmark = pytest.mark.unit


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def test_the_same_verdict_leaves_the_same_bytes(desk: Desk) -> None:
    verdict, papers, bench = desk.judged(0.1)
    desk.noted(verdict, papers, bench)
    first = desk.pack()
    desk.noted(verdict, papers, bench)
    assert desk.pack() == first


def test_signing_changes_the_attestation_beside_the_bundle_and_nothing_else(desk: Desk) -> None:
    verdict, papers, bench = desk.judged(0.1)
    noted = desk.noted(verdict, papers, bench)
    before = VerdictPack.parse(desk.pack())
    draft = desk.draft(noted, papers, bench)
    desk.packs.attest(papers.proposal.id, draft.report, draft.attestation.encode())
    after = VerdictPack.parse(desk.pack())
    assert (after.report, after.bundle) == (before.report, before.bundle)
    assert after.report == draft.report
    assert (before.attestation, after.attestation) == (None, draft.attestation.encode())


def test_a_pack_of_another_report_is_not_published_for_this_one(desk: Desk) -> None:
    desk.signed()
    pack = desk.pack()
    assert desk.packs.attest(7, b"another report", b"{}") is None
    assert desk.packs.attest(8, b"no pack at all", b"{}") is None
    assert desk.pack() == pack


def test_a_disk_that_cannot_be_written_is_this_side_s_fault(desk: Desk, tmp_path: Path) -> None:
    verdict, papers, bench = desk.judged(0.1)
    blocked = replace(desk.packs, folder_of=lambda _: tmp_path / "file" / "below")
    (tmp_path / "file").write_text("in the way")
    desk.packs = blocked
    with pytest.raises(VerifierFault, match="cannot be written"):
        desk.noted(verdict, papers, bench)


def test_a_worker_s_environment_must_have_the_digest_that_it_states() -> None:
    facts = {"system": "worker", "python": "3.11"}
    digest = EnvironmentFacts(facts).digest
    told = Facts("0" * 16, "cpu", digest, 3.0, "", (), facts)
    assert Facts.read({**told.tree(), "notices": ()}) == told
    with pytest.raises(FormatError, match="digest"):
        Facts.read({**told.tree(), "notices": (), "facts": {**facts, "system": "other"}})
