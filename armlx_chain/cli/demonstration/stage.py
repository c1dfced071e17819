"""The stage of the demonstration: its folders, people, world, and how it speaks.

Everything the people do, they do through the same commands as anybody; the story only sets the stage, passes
time, and reads the chain back to see that each step holds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from armlx_chain.chain.contracts import ProjectRegistry, ProjectToken, ProposalLedger, VerifierRegistry
from armlx_chain.chain.journal import Journal
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import Intent, TxSender
from armlx_chain.devnet.world import Devnet
from armlx_chain.errors import DevnetError
from armlx_chain.settings import DEVNET_STATE, Settings, load_network
from armlx_chain.signing import keystore
from armlx_chain.signing.signer import Signer

WORK_FACTOR = 1 << 12
"""scrypt cost of the demonstration's keystores: their keys are public knowledge."""
_PASSPHRASE = "the keys of a local world are no secret"  # noqa: S105 (public devnet keys)
CAST = {"creator": 1, "miner": 2, "validator": 3, "printer": 4, "peeker": 5}
"""Who plays, and with which of the devnet's accounts."""
_BEHIND_THE_SCENES = {"owner": 0, "second-validator": 7}
"""Who is there in case: the contracts' owner, and a validator who takes over where another may not go on."""
_PEOPLE = CAST | _BEHIND_THE_SCENES
_COLD = 6
"""The account that keeps everybody's rewards; its key is never used here."""


class StepFailed(DevnetError):
    """A step of the story did not hold."""


def require(holds: bool, what: str) -> None:
    """Stop the story unless a step holds.

    Raises:
        StepFailed: it does not.
    """
    if not holds:
        raise StepFailed(
            f"The demonstration stops: {what}.", next_step="Please report this with the output above."
        )


@dataclass
class Stage:
    """Folders, world and people."""

    folder: Path
    world: Devnet
    started: float

    def home(self, who: str) -> Path:
        return self.folder / who

    @property
    def password_file(self) -> Path:
        return self.folder / "passphrase"

    def settings(self, who: str) -> Settings:
        env = {"ARMLX_DEVNET": str(self.folder / "devnet")}
        return Settings(network=load_network("devnet", home=self.folder, env=env), home=self.home(who))

    def rpc(self) -> Rpc:
        return Rpc(self.world.rpc_url, expected_chain_id=self.world.chain_id)

    def registry(self) -> ProjectRegistry:
        return ProjectRegistry(self.rpc(), self.world.addresses.project_registry)

    def ledger(self) -> ProposalLedger:
        return ProposalLedger(self.rpc(), self.world.addresses.proposal_ledger)

    def token(self, project_id: int = 0) -> ProjectToken:
        project = self.registry().find_project(project_id)
        if project is None:
            raise StepFailed(f"project {project_id} does not exist")
        return ProjectToken(self.rpc(), project.token)

    def signer(self, who: str) -> Signer:
        return Signer.from_hex(self.world.accounts[_PEOPLE[who]].private_key_hex)

    @property
    def cold(self) -> str:
        """Where rewards go: not to the keys that lie on this machine."""
        return self.world.accounts[_COLD].address

    def sender(self, who: str) -> TxSender:
        settings, signer, rpc = self.settings(who), self.signer(who), self.rpc()
        chain = f"{self.world.chain_id}:{rpc.genesis_hash.hex()}"
        return TxSender(
            rpc=rpc,
            signer=signer,
            journal=Journal(settings.journal_path, chain=chain, account=signer.address),
        )

    def do(self, who: str, command: str, *arguments: object, sign: bool = False, expect: int = 0) -> None:
        """Let a person run a command, show it, and check its exit code.

        Raises:
            StepFailed: it ended otherwise than expected.
        """
        code = self.run(who, command, *arguments, sign=sign)
        require(code == expect, f"that command should have ended with exit code {expect}, not {code}")

    def appoint(self, who: str) -> None:
        """Let the owner of the contracts put a person on the verifiers' allow-list; once."""
        verifiers = VerifierRegistry(self.rpc(), self.world.addresses.verifier_registry)
        account = self.signer(who).address
        if not verifiers.is_verifier(account):
            data = verifiers.add_verifier_data(account)
            intent = Intent(f"appoint/{account}", verifiers.address, data, what=f"appointing {who}")
            self.sender("owner").execute(intent)

    def run(self, who: str, command: str, *arguments: object, sign: bool = False) -> int:
        """Let a person run a command and show it; returns its exit code."""
        from armlx_chain.cli.main import cli, run

        given = [command, *map(str, arguments)]
        shown = " ".join(_shorten(argument) for argument in given)
        click.secho(f"\n{who} $ armlx-chain {shown}", bold=True)
        given += ["--network", "devnet", "--home", str(self.home(who))]
        if sign:
            given += ["--account", who, "--password-file", str(self.password_file)]
        sys.stdout.flush()
        return run(cli, given, name="armlx-chain")


def _shorten(text: str) -> str:
    if len(text) > 72 and "/" not in text:
        return text[:14] + "…" + text[-6:]
    return text


@contextmanager
def set_stage(folder: Path, *, engine: str) -> Iterator[Stage]:
    """Start the world and give everybody a home with a keystore."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / "devnet" / DEVNET_STATE).exists():
        raise DevnetError(
            f"{folder} holds an earlier demonstration.", next_step="Remove it, or choose another --folder."
        )
    with Devnet.start(folder / "devnet", engine=engine) as world:  # type: ignore[arg-type]
        stage = Stage(folder=folder, world=world, started=time.monotonic())
        stage.password_file.write_text(_PASSPHRASE + "\n")
        stage.password_file.chmod(0o600)
        for who in _PEOPLE:
            key = world.accounts[_PEOPLE[who]].private_key_hex
            keystore.import_key(
                stage.home(who) / "keystores",
                who,
                _constant(key),
                _constant(_PASSPHRASE),
                work_factor=WORK_FACTOR,
            )
        with _environment({"ARMLX_DEVNET": str(folder / "devnet")}):
            yield stage


def _constant(value: str) -> Callable[[], str]:
    return lambda: value


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def title(number: int, text: str) -> None:
    """A step's heading."""
    click.secho(f"\n━━ {number}. {text}", fg="cyan", bold=True)


def tell(*lines: str) -> None:
    """Plain words."""
    for line in lines:
        click.echo(line)


def show(rows: Sequence[tuple[str, object]]) -> None:
    """Figures."""
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        click.echo(f"   {label:<{width}}  {value}")
