"""Several endpoints of one chain behind one door.

- Questions go to the first healthy endpoint and, where it fails, to the next; who failed is set aside for a
  while and named (rules: ``armlx_chain.chain.health``).
- An endpoint of another chain is a mistake in the configuration: ``check_chain`` refuses to go on, even if
  the others are right.
- ``witnessed`` answers were given alike by two endpoints, where two are there; a third decides between two
  that differ, and without one nothing is decided.
- A signed transaction goes to every healthy endpoint, the same bytes; no send is repeated here.
- With a single endpoint there is nobody to compare with: it is asked, and believed.

::

    pool = EndpointPool(["https://a", "https://b"], expected_chain_id=16602, policy=Policy())
    pool.check_chain()
    pool.witnessed([Ask("eth_getBalance", [account, "0x10"])])
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from eth_utils.crypto import keccak

from armlx_chain.chain.canonical import essence, is_behind, is_refusal, receipt_essence
from armlx_chain.chain.health import Fault, Head, judge_heads, majority
from armlx_chain.chain.roster import Policy, Roster
from armlx_chain.chain.wire import Answer, Ask, EndpointFaulty
from armlx_chain.errors import EndpointsDisagree

__all__ = ["Ask", "EndpointPool", "Policy"]
log = logging.getLogger(__name__)
_ON_ITS_WAY = ("already known", "already imported", "known transaction", "already exists in the mempool")


class EndpointPool(Roster):
    """The endpoints of one chain.

    Args:
        wall: Unix time in seconds.
        others: As for ``Roster``.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        expected_chain_id: int,
        policy: Policy,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(urls, expected_chain_id=expected_chain_id, policy=policy, clock=clock)
        self._wall = wall
        self._heads_due = clock()
        self._highest = 0
        self._alone: str | None = None

    def request(self, ask: Ask) -> Answer:
        """The first good answer.

        Raises:
            RpcUnavailable: no endpoint gives one; each is named with its trouble.
        """
        return self.request_many([ask])[0]

    def request_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers in order, from one endpoint, in as few round trips as it allows."""
        self._compare_heads_if_due()
        behind: list[Answer] | None = None
        for name in self.candidates():
            try:
                answers = self.ask_at(name, asks)
            except EndpointFaulty as fault:
                self.fault(fault, name)
                continue
            if self.several and _lacks_block(asks, answers):
                behind = behind or answers
                continue
            return answers
        if behind is not None:
            return behind
        raise self.nobody(asks)

    def witnessed(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers on which two endpoints agree. The questions must name their block by number or hash.

        Raises:
            EndpointsDisagree: two contradict each other and no third decides.
            RpcUnavailable: no endpoint answers.
        """
        if not self.several or not asks:
            return self.request_many(asks) if asks else []
        self._compare_heads_if_due()
        given: dict[str, list[Answer]] = {}
        unusable: list[Answer] | None = None
        for name in self.candidates():
            try:
                answers = self.ask_at(name, asks)
            except EndpointFaulty as fault:
                self.fault(fault, name)
                continue
            if _lacks_block(asks, answers) or any(is_refusal(answer) for answer in answers):
                unusable = unusable or answers
                continue
            given[name] = answers
            if len(given) > 1 and (agreed := self._agreed(asks, given)) is not None:
                return agreed
        return self._best_of(asks, given, unusable)

    def _best_of(
        self, asks: Sequence[Ask], given: dict[str, list[Answer]], unusable: list[Answer] | None
    ) -> list[Answer]:
        """What to say when no two agreed."""
        if len(given) > 1:
            raise self._contradiction(asks[0].method, list(given))
        if not given and unusable is None:
            raise self.nobody(asks)
        if unusable is not None and (not given or _is_too_wide(asks, unusable)):
            return unusable
        (name,) = given
        if name != self._alone:
            log.warning("only %s answers now: nobody confirms what it says", name)
        self._alone = name
        return given[name]

    def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        """A receipt on which all endpoints agree that have its block, or None while it is not mined.

        Raises:
            EndpointsDisagree: they contradict each other.
            RpcUnavailable: none answers.
        """
        ask = Ask("eth_getTransactionReceipt", [tx_hash])
        if not self.several:
            return _receipt_of(self.request(ask))
        self._compare_heads_if_due()
        found: dict[str, dict[str, Any] | None] = {}
        for name in self.candidates():
            try:
                found[name] = _receipt_of(self.ask_at(name, [ask])[0])
            except EndpointFaulty as fault:
                self.fault(fault, name)
        if not found:
            raise self.nobody([ask])
        having = {name: receipt for name, receipt in found.items() if receipt is not None}
        if not having:
            return None
        agreed = majority({name: receipt_essence(receipt) for name, receipt in having.items()})
        if agreed is None:
            raise self._contradiction(ask.method, list(having))
        for name in agreed[1]:
            self.blame(name, Fault.LYING, "shows another receipt than the others")
        chosen = next(name for name in having if name not in agreed[1])
        missing = [name for name in found if found[name] is None]
        return having[chosen] if self._all_catch_up(having[chosen], chosen, missing) else None

    def _all_catch_up(self, receipt: dict[str, Any], holder: str, missing: Sequence[str]) -> bool:
        """Whether those that do not show a receipt have its block, and so should; else it is too early.

        Raises:
            EndpointsDisagree: they have another block at its height.
        """
        ask = Ask("eth_getBlockByNumber", [receipt.get("blockNumber"), False])
        for name in missing:
            try:
                block = self.ask_at(name, [ask])[0].get("result")
            except EndpointFaulty as fault:
                self.fault(fault, name)
                continue
            if not isinstance(block, dict):
                return False
            if str(block.get("hash")).lower() != str(receipt.get("blockHash")).lower():
                raise self._contradiction("eth_getTransactionReceipt", [holder, name])
            self.blame(name, Fault.LYING, "has a block but hides a transaction in it")
        return True

    def broadcast(self, raw: bytes) -> Answer:
        """Give one signed transaction to every healthy endpoint, once each.

        Returns:
            An acceptance, else a refusal that says it is known already, else the first refusal.

        Raises:
            RpcUnavailable: nobody answered; whether it is on its way is not known.
        """
        ask = Ask("eth_sendRawTransaction", ["0x" + raw.hex()])
        accepted: Answer | None = None
        refusals: list[Answer] = []
        for name in self.candidates():
            try:
                answer = self.ask_at(name, [ask], send=True)[0]
            except EndpointFaulty as fault:
                self.fault(fault, name)
                continue
            if answer.get("error") is not None:
                refusals.append(answer)
            elif str(answer.get("result")).lower() != "0x" + keccak(raw).hex():
                self.blame(name, Fault.LYING, "answered a broadcast with another hash")
            else:
                accepted = answer
        if accepted is not None:
            return accepted
        if refusals:
            return next((answer for answer in refusals if _on_its_way(answer)), refusals[0])
        raise self.nobody([ask])

    def height(self) -> int:
        """The newest believable block number; never less than it was.

        Raises:
            RpcUnavailable: no endpoint is up to date.
            EndpointsDisagree: of two endpoints, one is far behind on another branch.
        """
        self._compare_heads()
        if not self.healthy():
            raise self.nobody([Ask("eth_getBlockByNumber", ["latest"])])
        return self._highest

    def _compare_heads_if_due(self) -> None:
        if self.several and self._clock() >= self._heads_due:
            self._compare_heads()

    def _compare_heads(self) -> None:
        """Set aside who lags behind or claims what cannot be."""
        self._heads_due = self._clock() + self.policy.heads_every_seconds
        heads: dict[str, Head] = {}
        for name in self.candidates():
            try:
                heads[name] = self._head(name)
            except EndpointFaulty as fault:
                self.fault(fault, name)
        max_age = self.policy.max_head_age_seconds
        now = None if max_age is None else self._wall()
        found = judge_heads(heads, now=now, max_lag=self.policy.max_lag_blocks, max_age=max_age)
        believed = {name: head for name, head in heads.items() if name not in found}
        for name, (kind, words) in found.items():
            if kind is Fault.STALE and len(believed) == 1:
                self._check_same_branch(name, heads[name], next(iter(believed)))
            self.blame(name, kind, words)
        self._highest = max([self._highest, *(head.number for head in believed.values())])

    def _head(self, name: str) -> Head:
        found = _head_of(self.ask_at(name, [Ask("eth_getBlockByNumber", ["latest", False])])[0])
        if found is None:
            raise EndpointFaulty(name, Fault.GARBAGE, "does not say what its newest block is")
        return found

    def _check_same_branch(self, name: str, head: Head, ahead: str) -> None:
        """With two endpoints, "behind" is believed only if the other has the same block at that height.

        Raises:
            EndpointsDisagree: it has another.
        """
        try:
            block = self.ask_at(ahead, [Ask("eth_getBlockByNumber", [hex(head.number), False])])[0].get(
                "result"
            )
        except EndpointFaulty as fault:
            self.fault(fault, ahead)
            return
        if not isinstance(block, dict) or str(block.get("hash")).lower() != head.hash:
            raise self._contradiction("eth_getBlockByNumber", [name, ahead])

    def _agreed(self, asks: Sequence[Ask], given: dict[str, list[Answer]]) -> list[Answer] | None:
        """The answers of the majority; who contradicts it is set aside."""
        said = {
            name: tuple(essence(ask.method, answer) for ask, answer in zip(asks, answers, strict=True))
            for name, answers in given.items()
        }
        found = majority(said)
        if found is None:
            return None
        for name in found[1]:
            self.blame(name, Fault.LYING, f"contradicts the others' answer to {asks[0].method}")
        return next(given[name] for name in given if name not in found[1])

    def _contradiction(self, method: str, names: list[str]) -> EndpointsDisagree:
        return EndpointsDisagree(
            f"{' and '.join(names)} contradict each other in their answers to {method}.",
            meaning="One of them is wrong, and nothing shows which: nothing was decided on their answers.",
            next_step="Wait a moment and run this again; if it stays so, remove one, or add a third to"
            " --rpc-url.",
            details={"endpoints": names, "method": method},
        )


def _lacks_block(asks: Sequence[Ask], answers: Sequence[Answer]) -> bool:
    return any(is_behind(ask.method, answer) for ask, answer in zip(asks, answers, strict=True))


def _is_too_wide(asks: Sequence[Ask], answers: Sequence[Answer]) -> bool:
    """Whether the node refuses a search for logs: then a narrower one may find two witnesses."""
    return asks[0].method == "eth_getLogs" and not _lacks_block(asks, answers)


def _on_its_way(answer: Answer) -> bool:
    words = str(answer["error"].get("message", "")).lower()
    return any(part in words for part in _ON_ITS_WAY)


def _receipt_of(answer: Answer) -> dict[str, Any] | None:
    result = answer.get("result")
    return result if isinstance(result, dict) and answer.get("error") is None else None


def _head_of(answer: Answer) -> Head | None:
    result = answer.get("result")
    if not isinstance(result, dict):
        return None
    try:
        return Head(int(result["number"], 16), int(result["timestamp"], 16), str(result["hash"]).lower())
    except (KeyError, TypeError, ValueError):
        return None
