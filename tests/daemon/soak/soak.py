"""The soak: a month of a validator's life in minutes, with everything going wrong, against a reference model.

Simulated days with miners of every kind, several validators with keys of their own, a stranger who verifies
too, endpoints and storage that fail, sandboxes that break, processes that die, blocks that are reorganised.
Afterwards the world is calmed, every week runs out, and the ledger's story is compared with the model; guard,
journal and findings of every validator are compared with the ledger. See ``--help``.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import logging
import random
import resource
import sqlite3
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from eth_abi import decode
from eth_utils import to_checksum_address

import contracts_abi
from armlx_chain.chain.journal import State
from tests.daemon.soak.ledger import APPROVED, EXPIRED, EXPIRY_WINDOW, REJECTED, Addresses, Row
from tests.daemon.soak.miners import Miners, calldata
from tests.daemon.soak.model import Judgement, Model, Settled, Standard, Story
from tests.daemon.soak.node import Node
from tests.daemon.soak.storehouse import Storehouse
from tests.daemon.soak.timeline import Timeline
from tests.daemon.soak.validators import CONFIRMATIONS, Keeper, Rates, World

START = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0
WHERE = Addresses(*(to_checksum_address("0x" + part * 20) for part in ("a1", "a2", "a3", "a4")))
STRANGER = to_checksum_address("0x" + "5e" * 20)
CRANKER = to_checksum_address("0x" + "c7" * 20)
STORMY = Rates(chain=0.004, storage=0.02, sandbox=0.004, kill=0.0006, drain=0.001)
log = logging.getLogger(__name__)
GROWTH_BYTES, GROWTH_PER_PROPOSAL = 2 << 20, 2 << 10
"""Memory of our packages may grow by so much between a third of the soak and its end, and by so much for each
validator and each proposal that the ledger holds more by then (the frontier keeps every record)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything.

    Attributes:
        days: Simulated days in which miners submit; nine more follow in which everything ends.
        per_day: Proposals a day, over all projects.
        poll: Seconds between a validator's passes.
        traced: Whether memory is traced by line, which takes time.
    """

    days: int = 30
    per_day: int = 100
    projects: int = 12
    validators: int = 3
    poll: float = 7200.0
    seed: int = 0
    rates: Rates = field(default_factory=lambda: STORMY)
    traced: bool = True


@dataclass
class Memory:
    """One day's end."""

    day: int
    ours: int
    resident: int
    proposals: int


@dataclass
class Report:
    """What happened and what is wrong."""

    plan: Plan
    tally: Counter[str]
    told: Counter[str]
    judgement: Judgement
    findings: list[str]
    memory: list[Memory]
    seconds: float
    proposals: int

    @property
    def is_clean(self) -> bool:
        return not (self.findings or self.judgement.findings)


