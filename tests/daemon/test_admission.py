"""What a validator does not run: its own signed policy, and machine time that nobody gets for nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlx_chain.chain.contracts import Project, Proposal, Status
from armlx_chain.chain.frontier import Frontier
from armlx_chain.chain.portfolio import Holding
from armlx_chain.chain.rpc import Block
from armlx_chain.errors import ContractRevert, CurveOverflow, UsageError
from armlx_chain.formats.policy import PARTS_PER_MILLION, Policy, SignedPolicy
from armlx_chain.formats.typed import Domain
from armlx_chain.market.curve import Curve
from armlx_chain.market.state import MarketState
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, BlockNumber, ProjectId, ProposalId, ScaledScore, Tokens, Wei
from verifier.daemon.admission import Admission, PassedOver, open_before, own_policy, unlimited
from verifier.daemon.housekeeping import Chores, Housekeeper, Readings
from verifier.daemon.rejections import Rejections
from verifier.daemon.store import FindingStore
from verifier.daemon.usage import DAY_SECONDS, UNKNOWN_RUN_SECONDS, USAGE_TABLES, Meter, Usage, day_of
from verifier.model import Role
from verifier.session import Progress
from verifier.simulate import record

pytestmark = pytest.mark.unit

SIGNER, OTHER = Signer.from_hex("0x" + "11" * 32), Signer.from_hex("0x" + "22" * 32)
LEDGER = Address("0x" + "00" * 19 + "07")
DOMAIN = Domain(31337, LEDGER)
MINER, RIVAL = Address("0x" + "00" * 19 + "0a"), Address("0x" + "00" * 19 + "0b")
PROJECT = Project(
    ProjectId(0), b"", b"", b"", ScaledScore(-9), b"", b"", ScaledScore(-9), b"", MINER, MINER, MINER, 0
)


def policy(**stated: Any) -> Policy:
    return replace(unlimited(DOMAIN, SIGNER.address), issued_at=1000, **stated)


def proposal(number: int = 5, *, stake: int = 10, miner: Address = MINER, **stated: Any) -> Proposal:
    made = Proposal(
        id=ProposalId(number),
        project_id=ProjectId(0),
        miner=miner,
        reward_recipient=miner,
        code_hash=b"\1" * 32,
        evidence_hash=b"\2" * 32,
        metrics_hash=bytes(32),
        claimed_score=ScaledScore(1),
        verified_score=ScaledScore(0),
        stake=Tokens(stake),
        submitted_at=1000,
        review_lock_until=0,
        reviewer=Address("0x" + "00" * 20),
        status=Status.SUBMITTED,
    )
    return replace(made, **stated)


def write(path: Path, stated: Policy, signer: Signer = SIGNER) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(SignedPolicy(stated, signer.sign_typed_data(stated.typed_data())).encode())


@pytest.fixture
def store(tmp_path: Path) -> FindingStore:
    return FindingStore(tmp_path / "findings.sqlite", chain="1:aa", ledger=LEDGER, account=SIGNER.address)


def refusal(
    stated: Policy, *, stake: int = 10, supply: int = 100, before: int = 0, used: int = 0
) -> str | None:
    return Admission(stated).refusal(
        proposal(stake=stake), PROJECT, supply=supply, open_before=before, used_seconds=used
    )


# --- the policy's figures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "allowed", "refused", "words"),
    [
        ({"minimum_stake": Tokens(10)}, {"stake": 10}, {"stake": 9}, "at least 10"),
        ({"largest_stake_ppm": 100_000}, {"stake": 10}, {"stake": 11}, "at most 10"),
        ({"open_proposals": 3}, {"before": 2}, {"before": 3}, "3 open proposals"),
        ({"machine_seconds": 600}, {"used": 599}, {"used": 600}, "600 s of machine time"),
    ],
    ids=["stake", "share", "open", "time"],
)
def test_each_limit_of_the_policy_turns_away_exactly_what_is_beyond_it(
    limit: dict[str, Any], allowed: dict[str, int], refused: dict[str, int], words: str
) -> None:
    assert refusal(policy(**limit), **allowed) is None
    sentence = refusal(policy(**limit), **refused)
    assert sentence is not None
    assert words in sentence
    assert "published policy" in sentence


def test_without_a_policy_nobody_is_turned_away() -> None:
    assert refusal(unlimited(DOMAIN, SIGNER.address), stake=1, supply=1, before=10**6, used=10**9) is None


def test_all_reasons_are_told_at_once_and_that_it_was_passed_over_is_kept(
    store: FindingStore, tmp_path: Path
) -> None:
    passed_over = PassedOver(store.database, store.where)
    strict = policy(minimum_stake=Tokens(50), machine_seconds=60)
    sentence = Admission(strict, passed_over).refusal(
        proposal(), PROJECT, supply=100, open_before=0, used_seconds=60
    )
    assert sentence is not None
    assert "at least 50" in sentence
    assert "60 s today" in sentence
    again = FindingStore(tmp_path / "findings.sqlite", chain="1:aa", ledger=LEDGER, account=SIGNER.address)
    assert PassedOver(again.database, again.where).find(5) == sentence
    other = FindingStore(tmp_path / "findings.sqlite", chain="1:aa", ledger=LEDGER, account=OTHER.address)
    assert PassedOver(other.database, other.where).find(5) is None, "another key had nothing to do with it"


def test_only_open_proposals_of_the_same_miner_and_project_with_a_smaller_id_count() -> None:
    others = [
        proposal(1),
        proposal(2, status=Status.REVIEWING),
        proposal(3, miner=RIVAL),
        proposal(4, status=Status.EXPIRED),
        proposal(5),
        proposal(6),
        proposal(0, project_id=ProjectId(1)),
    ]
    assert open_before(proposal(5), others) == 2


@settings(deadline=None, max_examples=50)
@given(
    budget=st.integers(1, 10_000),
    used=st.integers(0, 20_000),
    pair=st.floats(0.5, 5_000),
    most=st.integers(1, 24),
)
def test_a_day_is_exceeded_by_one_pair_at_most_and_no_project_starves(
    budget: int, used: int, pair: float, most: int
) -> None:
    pairs = Admission(policy(machine_seconds=budget)).pairs_left(used, pair_seconds=pair, most=most)
    assert 0 <= pairs <= most
    assert (pairs == 0) == (used >= budget)
    assert used + (pairs - 1) * pair <= budget or pairs == 0


def test_a_pair_of_unknown_length_is_not_rationed_and_no_limit_means_none() -> None:
    limited = Admission(policy(machine_seconds=100))
    assert limited.pairs_left(99, pair_seconds=None, most=8) == 8
    assert Admission(policy()).pairs_left(10**9, pair_seconds=100.0, most=8) == 8


# --- whose policy -------------------------------------------------------------------------------------


def test_the_policy_that_this_account_signed_last_for_this_ledger_counts(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    write(folder / "old.json", policy(minimum_stake=Tokens(2)))
    write(folder / "new.json", replace(policy(minimum_stake=Tokens(7)), issued_at=2000))
    theirs = replace(policy(minimum_stake=Tokens(99)), validator=OTHER.address, issued_at=3000)
    write(folder / "theirs.json", theirs, OTHER)
    write(folder / "elsewhere.json", replace(policy(), domain=Domain(1, LEDGER), issued_at=4000))
    (folder / "broken.json").write_bytes(b"{}")
    assert own_policy(folder, DOMAIN, SIGNER.address).minimum_stake == 7
    assert own_policy(tmp_path / "none", DOMAIN, SIGNER.address) == unlimited(DOMAIN, SIGNER.address)


def forged() -> bytes:
    return SignedPolicy(policy(), OTHER.sign_typed_data(policy().typed_data())).encode()


def of_another() -> bytes:
    theirs = replace(policy(), validator=OTHER.address)
    return SignedPolicy(theirs, OTHER.sign_typed_data(theirs.typed_data())).encode()


def of_another_chain() -> bytes:
    there = replace(policy(), domain=Domain(1, LEDGER))
    return SignedPolicy(there, SIGNER.sign_typed_data(there.typed_data())).encode()


@pytest.mark.parametrize(
    "content", [lambda: b"{}", lambda: b"\xff" * 20_000, forged, of_another, of_another_chain]
)
@pytest.mark.parametrize("named", [False, True], ids=["own.json", "--policy"])
def test_an_operator_who_wrote_a_policy_never_runs_without_it(
    tmp_path: Path, content: Any, named: bool
) -> None:
    path = tmp_path / "policies" / ("mine.json" if named else "own.json")
    path.parent.mkdir()
    path.write_bytes(content())
    with pytest.raises(UsageError):
        own_policy(tmp_path / "policies", DOMAIN, SIGNER.address, stated=path if named else None)


@pytest.mark.parametrize("name", ["new.json", "own.json"])
def test_a_named_policy_wins_over_the_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "policies" / name, replace(policy(minimum_stake=Tokens(7)), issued_at=2000))
    write(tmp_path / "mine.json", policy(minimum_stake=Tokens(3)))
    stated = own_policy(tmp_path / "policies", DOMAIN, SIGNER.address, stated=tmp_path / "mine.json")
    assert stated.minimum_stake == 3


# --- machine time -------------------------------------------------------------------------------------


class Clock:
    def __init__(self, now: float = 10 * DAY_SECONDS) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def starts(role: Role = Role.CONTROL) -> Progress:
    return Progress("starts", 1, role)


def ended(role: Role = Role.CONTROL) -> Progress:
    return Progress("ended", 1, role, record(role))


def test_a_run_is_charged_before_it_starts_and_corrected_when_it_ended(store: FindingStore) -> None:
    usage, clock = Usage(store.database, store.where), Clock()
    with usage.session(7, lane="here", now=clock, run_seconds=300) as meter:
        meter(Progress("a word before", 1))
        assert usage.used(7, 10) == 0
        meter(starts())
        assert usage.used(7, 10) == 300
        clock.now += 40
        meter(ended())
        assert usage.used(7, 10) == 40
        meter(starts(Role.CANDIDATE))
        clock.now += 400
        assert usage.used(7, 10) == 340
    assert usage.used(7, 10) == 440, "broken off: what it took until then"
    assert usage.by_project(10) == {7: 440}


def test_a_killed_process_leaves_its_run_charged_and_the_next_one_does_not_undo_that(tmp_path: Path) -> None:
    def opened() -> Usage:
        path = tmp_path / "findings.sqlite"
        again = FindingStore(path, chain="1:aa", ledger=LEDGER, account=SIGNER.address)
        return Usage(again.database, again.where)

    clock = Clock()
    for kills in range(1, 4):
        meter = Meter(opened(), 7, "here", clock, 300)
        clock.now += 1
        meter(starts())  # and never ends: the machine went down
        assert opened().used(7, 10) == 300 * kills
    opened().begin(8, lane="here", day=10, expected=50)
    assert (opened().used(7, 10), opened().used(8, 10)) == (900, 50)
    assert opened().by_project(10) == {7: 900, 8: 50}


def test_a_run_belongs_to_the_day_on_which_it_began(store: FindingStore) -> None:
    usage, clock = Usage(store.database, store.where), Clock(11 * DAY_SECONDS - 10)
    with usage.session(7, lane="here", now=clock, run_seconds=None) as meter:
        meter(starts())
        assert usage.used(7, 10) == UNKNOWN_RUN_SECONDS
        clock.now += 60
        meter(ended())
    assert (usage.used(7, 10), usage.used(7, 11)) == (60, 0)
    assert (day_of(86_399.9), day_of(86_400)) == (0, 1)


def test_a_calibration_is_charged_also_where_it_fails(store: FindingStore) -> None:
    usage, clock = Usage(store.database, store.where), Clock()
    with pytest.raises(KeyError), usage.spending(7, lane="here", now=clock, expected=None):
        assert usage.used(7, 10) == UNKNOWN_RUN_SECONDS
        clock.now += 25
        raise KeyError
    assert usage.used(7, 10) == 25


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "settle", "charge"]),
        st.integers(0, 1),  # lane
        st.integers(0, 1),  # project
        st.integers(0, 1),  # day
        st.integers(0, 500),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=50)
@given(actions=ACTIONS)
def test_no_order_of_events_loses_or_doubles_machine_time(
    actions: list[tuple[str, int, int, int, int]],
) -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(";".join(USAGE_TABLES))
    usage = Usage(database, ("1:aa", LEDGER, SIGNER.address))
    spent: dict[tuple[int, int], int] = {}
    under_way: dict[int, tuple[int, int, int]] = {}

    def add(project: int, day: int, seconds: int) -> None:
        spent[project, day] = spent.get((project, day), 0) + seconds

    for what, lane, project, day, seconds in actions:
        if what == "charge":
            usage.charge(project, day=day, seconds=seconds)
            add(project, day, seconds)
        elif what == "begin":
            usage.begin(project, lane=f"lane {lane}", day=day, expected=seconds)
            if lane in under_way:
                add(*under_way[lane])
            under_way[lane] = (project, day, seconds)
        else:
            usage.settle(f"lane {lane}", seconds)
            if lane in under_way:
                add(*under_way.pop(lane)[:2], seconds)
    for which in under_way.values():
        add(*which)
    for project in (0, 1):
        for day in (0, 1):
            assert usage.used(project, day) == spent.get((project, day), 0)
    database.close()


def test_a_share_is_of_the_whole_supply() -> None:
    assert refusal(policy(largest_stake_ppm=PARTS_PER_MILLION), stake=100, supply=100) is None
    assert refusal(policy(largest_stake_ppm=PARTS_PER_MILLION), stake=101, supply=100) is not None


# --- chores against strangers' projects ---------------------------------------------------------------


def test_a_project_whose_price_overflows_or_reverts_keeps_nobody_from_the_other_chores(
    store: FindingStore,
) -> None:
    sent: list[str] = []

    class Sender:
        """Refuses whatever it is given, as a ledger does that changed in the meantime."""

        address = SIGNER.address

        def execute(self, intent: Any) -> Any:
            sent.append(intent.what)
            raise ContractRevert("NothingToClaim")

    def market(project_id: ProjectId) -> MarketState:
        if project_id == 0:
            raise CurveOverflow("b + s·x leaves 256 bits")
        if project_id == 1:
            raise ContractRevert("Panic(0x11)")
        curve = Curve(Wei(10**15), Wei(10**12))
        return MarketState(
            project_id, LEDGER, "T", "T", curve, Tokens(100), Wei(10**18), Tokens(9), Tokens(0)
        )

    settler = SimpleNamespace(account=SIGNER.address)
    ledger = SimpleNamespace(address=LEDGER, encode=lambda *_: b"")
    frontier = Frontier(Block(BlockNumber(1), b"", 0), {}, {})
    holdings = [Holding(ProjectId(n), Tokens(0), Tokens(50), Tokens(0)) for n in range(3)]
    keeper = Housekeeper(
        ledger=ledger,  # type: ignore[arg-type]
        readings=Readings(lambda: frontier, lambda _: holdings, market, lambda: 10**9),
        settler=settler,  # type: ignore[arg-type]
        sender=Sender(),  # type: ignore[arg-type]
        store=store,
        passed_over=PassedOver(store.database, store.where),
        rejections=Rejections(store.database, store.where, now=Clock()),
        chores=Chores(),
        may_send=lambda: True,
        signed=lambda _: False,
    )
    (sentence,) = keeper.run(1000)
    assert sentence.startswith("not done: collected 50 tokens credited in project 2")
    assert sent == ["collecting the credit in project 2"]
    assert keeper.run(1001) == [], "credits are looked at once an hour"
    assert len(keeper.run(1000 + 3600)) == 1
