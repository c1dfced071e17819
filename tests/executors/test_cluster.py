"""A cluster on this machine: real Dask, real TLS, machines that are processes and get lost."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from armlx_chain.chain.contracts import Project
from armlx_chain.errors import AcceleratorBusy, Interrupted, UsageError, VerifierFault
from tests.executors.places import Place, Shelf, published
from tests.executors.processes import Member, behind, until
from tests.executors.sessions import SAME, Beside, Notes, judged
from verifier.executors.certificates import Place as CertificatePlace
from verifier.executors.certificates import make_certificates, read_place
from verifier.executors.cluster import Cluster
from verifier.executors.jobs import Job
from verifier.executors.membership import serve_cluster
from verifier.executors.server import Server, listen
from verifier.executors.stopping import Brake
from verifier.model import Outcome, Reason

pytestmark = pytest.mark.integration


@dataclass
class World:
    """A scheduler behind a socket, and the machines that look for it."""

    folder: Path
    shelf: Shelf
    project: Project
    cluster: Cluster
    members: list[Member] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def member(self, name: str, *, seconds: float = 0.0) -> Member:
        found = Member(
            self.shelf,
            self.folder / name,
            *("--scheduler", self.cluster.address),
            *("--certificates", self.folder / "c" / "worker"),
            seconds=seconds,
        )
        self.members.append(found)
        return found

    def joined(self, *members: Member) -> None:
        names = {member.machine for member in members}
        until(lambda: names <= {name for name, is_free in self.cluster.machines() if is_free})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("w")
    shelf = Shelf(folder / "shelf")
    make_certificates(folder / "c", now=datetime.now(tz=UTC))
    with Cluster("127.0.0.1", 0, read_place(folder / "c" / "scheduler")) as cluster:
        found = World(folder, shelf, published(shelf), cluster)
        server = Server(listen(found.socket), cluster)
        threading.Thread(target=server.run, daemon=True).start()
        try:
            yield found
        finally:
            for member in found.members:
                member.kill()
            server.close()
    gc.collect()  # what a cluster leaves is cleared away here, not in the middle of another test


@pytest.fixture(scope="module")
def fast(world: World) -> Iterator[tuple[Member, Member]]:
    """Two machines whose runs take no time."""
    yield world.member("one"), world.member("two")


@pytest.fixture(scope="module")
def slow(world: World) -> Iterator[Member]:
    """A machine whose runs take a second."""
    yield world.member("slow", seconds=1.0)


def test_sessions_on_two_machines_at_once_each_stay_on_one(
    world: World, fast: tuple[Member, Member], tmp_path: Path
) -> None:
    world.joined(*fast)
    executor = behind(world.socket, Place(world.shelf, tmp_path / "daemon"))
    names = {member.machine for member in fast}
    assert set(executor.machines()) >= names
    benches = [executor.prepare(world.project, member.machine) for member in fast]
    sessions = [
        Beside(lambda bench=bench, number=number: judged(bench, tmp_path / str(number), keeper=Notes()))  # type: ignore[misc]
        for number, bench in enumerate(benches)
    ]
    verdicts = [session.end() for session in sessions]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.REPRODUCED] * 2
    for member, verdict, bench in zip(fast, verdicts, benches, strict=True):
        assert bench.machine_id == member.machine
        assert len(member.started()) == 2 * len(verdict.pairs), "all runs of a session, and no others"
    world.joined(*fast)
    with pytest.raises(VerifierFault, match="is not in the cluster"):
        executor.prepare(world.project, "f" * 16)


def test_a_daemon_that_stops_its_session_frees_the_machine(
    world: World, slow: Member, tmp_path: Path
) -> None:
    world.joined(slow)
    executor = behind(world.socket, Place(world.shelf, tmp_path / "daemon"))
    bench = executor.prepare(world.project, slow.machine)
    session = Beside(lambda: judged(bench, tmp_path / "runs", files=SAME, keeper=Notes()))
    until(lambda: bool(slow.started()))
    executor.kill()
    with pytest.raises(Interrupted):
        session.end()
    world.joined(slow)
    assert len(slow.started()) <= 2, "its session was not carried on without it"


def test_a_machine_that_is_lost_voids_its_pair_and_nobody_takes_its_session_over(
    world: World, fast: tuple[Member, Member], slow: Member, tmp_path: Path
) -> None:
    world.joined(slow, *fast)
    before, runs = [member.started() for member in fast], slow.started().count("pair-01-candidate candidate")
    keeper, executor = Notes(), behind(world.socket, Place(world.shelf, tmp_path / "daemon"))
    bench = executor.prepare(world.project, slow.machine)
    session = Beside(lambda: judged(bench, tmp_path / "runs", files=SAME, keeper=keeper))
    until(lambda: slow.started().count("pair-01-candidate candidate") > runs)
    with pytest.raises(AcceleratorBusy):
        world.cluster.open(Job("session", world.project, slow.machine), lambda _: None, Brake())
    slow.kill()
    verdict = session.end()
    assert (verdict.outcome, verdict.reason) == (Outcome.UNDECIDED, Reason.VERIFIER_FAULT)
    assert "was lost" in verdict.explanation
    assert (keeper.begun, keeper.pairs) == ([1], [])
    until(lambda: set(executor.machines()) == {member.machine for member in fast})
    assert [member.started() for member in fast] == before
    for member in fast:
        assert member.end() == 0


def greeting(address: str, place: CertificatePlace | None) -> bytes:
    """What the scheduler says first to whoever comes with these certificates; nothing if it hangs up."""
    host, _, port = address.removeprefix("tls://").rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if place is not None:
        context.load_cert_chain(place.certificate, place.key)
    with socket.create_connection((host, int(port)), timeout=120) as plain:
        try:
            with context.wrap_socket(plain) as line:
                return line.recv(16)
        except (ssl.SSLError, ConnectionError):
            return b""


def test_nobody_is_greeted_without_a_certificate_of_this_cluster(world: World, tmp_path: Path) -> None:
    make_certificates(tmp_path / "theirs", now=datetime.now(tz=UTC))
    assert greeting(world.cluster.address, read_place(tmp_path / "theirs" / "worker")) == b""
    assert greeting(world.cluster.address, None) == b""
    assert greeting(world.cluster.address, read_place(world.folder / "c" / "worker")) != b""


def test_without_tls_or_with_an_open_key_nothing_is_joined(world: World, tmp_path: Path) -> None:
    place, site = read_place(world.folder / "c" / "worker"), Place(world.shelf, tmp_path / "home").site()
    with pytest.raises(UsageError, match="tls://HOST:PORT"):
        asyncio.run(serve_cluster("tcp://127.0.0.1:1", place, site, scratch=tmp_path))
    ends: dict[str, Any] = make_certificates(tmp_path / "c", now=datetime.now(tz=UTC), hosts=["studio.local"])
    assert set(ends) == {"scheduler", "worker"}
    for path in (tmp_path / "c").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert not [path for path in (tmp_path / "c").rglob("*key*") if path.parent.name not in ends]
    (tmp_path / "c" / "worker" / "key.pem").chmod(0o640)
    with pytest.raises(UsageError, match="open to other accounts"):
        read_place(tmp_path / "c" / "worker")
    with pytest.raises(UsageError, match="is missing"):
        read_place(tmp_path)
    with pytest.raises(UsageError, match="is not empty"):
        make_certificates(tmp_path / "c", now=datetime.now(tz=UTC))
