"""Machines of a Dask cluster as a backend; lives in a keyless process of its own.

Dask unpickles what its members send, so whoever holds a certificate can run programs here and on every
worker. That is why the daemon, which signs, is never a member: it speaks the wire protocol to this process.

- A job is one task: pinned to one worker by the machine's id, never tried again by the cluster.
- One job a machine at a time. A machine is free again once its task has ended, however its session went.
- A worker that is lost ends its session; the daemon's own state machine begins the next one.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Final, Self

from armlx_chain.errors import AcceleratorBusy, FormatError, MachineError, UsageError, VerifierFault
from verifier.calibrationfile import read_noise
from verifier.executors.certificates import Place
from verifier.executors.jobs import MACHINE_ID, Facts, Job, LogPieces, Made, Order
from verifier.executors.site import Say
from verifier.executors.stopping import Brake
from verifier.executors.task import made_queue, orders_queue, perform, talk_queue
from verifier.executors.wire import parse, read_error, to_line
from verifier.model import Noise

__all__ = ["SETTINGS", "Cluster", "ClusterWork", "dask_kit", "secured"]

SETTINGS: Final[Mapping[str, object]] = {
    "distributed.comm.require-encryption": True,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-ttl": "120s",
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.system-monitor.disk": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""No second try, no move to another machine, nothing that samples while somebody trains."""
_LOOK_SECONDS: Final = "2s"
_CLOSE_SECONDS: Final = 60.0
_GONE: Final = (OSError, RuntimeError, TimeoutError, CancelledError)
"""What Dask raises where the scheduler ends meanwhile."""


def dask_kit() -> Any:
    """The package ``distributed``, which says nothing of its types, with this project's settings.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import dask
        import distributed
    except ImportError as missing:
        raise UsageError(
            "Dask is not installed.", next_step="Install it with: pip install 'armlx-chain[dask]'"
        ) from missing
    dask.config.set(dict(SETTINGS))
    # It calls a queue that stayed empty for two seconds an error, with a traceback.
    logging.getLogger("distributed.core").setLevel(logging.CRITICAL)
    return distributed


def secured(place: Place) -> Any:
    """Dask's security settings from a member's files: no connection without a certificate of this cluster."""
    files = (str(place.certificate), str(place.key))
    roles = ("client", "scheduler", "worker")
    members = {f"tls_{role}_cert": files[0] for role in roles} | {
        f"tls_{role}_key": files[1] for role in roles
    }
    return dask_kit().Security(require_encryption=True, tls_ca_file=str(place.authority), **members)


class Cluster:
    """The scheduler, in this process, and its workers wherever they are.

    Args:
        host, port: Where workers reach the scheduler; port 0 for any.
        place: This process's certificate.

    Raises:
        UsageError: Dask is not installed.
        MachineError: the scheduler cannot be started there.
    """

    def __init__(self, host: str, port: int, place: Place) -> None:
        kit, security = dask_kit(), secured(place)
        try:
            self._cluster: Any = kit.LocalCluster(
                n_workers=0,
                processes=False,
                protocol="tls://",
                host=host,
                scheduler_port=port,
                security=security,
                dashboard_address="127.0.0.1:0",
                blocked_handlers=["run_function", "dump_cluster_state_to_url"],
                scheduler_kwargs={"allowed_failures": 0, "dashboard": False},
            )
            self._client: Any = kit.Client(self._cluster, security=security, set_as_default=False)
        except (OSError, RuntimeError, ValueError) as problem:
            raise MachineError(f"The scheduler cannot be started at {host}:{port}: {problem}.") from problem
        self._lock = threading.Lock()
        self._busy: dict[str, ClusterWork | None] = {}

    @property
    def address(self) -> str:
        """Where workers find the scheduler: ``tls://HOST:PORT``."""
        return str(self._cluster.scheduler_address)

    def machines(self) -> tuple[tuple[str, bool], ...]:
        return tuple((name, not self._is_busy(name)) for name in sorted(self._workers()))

    def prepare(self, job: Job, say: Say, brake: Brake) -> Facts:
        return Facts.read(_object(self._answer(job, brake, "facts"), "facts"))

    def noise(self, job: Job, say: Say, brake: Brake) -> Noise:
        return read_noise(self._answer(job, brake, "noise").get("noise"))

    def open(self, job: Job, say: Say, brake: Brake) -> ClusterWork:
        work = self._begin(job)
        try:
            kills = Kills(work)
            brake.reach(kills)
            work.expect("open")
        except BaseException:
            work.close()
            raise
        return work

    def close(self) -> None:
        """End the scheduler; workers notice and wait for another one."""
        self._client.close(timeout=_CLOSE_SECONDS)
        self._cluster.close(timeout=_CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, job: Job, brake: Brake, kind: str) -> dict[str, Any]:
        work = self._begin(job)
        try:
            kills = Kills(work)
            brake.reach(kills)
            return work.result(kind)
        finally:
            work.close()

    def _workers(self) -> dict[str, str]:
        """Addresses by machine id; of a worker that gives itself another name nothing is asked."""
        known = self._client.scheduler_info()["workers"]
        named = {str(worker.get("name")): address for address, worker in known.items()}
        return {name: address for name, address in named.items() if MACHINE_ID.fullmatch(name)}

    def _let_end(self, machine: str) -> None:
        """Wait for a task that has nothing more to do: a lane may be back before its end is known here."""
        with self._lock:
            work = self._busy.get(machine)
        if work is not None:
            work.let_end(_CLOSE_SECONDS)

    def _is_busy(self, machine: str) -> bool:
        with self._lock:
            if machine not in self._busy:
                return False
            work = self._busy[machine]
            if work is None or not work.is_over:
                return True
            del self._busy[machine]
        work.release()
        return False

    def _begin(self, job: Job) -> ClusterWork:
        machine, address = self._take(job.machine)
        talk = secrets.token_hex(8)
        try:
            orders, made = (talk_queue(self._client, name(talk)) for name in (orders_queue, made_queue))
            task = self._client.submit(
                perform,
                to_line("task", talk=talk, job=job.tree()),
                key=f"{job.kind}-{talk}",
                workers=[address],
                allow_other_workers=False,
                retries=0,
                pure=False,
            )
        except BaseException:
            with self._lock:
                self._busy.pop(machine, None)
            raise
        work = ClusterWork(machine, task, orders, made)
        work.watch()
        with self._lock:
            self._busy[machine] = work
        return work

    def _take(self, wanted: str) -> tuple[str, str]:
        workers = self._workers()
        if wanted and wanted not in workers:
            raise VerifierFault(
                f"Machine {wanted} is not in the cluster now.",
                next_step="See whether armlx-validator worker runs there.",
            )
        for machine in [wanted] if wanted else sorted(workers):
            self._let_end(machine)
            if not self._is_busy(machine):
                with self._lock:
                    if machine not in self._busy:
                        self._busy[machine] = None
                        return machine, workers[machine]
        raise AcceleratorBusy("No machine of the cluster is free now.")


