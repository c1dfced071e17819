"""Everything that ``once`` and ``run`` work with, wired in order from what the operator chose."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from armlx_chain.cli import wiring
from armlx_chain.cli.context import App
from armlx_chain.cli.output import say
from armlx_chain.errors import UsageError
from armlx_chain.formats.typed import Domain
from armlx_chain.signing.guard import SingleSignGuard
from verifier.daemon.agreement import Agreement
from verifier.daemon.drain import Drain
from verifier.daemon.events import Events
from verifier.daemon.executing import executor_here, unsafe
from verifier.daemon.finish import Finisher
from verifier.daemon.judge import Contracts, Judge, Library
from verifier.daemon.listing import require_listed
from verifier.daemon.loop import Clocks, Daemon
from verifier.daemon.observer import Observer
from verifier.daemon.once import Surroundings, Validator
from verifier.daemon.permits import Permits
from verifier.daemon.service import Service, ServiceChoice, build_housekeeper, build_service, is_practice
from verifier.daemon.settle import Settler
from verifier.daemon.store import FindingStore
from verifier.daemon.testing import Tester
from verifier.daemon.timing import Pace, SeedTiming
from verifier.daemon.verdictpack import PackKeeper
from verifier.environments.choice import PythonChoice
from verifier.session import Progress, ProgressCallback

if TYPE_CHECKING:
    from armlx_chain.chain.contracts import Proposal
    from armlx_chain.chain.frontier import FrontierReader
    from armlx_chain.chain.sender import TxSender
    from armlx_chain.signing.signer import Signer
    from verifier.executors.interface import Executor

__all__ = ["Building", "RunChoice", "Talk", "build", "executor_here"]


@dataclass(frozen=True, slots=True)
class RunChoice:
    """What the operator chose, besides the rules of service.

    Attributes:
        pairs: Pairs after which a first session ends undecided for now.
        claim_first: Claim a review before the first run.
        drain_seconds: How long what was begun may take after the order to stop.
        runner: Socket of the keyless process that makes the runs; ``None`` for this process.
        one_account: Sign although strangers' code runs under the account that holds the key.
        look: Seconds between two looks at the events; ``None`` for what suits the network.
        agree: How many of this operator's machines must agree before anything is signed.
        opinions: The folder in which they tell each other what they found.
        asks: Ask a person at the terminal about a rejection; all other work waits for the answer.
    """

    python: PythonChoice
    calibrate: str | None = None
    pairs: int = 8
    despite_lost: bool = False
    claim_first: bool = False
    drain_seconds: float = 600.0
    runner: Path | None = None
    one_account: bool = False
    pace: Pace = field(default_factory=Pace)
    look: float | None = None
    agree: int = 1
    opinions: Path | None = None
    asks: bool = True
    service: ServiceChoice = field(default_factory=ServiceChoice)


@dataclass(frozen=True, slots=True)
class Talk:
    """Who is told what.

    Attributes:
        show: Shows a session's progress to a person.
        clean: Takes secrets out of what is said of a proposal.
    """

    observer: Observer
    say: Callable[[str], None]
    show: ProgressCallback
    clean: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class Building:
    """A validator, ready to work."""

    daemon: Daemon
    drain: Drain
    service: Service
    store: FindingStore
    executor: Executor
    guard: SingleSignGuard


def build(app: App, signer: Signer, choice: RunChoice, talk: Talk) -> Building:
    """Wire a validator.

    Raises:
        UsageError: the account is not a registered verifier, or an option makes no sense here.
        WrongChain: the contracts are not wired as configured.
    """
    wiring.check_wiring(app)
    contracts = _contracts(app, signer)
    sender = app.sender(signer)
    settler = Settler(sender=sender, ledger=contracts.ledger)
    store = _store(app, signer)
    rules = replace(choice.service, held=unsafe(app, signer, choice.runner, one_account=choice.one_account))
    service = build_service(
        app, store, settler, rules, now=time.time, ask=_ask_to_reject() if choice.asks else None
    )
    guard = SingleSignGuard(app.settings.guard_path)
    executor = executor_here(
        app, choice.python, choice.calibrate, runner=choice.runner, progress=_telling(talk)
    )
    drain = Drain(
        stop=executor.stop,
        kill=executor.kill,
        seconds=choice.drain_seconds,
        say=talk.say,
        as_json=app.as_json,
    )
    # One reader for everybody: each keeps every record.
    frontier = app.frontier_at(app.settings.network.confirmations)
    shop = _Shop(app, signer, choice, talk, contracts, sender, settler, store, service, guard, frontier)
    keeper = build_housekeeper(app, service, store, settler, sender, guard, frontier, choice.service)
    daemon = Daemon(
        passes=shop.validator(executor, drain),
        chores=lambda: keeper.run(app.rpc.block("latest").timestamp),
        moved=shop.events().moved,
        cycles=store.cycles,
        observer=talk.observer,
        drain=drain,
        pace=choice.pace,
        look=choice.look or (1.0 if is_practice(app) else 12.0),
        clocks=Clocks(time.time, time.monotonic, random.SystemRandom().random),
        say=talk.say,
    )
    return Building(daemon, drain, service, store, executor, guard)


@dataclass(frozen=True, slots=True)
class _Shop:
    """The parts of a validator that others are made of."""

    app: App
    signer: Signer
    choice: RunChoice
    talk: Talk
    contracts: Contracts
    sender: TxSender
    settler: Settler
    store: FindingStore
    service: Service
    guard: SingleSignGuard
    frontier: FrontierReader

    def validator(self, executor: Executor, drain: Drain) -> Validator:
        agreement = _agreement(self.choice)
        packs, library = self._packs(agreement), self._library()
        finisher = Finisher(
            registry=self.contracts.registry,
            settler=self.settler,
            signer=self.signer,
            guard=self.guard,
            store=self.store,
            publisher=wiring.make_publisher(self.app.settings, self.sender),
            mode=self.service.modes.hindrance,
            consent=self.service.rejections.hindrance,
            folder_of=self.folder_of,
            packs=packs,
            is_listed=lambda: self.contracts.verifiers.is_verifier(self.signer.address),
            agreement=agreement,
            confirmations=self.app.settings.network.confirmations,
        )
        return Validator(
            contracts=self.contracts,
            library=library,
            settler=self.settler,
            judge=self._judge(finisher, packs, library),
            finisher=finisher,
            store=self.store,
            modes=self.service.modes,
            executor=executor,
            require_whole=self._require_whole(),
            surroundings=Surroundings(self.talk.observer, lambda: drain.is_asked, clean=self.talk.clean),
        )

    def _judge(self, finisher: Finisher, packs: PackKeeper, library: Library) -> Judge:
        network, permits = self.app.settings.network, self._permits()
        return Judge(
            contracts=self.contracts,
            library=library,
            settler=self.settler,
            finisher=finisher,
            store=self.store,
            timing=SeedTiming(network.seed_delay_blocks, network.confirmations),
            tester=Tester(
                tests=self.store.tests,
                folder_of=self.folder_of,
                sessions=permits,
                pairs=self.choice.pairs,
            ),
            permits=permits,
            packs=packs,
            modes=self.service.modes,
            folder_of=self.folder_of,
            say=self.talk.say,
        )

    def _permits(self) -> Permits:
        return Permits(
            ledger=self.contracts.ledger,
            settler=self.settler,
            log=self.store.cycles,
            usage=self.service.usage,
            admission=self.service.admission,
            modes=self.service.modes,
            observer=self.talk.observer,
            show=self.talk.show,
            clock=time.time,
            claim_first=self.choice.claim_first,
        )

    def _packs(self, agreement: Agreement | None) -> PackKeeper:
        network = self.app.settings.network
        return PackKeeper(
            domain=Domain(network.chain_id, network.proposal_ledger),
            genesis_hash=self.app.rpc.genesis_hash,
            validator=self.signer.address,
            folder_of=self.folder_of,
            tests=self.store.tests,
            agreement=agreement,
        )

    def _library(self) -> Library:
        from armlx_chain.storage.fetch import open_storage
        from verifier.daemon.copyindex import CopyIndex

        network, home = self.app.settings.network, self.app.home
        return Library(
            storage=self.app.storage,
            again=open_storage(list(network.storage_urls), None),
            copies=CopyIndex(home / "copies.sqlite", chain=self._chain(), ledger=network.proposal_ledger),
            frontier=self.frontier,
        )

    def events(self) -> Events:
        network = self.app.settings.network
        return Events(
            self.app.rpc,
            ledger=network.proposal_ledger,
            registry=network.project_registry,
            cycles=self.store.cycles,
            depth=network.confirmations,
        )

    def folder_of(self, proposal_id: int) -> Path:
        """The report folder of a proposal."""
        return self.app.home / "reports" / self.app.settings.network.proposal_ledger / str(proposal_id)

    def _chain(self) -> str:
        return wiring.chain_key(self.app.settings, self.app.rpc)

    def _require_whole(self) -> Callable[[Iterable[Proposal]], None]:
        from verifier.daemon.losses import lost_verdicts, require_whole

        def check(proposals: Iterable[Proposal]) -> None:
            lost = lost_verdicts(
                proposals,
                self.guard,
                chain_id=self.app.settings.network.chain_id,
                genesis_hash=self.app.rpc.genesis_hash,
                ledger=self.app.settings.network.proposal_ledger,
                account=self.signer.address,
            )
            if lost and self.choice.despite_lost:
                self.talk.say(f"{len(lost)} settled verdicts of this key are not in this machine's guard")
                return
            if lost:
                numbers = _shown(lost)
                self.service.modes.lost_guard(f"The guard knows nothing of settled verdicts: {numbers}.")
            require_whole(lost, self.signer.address)

        return check


def _agreement(choice: RunChoice) -> Agreement | None:
    """Opinions are told wherever there is a folder for them; to ask for others takes one."""
    if choice.opinions is not None:
        return Agreement(choice.opinions.absolute(), needed=choice.agree)
    if choice.agree > 1:
        raise UsageError(
            f"{choice.agree} machines must agree, but there is no folder in which they could.",
            next_step="Give --opinions FOLDER, one that all of them can write into.",
        )
    return None


def _shown(numbers: Sequence[int], most: int = 10) -> str:
    return ", ".join(str(number) for number in numbers[:most]) + (" …" if len(numbers) > most else "")


def _telling(talk: Talk) -> ProgressCallback:
    """Shows a calibration's runs, and tells the observer: it takes hours, and silence looks like a hang."""

    def tell(progress: Progress) -> None:
        talk.show(progress)
        if progress.record is not None and progress.role is not None:
            talk.observer.run_ended(progress.role, progress.record, progress.record.wall_seconds)

    return tell


def _store(app: App, signer: Signer) -> FindingStore:
    return FindingStore(
        app.home / "findings.sqlite",
        chain=wiring.chain_key(app.settings, app.rpc),
        ledger=app.settings.network.proposal_ledger,
        account=signer.address,
    )


def _contracts(app: App, signer: Signer) -> Contracts:
    from armlx_chain.chain.contracts import VerifierRegistry

    verifiers = VerifierRegistry(app.rpc, app.settings.network.verifier_registry)
    require_listed(verifiers, signer.address)
    return Contracts(verifiers=verifiers, registry=wiring.registry_of(app), ledger=wiring.ledger_of(app))


def _ask_to_reject() -> Callable[[Proposal, str], bool] | None:
    """Asks the person at this terminal; ``None`` where nobody is."""
    if not sys.stdin.isatty():
        return None

    def ask(proposal: Proposal, explanation: str) -> bool:
        say(f"Proposal {proposal.id} is refuted: {explanation}")
        return click.confirm(f"Reject it, which slashes {proposal.stake} tokens?", err=True)

    return ask
