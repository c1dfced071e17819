"""One file's segments, from several nodes at once into a sink, each proven before it is kept.

- A segment is asked first of the nodes whose shard it belongs to, of those the one that is likely to answer
  soonest; then of the others.
- A node that lies, stalls or answers nonsense is named and set aside. A connection that breaks is named and
  forgiven twice: a large file would hardly ever arrive otherwise.
- Memory: a few segments per worker, whatever the file's size.
- Where no node offers proofs, plain segments are taken, and the root of the whole decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from armlx_chain.errors import ContentMismatch, EndpointFault
from armlx_chain.storage.http import as_fault
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.zerog import shape
from armlx_chain.storage.zerog.discover import View
from armlx_chain.storage.zerog.hunt import Absence, Hunt
from armlx_chain.storage.zerog.merkle import segment_root, verify_segment
from armlx_chain.storage.zerog.sink import Sink
from armlx_chain.storage.zerog.wire import ServedSegment

__all__ = ["Transfer"]

_MAX_STRIKES = 3
_MAX_NULLS = 8
"""A node that lacks as many segments of its own in a row is asked for no more: it does not have the file."""
_METHOD_NOT_FOUND = -32601


class Transfer:
    """Fetches the file of ``size`` bytes, as ``views`` say it has, into ``sink``.

    Attributes:
        sources: Who served what was kept.
    """

    def __init__(self, hunt: Hunt, size: int, views: list[View], sink: Sink, *, workers: int) -> None:
        self._hunt = hunt
        self._size = size
        self._views = views
        self._sink = sink
        self._workers = workers
        self._lock = threading.Lock()
        self._served: dict[int, str] = {}
        self.sources: dict[str, None] = {}

    def run(self) -> bool:
        """Whether the file is in the sink now, proven as a whole."""
        self._sink.begin(self._size)
        held = self._sink.held
        self._each(held.missing(), self._prove_one)
        doubted = self._sink.doubted()
        if doubted and held.is_whole() and not held.adds_up_to(self._hunt.root):
            self._sink.drop(doubted)  # notes of an earlier run that were wrong, or were forged
            self._each(held.missing(), self._prove_one)
        if not held.is_whole():
            return self._unproven()
        if held.adds_up_to(self._hunt.root):
            return True
        self._blame_all(
            self.sources, "its segments do not add up to the root: it gives the file a wrong length"
        )
        return False

    def _each(self, indices: Iterator[int], act: Callable[[int], bool], *, stop_early: bool = False) -> None:
        """``act`` on every index, several at a time, while there is somebody left to ask."""
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set() and not self._hunt.is_over and self._usable():
                with self._lock:
                    index = next(indices, None)
                if index is None:
                    return
                if not act(index) and stop_early:
                    stop.set()

        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            running = [pool.submit(work) for _ in range(self._workers)]
            try:
                for future in running:
                    future.result()
            finally:
                stop.set()

    def _usable(self) -> list[View]:
        return [v for v in self._views if v.url not in self._hunt.bad and v.nulls < _MAX_NULLS]

    # --- with proofs ---------------------------------------------------------------------------------------

    def _next(self, index: int, tried: dict[str, int]) -> View | None:
        """The node to ask for segment ``index`` now."""
        with self._lock:
            candidates = [v for v in self._usable() if v.has_proofs and tried.get(v.url, 0) < 2]
            if not candidates:
                return None
            view = min(candidates, key=lambda v: (not v.is_responsible(index), *v.wait()))
            view.in_flight += 1
            return view

    def _prove_one(self, index: int) -> bool:
        tried: dict[str, int] = {}
        while not self._hunt.is_over:
            view = self._next(index, tried)
            if view is None:
                return False
            began = time.monotonic()
            try:
                is_kept, may_retry = self._ask(view, index)
            finally:
                with self._lock:
                    view.in_flight -= 1
                    took = time.monotonic() - began
                    view.seconds = took if not view.seconds else 0.8 * view.seconds + 0.2 * took
            if is_kept:
                return True
            tried[view.url] = tried.get(view.url, 0) + (1 if may_retry else 2)
        return False

    def _ask(self, view: View, index: int) -> tuple[bool, bool]:
        """Ask for a segment, verify and keep it. Returns whether it is kept, and whether to ask again."""
        hunt = self._hunt
        try:
            served = view.api.proven_segment(view.info.seq, index, hunt.remaining())
        except EndpointFault as error:
            return False, self._judge(view, error)
        if served is None:
            self._lacks(view, index)
            return False, False
        try:
            _check_claims(served, index, self._size)
            verify_segment(hunt.root, self._size, index, served.data, served.proof)
        except ContentMismatch as error:
            hunt.blame(view.url, FaultKind.WRONG_BYTES, error.message)
            return False, False
        view.strikes = view.nulls = 0
        end = min(len(served.data), self._size - index * shape.SEGMENT_BYTES)
        self._sink.put(index, memoryview(served.data)[:end], served.proof.lemma[0], proven=True)
        self.sources[view.url] = None
        hunt.renew()
        return True, False

    def _judge(self, view: View, error: EndpointFault) -> bool:
        """Blame the node; whether it may be asked for the same segment again."""
        if error.details.get("rpc_code") == _METHOD_NOT_FOUND:
            view.has_proofs = False  # see _unproven
            return False
        forgiven = False
        if as_fault(error).kind is FaultKind.UNREACHABLE:
            with self._lock:
                view.strikes += 1
                forgiven = view.strikes < _MAX_STRIKES
        self._hunt.blame_error(error, aside=not forgiven)
        return forgiven

    def _lacks(self, view: View, index: int) -> None:
        """The node does not have a segment: worth telling where it belongs to its shard."""
        if not view.is_responsible(index):
            return
        view.nulls += 1
        if view.info.finalized:
            self._hunt.missing(view.url, Absence.INCOMPLETE, f"segment {index} is not there")

    # --- without proofs ------------------------------------------------------------------------------------

    def _unproven(self) -> bool:
        """Fill what is missing with segments without proof, from one choice of nodes after the other."""
        for view in self._views:
            view.nulls = 0
        for choice in range(len(self._views)):
            self._served.clear()
            self._each(self._sink.held.missing(), partial(self._plain_one, choice), stop_early=True)
            if self._sink.held.is_whole():
                if self._sink.held.adds_up_to(self._hunt.root):
                    self.sources.update(dict.fromkeys(self._served.values()))
                    return True
                self._blame_all(
                    set(self._served.values()), "segments without proof did not add up to the root"
                )
            self._sink.drop(list(self._served))
        return False

    def _plain_one(self, choice: int, index: int) -> bool:
        candidates = sorted(self._usable(), key=lambda view: not view.is_responsible(index))
        if not candidates or self._hunt.is_over:
            return False
        view = candidates[choice % len(candidates)]
        want = shape.segment_length(self._size, index)
        start = index * shape.SEGMENT_CHUNKS
        end_chunk = start + want // shape.CHUNK_BYTES
        try:
            data = view.api.chunks(view.info.seq, start, end_chunk, self._hunt.remaining())
        except EndpointFault as error:
            self._hunt.blame_error(error)
            return False
        if data is None:
            self._lacks(view, index)
            return False
        end = min(want, self._size - index * shape.SEGMENT_BYTES)
        if len(data) != want or any(data[end:]):
            why = f"segment {index} has {len(data)} bytes where {want} belong"
            self._hunt.blame(view.url, FaultKind.WRONG_BYTES, why)
            return False
        root = segment_root(data, shape.segment_leaves(self._size, index))
        self._sink.put(index, memoryview(data)[:end], root, proven=False)
        self._served[index] = view.url
        return True

    def _blame_all(self, sources: Iterable[str], detail: str) -> None:
        """The file as a whole is wrong: certain if one node served it, else a suspicion."""
        named = sorted(sources)
        kind = FaultKind.WRONG_BYTES if len(named) == 1 else FaultKind.SUSPECT
        for source in named:
            self._hunt.blame(source, kind, detail)


def _check_claims(served: ServedSegment, index: int, size: int) -> None:
    if served.index != index or served.size != size:
        raise ContentMismatch(f"Segment {index} was asked for; index {served.index} of another file came.")
