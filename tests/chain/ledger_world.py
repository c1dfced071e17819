"""The contracts on a real EVM with people who act on them, without any of our sending rules."""

from __future__ import annotations

from typing import Any

from eth_account import Account

import contracts_abi
from armlx_chain.chain.contracts import ProjectRegistry, ProjectToken, ProposalLedger, VerifierRegistry
from armlx_chain.chain.rpc import Rpc
from armlx_chain.devnet.world import Devnet
from armlx_chain.settings import Network
from armlx_chain.types import Address, ScaledScore, Tokens, Wei

DEPLOYER, CREATOR, MINER, REVIEWER, STRANGER = range(5)
BASELINE = ScaledScore(-2_213_268)
DAY = 86_400
_GAS = 4_000_000


class LedgerWorld:
    """A devnet, typed contracts on it, and plain signed transactions."""

    def __init__(self, devnet: Devnet, urls: str | list[str] | None = None) -> None:
        self.devnet = devnet
        self.rpc = Rpc(urls or devnet.rpc_url, expected_chain_id=devnet.chain_id)
        where = devnet.addresses
        self.verifiers = VerifierRegistry(self.rpc, where.verifier_registry)
        self.ledger = ProposalLedger(self.rpc, where.proposal_ledger)
        self.registry = ProjectRegistry(self.rpc, where.project_registry)

    def network(self, urls: tuple[str, ...] = (), **change: Any) -> Network:
        """Settings for this world."""
        where = self.devnet.addresses
        plain: dict[str, Any] = {
            "name": "test", "chain_id": self.devnet.chain_id, "rpc_urls": urls or (self.devnet.rpc_url,),
            "storage_urls": (), "verifier_registry": where.verifier_registry,
            "proposal_ledger": where.proposal_ledger, "project_registry": where.project_registry,
            "flow": None, "confirmations": 0,
        }  # fmt: skip
        return Network(**(plain | change))

    def address(self, who: int) -> Address:
        return self.devnet.accounts[who].address

    def send(self, who: int, to: Address | None, data: bytes, value: int = 0) -> dict[str, Any]:
        """A transaction, mined at once; its receipt."""
        account = self.devnet.accounts[who]
        nonce = self.rpc.nonce(account.address, pending=True)
        fields: dict[str, Any] = {
            "type": 2, "chainId": self.devnet.chain_id, "nonce": nonce,
            "gas": _GAS, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9, "value": value, "data": data,
        }  # fmt: skip
        if to is not None:
            fields["to"] = to
        signed = Account.sign_transaction(fields, account.private_key_hex)
        receipt = self.rpc.receipt(self.rpc.send_raw(bytes(signed.raw_transaction)))
        assert receipt is not None
        return receipt

    def deploy(self, name: str) -> Address:
        return Address(self.send(DEPLOYER, None, contracts_abi.bytecode(name))["contractAddress"])

    def project(self, *, cap: int = 1_000, name: str = "Test") -> int:
        """A new project; its id."""
        number = self.registry.project_count()
        data = self.registry.create_project_data(
            protocol_hash=b"\x01" * 32, repo_snapshot_hash=b"\x02" * 32, benchmark_hash=b"\x03" * 32,
            baseline_score=BASELINE, baseline_metrics_hash=b"\x04" * 32, token_name=name, token_symbol="TST",
            base_price=Wei(10**15), slope=Wei(10**12), pool_cap=Tokens(cap),
        )  # fmt: skip
        assert self.send(CREATOR, self.registry.address, data)["status"] == 1
        return number

    def token(self, project: int) -> ProjectToken:
        found = self.registry.token_of(project)
        assert found is not None
        return ProjectToken(self.rpc, found)

    def stock(self, project: int, tokens: int = 100) -> None:
        """The miner buys tokens and allows the ledger to take them."""
        token = self.token(project)
        supply = token.total_supply()
        self.send(MINER, token.address, token.buy_data(), int(token.cost_between(supply, supply + tokens)))
        self.send(MINER, token.address, token.approve_data(self.ledger.address, tokens))

    def propose(self, project: int, *, score: int = -2_000_000, stake: int = 10, code: int = 9) -> int:
        """A proposal of the miner's; its id."""
        number = self.ledger.proposal_count()
        data = self.ledger.submit_data(
            project_id=project, code_hash=bytes([code]) * 32, evidence_hash=b"\x0a" * 32,
            claimed_score=ScaledScore(score), stake=Tokens(stake), reward_recipient=self.address(STRANGER),
        )  # fmt: skip
        assert self.send(MINER, self.ledger.address, data)["status"] == 1
        return number

    def act(self, who: int, data: bytes) -> None:
        """A call of the ledger that must succeed."""
        assert self.send(who, self.ledger.address, data)["status"] == 1
