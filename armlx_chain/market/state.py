"""A project's token at one block: everything a quote needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from armlx_chain.chain.contracts import ProjectToken
from armlx_chain.chain.rpc import BlockId
from armlx_chain.market.curve import Curve
from armlx_chain.types import Address, ProjectId, Tokens, Wei

PENDING = "pending"
"""The block that is being made: trades that wait in front of ours are in it."""


@dataclass(frozen=True, slots=True)
class MarketState:
    """A token at one block.

    Attributes:
        reserve: Wei that back sales: the contract's native balance.
        pool_minted: Rewards minted so far; they entered the supply without adding to the reserve.
    """

    project_id: ProjectId
    token: Address
    name: str
    symbol: str
    curve: Curve
    supply: Tokens
    reserve: Wei
    pool_cap: Tokens
    pool_minted: Tokens

    @property
    def spot_price(self) -> Wei:
        """Marginal price, as the project's page shows it. The next token costs half a slope more."""
        return self.curve.price_at(self.supply)

    @property
    def next_token_cost(self) -> Wei:
        return self.curve.payment_for(1, self.supply)

    @property
    def shortfall(self) -> Wei:
        """What redeeming every token would lack; negative means a surplus that nobody can withdraw."""
        return Wei(self.curve.cost_between(0, self.supply) - self.reserve)

    @property
    def redeemable(self) -> Tokens:
        """The most tokens that the reserve can buy back now."""
        return self.curve.sellable(self.supply, self.supply, self.reserve)


def read_market(token: ProjectToken, project_id: ProjectId, *, block: BlockId = "latest") -> MarketState:
    """Everything a quote needs.

    Raises:
        ChainError: the chain cannot be read, or there is no such token.
    """
    return MarketState(
        project_id=project_id,
        token=token.address,
        name=token.name(),
        symbol=token.symbol(),
        curve=Curve(token.base_price(), token.slope()),
        supply=token.total_supply(block=block),
        reserve=_balance(token, block),
        pool_cap=token.pool_cap(),
        pool_minted=token.pool_minted(block=block),
    )


def _balance(token: ProjectToken, block: BlockId) -> Wei:
    rpc, account = token.rpc, cast(Any, token.address)
    return Wei(rpc.guarded("eth_getBalance", lambda: rpc.w3.eth.get_balance(account, cast(Any, block))))
