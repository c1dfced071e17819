"""Escapes, each first shown to work without the sandbox, then tried inside.

An attack prints ``GOT …`` when it has what it wanted and ``REFUSED …`` when the system said no.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from tests.sandbox.support import AS_ROOT, python_spec, run_bare, run_inside
from verifier.sandbox.interface import Limits, Mount, Sandbox, SandboxSpec
from verifier.sandbox.logs import MemoryLog
from verifier.sandbox.procfs import all_pids, status_fields

pytestmark = pytest.mark.integration

PREAMBLE = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def got(what): print("GOT", what, flush=True)
def refused(why): print("REFUSED", why, flush=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
def syscall(number, *arguments):
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def attack(): pass
"""
ENDING = """
try: got(attack())
except (OSError, MemoryError) as error: refused(repr(error))
"""


def program(body: str) -> str:
    return PREAMBLE + body + ENDING


def try_both(sandbox: Sandbox, body: str, *arguments: str, root_only: bool = False) -> None:
    """The attack works bare and fails inside; where even root may not, there is nothing to show."""
    bare = run_bare(program(body), *arguments)
    if "GOT" not in bare:
        if root_only and not AS_ROOT:
            assert "REFUSED" in bare, bare
        else:
            pytest.skip(f"this machine refuses it to everybody: {bare.strip()[-200:]}")
    inside = run_inside(sandbox, program(body), *arguments)
    assert "REFUSED" in inside.text, inside.text
    assert "GOT" not in inside.text


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
    with _sleeper() as victim:
        assert "GOT killed" in run_bare(program(body), str(victim.pid))
        assert victim.wait(5) == -signal.SIGKILL
    with _sleeper() as victim:
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


# -- who it is, seen from outside -------------------------------------------------------------------


def test_on_the_host_nothing_that_runs_the_program_is_root_or_has_a_capability(sandbox: Sandbox) -> None:
    log = MemoryLog()
    code = "import os, time; os.fork(); print('up', flush=True); time.sleep(60)"
    with sandbox.start(python_spec(code), log) as process:
        _until(lambda: log.size >= 6)
        pids = process.host_pids()  # type: ignore[attr-defined]
        fields = {pid: status_fields(pid) for pid in pids}
    programs = [found for found in fields.values() if found["Name"].startswith("python")]
    assert len(programs) == 2
    for found in programs:
        assert "0" not in found["Uid"].split()
        assert "0" not in found["Gid"].split()
        assert (found["Groups"] == "") == AS_ROOT
        assert found["NoNewPrivs"] == "1"
        assert found["Seccomp"] == "2"
    # The reaper too has nothing but its number.
    capabilities = {
        found[name] for found in fields.values() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")
    }
    assert capabilities == {"0" * 16}
    if AS_ROOT:
        assert {found["CapBnd"] for found in programs} == {"0" * 16}


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user has one id only")
def test_two_runs_have_different_user_ids_on_the_host(sandbox: Sandbox) -> None:
    uids = {run_inside(sandbox, "import os; print(os.getuid())").text for _ in range(3)}
    assert len(uids) == 3
    assert all(int(uid) >= 0x7000_0000 for uid in uids)


def test_clocks_tell_the_hosts_time_and_cannot_be_set(sandbox: Sandbox) -> None:
    before = time.time()
    inside = run_inside(sandbox, "import time; print(time.time())")
    assert before <= float(inside.text) <= time.time()
    body = "import time\ndef attack(): time.clock_settime(time.CLOCK_REALTIME, time.time()); return 'set'\n"
    try_both(sandbox, body, root_only=True)


# -- survivors --------------------------------------------------------------------------------------

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        print("daemon", flush=True)
        time.sleep(300)
    os._exit(0)
os.wait()
time.sleep(300 if sys.argv[2] == "stay" else 0.3)
"""


def _alive(token: str) -> list[int]:
    found = []
    for pid in all_pids():
        with contextlib.suppress(OSError):
            if token.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != os.getpid():
                found.append(pid)
    return found


def _until(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@contextlib.contextmanager
def _sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sleep", "300"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_daemon_outlives_a_bare_run_but_not_a_killed_sandbox(sandbox: Sandbox) -> None:
    token = f"bare-{secrets.token_hex(8)}"
    # A pipe would keep run_bare waiting for the daemon, which is the point of the next test.
    subprocess.run(
        [sys.executable, "-I", "-c", DAEMON, token, "leave"],
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    survivors = _alive(token)
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert survivors

    token = f"inside-{secrets.token_hex(8)}"
    log = MemoryLog()
    with sandbox.start(python_spec(DAEMON, token, "stay"), log) as process:
        _until(lambda: b"daemon" in log.head)
        assert len(_alive(token)) >= 2
        process.kill_tree()
        assert _alive(token) == []
        ended = process.poll()
    assert ended is not None
    assert ended.killed_for == "deadline"


def test_the_end_of_the_first_process_ends_its_daemons_and_nobody_waits_for_their_pipe(
    sandbox: Sandbox,
) -> None:
    token = secrets.token_hex(8)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-I", "-c", DAEMON, token, "leave"],
            stdout=subprocess.PIPE,
            timeout=2,
            check=True,
        )
    for pid in _alive(token):
        os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    inside = run_inside(sandbox, DAEMON, token, "leave")
    assert time.monotonic() - started < 10
    assert inside.exit.code == 0
    assert inside.exit.killed_for is None
    assert "daemon" in inside.text
    assert _alive(token) == []


def test_a_verifier_that_is_killed_takes_its_sandboxes_along(sandbox: Sandbox) -> None:
    token = secrets.token_hex(8)
    code = f"""
import sys, threading, time
from verifier.sandbox.select import default_sandbox
from verifier.sandbox.logs import MemoryLog
from tests.sandbox.support import python_spec
process = default_sandbox().start(python_spec({DAEMON!r}, {token!r}, "stay"), MemoryLog())
print("started", flush=True)
time.sleep(300)
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as verifier:
        assert verifier.stdout is not None
        assert verifier.stdout.readline() == b"started\n"
        _until(lambda: len(_alive(token)) >= 3)
        verifier.kill()
        verifier.wait()
        _until(lambda: _alive(token) == [])


def test_the_sandbox_outlives_the_thread_that_asked_for_it(sandbox: Sandbox) -> None:
    import threading

    processes = []
    thread = threading.Thread(
        target=lambda: processes.append(
            sandbox.start(python_spec("import time; time.sleep(0.5)"), MemoryLog())
        )
    )
    thread.start()
    thread.join()
    with processes[0] as process:
        ended = process.wait(30)
    assert ended is not None
    assert ended.code == 0


def test_nothing_of_a_run_names_another_limit_than_its_own(sandbox: Sandbox) -> None:
    limits = Limits(processes=9, open_files=33, file_bytes=1 << 20)
    inside = run_inside(sandbox, "print(open('/proc/self/limits').read())", limits=limits)
    rows = dict(re.findall(r"^(Max [a-z ]+?)\s+(\d+|unlimited)\s", inside.text, re.M))
    assert rows["Max processes"] == "9"
    assert rows["Max open files"] == "33"
    assert rows["Max file size"] == str(1 << 20)
    assert rows["Max core file size"] == "1"
