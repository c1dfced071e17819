"""Validators under test: the real daemon's parts, as the command wires them, in a world that fails.

Real: everything from the frontier to the guard, journal, findings and rule. Simulated: the network's
transport, the programs' scores, and time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import rlp  # type: ignore[import-untyped]
from eth_utils import keccak

from armlx_chain.chain.journal import Attempt
from armlx_chain.chain.pool import Policy
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import TxSender
from armlx_chain.cli.context import App
from armlx_chain.errors import ArmlxError, GuardRefused, VerifierFault, WrongChain
from armlx_chain.settings import Network, Settings
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, ProjectId
from tests.daemon.soak.node import CHAIN_ID, FaultyEndpoint, Node
from tests.daemon.soak.storehouse import Door, Storehouse, Uploads
from tests.daemon.soak.timeline import Timeline
from tests.faults import simulated
from tests.faults.schedules import Killed
from tests.faults.simchain import SimSigner
from verifier.daemon.building import Building, RunChoice, Talk, build
from verifier.daemon.drain import Drain
from verifier.daemon.gold import run_gold
from verifier.daemon.mode import Mode
from verifier.daemon.observer import Silent
from verifier.daemon.once import Surroundings
from verifier.daemon.results import Result, Step
from verifier.daemon.service import ServiceChoice
from verifier.daemon.timing import Pace
from verifier.environments.choice import PythonChoice
from verifier.judging import Prepared
from verifier.model import Role, RunRecord
from verifier.session import Runner

CONFIRMATIONS = 3
RUN_SECONDS = 30.0
NEVER = (GuardRefused, WrongChain)
"""What no fault of this world may ever bring about."""


@dataclass
class Rates:
    """How much goes wrong. Probabilities per occasion.

    Attributes:
        chain: Of each kind of fault, per request to an endpoint.
        storage: Of each kind of fault, per fetch or upload.
        sandbox: That a run breaks on this side.
        kill: That the process dies at a boundary: a transaction's step, a fetch, a run.
        drain: That it is told to stop, during a run.
    """

    chain: float = 0.0
    storage: float = 0.0
    sandbox: float = 0.0
    kill: float = 0.0
    drain: float = 0.0


class World:
    """Everything that validators share.

    Attributes:
        tally: What was done to them, and how often.
        lost: How many pairs of a proposal each validator lost, by account and proposal.
        findings: What must not happen and did.
    """

    def __init__(self, timeline: Timeline, node: Node, house: Storehouse, folder: Path, seed: int) -> None:
        self.timeline = timeline
        self.node = node
        self.house = house
        self.folder = folder
        self.seed = seed
        self.rates = Rates()
        self.tally: Counter[str] = Counter()
        self.lost: Counter[tuple[str, int]] = Counter()
        self.findings: list[str] = []
        self.keepers: dict[Path, Keeper] = {}

    @contextmanager
    def wired(self) -> Iterator[None]:
        """The command's wiring finds this world for the block."""
        clock = self.timeline.clock
        with ExitStack() as patches:
            for target, stand_in in (
                ("armlx_chain.cli.reproduce.prepare_here", self._prepare),
                ("armlx_chain.cli.reproduce.noise_of", simulated.noise),
                ("armlx_chain.cli.reproduce.show_progress", lambda _: None),
                ("armlx_chain.cli.wiring.make_publisher", self._publisher),
                ("armlx_chain.storage.fetch.open_storage", self._storage),
                ("verifier.daemon.building.time", SimpleNamespace(time=clock, monotonic=clock)),
                ("verifier.daemon.building.random", random_of(self.seed)),
                ("verifier.daemon.building.Surroundings", partial(Surroundings, wall=clock, steady=clock)),
                ("verifier.daemon.drain.Drain.rest", lambda drain, seconds: self._rest(drain, seconds)),
            ):
                patches.enter_context(patch(target, stand_in))
            yield

    def _rest(self, drain: Drain, seconds: float) -> bool:
        """In place of waiting for a signal."""
        if not drain.is_asked:
            self.timeline.sleep(seconds)
        return drain.is_asked

    def _prepare(self, app: Any, project: Any, python: Any, brake: object = None) -> Prepared:
        keeper = self.keepers[app.home]
        prepared = simulated.prepare(app, project, python, brake)
        simulated.runs.clear()
        return replace(prepared, runner=ClockedRunner(prepared.runner, keeper))  # type: ignore[arg-type]

    def _publisher(self, settings: Settings, sender: TxSender, **_: object) -> Uploads:
        assert settings.network.flow is not None
        door = self.keepers[settings.home].door()
        return Uploads(self.house, door, sender, settings.network.flow)

    def _storage(self, urls: Any, *_: object, **__: object) -> Door:
        """The second way to the same content."""
        (url,) = urls
        return next(k for k in self.keepers.values() if k.network.storage_urls == (url,)).door()


