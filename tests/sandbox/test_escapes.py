"""Escapes, each first shown to work without the sandbox, then tried inside.

An attack prints ``GOT …`` when it has what it wanted and ``REFUSED …`` when the system said no.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from tests.sandbox.support import AS_ROOT, program, run_bare, run_inside, sleeper, try_both
from verifier.sandbox.interface import Mount, Sandbox, SandboxSpec
from verifier.sandbox.logs import MemoryLog

pytestmark = pytest.mark.integration

# -- secrets ----------------------------------------------------------------------------------------


def test_a_key_file_and_one_in_a_closed_home_stay_unread(sandbox: Sandbox, open_folder: Path) -> None:
    token = secrets.token_hex(8)
    closed = open_folder / "home"
    closed.mkdir(mode=0o700)
    for path in (open_folder / "key", closed / "key"):
        path.write_text(token)
        path.chmod(0o600)
        body = "def attack(): return open(sys.argv[1]).read()\n"
        assert f"GOT {token}" in run_bare(program(body), str(path))
        assert token not in run_inside(sandbox, program(body), str(path)).text


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's own files are readable where they are mounted")
def test_a_root_owned_private_file_is_unreadable_even_where_its_folder_is_mounted(
    sandbox: Sandbox, open_folder: Path
) -> None:
    (open_folder / "key").write_text("very secret")
    (open_folder / "key").chmod(0o600)
    mount = Mount(open_folder, PurePosixPath("/shown"))
    body = "def attack(): return os.listdir('/shown'), open('/shown/key').read()\n"
    inside = run_inside(sandbox, program(body), mounts=[mount])
    assert "PermissionError" in inside.text
    assert "very secret" not in inside.text


def test_the_verifiers_environment_is_not_to_be_found_anywhere(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = secrets.token_hex(8)
    monkeypatch.setenv("ARMLX_TEST_SECRET", token)
    body = """
def attack():
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdecimal():
            try: found.append(open(f"/proc/{pid}/environ", "rb").read())
            except OSError: pass
    if sys.argv[1].encode() in b"".join(found): return "environment"
    raise OSError("no process's environment has it")
"""
    # The token is an argument too, hence only environments are looked at, never command lines.
    assert "GOT environment" in run_bare(program(body), token)
    assert "REFUSED" in run_inside(sandbox, program(body), token).text


def test_the_launchers_command_line_shows_no_path_of_the_host(sandbox: Sandbox, open_folder: Path) -> None:
    mount = Mount(open_folder, PurePosixPath("/shown"))
    code = "print(open('/proc/1/cmdline').read().replace(chr(0), ' '))"
    inside = run_inside(sandbox, code, mounts=[mount])
    assert "bwrap" in inside.text
    assert str(open_folder) not in inside.text


# -- other processes --------------------------------------------------------------------------------


def test_other_processes_cannot_be_seen(sandbox: Sandbox) -> None:
    body = """
def attack():
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    if len(pids) > 3: return len(pids)
    raise OSError(f"only {sorted(pids)}")
"""
    try_both(sandbox, body)


def test_a_process_of_the_host_survives_every_signal_from_inside(sandbox: Sandbox) -> None:
    body = "def attack(): os.kill(int(sys.argv[1]), 9); return 'killed'\n"
    with sleeper() as victim:
        assert "GOT killed" in run_bare(program(body), str(victim.pid))
        assert victim.wait(5) == -signal.SIGKILL
    with sleeper() as victim:
        assert "REFUSED" in run_inside(sandbox, program(body), str(victim.pid)).text
        everybody = "import os, signal; signal.signal(15, signal.SIG_IGN); os.kill(-1, 15); print('sent')"
        run_inside(sandbox, everybody)
        assert victim.poll() is None


def test_killing_the_reaper_changes_nothing(sandbox: Sandbox) -> None:
    code = """
import os
for number in (1, 2, 9, 15, 19):
    try: os.kill(1, number)
    except PermissionError: pass
