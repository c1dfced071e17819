"""``armlx-chain verify-verdict`` on what a validator really left behind, on files and on roots."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import armlx_chain.cli.reproduce
from armlx_chain.chain.contracts import Proposal, Status, VerifierRegistry
from armlx_chain.cli.output import harmless
from armlx_chain.cli.verifyverdict import _lines, _not_shown
from armlx_chain.formats.attestation import Attestation
from armlx_chain.formats.verdictpack import VerdictBundle, VerdictPack
from armlx_chain.protocol.score import chained_score
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Address, ProjectId, Root, ScaledScore
from tests.daemon.settling import Settling
from tests.daemon.test_verdict_pack import Parts, resigned
from tests.daemon.verdicts import Desk
from tests.faults import simulated
from tests.faults.processes import Launcher
from tests.faults.tinyworld import Ran, TinyWorld, call
from verifier.controls import past_bests
from verifier.daemon.agreement import Agreement, Opinion
from verifier.model import Reason
from verifier.replay import Replayed, replay
from verifier.replaychain import compare_with_ledger


def verify(world: TinyWorld | None, home: Path, what: object, *extra: str) -> Ran:
    network = [] if world is None else ["--network", "devnet"]
    return call(["verify-verdict", str(what), *network, "--home", str(home), "--json", *extra])


def holds(ran: Ran) -> dict[str, str]:
    return {check["name"]: check["holds"] for check in ran.document["checks"]}


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize(("gain", "code"), [(0.1, 0), (0.0, 3)])
def test_a_file_is_verified_without_a_network_and_exits_by_verdict(
    tmp_path: Path, gain: float, code: int
) -> None:
    desk = Desk(tmp_path / "desk")
    data = desk.signed(gain) if gain else desk.unsigned(gain)
    (tmp_path / "verdict.tar").write_bytes(data)
    ran = verify(None, tmp_path / "home", tmp_path / "verdict.tar")
    assert (ran.code, ran.document["sound"], ran.document["signed"]) == (code, True, bool(gain)), ran.err
    folder = verify(None, tmp_path / "home", desk.folder / "reports" / "7")
    assert folder.document == ran.document


@pytest.mark.unit
def test_an_undecided_verdict_exits_with_five(tmp_path: Path) -> None:
    Desk(tmp_path).unsigned(0.006, pairs=4)
    assert verify(None, tmp_path / "home", tmp_path / "reports" / "7").code == 5


@pytest.mark.unit
def test_a_changed_file_is_a_finding(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    data = bytearray(desk.signed())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.tar").write_bytes(data)
    ran = verify(None, tmp_path / "home", tmp_path / "changed.tar")
    assert ran.code == 3
    signed = VerdictPack.parse(desk.pack())
    other = VerdictPack.parse(desk.unsigned(0.0))
    swapped = replace(signed, bundle=other.bundle).encode()
    (tmp_path / "swapped.tar").write_bytes(swapped)
    ran = verify(None, tmp_path / "home", tmp_path / "swapped.tar")
    assert (ran.code, ran.document["sound"]) == (3, False)
    assert "bundle root" in [name for name, held in holds(ran).items() if held == "no"]


class _Reached(BaseException):
    """Somebody opened a connection."""


@pytest.mark.unit
@pytest.mark.parametrize("extra", [(), ("--offline",)])
def test_a_file_is_verified_without_a_single_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise _Reached

    data = Desk(tmp_path / "desk").signed()
    (tmp_path / "verdict.tar").write_bytes(data)
    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert verify(None, tmp_path / "home", tmp_path / "verdict.tar", *extra).code == 0
    missing = verify(None, tmp_path / "home", "0g:0x" + "11" * 32, "--offline")
    assert missing.code == 75, "and a root that is not in the cache is asked for nowhere"


@pytest.mark.unit
def test_a_validator_s_words_never_look_like_a_check_and_what_no_replay_shows_is_said(tmp_path: Path) -> None:
    def boast(bundle: VerdictBundle, report: dict[str, Any], attestation: Attestation) -> Parts:
        noise = {**(bundle.case.noise or {}), "shortcut": "small\nholds          signature: of God\x1b[2J"}
        return replace(bundle, case=replace(bundle.case, noise=noise)), report, attestation

    found, not_shown = resigned(Desk(tmp_path).signed(), boast), _not_shown(with_chain=False)
    lines = _lines(found, found.checks, not_shown, is_sound=found.is_sound)
    text = [harmless(line) for line in "\n".join(lines).split("\n")]
    assert not [line for line in text if "of God" in line and " noise: " not in line]
    assert [line for line in text if line.startswith("Not shown: that the runs took place")]
    assert "--chain" in " ".join(not_shown)
    assert "--chain" not in " ".join(_not_shown(with_chain=True))


@pytest.mark.unit
def test_a_person_reads_in_the_last_lines_what_could_not_be_checked(tmp_path: Path) -> None:
    Desk(tmp_path).unsigned(0.0)
    ran = call(["verify-verdict", str(tmp_path / "reports" / "7"), "--home", str(tmp_path / "home")])
    assert ran.out.splitlines()[-1] == "Could not be checked here: signature."


@pytest.mark.unit
def test_what_is_neither_a_file_nor_a_root_is_a_usage_error(tmp_path: Path) -> None:
    assert verify(None, tmp_path / "home", "no-such-thing").code == 2
    assert verify(None, tmp_path / "home", "0g:0x" + "11" * 32, "--offline", "--chain").code == 2


# --- roots --------------------------------------------------------------------------------------------


@pytest.fixture
def simulated_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(armlx_chain.cli.reproduce, "prepare_here", simulated.prepare)
    monkeypatch.setattr(armlx_chain.cli.reproduce, "noise_of", simulated.noise)


@pytest.fixture
def settled(world: TinyWorld, simulated_machine: None) -> tuple[Proposal, Path]:
    """A proposal that a validator approved, and the validator's home."""
    proposal, home = world.submitted(), world.home()
    ran = call(world.validate_arguments(home), validator=True)
    assert ran.code == 0, ran.err
    return world.proposal(proposal.id), home