class Watcher(Silent):
    """Counts what a daemon tells, and starts it again in order when it has gone dry."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def cycle_ended(self, cycle_id: str, outcome: str, seconds: float, results: Sequence[Result]) -> None:
        keeper, tally = self._keeper, self._keeper.world.tally
        tally[f"cycles {outcome}"] += 1
        tally.update(f"step: {result.step.value}" for result in results if result.step is not Step.KNOWN)
        built = keeper.built
        if built is not None and built.service.modes.current() is Mode.DRY and not built.drain.is_asked:
            tally["gone dry"] += 1
            built.drain.ask()

    def alarm(self, name: str, sentence: str) -> None:
        self._keeper.world.tally[f"alarm: {name}"] += 1


class ClockedRunner:
    """A run takes its time, and may break on this side."""

    def __init__(self, inner: Runner, keeper: Keeper) -> None:
        self._inner = inner
        self._keeper = keeper

    def run(
        self,
        role: Role,
        files: Mapping[str, bytes],
        *,
        run_folder: Path,
        deadline_seconds: float | None,
        seed: bytes,
    ) -> RunRecord:
        keeper = self._keeper
        keeper.at_run = _counted(run_folder)
        keeper.world.timeline.sleep(RUN_SECONDS / 2)
        keeper.maybe_die("run")
        keeper.maybe_break()
        keeper.world.timeline.sleep(RUN_SECONDS / 2)
        keeper.at_run = None
        return self._inner.run(
            role, files, run_folder=run_folder, deadline_seconds=deadline_seconds, seed=seed
        )


def _counted(run_folder: Path) -> int | None:
    """The proposal whose test a run's pair belongs to; none for a repeat or a gold run."""
    of_pair = run_folder.name.startswith("pair") and run_folder.parts[-3] == "sessions"
    return int(run_folder.parts[-4]) if of_pair else None


class QuickSigner(Signer):
    """Signs documents truly, and transactions without the arithmetic, which would be most of a soak: the node
    is told whose they are."""

    __slots__ = ("owners",)

    owners: dict[str, str]

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        fields = rlp.decode(SimSigner().sign_transaction(dict(transaction))[1:])
        seal = sha256(self.address.encode() + bytes(rlp.encode(fields))).digest()
        raw = b"\x02" + bytes(rlp.encode([*fields[:-2], seal.lstrip(b"\0"), seal.lstrip(b"\0")]))
        self.owners["0x" + keccak(raw).hex()] = self.address
        return raw


class SoakApp(App):
    """What the command makes its collaborators from, with this world's."""

    keeper: Keeper

    def sender(self, signer: Signer, **options: Any) -> TxSender:
        timeline = self.keeper.world.timeline
        return super().sender(
            signer, clock=timeline.clock, sleep=timeline.sleep, hook=self.keeper.at_transaction, **options
        )


