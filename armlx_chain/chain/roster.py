"""The endpoints of one chain: who may be asked, whether they serve the right chain, and asking one of them.

- Before its first answer counts, one of several endpoints has to say that it serves the configured chain;
  again whenever it comes back after a fault.
- What an endpoint refuses as a batch is asked of it in smaller ones, in the end one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from armlx_chain.chain.health import EndpointReport, Fault, HealthBoard
from armlx_chain.chain.wire import Answer, Ask, BatchRefused, Endpoint, EndpointFaulty, names_of
from armlx_chain.errors import RpcUnavailable, WrongChain

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is expected of endpoints.

    Attributes:
        timeout_seconds: For one HTTP request as a whole.
        max_lag_blocks: An endpoint further behind the newest known block is stale.
        max_head_age_seconds: An endpoint without a new block for so long is stale; None for chains that mine
            on demand. With it, a newest block from the future is a lie.
        heads_every_seconds: How often the endpoints' newest blocks are compared.
        batch_size: Questions in one HTTP request, to begin with; halved for an endpoint that refuses.
    """

    timeout_seconds: float = 30.0
    max_lag_blocks: int = 5
    max_head_age_seconds: float | None = None
    heads_every_seconds: float = 10.0
    batch_size: int = 500


class Roster:
    """Endpoints with their standing.

    Args:
        urls: In order of preference.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        expected_chain_id: int,
        policy: Policy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        names = names_of(urls)
        self.policy = policy
        self.names = tuple(names)
        self.last_name = names[0]
        self._expected = expected_chain_id
        self._clock = clock
        self._endpoints = {
            name: Endpoint(url, name=name, timeout_seconds=policy.timeout_seconds, clock=clock)
            for name, url in zip(names, urls, strict=True)
        }
        self._board = HealthBoard(names)
        self._verified: set[str] = set()
        self._batch_size = dict.fromkeys(names, policy.batch_size)
        self._genesis: dict[str, str] = {}

    @property
    def several(self) -> bool:
        return len(self.names) > 1

    @property
    def round_trips(self) -> int:
        """HTTP requests so far, over all endpoints."""
        return sum(endpoint.round_trips for endpoint in self._endpoints.values())

    def healthy(self) -> list[str]:
        """Names of those that are not set aside, in order."""
        return self._board.healthy(now=self._clock())

    def report(self) -> tuple[EndpointReport, ...]:
        """How every endpoint stands now."""
        return self._board.report(now=self._clock())

    def blame(self, name: str, fault: Fault, words: str) -> None:
        """Set an endpoint aside for something that only the reader of its answer could see."""
        self.fault(EndpointFaulty(name, fault, words), name)

    def check_chain(self) -> None:
        """Ask the endpoints which chain they serve: the first again each time, the others once.

        One that is set aside for some trouble is asked when it comes back.

        Raises:
            WrongChain: one serves another chain, or two serve different chains of one id.
            RpcUnavailable: none answers.
        """
        reached = False
        self._verified.discard(self.names[0])
        troubled = self._board.last_resort(now=self._clock())
        asked = [name for name in self.names if name not in troubled]
        for name in asked or self.names:
            try:
                self._verify(name)
                reached = True
            except EndpointFaulty as fault:
                self.fault(fault, name)
        if not reached:
            raise self.nobody([Ask("eth_chainId", [])])

    def candidates(self) -> Iterator[str]:
        """Healthy endpoints in order; only if none of them answers, those in trouble."""
        healthy = self._board.healthy(now=self._clock())
        yield from self._proven(healthy)
        if not any(name in self._board.healthy(now=self._clock()) for name in healthy):
            waiting = [name for name in self._board.last_resort(now=self._clock()) if name not in healthy]
            yield from self._proven(waiting)

    def _proven(self, names: Sequence[str]) -> Iterator[str]:
        for name in names:
            if self.several and name not in self._verified:
                try:
                    self._verify(name)
                except EndpointFaulty as fault:
                    self.fault(fault, name)
                    continue
                except WrongChain as error:
                    log.warning("endpoint set aside: %s", error.message)
                    continue
            yield name

    def _verify(self, name: str) -> None:
        """Chain id and, among several, the hash of block 0."""
        if name in self._verified:
            return
        endpoint = self._endpoints[name]
        actual = _quantity(endpoint.ask(Ask("eth_chainId", [])))
        if actual is None:
            raise EndpointFaulty(name, Fault.GARBAGE, "does not say which chain it serves")
        if actual != self._expected:
            self._board.fault(name, Fault.WRONG_CHAIN, f"serves chain {actual}", now=self._clock())
            raise WrongChain(
                f"{name} answers for chain {actual}, but chain {self._expected} is configured.",
                meaning="Nothing was sent.",
                next_step="Give the right --rpc-url, or choose the network with --network.",
                details={"actual": actual, "expected": self._expected},
            )
        if self.several:
            self._compare_genesis(name, endpoint)
        self._verified.add(name)

    def _compare_genesis(self, name: str, endpoint: Endpoint) -> None:
        """A node without its first block (pruned) proves nothing by it and is taken at its chain id."""
        result = endpoint.ask(Ask("eth_getBlockByNumber", ["0x0", False])).get("result")
        if not isinstance(result, dict) or not isinstance(result.get("hash"), str):
            return
        self._genesis[name] = result["hash"].lower()
        for other, genesis in self._genesis.items():
            if genesis != self._genesis[name]:
                self._genesis.pop(name)
                self._board.fault(
                    name, Fault.WRONG_CHAIN, f"has another first block than {other}", now=self._clock()
                )
                raise WrongChain(
                    f"{other} and {name} serve two different chains with the id {self._expected}"
                    " (their first blocks differ).",
                    meaning="Nothing was sent.",
                    next_step="Remove the wrong one from --rpc-url.",
                    details={"endpoints": [other, name]},
                )

    def ask_at(self, name: str, asks: Sequence[Ask], *, send: bool = False) -> list[Answer]:
        """Ask one endpoint; what it refuses as a batch is asked in smaller ones, in the end one by one."""
        endpoint, answers = self._endpoints[name], list[Answer]()
        self.last_name = name
        while len(answers) < len(asks):
            part = asks[len(answers) : len(answers) + self._batch_size[name]]
            if len(part) == 1:
                answers.append(self._ask_once_more(endpoint, part[0], send=send))
                continue
            try:
                answers += endpoint.ask_many(part)
            except BatchRefused:
                self._batch_size[name] = max(1, len(part) // 4)
                log.info("%s refuses %d questions at once", name, len(part))
        self._board.good(name, now=self._clock())
        return answers

    def _ask_once_more(self, endpoint: Endpoint, ask: Ask, *, send: bool) -> Answer:
        """A connection that was kept open may be gone: a read is tried a second time, a send never."""
        try:
            return endpoint.ask(ask)
        except EndpointFaulty as fault:
            if send or fault.fault is not Fault.UNREACHABLE:
                raise
            return endpoint.ask(ask)

    def fault(self, fault: EndpointFaulty, name: str) -> None:
        self._board.fault(name, fault.fault, fault.words, now=self._clock(), retry_after=fault.retry_after)
        self._verified.discard(name)
        if self.several:
            log.warning("endpoint set aside: %s", fault.message)

    def nobody(self, asks: Sequence[Ask]) -> RpcUnavailable:
        reports = self.report()
        wrong = [report for report in reports if report.fault is Fault.WRONG_CHAIN]
        if len(wrong) == len(reports):
            raise WrongChain(
                "; ".join(f"{report.name} {report.words}" for report in wrong)
                + f", but chain {self._expected} is configured.",
                next_step="Give the right --rpc-url, or choose the network with --network.",
            )
        troubles = "; ".join(f"{report.name} {report.words or 'gave no answer'}" for report in reports)
        return RpcUnavailable(
            f"No endpoint of the chain answers {asks[0].method}: {troubles}.",
            next_step="Check the endpoint, or give another with --rpc-url, and try again.",
            details={"endpoints": [report.sentence() for report in reports]},
        )


def _quantity(answer: Answer) -> int | None:
    try:
        return int(str(answer.get("result")), 16)
    except ValueError:
        return None
