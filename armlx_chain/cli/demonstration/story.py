"""The story, act by act."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import click

from armlx_chain.chain.contracts import Project, Status
from armlx_chain.claims.publish import PublishedProject
from armlx_chain.cli.demonstration import patience
from armlx_chain.cli.demonstration.cheats import bare_runs, forge
from armlx_chain.cli.demonstration.project import Measured, measure_baseline, publish
from armlx_chain.cli.demonstration.stage import CAST, Stage, require, set_stage, show, tell, title
from armlx_chain.cli.output import coin
from armlx_chain.devnet.benchmark import candidates
from armlx_chain.market.trade import MarketState, read_market
from armlx_chain.protocol.score import score_text
from armlx_chain.storage.zerog.localnode.faulty import GatewayFault, LyingGateway
from armlx_chain.types import Address

STAKE = 10
SEED_BLOCKS = 9


@dataclass(frozen=True)
class Ending:
    """What the last screen shows."""

    seconds: float
    project: Project
    market: MarketState
    printer_value: str
    peeker_value: str


def play(folder: Path, *, engine: str) -> Ending:
    """Play the whole story.

    Raises:
        StepFailed: a step did not hold.
        ArmlxError: something else went wrong.
    """
    title(1, "A world in a box: a local chain with funded accounts, and a local storage node")
    started = time.monotonic()
    with set_stage(folder, engine=engine) as stage:
        _show_world(stage)
        title(2, "A project: repository snapshot, protocol, benchmark, and a baseline measured here")
        tell(
            "The unmodified train.py runs several times in the sandbox. Identical honest runs differ; by how",
            "much is measured. Six control and two seed runs are a shortcut for a demonstration; the rule",
            "demands 20 and 8. For the same reason half the usual rows are scored.",
        )
        measured = measure_baseline(stage)
        project = publish(stage, measured)
        _act_fetch(stage, project)
        honest = _act_reproduce(stage)
        _act_submit(stage, honest)
        _act_validate(stage)
        values = _act_cheats(stage, measured, honest)
        record = stage.registry().find_project(0)
        require(record is not None, "the project is gone")
        ending = Ending(
            time.monotonic() - started,
            record,  # type: ignore[arg-type]
            read_market(stage.token(), project.project_id),
            *values,
        )
        _last_screen(stage, ending)
        return ending


def _show_world(stage: Stage) -> None:
    show(
        [
            ("chain", f"{stage.world.rpc_url} (id {stage.world.chain_id})"),
            ("storage", stage.world.storage_url),
            ("ledger", stage.world.addresses.proposal_ledger),
            *((who, stage.world.accounts[number].address) for who, number in CAST.items()),
        ]
    )


def _act_fetch(stage: Stage, project: PublishedProject) -> None:
    title(
        3, "A miner fetches the protocol by its root; a gateway that serves one wrong byte is caught, by name"
    )
    root = project.protocol_root
    with LyingGateway(stage.world.storage_url or "", GatewayFault.FLIP) as liar:
        tell(
            f"A gateway at {liar.url} turns over one bit of every file it serves. Asked alone, it is refused:"
        )
        stage.do("miner", "fetch", root, "--storage-url", liar.url, expect=3)
        tell("Asked first, with an honest one behind it, it is named and the honest bytes are taken:")
        stage.do("miner", "fetch", root, "--storage-url", f"{liar.url},{stage.world.storage_url}")
        require(liar.spoiled > 0, "the lying gateway was never asked")


def _act_reproduce(stage: Stage) -> Path:
    title(4, "The miner's better train.py is reproduced in the sandbox, really training, as a validator will")
    tell("The idea: " + candidates.recipe(candidates.BETTER).facts["title"])
    source = stage.folder / "candidates" / "train.py"
    source.parent.mkdir(parents=True)
    source.write_bytes(candidates.better_train())
    return patience.reproduce(stage, source)


def _act_submit(stage: Stage, folder: Path) -> None:
    title(
        5,
        "The claim is signed, the missing stake bought, the proposal submitted; then its artifacts uploaded",
    )
    stage.do(
        "miner",
        "submit",
        "--run",
        folder / "run.log",
        "--stake",
        STAKE,
        "--reward-recipient",
        stage.cold,
        "--max-spend",
        10**17,
        "--yes",
        sign=True,
    )
    proposal = stage.ledger().find_proposal(0)
    require(proposal is not None and proposal.status is Status.SUBMITTED, "the proposal is not on the ledger")
    tell(f"\nThe seed of its evaluation is the hash of a block mined later: {SEED_BLOCKS} blocks pass.")
    stage.world.mine(SEED_BLOCKS)


def _act_validate(stage: Stage) -> None:
    title(6, "A validator re-runs control and candidate in pairs, decides, and settles")
    token, miner = stage.token(), stage.signer("miner").address
    cold = Address(stage.cold)
    before = (token.balance_of(miner), token.total_supply(), read_market(token, 0).spot_price)  # type: ignore[arg-type]
    baseline = stage.registry().find_project(0)
    patience.validate(stage, [0])
    proposal, project = stage.ledger().find_proposal(0), stage.registry().find_project(0)
    require(
        proposal is not None and proposal.status is Status.APPROVED, "the honest proposal was not approved"
    )
    require(project is not None and project.best_miner == miner, "the best is not the miner's")
    after = read_market(token, 0)  # type: ignore[arg-type]
    balance = token.balance_of(miner)
    require(balance == before[0] + STAKE, "the stake did not come back to the miner")
    require(token.balance_of(cold) == STAKE, "the reward did not reach the miner's cold address")
    require(after.pool_minted == STAKE, "the reward was not minted from the miner pool")
    if baseline is None or project is None:
        return
    tell("", "Read back from the chain:")
    show(
        [
            ("miner's tokens", f"{before[0]} → {balance}  (the stake of {STAKE} back)"),
            ("reward", f"{STAKE} minted to {cold}"),
            ("miner pool", f"{after.pool_minted} of {after.pool_cap} minted"),
            ("supply", f"{before[1]} → {after.supply}"),
            ("price", f"{coin(before[2])} → {coin(after.spot_price)}"),
            ("best", f"{baseline.best_score} → {project.best_score} (chained score)"),
        ]
    )


def _act_cheats(stage: Stage, measured: Measured, honest: Path) -> tuple[str, str]:
    title(7, "Two cheats: one prints a wonderful figure, one lets its model see the next token")
    values = []
    cheats = {"printer": candidates.PRINTER, "peeker": candidates.LOOKAHEAD}
    programs = {who: candidates.source(name) for who, name in cheats.items()}
    logs = bare_runs(stage, measured, programs)
    for who, train in programs.items():
        folder, value = forge(stage, train=train, log=logs[who], who=who, honest_folder=honest)
        values.append(value)
        tell("", f"{who} runs a cheating train.py bare; it prints val_bpb {value}, and that is claimed:")
        given = ["--run", folder / "run.log", "--stake", STAKE, "--reward-recipient", stage.cold]
        stage.do(who, "submit", *given, "--despite-open", "--yes", sign=True)
    stage.world.mine(SEED_BLOCKS)
    token = stage.token()
    supply = token.total_supply()
    validator = stage.signer(patience.validate(stage, [1, 2], "--auto-reject")).address
    ledger = stage.ledger()
    first, second = ledger.find_proposal(1), ledger.find_proposal(2)
    require(first is not None and first.status is Status.SUBMITTED, "the printer's proposal was settled")
    require(second is not None and second.status is Status.REJECTED, "the peeker's proposal was not rejected")
    require(token.total_supply() == supply - STAKE // 2, "half the stake was not burned")
    # The validator collects its credit in the same pass, where that is worth the gas.
    credited = ledger.claimable(0, validator) + token.balance_of(validator)
    require(credited == STAKE // 2, "the reviewer's credit is missing")
    return values[0], values[1]


def _last_screen(stage: Stage, ending: Ending) -> None:
    project, market = ending.project, ending.market
    click.secho("\n━━ The whole story held", fg="green", bold=True)
    gained = project.best_score - project.baseline_score
    show(
        [
            ("better", f"reproduced → approved; best {score_text(project.baseline_score)} →"
             f" {score_text(project.best_score)}, a chained gain of {score_text(gained)} bits per byte"),
            ("printer", f"printed {ending.printer_value}; its trusted value is no improvement → unimproved,"
             " never approved"),
            ("peeker", f"printed {ending.peeker_value}; its model sees the next token → refuted, rejected,"
             " stake slashed"),
            ("supply", f"{market.supply} {market.symbol}, price {coin(market.spot_price)},"
             f" {market.pool_minted} minted from the miner pool"),
            ("reports", stage.home("validator") / "reports"),
            ("time", f"{ending.seconds:.0f} s"),
        ]
    )  # fmt: skip