class Keeper:
    """One account's validator over its whole life: started, killed, started again.

    Args:
        endpoints: How many endpoints of the chain it is configured with.
        claim_first: Claims a review before its first run.
        poll: Seconds between passes.
    """

    def __init__(
        self, world: World, number: int, *, endpoints: int, poll: float, claim_first: bool = False
    ) -> None:
        self.world = world
        self.number = number
        self.signer = QuickSigner.from_hex(f"{number + 1:02x}" * 32)
        self.signer.owners = world.node.owners
        self.home = world.folder / f"home-{number}"
        self.home.mkdir()
        self.network = _network(world, number, endpoints)
        self.poll = poll
        self.claim_first = claim_first
        self.at_run: int | None = None
        self.built: Building | None = None
        self.watcher = Watcher(self)
        self._is_calm = False
        self.told: Counter[str] = Counter()
        self._rng = random.Random(f"validator {world.seed}/{number}")
        self._doors: list[Door] = []
        self._endpoints: list[FaultyEndpoint] = []
        world.keepers[self.home] = self

    @property
    def account(self) -> Address:
        return self.signer.address

    def draw(self) -> float:
        return self._rng.random()

    def live(self) -> None:
        """Run passes for ever; a supervisor starts the process again whenever it ends."""
        world = self.world
        while True:
            try:
                self._process()
            except Killed:
                world.tally["killed"] += 1
            except ArmlxError as error:
                self.told[type(error).__name__] += 1
                if isinstance(error, NEVER):
                    world.findings.append(f"{self.account} was told {type(error).__name__}: {error}")
            self.at_run = None
            world.timeline.sleep(self.poll * self._rng.uniform(0.1, 0.6))

    def _process(self) -> None:
        """One process of ``armlx-validator run``: cycles until something ends it."""
        with ExitStack() as resources:
            app = self.app()
            built = build(app, self.signer, self._choice(), Talk(self.watcher, self._hear, lambda _: None))
            resources.callback(self._close, built)
            self.built = built
            self.operate(built)
            built.daemon.run()

    def _choice(self) -> RunChoice:
        rules = ServiceChoice(auto_reject=True, max_rejections=10**6, collect_from=1)
        return RunChoice(
            python=PythonChoice(),
            claim_first=self.claim_first,
            pace=Pace(poll=self.poll, soon=self.poll / 4, most=self.poll),
            look=self.poll / 4,
            service=rules,
        )

    def _hear(self, sentence: str) -> None:
        """What the daemon says to its log."""
        self.world.tally[f"said: {sentence.split()[0]} …"] += 1

    def operate(self, built: Building) -> None:
        """What an operator does at a start: in dry mode, a gold run, and live again."""
        if built.service.modes.current() is Mode.LIVE:
            return
        self.world.tally["gold runs"] += 1
        (machine,) = built.executor.machines()
        frontier = built.daemon._passes._frontier.read()  # type: ignore[attr-defined]
        bench = built.executor.prepare(frontier.projects[ProjectId(0)], machine)
        with self.calm():
            found = run_gold(bench, seed=b"gold" * 8, run_folder=self.home / "gold", progress=lambda _: None)
        built.service.modes.gold(found.passed, found.sentence, found.key)
        if found.passed:
            built.service.modes.go_live()
        else:
            self.world.findings.append(f"{self.account}: a gold run did not pass: {found.sentence}")

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Nothing happens to this validator in the block."""
        self._is_calm = True
        self.apply_rates()
        try:
            yield
        finally:
            self._is_calm = False
            self.apply_rates()

    def _close(self, built: Building) -> None:
        """A process that ends gives everything back."""
        self.built = None
        built.drain._ended.set()
        built.executor.close()
        built.store.close()
        built.daemon._passes._settler._sender._journal.close()  # type: ignore[attr-defined]

    def app(self) -> SoakApp:
        """What a new process would make from its settings."""
        app = SoakApp("devnet", self.home, None, None, False)
        made: dict[str, Any] = app.__dict__
        made["keeper"] = self
        made["settings"] = Settings(network=self.network, home=self.home)
        made["storage"] = self.door()
        made["rpc"] = self._rpc()
        return app

    def door(self) -> Door:
        door = Door(
            self.world.house,
            seed=f"door {self.draw()}",
            tally=self.world.tally,
            lose=self.maybe_die,
        )
        self._doors = [*self._doors[-4:], door]
        self.apply_rates()
        return door

    def apply_rates(self) -> None:
        """From now on, the world's present rates."""
        rates = Rates() if self._is_calm else self.world.rates
        for door in self._doors:
            door.rate = rates.storage
        for endpoint in self._endpoints:
            endpoint.rate = rates.chain

    def _rpc(self) -> Rpc:
        timeline = self.world.timeline
        rpc = Rpc(
            list(self.network.rpc_urls),
            expected_chain_id=CHAIN_ID,
            policy=Policy(max_head_age_seconds=600.0),
            clock=timeline.clock,
            wall=timeline.clock,
        )
        self._endpoints = [
            FaultyEndpoint(
                self.world.node,
                name=name,
                seed=f"endpoint {self.draw()}",
                sleep=timeline.sleep,
                tally=self.world.tally,
            )
            for name in rpc.pool.names
        ]
        rpc.pool._endpoints = {endpoint.name: endpoint for endpoint in self._endpoints}
        self.apply_rates()
        return rpc

    def at_transaction(self, event: str, _attempt: Attempt) -> None:
        self.maybe_die(f"transaction {event}")

    def maybe_die(self, where: str) -> None:
        """kill -9, as far as a process can play it with itself.

        Raises:
            Killed: it struck.
        """
        if not self._is_calm and self.draw() < self.world.rates.kill:
            self.world.tally[f"killed at: {where}"] += 1
            self.lose_pair()
            raise Killed

    def maybe_break(self) -> None:
        """What else may happen in the middle of a run.

        Raises:
            VerifierFault: the sandbox broke.
        """
        if self._is_calm:
            return
        if self.draw() < self.world.rates.sandbox:
            self.world.tally["sandbox faults"] += 1
            self.lose_pair()
            raise VerifierFault("The sandbox broke (simulated).")
        if self.draw() < self.world.rates.drain and self.built is not None:
            self.world.tally["told to stop in a run"] += 1
            self.built.drain.ask()

    def lose_pair(self) -> None:
        """What is running breaks off; its pair may count as begun."""
        if self.at_run is not None:
            self.world.lost[self.account.lower(), self.at_run] += 1
        self.at_run = None


def _network(world: World, number: int, endpoints: int) -> Network:
    where = world.node.contracts.where
    return Network(
        name="devnet",
        chain_id=CHAIN_ID,
        rpc_urls=tuple(f"http://node-{letter}.invalid" for letter in "abc"[:endpoints]),
        storage_urls=(f"http://store-{number}.invalid",),
        verifier_registry=Address(where.verifiers),
        proposal_ledger=Address(where.ledger),
        project_registry=Address(where.registry),
        flow=Address(where.flow),
        confirmations=CONFIRMATIONS,
        max_head_age_seconds=600.0,
    )


def random_of(seed: int) -> Any:
    """In place of the module: chance by a seed."""
    drawn = random.Random(f"pace {seed}")
    return SimpleNamespace(SystemRandom=lambda: drawn)