print("alive")
"""
    inside = run_inside(sandbox, code)
    assert inside.text.strip() == "alive"
    assert inside.exit.code == 0


def test_ptrace_and_reading_another_processs_memory_are_refused(sandbox: Sandbox) -> None:
    trace = """
def attack():
    child = os.fork()
    if child == 0:
        import time
        time.sleep(30)
    try: call("ptrace", 16, child, 0, 0)
    finally: os.kill(child, 9)
    return "attached"
"""
    try_both(sandbox, trace)
    read = """
class Vector(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def attack():
    source, target = ctypes.create_string_buffer(b"x" * 8), ctypes.create_string_buffer(8)
    remote, local = Vector(ctypes.addressof(source), 8), Vector(ctypes.addressof(target), 8)
    call("process_vm_readv", os.getpid(), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return target.raw
"""
    try_both(sandbox, read)


# -- network ----------------------------------------------------------------------------------------


def test_no_tcp_no_udp_no_unix_no_abstract_socket(sandbox: Sandbox, open_folder: Path) -> None:
    name = f"armlx-{secrets.token_hex(6)}"
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(2)
        for address in (str(open_folder / "socket"), "\0" + name):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(address)
            server.listen(4)
        (open_folder / "socket").chmod(0o777)
        tries = {
            f"socket.create_connection(('127.0.0.1', {tcp.getsockname()[1]}), 3)": "tcp",
            f"socket.socket(type=2).sendto(b'x', ('127.0.0.1', {udp.getsockname()[1]}))": "udp",
            f"socket.socket(socket.AF_UNIX).connect({str(open_folder / 'socket')!r})": "path",
            f"socket.socket(socket.AF_UNIX).connect(chr(0) + {name!r})": "abstract",
        }
        mount = Mount(open_folder, PurePosixPath(open_folder))
        for expression, kind in tries.items():
            body = f"def attack(): {expression}; return {kind!r}\n"
            assert f"GOT {kind}" in run_bare(program(body)), kind
            # The socket's file is even shown inside: a read-only mount does not stop a connection.
            assert "REFUSED" in run_inside(sandbox, program(body), mounts=[mount]).text, kind
        assert udp.recv(8) == b"x"
        udp.setblocking(False)
        with pytest.raises(BlockingIOError):
            udp.recv(8)


def test_a_datagram_pair_cannot_be_turned_on_a_socket_file(sandbox: Sandbox, open_folder: Path) -> None:
    path = open_folder / "log"
    body = """
def attack():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.sendto(b"leak", sys.argv[1])
    return "sent"
"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        path.chmod(0o777)
        assert "GOT sent" in run_bare(program(body), str(path))
        mount = Mount(open_folder, PurePosixPath(open_folder))
        assert "REFUSED" in run_inside(sandbox, program(body), str(path), mounts=[mount]).text


def test_no_name_is_resolved_and_other_families_do_not_exist(sandbox: Sandbox) -> None:
    assert "GOT" in run_bare(program("def attack(): return socket.getaddrinfo('localhost', 80)\n"))
    lookup = run_inside(sandbox, program("def attack(): return socket.getaddrinfo('example.org', 80)\n"))
    assert "REFUSED" in lookup.text
    for family in ("AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_INET6"):
        kind = (
            "SOCK_SEQPACKET" if family == "AF_ALG" else "SOCK_RAW" if family == "AF_NETLINK" else "SOCK_DGRAM"
        )
        body = f"def attack(): socket.socket(socket.{family}, socket.{kind}).close(); return 'made'\n"
        inside = run_inside(sandbox, program(body))
        assert "PermissionError" in inside.text, family
    netlink = "def attack(): socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(); return 'made'\n"
    assert "GOT made" in run_bare(program(netlink))


# -- the kernel -------------------------------------------------------------------------------------

NUMBERS = {"io_uring": (425, 425), "keyctl": (250, 219)}
COLUMN = 0 if platform.machine() == "x86_64" else 1


@pytest.mark.parametrize(
    "body",
    [
        f"def attack(): return syscall({NUMBERS['io_uring'][COLUMN]}, 1, ctypes.create_string_buffer(256))",
        # KEYCTL_GET_KEYRING_ID of the session keyring, made if missing
        f"def attack(): return syscall({NUMBERS['keyctl'][COLUMN]}, 0, -3, 1)",
        "def attack(): call('unshare', 0x10000000); return 'user namespace'",
        "def attack(): call('shmget', 0, 4096, 0o1600); return 'shared memory'",
        "def attack(): return os.memfd_create('x')",
    ],
    ids=["io_uring", "keyctl", "unshare user", "system V memory", "memfd"],
)
def test_doors_into_the_kernel_are_shut_for_everybody(sandbox: Sandbox, body: str) -> None:
    try_both(sandbox, body + "\n")


@pytest.mark.parametrize(
    "body",
    [
        "def attack(): call('unshare', 0x20000); return 'mount namespace'",
        "def attack(): call('unshare', 0x40000000); return 'net namespace'",
        "def attack(): os.setuid(0); os.setgroups([]); return 'root'",
        "def attack(): call('sethostname', os.uname().nodename.encode(), len(os.uname().nodename)); return 1",
        "def attack(): os.nice(-5); return 'priority'",
        "def attack(): os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); return 'real time'",
    ],
)
def test_what_root_may_do_is_refused_inside(sandbox: Sandbox, body: str) -> None:
    try_both(sandbox, body + "\n", root_only=True)


def test_nothing_can_be_mounted(sandbox: Sandbox, open_folder: Path) -> None:
    body = """
def attack():
    call("unshare", 0x20000)
    call("mount", None, b"/", None, 0x44000, None)
    call("mount", b"none", sys.argv[1].encode(), b"tmpfs", 0, None)
    return "mounted"
"""
    try_both(sandbox, body, str(open_folder), root_only=True)
    direct = "def attack(): call('mount', b'none', b'/tmp', b'tmpfs', 0, None); return 'mounted'\n"
    assert "REFUSED PermissionError" in run_inside(sandbox, program(direct)).text


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another ABI beside the native one: x86_64 only")
def test_the_32_bit_entry_ends_the_process(sandbox: Sandbox) -> None:
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
print("GOT", ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))(), flush=True)
"""
    if "GOT" not in run_bare(code):
        pytest.skip("this kernel has no 32-bit entry")
    inside = run_inside(sandbox, code)
    assert inside.exit.code == -signal.SIGSYS
    assert "GOT" not in inside.text


def test_input_cannot_be_pushed_into_an_inherited_terminal(sandbox: Sandbox) -> None:
    body = """
