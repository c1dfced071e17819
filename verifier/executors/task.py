"""The one function that a cluster's workers carry out: JSON bytes in, JSON bytes out.

A task is a whole job; a session stays open in it, and takes its orders from a queue::

    orders-<talk>   {"kind": "run", …} … {"kind": "end"}      to the worker; "kill" at any time
    made-<talk>     log* record | error | open                 from the worker
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

from armlx_chain.errors import ArmlxError, FormatError, VerifierFault
from verifier.calibrationfile import encode_noise
from verifier.executors.jobs import Job, Order
from verifier.executors.site import Backend
from verifier.executors.stopping import Brake
from verifier.executors.wire import error_tree, parse, text, to_line

__all__ = ["made_queue", "orders_queue", "perform", "serve_as", "talk_queue"]

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = "5s"
_here: list[Backend] = []


def serve_as(backend: Backend) -> None:
    """What tasks of this process are carried out by."""
    _here[:] = [backend]


def orders_queue(talk: str) -> str:
    return f"orders-{talk}"


def made_queue(talk: str) -> str:
    return f"made-{talk}"


def talk_queue(client: Any, name: str) -> Any:
    """A queue of the cluster, as this client reaches it."""
    from distributed import Queue

    kind: Any = Queue  # distributed says nothing of its types
    return kind(name, client=client)


def perform(task: bytes) -> bytes:
    """Carry out a job. An error comes back as a message, never as an exception."""
    try:
        asked = parse(task)
        job = asked.get("job")
        if not _here or not isinstance(job, dict):
            raise FormatError("This process carries out no such job.")
        return _Task(_here[0], Job.read(job), text(asked, "talk")).carry_out()
    except ArmlxError as problem:
        return to_line("error", error=error_tree(problem))


class _Task:
    """A job, and a thread that listens to the queue of its orders."""

    def __init__(self, backend: Backend, job: Job, talk: str) -> None:
        from distributed import get_client

        client: Any = get_client()
        self._backend = backend
        self._job = job
        self._orders = talk_queue(client, orders_queue(talk))
        self._made = talk_queue(client, made_queue(talk))
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._brake = Brake()
        self._is_over = threading.Event()

    def carry_out(self) -> bytes:
        """The job's answer.

        Raises:
            ArmlxError: what it met.
        """
        steps: dict[str, Callable[[], bytes]] = {
            "prepare": lambda: to_line(
                "facts", facts=self._backend.prepare(self._job, _log, self._brake).tree()
            ),
            "noise": lambda: to_line(
                "noise", noise=encode_noise(self._backend.noise(self._job, _log, self._brake))
            ),
            "session": self._session,
        }
        step = steps.get(self._job.kind)
        if step is None:
            raise FormatError("This is no job.")
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        try:
            return step()
        finally:
            self._is_over.set()

    def _listen(self) -> None:
        while not self._is_over.is_set():
            message = _next(self._orders)
            if message is None:
                continue
            self._inbox.put(message)
            if message["kind"] != "run":
                break
        else:
            return
        if message["kind"] != "end":
            try:
                self._brake.kill()
            except VerifierFault as survives:
                log.warning("what ran could not be ended: %s", survives.message)

    def _session(self) -> bytes:
        work = self._backend.open(self._job, _log, self._brake)
        try:
            kills = _Kills(work.kill)
            self._brake.reach(kills)
            self._made.put(to_line("open").decode())
            while (order := self._inbox.get())["kind"] == "run":
                self._run(work.run, Order.read(order))
        finally:
            work.close()
        return to_line("ended")

    def _run(self, run: Callable[[Order], Any], order: Order) -> None:
        try:
            lines = run(order).lines()
        except ArmlxError as problem:
            lines = [to_line("error", error=error_tree(problem))]
        for line in lines:
            self._made.put(line.decode())


class _Kills:
    """What is called when the job is killed."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill

    def kill_tree(self, reason: str = "deadline") -> None:
        self._kill()


def _next(orders: Any) -> dict[str, Any] | None:
    """The next order; ``None`` for a while without one, a kill where the scheduler is gone."""
    try:
        return parse(str(orders.get(timeout=_LOOK_SECONDS)).encode())
    except TimeoutError:
        return None
    except (OSError, RuntimeError, FormatError) as gone:
        log.warning("the scheduler is gone: %s", gone)
        return {"kind": "kill"}


def _log(sentence: str) -> None:
    log.info("%s", sentence)
