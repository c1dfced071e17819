"""A local world with bare projects to trade in, and people with keystores."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from armlx_chain.chain.contracts import ProjectRegistry, ProjectToken, ProposalLedger
from armlx_chain.chain.journal import Attempt
from armlx_chain.chain.rpc import Rpc
from armlx_chain.chain.sender import Intent, TxSender
from armlx_chain.cli import main as chain_main
from armlx_chain.cli.wiring import make_sender
from armlx_chain.devnet.world import Devnet
from armlx_chain.market import trade
from armlx_chain.settings import Settings, load_network
from armlx_chain.signing import keystore
from armlx_chain.signing.signer import Signer
from armlx_chain.types import Address, ProjectId

PASSPHRASE = "the keys of a local world are no secret"
CAST = {"deployer": 0, "creator": 1, "miner": 2, "validator": 3, "rival": 4, "buyer": 5, "seller": 6}
BASE, SLOPE = 10**15, 10**12
HASH = b"\x01" * 32


class Stopped(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


class MarketWorld:
    """The world, and what its people do in it."""

    def __init__(self, folder: Path, devnet: Devnet) -> None:
        self.folder = folder
        self.devnet = devnet
        self.rpc = Rpc(devnet.rpc_url, expected_chain_id=devnet.chain_id)
        self.registry = ProjectRegistry(self.rpc, Address(str(devnet.addresses.project_registry)))
        self.ledger = ProposalLedger(self.rpc, Address(str(devnet.addresses.proposal_ledger)))
        self.password_file = folder / "passphrase"
        self.password_file.write_text(PASSPHRASE + "\n")
        self.password_file.chmod(0o600)
        self.home = folder / "home"
        self._numbers = itertools.count()
        for who in CAST:
            keystore.import_key(
                self.home / "keystores", who, self._key_of(who), lambda: PASSPHRASE, work_factor=1 << 4
            )

    def _key_of(self, who: str) -> Callable[[], str]:
        return lambda: self.devnet.accounts[CAST[who]].private_key_hex

    def address(self, who: str) -> Address:
        return Signer.from_hex(self._key_of(who)()).address

    @property
    def settings(self) -> Settings:
        return Settings(network=load_network("devnet", home=self.home), home=self.home)

    def sender(self, who: str, hook: Callable[[str, Attempt], None] | None = None) -> TxSender:
        options = {} if hook is None else {"hook": hook}
        return make_sender(self.settings, self.rpc, Signer.from_hex(self._key_of(who)()), **options)

    def project(self, *, base: int = BASE, slope: int = SLOPE, pool: int = 10**6) -> ProjectToken:
        """A new project without files; its token."""
        number = self.registry.project_count()
        data = self.registry.encode(
            "createProject", HASH, HASH, HASH, 0, HASH, "Bare", f"BARE{number}", base, slope, pool
        )
        self.act("creator", self.registry.address, data)
        found = self.registry.find_project(number)
        assert found is not None
        return ProjectToken(self.rpc, found.token)

    def number_of(self, token: ProjectToken) -> ProjectId:
        """The project of a token."""
        numbers = range(self.registry.project_count())
        found = (self.registry.find_project(number) for number in numbers)
        return next(project.id for project in found if project is not None and project.token == token.address)

    def act(self, who: str, to: Address, data: bytes, value: int = 0) -> None:
        """A plain transaction, outside our client's rules."""
        key = f"act/{next(self._numbers)}"
        self.sender(who).execute(Intent(key=key, to=to, data=data, value=value, what="acting"))  # type: ignore[arg-type]

    def buy(self, who: str, token: ProjectToken, count: int) -> None:
        market = trade.read_market(token, ProjectId(0))
        self.act(who, token.address, token.encode("buy"), trade.plan_purchase(market, count).payment)

    def stake(self, who: str, token: ProjectToken, count: int, score: int) -> int:
        """A bare proposal; its id."""
        number = self.ledger.proposal_count()
        self.act(who, token.address, token.encode("approve", self.ledger.address, count))
        data = self.ledger.encode(
            "submit", self.number_of(token), HASH, HASH, score, count, self.address(who)
        )
        self.act(who, self.ledger.address, data)
        return number

    def settle(self, proposal: int, score: int | None) -> None:
        """Approve with a score, or reject with None."""
        self.act("validator", self.ledger.address, self.ledger.encode("claimReview", proposal))
        decided = (
            self.ledger.encode("reject", proposal, HASH)
            if score is None
            else self.ledger.encode("approve", proposal, score, HASH)
        )
        self.act("validator", self.ledger.address, decided)

    def run(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """Run the real command line in this process; what ``--json`` printed."""
        given = [*map(str, arguments), "--network", "devnet", "--home", str(self.home), "--json"]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended = chain_main.run(chain_main.cli, given, name="armlx-chain")
        self.said = err.getvalue()
        assert ended == code, out.getvalue() + self.said
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    def key(self, who: str) -> list[object]:
        """The options that name somebody's key."""
        return ["--account", who, "--password-file", self.password_file]