class Soak:
    """One soak, from the empty world to the comparison."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.timeline = Timeline(START)
        self.node = Node(self.timeline.clock, WHERE)
        self.house = Storehouse(self.timeline.clock)
        self.world = World(self.timeline, self.node, self.house, folder, plan.seed)
        self.miners = Miners(self.node, self.house, seed=plan.seed, projects=plan.projects)
        self.keepers = [
            Keeper(self.world, n, endpoints=1 + 2 * (n % 2), poll=plan.poll, claim_first=n == 2)
            for n in range(plan.validators)
        ]
        accounts = {keeper.account.lower() for keeper in self.keepers}
        self.node.put("verifiers", frozenset({*accounts, STRANGER.lower()}))
        self._rng = random.Random(f"soak {plan.seed}")
        self._standards = {n: Standard(0, *_standard(self.miners, n)) for n in range(plan.projects)}
        self._memory: list[Memory] = []

    def run(self) -> Report:
        """All days, the calm after them, and the comparison."""
        started = time.monotonic()
        if self.plan.traced:
            tracemalloc.start()
        self._rates(self.plan.rates)
        self.timeline.spawn("miners", self._mine)
        self.timeline.spawn("weather", self._weather)
        self.timeline.spawn("stranger", self._verify_oneself)
        self.timeline.spawn("cranker", self._crank)
        for keeper in self.keepers:
            self.timeline.spawn(f"validator {keeper.number}", keeper.live, after=60.0 * keeper.number)
        with self.world.wired(), _quiet():
            for day in range(1, self.plan.days + 1):
                self.timeline.run_until(START + day * DAY)
                self._weigh(day)
            self._rates(Rates())
            for day in range(self.plan.days + 1, self.plan.days + 10):
                self.timeline.run_until(START + day * DAY)
                self._weigh(day)
            self.timeline.stop()
        tracemalloc.stop()
        return self._report(time.monotonic() - started)

    def _rates(self, rates: Rates) -> None:
        self.world.rates = rates
        for keeper in self.keepers:
            keeper.apply_rates()

    # -- who acts ------------------------------------------------------------------------------------------

    def _mine(self) -> None:
        number = 0
        while self.timeline.now < START + self.plan.days * DAY:
            self.timeline.sleep(self._rng.expovariate(self.plan.per_day / DAY))
            self.miners.submit(number)
            number += 1

    def _weather(self) -> None:
        """Reorganisations no deeper than the confirmations, pools that forget, blocks that stay empty."""
        while True:
            self.timeline.sleep(self._rng.expovariate(40 / DAY))
            if not self.world.rates.chain:
                continue
            kind = self._rng.choice(["reorganisation", "forgetful pool", "empty blocks"])
            if kind == "reorganisation":
                depth = self._rng.randint(1, CONFIRMATIONS)
                if self.node.reorganise(depth, keep=self._rng.random() < 0.5):
                    kind = "reorganisation with transactions"
            elif kind == "forgetful pool":
                self.node.forget()
            else:
                self.node.stall(self._rng.uniform(60, 600))
            self.world.tally[kind] += 1

    def _verify_oneself(self) -> None:
        """A stranger on the allow-list holds reviews, and rejects what he likes."""
        while True:
            self.timeline.sleep(self._rng.expovariate(4 / DAY))
            free = [n for n, row in self._open() if row.status == 0]
            if not free or not self.world.rates.chain:
                continue
            number = self._rng.choice(free)
            self._send(STRANGER, "claimReview", number)
            self.timeline.sleep(self._rng.uniform(60, 4 * HOUR))
            if self._rng.random() < 0.2:
                self._send(STRANGER, "reject", number, b"\x02" * 32)
                continue
            self.timeline.sleep(DAY)
            self._send(STRANGER, "releaseReview", number)

    def _crank(self) -> None:
        """Somebody expires whatever has had its week."""
        while True:
            self.timeline.sleep(2 * HOUR)
            for number, row in self._open():
                if self.timeline.now > row.submitted_at + EXPIRY_WINDOW + 60:
                    self._send(CRANKER, "expire", number)

    def _open(self) -> list[tuple[int, Row]]:
        self.node.advance()
        session = self.node.session()
        rows = ((n, session.row(n)) for n in range(session.get("proposals", 0)))
        return [(n, row) for n, row in rows if row.status < APPROVED]

    def _send(self, who: str, function: str, *arguments: object) -> None:
        self.node.send(who, WHERE.ledger, calldata(function, *arguments))

    # -- what is looked at ---------------------------------------------------------------------------------

    def _weigh(self, day: int) -> None:
        gc.collect()
        ours = 0
        if tracemalloc.is_tracing():
            only = [tracemalloc.Filter(True, f"*/{package}/*") for package in ("armlx_chain", "verifier")]
            found = tracemalloc.take_snapshot().filter_traces(only)
            ours = sum(entry.size for entry in found.statistics("filename"))
        resident = _resident()
        proposals = self.node.session().get("proposals", 0)
        self._memory.append(Memory(day, ours, resident, proposals))
        log.info(
            "day %d: %d proposals, ours %.1f MiB, resident %.0f MiB, %d findings",
            day, proposals, ours / 2**20, resident / 2**20, len(self.world.findings),
        )  # fmt: skip

    def _report(self, seconds: float) -> Report:
        session = self.node.session()
        count = session.get("proposals", 0)
        rows = {n: session.row(n) for n in range(count)}
        model = Model(
            truths={truth.evidence: truth for truth in self.miners.truths},
            ours={keeper.account for keeper in self.keepers},
            standards=self._standards,
            lost=self.world.lost,
            ended=int(START + (self.plan.days + 9) * DAY) - EXPIRY_WINDOW - int(6 * HOUR),
        )
        story = Story(rows, self._settled())
        findings = list(self.world.findings)
        findings += [f"{name} ended: {error!r}" for name, error in self.timeline.failures]
        findings += [text for keeper in self.keepers for text in books(keeper, story)]
        findings += self._growth()
        told: Counter[str] = Counter()
        for keeper in self.keepers:
            told.update(keeper.told)
        tally = self.world.tally + self.node.counts
        return Report(self.plan, tally, told, model.judge(story), findings, self._memory, seconds, count)

    def _settled(self) -> list[Settled]:
        """Every end, in the order of the chain."""
        topics = {
            contracts_abi.event_topic("ProposalLedger", name): (status, types)
            for name, status, types in (
                ("ProposalApproved", APPROVED, ["int256", "bytes32"]),
                ("ProposalRejected", REJECTED, ["bytes32"]),
                ("ProposalExpired", EXPIRED, []),
            )
        }
        found = []
        for number in sorted(self.node.blocks):
            for mined in self.node.blocks[number]:
                for _, event_topics, data in mined.events:
                    if event_topics[0] not in topics:
                        continue
                    status, types = topics[event_topics[0]]
                    score = decode(types, data)[0] if status == APPROVED else None
                    who = to_checksum_address(event_topics[2][-20:])
                    proposal = int.from_bytes(event_topics[1], "big")
                    found.append(Settled(proposal, status, who, score, self.node.time_of(number)))
        return found

    def _growth(self) -> list[str]:
        """Memory of our packages from a third of the soak to its end."""
        if not self._memory or not self._memory[-1].ours:
            return []
        early, late = self._memory[max(0, self.plan.days // 3 - 1)], self._memory[-1]
        more = (late.proposals - early.proposals) * self.plan.validators
        allowed = GROWTH_BYTES + GROWTH_PER_PROPOSAL * more
        grown = late.ours - early.ours
        return [f"memory grew by {grown} bytes, {allowed} are allowed"] if grown > allowed else []


def books(keeper: Keeper, story: Story) -> list[str]:
    """What guard, journal and findings of one validator say, against the ledger."""
    ours = [event for event in story.settled if event.who == keeper.account and event.status != EXPIRED]
    found: list[str] = []
    guard = _select(
        keeper.home / "guard.sqlite", "SELECT proposal_id, COUNT(*) FROM verdicts GROUP BY proposal_id"
    )
    found += [f"{keeper.account} signed {n} verdicts on proposal {p}" for p, n in guard if n != 1]
    missing = {event.proposal for event in ours} - {int(number) for number, _ in guard}
    found += [f"{keeper.account} settled {number} and its guard does not know" for number in sorted(missing)]
    keys = _select(
        keeper.home / "journal.sqlite",
        "SELECT key, COUNT(*) FROM attempt WHERE state = ? AND key NOT LIKE 'cancel/%' GROUP BY key",
        State.MINED.value,
    )
    found += [f"{keeper.account} did {key} {n} times" for key, n in keys if n != 1]
    settlements = sum(key.startswith(("approve/", "reject/")) for key, _ in keys)
    if settlements != len(ours):
        found.append(f"{keeper.account}: journal holds {settlements} settlements, ledger {len(ours)}")
    open_rows = _select(keeper.home / "journal.sqlite", "SELECT key FROM attempt WHERE state = 'signed'")
    found += [f"{keeper.account}: {key} is not finished" for (key,) in open_rows]
    settled = {
        int(number)
        for (number,) in _select(
            keeper.home / "findings.sqlite", "SELECT proposal FROM finding WHERE state = 'settled'"
        )
    }
    different = settled ^ {event.proposal for event in ours}
    found += [f"{keeper.account}: findings and ledger differ on {number}" for number in sorted(different)]
    return found


def _select(path: Path, query: str, *values: str) -> list[tuple[object, ...]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query, values).fetchall()


def _standard(miners: Miners, project: int) -> tuple[int, Decimal]:
    best = miners.best(project)
    return best.score, best.level


def _resident() -> int:
    try:
        fields = Path("/proc/self/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What validators say to people is not read here."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        del said
        yield


def soak(plan: Plan) -> Report:
    """Run one soak in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        return Soak(plan, Path(name)).run()


