"""The plan of a submission as a person sees it: who, what, at most how much, and what each outcome costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armlx_chain.claims.outcomes import Costs, Outcome, outcomes
from armlx_chain.claims.policies import objections, policy_line
from armlx_chain.claims.preflight import ClaimFacts
from armlx_chain.claims.submit import SubmitPlan
from armlx_chain.cli.context import App
from armlx_chain.cli.output import coin, confirm, emit, say
from armlx_chain.formats.policy import Policy
from armlx_chain.settings import Network
from armlx_chain.types import Wei

__all__ = ["ShownPlan", "agreed"]


@dataclass(frozen=True, slots=True)
class ShownPlan:
    """A checked submission, with what it is compared with and what it costs."""

    plan: SubmitPlan
    facts: ClaimFacts
    costs: Costs
    policies: tuple[Policy, ...]
    network: Network

    def worth(self, tokens: int) -> Wei:
        """What so many tokens cost to buy now, after our own purchase."""
        market = self.facts.market
        return market.curve.cost_between(market.supply, market.supply + tokens)

    def to_json(self) -> dict[str, Any]:
        """The figures of the plan."""
        plan, run = self.plan, self.plan.packed.run.facts
        return {
            "project": int(run.project_id),
            "metric": run.metric,
            "value": run.value,
            "control_value": run.control_value,
            "hardware_class": run.hardware_class,
            "best_score": int(self.facts.project.best_score),
            "claimed_score": int(plan.score),
            "candidate_root": str(plan.packed.root),
            "stake": int(plan.stake),
            "reward_recipient": plan.terms.reward_recipient,
            "purchase": None if plan.purchase is None else int(plan.purchase.count),
            "costs_wei": {
                "purchase": str(self.costs.purchase),
                "gas": str(self.costs.gas),
                "storage": str(self.costs.storage),
                "total": str(self.costs.total),
            },
            "outcomes": [
                {**end.to_json(), "change_wei": str(self._signed_worth(end))} for end in outcomes(plan.stake)
            ],
            "policies": [
                {"validator": policy.validator, "objections": objections(policy, plan.bid)}
                for policy in self.policies
            ],
            "warnings": list(plan.warnings),
        }

    def _signed_worth(self, end: Outcome) -> int:
        worth = self.worth(abs(end.change))
        return worth if end.change >= 0 else -worth

    def rows(self) -> list[tuple[str, object]]:
        """The plan, line by line."""
        plan, run, symbol = self.plan, self.plan.packed.run.facts, self.facts.market.symbol
        buying = "nothing" if plan.purchase is None else (
            f"{plan.purchase.count} {symbol} for at most {coin(plan.purchase.payment)}"
        )  # fmt: skip
        return [
            ("chain", f"{self.network.name} ({run.chain_id})"),
            ("miner", plan.terms.miner),
            ("project", f"{run.project_id} ({symbol})"),
            ("measured", f"{run.metric} {run.value} against the control's {run.control_value}"),
            ("hardware", run.hardware_class),
            ("claim", f"chained score {plan.score} (best now {self.facts.project.best_score})"),
            ("candidate", plan.packed.root),
            ("buy", buying),
            ("stake", f"{plan.stake} {symbol}"),
            ("at most", f"{coin(self.costs.total)}: {coin(self.costs.purchase)} for tokens,"
             f" {coin(self.costs.gas)} gas, {coin(self.costs.storage)} uploads"),
            *((f"if {end.name}", self._ending(end)) for end in outcomes(plan.stake)),
            *self._policy_rows(),
        ]  # fmt: skip

    def _ending(self, end: Outcome) -> str:
        symbol, worth = self.facts.market.symbol, coin(self.worth(abs(end.change)))
        if end.minted:
            return (
                f"+{end.change} {symbol} (about {worth}): the stake returns, and {end.minted} go to"
                f" {self.plan.terms.reward_recipient}"
            )
        back = f", {end.credited} come back with claim-reward" if end.credited else ""
        return f"{end.change} {symbol} (about {worth}){back}"

    def _policy_rows(self) -> list[tuple[str, object]]:
        if not self.policies:
            return [("policies", "no validator's policy is known; see --policy")]
        return [(f"{policy.validator[:10]}…", policy_line(policy, self.plan.bid)) for policy in self.policies]


def agreed(app: App, shown: ShownPlan, *, yes: bool, dry_run: bool) -> bool:
    """Show the plan and ask; on a dry run the figures go to stdout.

    Raises:
        click.Abort: the person said no.
    """
    for warning in shown.plan.warnings:
        say(f"warning: {warning}")
    go = confirm(shown.rows(), yes=yes, dry_run=dry_run)
    if not go:
        emit({"dry_run": True, **shown.to_json()}, [], as_json=app.as_json)
    return go