import fcntl
def attack():
    fcntl.ioctl(int(sys.argv[1]), 0x5412, b"!")
    return "pushed"
"""
    main, terminal = os.openpty()
    try:
        bare = run_bare(program(body), str(terminal), pass_fds=(terminal,))
        inside = run_inside(sandbox, program(body), str(terminal), pass_fds=[terminal])
        if AS_ROOT:
            assert "GOT pushed" in bare
        assert "REFUSED PermissionError" in inside.text
    finally:
        os.close(main)
        os.close(terminal)


@pytest.mark.skipif(not AS_ROOT, reason="only root can make a program that runs as root")
def test_a_setuid_program_gives_nothing(sandbox: Sandbox, open_folder: Path) -> None:
    shutil.copy("/bin/cat", open_folder / "cat")
    (open_folder / "cat").chmod(0o4755)
    (open_folder / "key").write_text("very secret")
    (open_folder / "key").chmod(0o600)
    bare = subprocess.run(
        [
            "setpriv",
            "--reuid",
            "12345",
            "--regid",
            "12345",
            "--clear-groups",
            open_folder / "cat",
            open_folder / "key",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if bare.stdout != "very secret":
        pytest.skip("the temporary folder is mounted nosuid here")
    log = MemoryLog()
    spec = SandboxSpec(
        argv=["/shown/cat", "/shown/key"], mounts=[Mount(open_folder, PurePosixPath("/shown"))]
    )
    with sandbox.start(spec, log) as process:
        ended = process.wait(30)
    assert ended is not None
    assert ended.code == 1
    assert "Permission denied" in log.text()


# -- files ------------------------------------------------------------------------------------------


def test_the_mounted_source_cannot_be_changed_by_any_way(sandbox: Sandbox, open_folder: Path) -> None:
    source = open_folder / "train.py"
    attacks = [
        "open(path, 'w').write('cheat')",
        "os.rename(path, path + '2')",
        "os.unlink(path)",
        "os.chmod(path, 0o666)",
        "os.symlink('/etc/passwd', os.path.dirname(path) + '/link')",
        "os.link(path, os.path.dirname(path) + '/hard')",
        "os.truncate(path, 0)",
        "os.utime(path, (0, 0))",
        "os.rename(os.path.dirname(path), os.path.dirname(path) + '2')",
        "(os.symlink(path, sys.argv[2] + '/way'), open(sys.argv[2] + '/way', 'w').write('cheat'))",
    ]
    for attack in attacks:
        body = f"path = sys.argv[1]\ndef attack(): return {attack}\n"
        copy = open_folder / "copy"
        copy.mkdir()
        (copy / "train.py").write_text("honest")
        (copy / "train.py").chmod(0o644)
        bare_scratch = open_folder / "scratch"
        bare_scratch.mkdir()
        assert "GOT" in run_bare(program(body), str(copy / "train.py"), str(bare_scratch)), attack
        for folder in (copy, open_folder / "copy2", bare_scratch):
            shutil.rmtree(folder, ignore_errors=True)
        source.write_text("honest")
        source.chmod(0o644)
        mount = Mount(open_folder, PurePosixPath("/candidate"))
        inside = run_inside(sandbox, program(body), "/candidate/train.py", "/tmp", mounts=[mount])
        assert "REFUSED" in inside.text, attack
        assert source.read_text() == "honest"
        assert sorted(path.name for path in open_folder.iterdir()) == ["train.py"]


def test_links_in_a_mounted_folder_lead_nowhere_outside(sandbox: Sandbox, open_folder: Path) -> None:
    outside = open_folder / "outside"
    outside.write_text("host secret")
    shown = open_folder / "shown"
    shown.mkdir(mode=0o755)
    (shown / "absolute").symlink_to(outside)
    (shown / "relative").symlink_to("../outside")
    (shown / "process").symlink_to("/proc/self/root" + str(outside))
    mount = Mount(shown, PurePosixPath("/shown"))
    for name in ("absolute", "relative", "process", "../outside"):
        body = f"def attack(): return open(sys.argv[1] + '/{name}').read()\n"
        assert "GOT host secret" in run_bare(program(body), str(shown))
        assert "REFUSED" in run_inside(sandbox, program(body), "/shown", mounts=[mount]).text


def test_a_later_mount_lies_over_an_earlier_one(sandbox: Sandbox, open_folder: Path) -> None:
    snapshot, candidate = open_folder / "snapshot", open_folder / "candidate.py"
    snapshot.mkdir(mode=0o755)
    (snapshot / "train.py").write_text("original")
    (snapshot / "prepare.py").write_text("pinned")
    candidate.write_text("candidate")
    mounts = [
        Mount(snapshot, PurePosixPath("/candidate")),
        Mount(candidate, PurePosixPath("/candidate/train.py")),
        Mount(snapshot, PurePosixPath("/tmp/home/.cache/data")),
    ]
    code = (
        "import os; print(open('/candidate/train.py').read(), open('prepare.py').read());"
        "print(os.listdir('/tmp/home/.cache/data')); open('/tmp/home/.cache/own', 'w').write('x')"
    )
    inside = run_inside(sandbox, code, mounts=mounts, cwd=PurePosixPath("/candidate"))
    assert inside.text.splitlines()[0] == "candidate pinned"
    assert inside.exit.code == 0
    assert (snapshot / "train.py").read_text() == "original"