def summary(report: Report) -> str:
    """What happened, as text."""
    plan, judgement = report.plan, report.judgement
    told = ", ".join(f"{name} {count}" for name, count in sorted(report.told.items())) or "nothing"
    lines = [
        f"== {plan.days} simulated days and nine of calm, seed {plan.seed} ({report.seconds:.0f} s)",
        f"validators {plan.validators}, projects {plan.projects}, proposals {report.proposals}",
        *(f"  {name:<44} {count}" for name, count in sorted(report.tally.items())),
        f"processes ended and were started again, told: {told}",
        "how proposals ended:",
        *(f"  {name:<44} {count}" for name, count in sorted(judgement.ends.items())),
        "not as due, for a reason that the model knows:",
        *(f"  {name:<44} {count}" for name, count in sorted(judgement.excused.items())),
        "memory of our packages and of the process, at the end of a day (MiB):",
        *(
            f"  day {m.day:>3}  {m.ours / 2**20:8.1f} {m.resident / 2**20:8.0f}   {m.proposals} proposals"
            for m in report.memory[:: max(1, len(report.memory) // 13)]
        ),
        f"against the model          {len(judgement.findings)} findings",
        *(f"  {text}" for text in judgement.findings[:20]),
        f"otherwise                  {len(report.findings)} findings",
        *(f"  {text}" for text in report.findings[:20]),
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the soak; 1 if anything is not as the model says."""
    parser = argparse.ArgumentParser(
        prog="scripts/campaigns/soak", description=(__doc__ or "").split("\n\n")[0]
    )
    usual = Plan()
    parser.add_argument("--days", type=int, default=usual.days, help="simulated days [30]")
    parser.add_argument("--per-day", type=int, default=usual.per_day, help="proposals a day [100]")
    parser.add_argument("--projects", type=int, default=usual.projects, help="[12]")
    parser.add_argument("--validators", type=int, default=usual.validators, help="[3]")
    parser.add_argument("--poll", type=float, default=usual.poll, help="seconds between cycles [7200]")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--calm", action="store_true", help="nothing goes wrong")
    parser.add_argument("--untraced", action="store_true", help="memory is not traced, which is faster")
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    plan = Plan(
        days=given.days,
        per_day=given.per_day,
        projects=given.projects,
        validators=given.validators,
        poll=given.poll,
        seed=given.seed,
        rates=Rates() if given.calm else STORMY,
        traced=not given.untraced,
    )
    report = soak(plan)
    print(summary(report), flush=True)
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
