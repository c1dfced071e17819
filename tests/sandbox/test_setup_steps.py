"""What a snapshot's own setup steps get beyond a candidate: a writable folder, the network, device nodes."""

from __future__ import annotations

import os
import resource
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from armlx_chain.errors import SandboxUnavailable, VerifierFault
from tests.sandbox.support import AS_ROOT, python_spec, run_inside
from verifier.sandbox.interface import Limits, Mount, Sandbox, SandboxSpec
from verifier.sandbox.layout import check_spec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.ownership import give, take_back

pytestmark = pytest.mark.integration

BUILD = PurePosixPath("/build")


def writable(folder: Path) -> Mount:
    return Mount(folder, BUILD, writable=True)


def test_what_a_step_writes_into_a_writable_mount_stays_and_is_ours(
    sandbox: Sandbox, open_folder: Path
) -> None:
    (open_folder / "given").write_text("given")
    code = """
import os
os.umask(0o077)
print(open("/build/given").read())
open("/build/given", "w").write("changed")
os.makedirs("/build/a/b")
open("/build/a/b/tool", "w").write("#!/bin/sh\\n")
os.chmod("/build/a/b/tool", 0o6700)
os.mkdir("/build/closed", 0)
"""
    first = run_inside(sandbox, code, mounts=[writable(open_folder)])
    assert first.text == "given\n"
    assert first.exit.code == 0
    assert (open_folder / "given").read_text() == "changed"
    for path in (open_folder, *open_folder.rglob("*")):
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid()), path
        assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID), path
    assert stat.S_IMODE((open_folder / "a/b/tool").stat().st_mode) == 0o755
    # The next step is another user where we are root; it goes on where the first one stopped.
    again = "print(open('/build/a/b/tool').read()); open('/build/a/b/more', 'w').write('x')"
    second = run_inside(sandbox, again, mounts=[writable(open_folder)])
    assert second.exit.code == 0, second.text
    shown = run_inside(sandbox, "print(open('/build/a/b/more').read())", mounts=[Mount(open_folder, BUILD)])
    assert shown.text == "x\n"