@dataclass(eq=False)
class ClusterWork:
    """A task on one worker, and the two queues of its talk."""

    machine: str
    task: Any
    orders: Any
    made: Any
    _is_closed: bool = False
    _has_ended: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Whether its machine could take another job."""
        return self._is_closed and self._has_ended.is_set()

    def let_end(self, seconds: float) -> None:
        """Wait for the task's end where the job is over."""
        if self._is_closed:
            self._has_ended.wait(seconds)

    def watch(self) -> None:
        """Let the scheduler forget the task once it has ended: it would repeat one whose worker goes."""

        def ended(_: object) -> None:
            self._has_ended.set()
            if self._is_closed:
                self.task.release()

        self.task.add_done_callback(ended)

    def release(self) -> None:
        """Let the scheduler forget the talk."""
        with contextlib.suppress(*_GONE):
            for talk in (self.orders, self.made):
                talk.close()

    def run(self, order: Order) -> Made:
        self.orders.put(to_line("run", **order.tree()).decode())
        pieces = LogPieces()
        while (message := self._next())["kind"] == "log":
            pieces.add(message)
        return Made(_object(message, "record"), pieces.whole())

    def expect(self, kind: str) -> None:
        """Wait for a message of this kind.

        Raises:
            ArmlxError: the worker's error, or it is gone.
        """
        if self._next()["kind"] != kind:
            raise VerifierFault(f"Machine {self.machine} did not answer as it should.")

    def result(self, kind: str) -> dict[str, Any]:
        """The task's own answer.

        Raises:
            ArmlxError: the worker's error, or it is gone.
        """
        try:
            answer = self.task.result() if self.task.exception() is None else None
        except _GONE as gone:
            raise self._lost() from gone
        if answer is None:
            raise self._lost()
        message = parse(answer if isinstance(answer, bytes) else b"")
        if message["kind"] == "error":
            raise read_error(message.get("error"))
        if message["kind"] != kind:
            raise VerifierFault(f"Machine {self.machine} did not answer as it should.")
        return message

    def kill(self) -> None:
        with contextlib.suppress(*_GONE):  # the scheduler ends, and the worker with it
            self.orders.put(to_line("kill").decode())

    def close(self) -> None:
        """The job is over; its machine is free once the task has ended."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(*_GONE):
            if self._has_ended.is_set():
                self.task.release()
            else:
                self.orders.put(to_line("end").decode())

    def _next(self) -> dict[str, Any]:
        while True:
            is_over = self._has_ended.is_set()
            try:
                message = parse(str(self.made.get(timeout="0.1s" if is_over else _LOOK_SECONDS)).encode())
            except TimeoutError:
                if is_over:
                    self.result("ended")
                    raise VerifierFault(f"Machine {self.machine} ended the session by itself.") from None
                continue
            except _GONE as gone:
                raise self._lost() from gone
            if message["kind"] == "error":
                raise read_error(message.get("error"))
            return message

    def _lost(self) -> VerifierFault:
        return VerifierFault(
            f"Machine {self.machine} was lost during its job.",
            meaning="A pair whose candidate was under way counts as interrupted.",
            next_step="See whether armlx-validator worker still runs there.",
        )


class Kills:
    """A task as something that can be ended."""

    def __init__(self, work: ClusterWork) -> None:
        self._work = work

    def kill_tree(self, reason: str = "deadline") -> None:
        self._work.kill()


def _object(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = message.get(name)
    if not isinstance(found, dict):
        raise FormatError(f"The message's {name} is no object.")
    return found
