"""A registry and a ledger as tables behind JSON-RPC: records and events of any number, without an EVM."""

from __future__ import annotations

from typing import Any

from chain_nodes import TinyNode
from eth_utils import keccak

import contracts_abi
from armlx_chain.types import Address

LEDGER = Address("0x" + "11" * 20)
REGISTRY = Address("0x" + "22" * 20)
MINER = bytes(12) + b"\x33" * 20


def word(value: int) -> bytes:
    return value.to_bytes(32, "big", signed=value < 0)


class SimLedger(TinyNode):
    """Counts, records and events; each change mines a block."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(height=0, **fields)
        self.projects: list[list[bytes]] = []
        self.proposals: list[list[bytes]] = []
        self.logs: list[dict[str, Any]] = []
        self.widest: int | None = None
        self.silent = False
        self.reads = 0
        self.results["eth_call"] = self._call
        self.results["eth_getLogs"] = self._logs
        self.results["eth_getCode"] = "0x"

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            number = len(self.projects)
            record = [bytes(32)] * 6 + [word(-2_213_268), bytes(32), bytes(32)]
            self.projects.append([*record, word(0xA0000 + number), MINER, word(self._now())])
            self._event("ProjectRegistry", "ProjectCreated", number)

    def submit(self, project: int, count: int = 1) -> None:
        for _ in range(count):
            number = len(self.proposals)
            head = [
                word(project),
                MINER,
                MINER,
                word(number),
                word(1),
                bytes(32),
                word(-1),
                word(0),
                word(10),
            ]
            self.proposals.append([*head, word(self._now()), word(0), bytes(32), word(0)])
            self._event("ProposalLedger", "ProposalSubmitted", number)

    def settle(self, number: int) -> None:
        self.proposals[number][12] = word(4)
        self._event("ProposalLedger", "ProposalExpired", number)

    def improve(self, project: int, score: int) -> None:
        self.projects[project][6] = word(score)
        self._event("ProjectRegistry", "BestUpdated", project)

    def _now(self) -> int:
        return self.base_time + 2 * (self.height + 1)

    def _event(self, contract: str, event: str, number: int) -> None:
        self.height += 1
        if self.silent:
            return
        topic = contracts_abi.event_topic(contract, event)
        self.logs.append(
            {
                "address": LEDGER if contract == "ProposalLedger" else REGISTRY,
                "topics": ["0x" + topic.hex(), "0x" + word(number).hex()],
                "data": "0x", "blockNumber": hex(self.height), "blockHash": self.block_hash(self.height),
                "transactionHash": "0x" + keccak(text=f"{self.height}").hex(), "logIndex": "0x0",
            }
        )  # fmt: skip

    def _call(self, params: Any) -> str:
        self.reads += 1
        data = bytes.fromhex(params[0]["data"][2:])
        number = int.from_bytes(data[4:36], "big")
        tables = {
            contracts_abi.function_selector("ProjectRegistry", "getProject"): (self.projects, 12),
            contracts_abi.function_selector("ProposalLedger", "getProposal"): (self.proposals, 13),
        }
        if data[:4] in tables:
            table, words = tables[data[:4]]
            return "0x" + (b"".join(table[number]) if number < len(table) else bytes(32 * words)).hex()
        table = self.projects if params[0]["to"] == REGISTRY else self.proposals
        return "0x" + word(len(table)).hex()

    def _logs(self, params: Any) -> Any:
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        if self.widest is not None and last - first + 1 > self.widest:
            return {"error": {"code": -32005, "message": "query exceeds max block range"}}
        topics = [set(wanted) if wanted else None for wanted in params[0]["topics"]]
        return [
            log
            for log in self.logs
            if first <= int(log["blockNumber"], 16) <= last
            and log["address"] in params[0]["address"]
            and all(w is None or t in w for w, t in zip(topics, log["topics"], strict=False))
        ]