def test_links_left_in_a_writable_mount_lead_the_verifier_nowhere(
    sandbox: Sandbox, open_folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text("secret")
    (outside / "key").chmod(0o600)
    before = [(path, path.lstat().st_mode, path.lstat().st_uid) for path in (outside, outside / "key")]
    code = f"""
import os
os.symlink({str(outside)!r}, "/build/folder")
os.symlink({str(outside / "key")!r}, "/build/file")
os.symlink("..", "/build/up")
os.mkfifo("/build/fifo")
os.mkdir("/build/deep")
os.symlink("../fifo", "/build/deep/fifo")
"""
    for _ in range(2):  # the second start gives the folder away again, with the links in it
        ran = run_inside(sandbox, code, mounts=[writable(open_folder)])
        code = "pass"
        assert ran.exit.code == 0, ran.text
    assert [(path, path.lstat().st_mode, path.lstat().st_uid) for path, _, _ in before] == before
    assert {path.name for path in open_folder.iterdir()} == {"folder", "file", "up", "fifo", "deep"}


def test_a_writable_mount_opens_nothing_beside_it(sandbox: Sandbox, open_folder: Path) -> None:
    inner, beside = open_folder / "inner", open_folder / "beside"
    for folder in (inner, beside):
        folder.mkdir()
        (folder / "file").write_text("as before")
    code = """
import os
for path in ("/build/../build/beside", "/readonly/new", "/readonly/file", "/usr/new"):
    try:
        open(path, "w").write("x")
        print("wrote", path)
    except OSError as error:
        print("refused")
try:
    os.link("/readonly/file", "/build/linked")
    print("linked")
except OSError:
    print("refused")
"""
    mounts = [writable(inner), Mount(beside, PurePosixPath("/readonly"))]
    ran = run_inside(sandbox, code, mounts=mounts)
    assert ran.text.split() == ["wrote", "/build/../build/beside", *["refused"] * 4]
    assert (beside / "file").read_text() == "as before"
    assert [path.name for path in beside.iterdir()] == ["file"]


def test_a_writable_mount_that_is_a_link_or_a_file_is_refused(sandbox: Sandbox, open_folder: Path) -> None:
    (open_folder / "real").mkdir()
    (open_folder / "file").touch()
    (open_folder / "link").symlink_to("real")
    for name in ("file", "link"):
        with pytest.raises(VerifierFault, match="is no folder"):
            sandbox.start(python_spec("pass", mounts=[writable(open_folder / name)]), MemoryLog())


@pytest.mark.skipif(not AS_ROOT, reason="only root gives files away")
def test_ownership_is_given_and_taken_without_following_links(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.touch(mode=0o600)
    (folder / "link").symlink_to(outside)
    give(folder, 70_000)
    assert (folder / "link").lstat().st_uid == folder.stat().st_uid == 70_000
    assert outside.stat().st_uid == 0
    take_back(folder)
    assert (folder / "link").lstat().st_uid == folder.stat().st_uid == 0
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
    deep = folder
    for _ in range(140):
        deep /= "d"
        deep.mkdir()
    with pytest.raises(VerifierFault, match="within each other"):
        give(folder, 70_000)


# -- network ------------------------------------------------------------------------------------------

REACH = """
import socket, sys
def attempt(name, family, kind, address=None):
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(20)
            if address:
                s.connect(address)
                s.send(b"hello")
            print(name, "ok")
    except OSError as error:
        print(name, "refused")
attempt("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(sys.argv[1])))
attempt("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 9))
attempt("tcp6", socket.AF_INET6, socket.SOCK_STREAM)
attempt("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + sys.argv[2])
attempt("unix", socket.AF_UNIX, socket.SOCK_DGRAM)
attempt("raw", socket.AF_INET, socket.SOCK_RAW)
attempt("packet", socket.AF_PACKET, socket.SOCK_RAW)
attempt("netlink", socket.AF_NETLINK, socket.SOCK_RAW)
attempt("vsock", socket.AF_VSOCK, socket.SOCK_STREAM)
"""


@pytest.fixture
def listeners() -> Iterator[tuple[str, str]]:
    name = f"armlx-test-{os.getpid()}-{os.urandom(4).hex()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + name)
        abstract.listen(1)
        yield str(tcp.getsockname()[1]), name


def outcomes(text: str) -> dict[str, str]:
    return dict(line.split() for line in text.splitlines())


def test_network_only_when_asked_and_then_only_plain_addresses(
    sandbox: Sandbox, listeners: tuple[str, str]
) -> None:
    without = outcomes(run_inside(sandbox, REACH, *listeners).text)
    assert set(without.values()) == {"refused"}
    given = outcomes(run_inside(sandbox, REACH, *listeners, network=True).text)
    assert {name for name, came in given.items() if came == "ok"} <= {"tcp", "udp", "tcp6"}
    assert {"tcp", "udp"} <= {name for name, came in given.items() if came == "ok"}


def test_with_network_every_other_wall_stands(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    code = f"""
import os
from pathlib import Path
print(os.getpid() < 5, os.getuid() != 0, Path({str(tmp_path)!r}).exists())
print(len([name for name in os.listdir("/proc") if name.isdecimal()]) < 5)
print(os.access("/etc/resolv.conf", os.W_OK), os.access("/", os.W_OK))
"""
    assert run_inside(sandbox, code, network=True).text.split() == [
        *("True", "True", "False", "True", "False", "False")
    ]


@pytest.mark.skipif(not Path("/etc/resolv.conf").exists(), reason="this machine asks no name server")
def test_names_and_certificates_are_shown_with_the_network_only(sandbox: Sandbox) -> None:
    code = """
import os, ssl
print(os.path.exists("/etc/resolv.conf"), ssl.create_default_context().cert_store_stats()["x509_ca"] > 0)
"""
    assert run_inside(sandbox, code).text.split() == ["False", "False"]
    resolver, _ = run_inside(sandbox, code, network=True).text.split()
    assert resolver == "True"


def test_a_channel_and_a_network_are_never_given_together(sandbox: Sandbox) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        spec = python_spec("pass", pass_fds=[theirs.fileno()], network=True)
        with pytest.raises(ValueError, match="no network"):
            sandbox.start(spec, MemoryLog())


# -- devices ------------------------------------------------------------------------------------------


def test_exactly_the_named_device_nodes_are_shown(sandbox: Sandbox) -> None:
    code = """
import os
try:
    print(sorted(os.listdir("/dev")), len(os.read(os.open("/dev/tty", os.O_RDONLY), 1)))
except OSError as error:
    print(sorted(os.listdir("/dev")), error.errno)
"""
    # The controlling terminal stands for a driver's node: inside there is none, so opening it gives ENXIO.
    plain = run_inside(sandbox, code).text
    given = run_inside(sandbox, code, devices=[Path("/dev/tty")]).text
    assert "tty" not in plain
    assert plain.strip().endswith("] 2")
    assert given.replace("'stdout', 'tty', ", "'stdout', ").replace("] 6", "] 2") == plain


def test_with_devices_the_address_space_is_unbounded_and_memory_files_stay_refused(sandbox: Sandbox) -> None:
    code = """
import mmap, os, resource
print(resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY)
mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)
try:
    print(os.memfd_create("driver") > 2)
except PermissionError:
    print("refused")
"""
    if resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY:
        pytest.skip("this verifier's own address space is bounded")
    assert run_inside(sandbox, code, devices=[Path("/dev/null")]).text.split() == ["True", "refused"]
    assert "True" not in run_inside(sandbox, code).text
    bounded = run_inside(
        sandbox, code, devices=[Path("/dev/null")], limits=Limits(address_space_bytes=1 << 38)
    )
    assert "False" in bounded.text


def test_with_devices_a_unix_stream_can_listen_and_nothing_can_connect_to_it(sandbox: Sandbox) -> None:
    code = """
import socket
def attempt(*steps):
    try:
        for step in steps:
            step()
        return "had"
    except OSError as error:
        return type(error).__name__
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
print(attempt(lambda: listener.bind("\\0of the driver"), listener.listen))
other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
print(attempt(lambda: other.connect("\\0of the driver")))
print(attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))
print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)))
"""
    given = run_inside(sandbox, code, devices=[Path("/dev/null")]).text.split()
    assert given == ["had", "PermissionError", "PermissionError", "PermissionError"]


@pytest.mark.parametrize("node", ["/dev/no-such-node", "/dev/shm", "/dev/fd"])
def test_what_is_no_device_node_is_refused(sandbox: Sandbox, node: str) -> None:
    with pytest.raises((VerifierFault, SandboxUnavailable)):
        sandbox.start(python_spec("pass", devices=[Path(node)]), MemoryLog())


@pytest.mark.unit
@pytest.mark.parametrize("node", ["/etc/passwd", "dev/null", "/dev/../etc/passwd"])
def test_a_device_lies_below_dev(node: str) -> None:
    with pytest.raises(ValueError, match=r"device node|absolute path"):
        check_spec(SandboxSpec(argv=[sys.executable], devices=[Path(node)]))