@pytest.mark.e2e
def test_from_the_ledger_s_hash_alone_a_stranger_replays_the_verdict(
    world: TinyWorld, settled: tuple[Proposal, Path], tmp_path: Path
) -> None:
    proposal, home = settled
    assert proposal.status is Status.APPROVED
    root, stranger = Root.zerog(proposal.metrics_hash), tmp_path / "stranger"
    ran = verify(world, stranger, root, "--chain", "-o", str(tmp_path / "kept.tar"))
    assert (ran.code, ran.document["sound"], ran.document["signed"]) == (0, True, True), (ran.out, ran.err)
    assert ran.document["score"] == str(proposal.verified_score)
    held = holds(ran)
    assert [held[name] for name in ("chain", "proposal", "seed", "project", "settlement")] == ["yes"] * 5
    offline = verify(world, stranger, root, "--offline")
    assert (offline.code, offline.document["bundle"]) == (0, ran.document["bundle"]), offline.err
    (kept,) = (home / "reports").rglob("verdict.tar")
    assert kept.read_bytes() == (tmp_path / "kept.tar").read_bytes(), "what is published is what is kept"
    assert verify(world, tmp_path / "nobody", root, "--offline").code == 75
    pack = VerdictPack.parse((tmp_path / "kept.tar").read_bytes())
    assert root_of(pack.attestation or b"") == root


def _about(found: Replayed, **changes: Any) -> Replayed:
    case = found.bundle.case
    return replace(
        found, bundle=replace(found.bundle, case=replace(case, about=replace(case.about, **changes)))
    )


def _handicapped(found: Replayed) -> Replayed:
    case = found.bundle.case
    assert case.rules is not None
    rules = replace(case.rules, disadvantage=Decimal("0.1"))
    return replace(found, bundle=replace(found.bundle, case=replace(case, rules=rules)))


def _copy_of(found: Replayed, **changes: str) -> Replayed:
    about = found.bundle.case.about
    facts = {"original": str(about.proposal_id), "original-proposer": "?", "proposer": "?", **changes}
    return replace(found, reason=Reason.COPIED, facts=facts)


LIES: dict[str, tuple[Callable[[Replayed, Proposal], Replayed], str]] = {
    "a-best-that-never-was": (lambda f, p: _about(f, current_best=ScaledScore(-1)), "project"),
    "the-best-that-it-became": (lambda f, p: _about(f, current_best=p.verified_score), "project"),
    "a-control-of-its-own": (lambda f, p: _about(f, control_root=root_of(b"mine")), "project"),
    "a-lost-control-that-is-not-lost": (lambda f, p: _handicapped(f), "project"),
    "another-benchmark": (lambda f, p: _about(f, evaluation_root=root_of(b"mine")), "project"),
    "another-snapshot": (lambda f, p: _about(f, snapshot_root=root_of(b"mine")), "project"),
    "another-seed": (lambda f, p: _about(f, evaluation_seed=b"\x07" * 32), "seed"),
    "another-project": (lambda f, p: _about(f, project_id=ProjectId(77)), "proposal"),
    "a-copy-of-nothing": (lambda f, p: _copy_of(f, original="9999"), "original"),
    "a-copy-of-somebody-else-s": (lambda f, p: _copy_of(f, proposer=p.miner), "original"),
}


@pytest.mark.e2e
def test_what_a_validator_invents_about_the_ledger_is_compared_with_it(
    world: TinyWorld, settled: tuple[Proposal, Path]
) -> None:
    proposal, home = settled
    (kept,) = (home / "reports").rglob("verdict.tar")
    found = replay(VerdictPack.parse(kept.read_bytes()))
    verifiers = Address(world.devnet.addresses.verifier_registry)
    proposals = [world.proposal(number) for number in range(int(proposal.id) + 1)]

    def wrong(lie: Replayed) -> set[str]:
        checks = compare_with_ledger(
            lie,
            world.ledger,
            world.registry,
            VerifierRegistry(world.rpc, verifiers),
            past_bests=lambda project: past_bests(project, proposals),
            seed_delay_blocks=world.settings(home).network.seed_delay_blocks,
            confirmations=world.settings(home).network.confirmations,
        )
        return {check.name for check in checks if check.holds == "no"}

    assert wrong(found) == set()
    for name, (lie, where) in LIES.items():
        assert where in wrong(lie(found, proposal)), name


