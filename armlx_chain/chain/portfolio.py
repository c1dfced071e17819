"""What an account has in every project, in a handful of round trips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import contracts_abi
from armlx_chain.chain.reading import ManyReader
from armlx_chain.chain.records import Project, decode_uint
from armlx_chain.errors import ContractRevert
from armlx_chain.types import Address, ProjectId, Tokens


@dataclass(frozen=True, slots=True)
class Holding:
    """An account's standing in one project.

    Attributes:
        credit: What ``claimReward`` would pay.
        allowance: What the ledger may take.
    """

    project_id: ProjectId
    tokens: Tokens
    credit: Tokens
    allowance: Tokens

    @property
    def is_empty(self) -> bool:
        return not (self.tokens or self.credit or self.allowance)


def read_holdings(
    many: ManyReader, projects: Iterable[Project], account: Address, *, ledger: Address
) -> list[Holding]:
    """One entry a project, in order. Give a reader on a pinned view for figures of one block.

    Raises:
        RpcUnavailable, NodeRefused: the chain cannot be read.
        WrongChain: an answer is no number.
    """
    wanted = list(projects)
    owner, spender = _word(account), _word(ledger)
    balance = contracts_abi.function_selector("ProjectToken", "balanceOf") + owner
    allowed = contracts_abi.function_selector("ProjectToken", "allowance") + owner + spender
    claimable = contracts_abi.function_selector("ProposalLedger", "claimable")
    reads = []
    for project in wanted:
        number = int(project.id).to_bytes(32, "big")
        reads += [(project.token, balance), (ledger, claimable + number + owner), (project.token, allowed)]
    values = [_value(outcome) for outcome in many.read(reads, f"reading what {account} holds")]
    return [
        Holding(project.id, *(Tokens(value) for value in values[3 * index : 3 * index + 3]))
        for index, project in enumerate(wanted)
    ]


def _value(outcome: bytes | ContractRevert) -> int:
    if isinstance(outcome, ContractRevert):
        raise outcome
    return decode_uint(outcome)


def _word(address: Address) -> bytes:
    return bytes.fromhex(address[2:]).rjust(32, b"\0")
