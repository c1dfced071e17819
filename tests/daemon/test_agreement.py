"""Opinions of one operator's machines: who is counted, what is signed, and what a folder cannot do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armlx_chain.errors import FormatError, UsageError, VerifierFault
from armlx_chain.types import Address, ProposalId, Root, ScaledScore
from tests.daemon.verdicts import BEST, CONTROL, DOMAIN, GENESIS, VALIDATOR, Desk
from verifier.daemon.agreement import Agreement, Opinion
from verifier.daemon.verdictpack import PackKeeper

pytestmark = pytest.mark.unit


def opinion(machine: int = 1, bound: str | None = "0.020000000") -> Opinion:
    return Opinion(
        domain=DOMAIN,
        genesis_hash=GENESIS,
        proposal_id=ProposalId(7),
        candidate_root=Root.zerog(b"\x07" * 32),
        control_root=CONTROL,
        current_best=BEST,
        rule_id="paired-sprt/2",
        outcome="reproduced",
        reason="improvement-confirmed",
        lower_bound=None if bound is None else Decimal(bound),
        machine=f"{machine:016x}",
        decided_at=1_795_000_000,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "opinions"


def test_one_machine_alone_signs_nothing_where_two_must_agree(folder: Path) -> None:
    agreement = Agreement(folder, needed=2)
    found = agreement.hindrance(opinion(1))
    assert found is not None
    assert "1 of the 2 machines" in found
    assert agreement.hindrance(opinion(1)) == found, "saying it twice makes no second machine"
    Agreement(folder, needed=2).state(opinion(2, "0.015000000"))
    assert agreement.hindrance(opinion(1)) is None
    assert agreement.lowest(opinion(1)) == Decimal("0.015")


DIFFERENT: dict[str, Callable[[Opinion], Opinion]] = {
    "candidate": lambda o: replace(o, candidate_root=Root.zerog(b"\x08" * 32)),
    "control": lambda o: replace(o, control_root=Root.zerog(b"\x09" * 32)),
    "best": lambda o: replace(o, current_best=ScaledScore(BEST + 1)),
    "genesis": lambda o: replace(o, genesis_hash=b"\x12" * 32),
    "rule": lambda o: replace(o, rule_id="paired-sprt/3"),
    "outcome": lambda o: replace(o, outcome="unimproved", reason="no-improvement"),
    "reason": lambda o: replace(o, reason="other"),
    "proposal": lambda o: replace(o, proposal_id=ProposalId(71)),
    "chain": lambda o: replace(o, domain=replace(DOMAIN, chain_id=1)),
    "ledger": lambda o: replace(o, domain=replace(DOMAIN, ledger=Address(VALIDATOR.address))),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_an_opinion_on_another_basis_or_with_another_finding_does_not_count(folder: Path, what: str) -> None:
    agreement = Agreement(folder, needed=2)
    agreement.state(DIFFERENT[what](opinion(2, "0.001000000")))
    found = agreement.hindrance(opinion(1))
    assert found is not None
    assert ("machine 0000000000000002 found" in found) == (what in ("outcome", "reason"))
    assert Agreement(folder, needed=1).lowest(opinion(1)) == Decimal("0.02"), "nor does its bound"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stated=st.lists(st.tuples(st.integers(2, 6), st.booleans(), st.integers(1, 30)), max_size=8),
    needed=st.integers(1, 5),
)
def test_exactly_the_machines_whose_last_word_agrees_are_counted(
    tmp_path_factory: pytest.TempPathFactory, stated: list[tuple[int, bool, int]], needed: int
) -> None:
    agreement = Agreement(tmp_path_factory.mktemp("opinions"), needed=needed)
    last: dict[int, tuple[bool, int]] = {}
    for machine, agrees, bound in stated:
        said = opinion(machine, f"0.{bound:03d}000000")
        agreement.state(said if agrees else DIFFERENT["outcome"](said))
        last[machine] = (agrees, bound)
    agreeing = [bound for agrees, bound in last.values() if agrees]
    is_enough = 1 + len(agreeing) >= needed
    assert (agreement.hindrance(opinion(1)) is None) == is_enough
    with contextlib.nullcontext() if is_enough else pytest.raises(VerifierFault):
        assert agreement.lowest(opinion(1)) == Decimal(min([20, *agreeing])) / 1000


def test_a_machine_that_changes_its_mind_before_the_signature_takes_its_bound_and_its_vote_along(
    folder: Path,
) -> None:
    agreement = Agreement(folder, needed=2)
    agreement.state(opinion(2, "0.015000000"))
    assert agreement.hindrance(opinion(1)) is None
    agreement.state(DIFFERENT["outcome"](opinion(2)))
    with pytest.raises(VerifierFault, match="does not any more"):
        agreement.lowest(opinion(1))


def test_what_is_no_opinion_is_passed_over(folder: Path, tmp_path: Path) -> None:
    agreement = Agreement(folder, needed=2)
    agreement.state(opinion(1))
    stem = f"{DOMAIN.chain_id}-{DOMAIN.ledger.lower()}-7-"
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(opinion(2).encode())
    (folder / f"{stem}{2:016x}.json").symlink_to(elsewhere)
    (folder / f"{stem}{3:016x}.json").write_bytes(opinion(4).encode())  # says it is another machine
    (folder / f"{stem}{5:016x}.json").write_bytes(opinion(5).encode() + b" ")
    (folder / f"{stem}{6:016x}.json").write_bytes(b"{" * 10_000)
    (folder / f"{stem}{8:016x}.json").mkdir()
    os.mkfifo(folder / f"{stem}{9:016x}.json")
    assert agreement.hindrance(opinion(1)) is not None


def test_an_own_opinion_that_was_deleted_is_stated_again(folder: Path) -> None:
    agreement = Agreement(folder, needed=2)
    agreement.state(opinion(2))
    assert agreement.hindrance(opinion(1)) is None
    for path in folder.iterdir():
        path.unlink()
    assert agreement.hindrance(opinion(1)) is not None
    assert [path.name[-6:] for path in folder.iterdir()] == ["1.json"]


def test_a_folder_that_everybody_can_write_into_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="Everybody"):
        Agreement(folder, needed=2)


def test_a_folder_that_is_gone_stops_the_signature_and_nothing_else(folder: Path) -> None:
    agreement = Agreement(folder, needed=1)
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(VerifierFault):
        agreement.hindrance(opinion(1))


def test_every_verdict_is_told_with_the_machine_that_measured(tmp_path: Path, folder: Path) -> None:
    desk = Desk(tmp_path / "desk")
    keeper: PackKeeper = replace(desk.packs, agreement=Agreement(folder, needed=1))
    desk.packs = keeper
    desk.unsigned(0.0)
    (path,) = folder.iterdir()
    told = Opinion.parse(path.read_bytes())
    assert (told.outcome, told.machine) == ("unimproved", "0123456789abcdef")
    verdict, papers, bench = desk.judged(0.1)
    noted = desk.noted(verdict, papers, bench)
    draft = desk.draft(noted, papers, bench)
    assert Opinion.of(draft.attestation, draft.report) == Opinion.parse(path.read_bytes())


def test_a_report_that_names_no_machine_gives_no_opinion(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    verdict, papers, bench = desk.judged(0.1)
    draft = desk.draft(verdict, papers, bench)
    with pytest.raises(FormatError, match="which machine"):
        Opinion.of(draft.attestation, draft.report)