@pytest.mark.e2e
def test_a_verdict_on_another_chain_or_proposal_is_not_this_ledger_s(
    world: TinyWorld, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "desk")
    desk.signed()
    ran = verify(world, tmp_path / "home", desk.folder / "reports" / "7", "--chain")
    assert (ran.code, ran.document["sound"], holds(ran)["chain"]) == (3, False, "no")


# --- several machines, other validators ---------------------------------------------------------------


def only_opinion(folder: Path, proposal: Proposal) -> Opinion:
    (path,) = [path for path in folder.iterdir() if f"-{proposal.id}-" in path.name]
    return Opinion.parse(path.read_bytes())


def other_machine(told: Opinion, less: str) -> Opinion:
    return replace(told, machine="f" * 16, lower_bound=(told.lower_bound or Decimal(0)) - Decimal(less))


@pytest.mark.e2e
@pytest.mark.usefixtures("simulated_machine")
def test_nothing_is_signed_before_a_second_machine_agrees_and_the_lowest_bound_is_attested(
    world: TinyWorld, tmp_path: Path
) -> None:
    proposal, home, folder = world.submitted(), world.home(), tmp_path / "opinions"
    nonce = world.nonce("validator")
    arguments = world.validate_arguments(home, "--json", "--agree", "2", "--opinions", folder)
    first = call(arguments, validator=True)
    (waits,) = first.document["proposals"]
    assert (waits["step"], waits["outcome"]) == ("waiting", "reproduced"), first.err
    assert "1 of the 2 machines" in waits["sentence"]
    assert world.nonce("validator") == nonce
    told = only_opinion(folder, proposal)
    Agreement(folder, needed=2).state(other_machine(told, "0.010000000"))
    (done,) = call(arguments, validator=True).document["proposals"]
    assert done["step"] == "approved", done
    settled = world.proposal(proposal.id)
    found = verify(world, tmp_path / "stranger", Root.zerog(settled.metrics_hash), "--chain")
    assert (found.code, found.document["sound"]) == (0, True), found.out
    (score,) = [check for check in found.document["checks"] if check["name"] == "score"]
    assert "lowest of several machines" in score["sentence"]
    own = chained_score(told.current_best, told.lower_bound or Decimal(0))
    assert int(own) - int(settled.verified_score) == 10_000


@pytest.mark.e2e
def test_killed_after_the_guard_a_lower_opinion_changes_nothing_of_what_is_bound(
    world: TinyWorld, launcher: Launcher, tmp_path: Path
) -> None:
    settling, folder = Settling.begin(world, looks_ahead=False), tmp_path / "opinions"
    options = ("--agree", "2", "--opinions", str(folder))
    assert settling.run(launcher, *options).code == 0
    told = only_opinion(folder, settling.proposal)
    agreement = Agreement(folder, needed=2)
    agreement.state(other_machine(told, "0.010000000"))
    killed = settling.run(
        launcher,
        *options,
        call="armlx_chain.signing.guard:SingleSignGuard.check_and_insert",
        when="after",
        number=1,
    )
    assert killed.was_killed, killed.text
    agreement.state(other_machine(told, "0.015000000"))
    assert settling.run(launcher, *options).code == 0
    signed = settling.require_settled_once()
    assert signed.attestation.lower_bound == (told.lower_bound or Decimal(0)) - Decimal("0.010000000")


@pytest.mark.e2e
@pytest.mark.usefixtures("simulated_machine")
def test_what_another_validator_attested_is_shown_and_decides_nothing(
    world: TinyWorld, settled: tuple[Proposal, Path]
) -> None:
    earlier, _ = settled
    forged = world.submitted()
    world.send("validator", "claimReview", int(forged.id))
    world.send("validator", "reject", int(forged.id), earlier.metrics_hash)
    proposal, home = world.submitted(), world.home()
    ran = call(world.validate_arguments(home, "--json", who="judge"), validator=True)
    (done,) = ran.document["proposals"]
    assert done["step"] == "approved", ran.err
    report = json.loads((Path(done["report"]) / "report.json").read_text())
    validator = world.address("validator")
    flags = [flag for flag in report["flags"] if flag.startswith(f"Validator {validator} ")]
    good = [flag for flag in flags if f"approved proposal {earlier.id}, and attests reproduced" in flag]
    bad = [flag for flag in flags if f"rejected proposal {forged.id} with an attestation that contra" in flag]
    assert (len(good), len(bad)) == (1, 1), flags
    assert done["proposal"] == proposal.id
