"""Runs inside a sandbox and reports what it could do. Handed over as text; imports nothing of ours.

Standard output ends with one line: ``PROBE`` and a JSON object, name of the attempt -> what came of it.
An attempt that failed as it should gives ``"refused: …"``; anything else is what it got.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CONFIG = json.loads(sys.argv[1])
RESULTS: dict[str, object] = {}


def attempt(name: str, action: Callable[[], object]) -> None:
    try:
        RESULTS[name] = action()
    except (OSError, MemoryError, RuntimeError, subprocess.SubprocessError) as error:
        RESULTS[name] = f"refused: {type(error).__name__}: {error}"


def connect(family: int, kind: int, address: object) -> str:
    with socket.socket(family, kind) as client:
        client.settimeout(3)
        client.connect(address)  # type: ignore[arg-type]
        client.send(b"leak")
    return "sent"


def write_file(path: str) -> str:
    Path(path).write_bytes(b"changed")
    return "written"


def rename(path: str) -> str:
    Path(path).rename(path + ".moved")
    return "renamed"


def unlink(path: str) -> str:
    Path(path).unlink()
    return "removed"


def chmod(path: str) -> str:
    Path(path).chmod(0o777)
    return "changed"


def link_then_write(link: str, target: str) -> str:
    Path(link).symlink_to(target)
    return write_file(link)


def fill(folder: str, file_bytes: int) -> int:
    """Bytes that fit into a folder, in files of at most ``file_bytes``."""
    total = 0
    block = b"\0" * (1 << 20)
    names = []
    try:
        for number in range(10_000):
            name = Path(folder, f"fill{number}")
            names.append(name)
            with name.open("wb", buffering=0) as sink:
                written = 0
                while written < file_bytes:
                    count = sink.write(block)
                    written += count
                    total += count
    except OSError:
        return total
    finally:
        for name in names:
            name.unlink(missing_ok=True)
    return total


def largest_file(path: str) -> int:
    written = 0
    block = b"\0" * (1 << 20)
    try:
        with Path(path).open("wb", buffering=0) as sink:
            while written < CONFIG["file_bytes"] * 4:
                written += sink.write(block)
    except OSError:
        return written
    finally:
        Path(path).unlink(missing_ok=True)
    return written


def descriptors() -> int:
    held: list[int] = []
    try:
        while len(held) < 100_000:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return len(held)
    finally:
        for descriptor in held:
            os.close(descriptor)
    return len(held)


def forks() -> int:
    children: list[int] = []
    reader, writer = os.pipe()
    try:
        while len(children) < 2_000:
            child = os.fork()
            if child == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            children.append(child)
    except OSError:
        return len(children)
    finally:
        os.close(writer)
        os.close(reader)
        for child in children:
            os.waitpid(child, 0)
    return len(children)


def open_descriptors() -> list[int]:
    # fstat, since a listing of /proc or /dev/fd would add its own.
    found = []
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


def setuid_program() -> str:
    done = subprocess.run(["/usr/bin/passwd", "--status", "root"], capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise PermissionError(done.stderr.strip()[:100] or str(done.returncode))
    return done.stdout


def socketpair() -> str:
    left, right = socket.socketpair()
    with left, right:
        left.send(b"hello")
        return right.recv(5).decode()


def echo(number: int) -> str:
    with socket.socket(fileno=number) as channel:
        channel.sendall(channel.recv(64).upper())
    return "echoed"


def observe_host() -> None:
    attempt("become root", lambda: os.setuid(0))
    attempt("root program", setuid_program)
    attempt("secret", lambda: Path(CONFIG["secret"]).read_text())
    attempt("closed secret", lambda: Path(CONFIG["closed_secret"]).read_text())
    attempt("source", lambda: Path(CONFIG["source"]).read_text()[:20])
    attempt("overwrite source", lambda: write_file(CONFIG["source"]))
    attempt("parent environment", lambda: Path(f"/proc/{CONFIG['pid']}/environ").read_bytes().decode()[:50])
    attempt("signal parent", lambda: os.kill(CONFIG["pid"], 0))
    attempt("signal everything", lambda: os.kill(CONFIG["victim"], 9))
    attempt("tcp", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", CONFIG["tcp"])))
    attempt("udp", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", CONFIG["udp"])))
    attempt("unix socket", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, CONFIG["unix"]))
    attempt("abstract", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + CONFIG["abstract"]))
    attempt("name look-up", lambda: socket.getaddrinfo("example.org", 80)[0][4][0])
    attempt("host temporary folder", lambda: str(list(Path(CONFIG["folder"]).iterdir())))


def observe_files() -> None:
    mounted = CONFIG["mounted"]
    attempt("read mount", lambda: Path(mounted).read_text())
    attempt("write mount", lambda: write_file(mounted))
    attempt("new file in mount", lambda: write_file(str(Path(mounted).with_name("new"))))
    attempt("rename in mount", lambda: rename(mounted))
    attempt("remove in mount", lambda: unlink(mounted))
    attempt("change mode in mount", lambda: chmod(mounted))
    attempt("write through a link", lambda: link_then_write("/tmp/link", mounted))  # noqa: S108
    attempt("link to secret", lambda: link_then_write("/tmp/link2", CONFIG["secret"]))  # noqa: S108
    attempt("write system", lambda: write_file("/usr/lib/armlx-new"))
    attempt("write etc", lambda: write_file("/etc/armlx-new"))
    attempt("write root folder", lambda: write_file("/armlx-new"))
    attempt("write tmp", lambda: write_file(CONFIG["tmp"] + "/a"))
    attempt("write home", lambda: write_file(os.environ["HOME"] + "/a"))
    attempt("write scratch", lambda: write_file(CONFIG["scratch"] + "/a"))
    attempt("left by another run", lambda: Path(CONFIG["tmp"], "trace").read_text())
    attempt("leave a trace", lambda: write_file(CONFIG["tmp"] + "/trace"))


def observe_limits() -> None:
    import resource

    attempt("file size", lambda: largest_file(CONFIG["tmp"] + "/large"))
    attempt("folder size", lambda: fill(CONFIG["scratch"], CONFIG["file_bytes"]))
    attempt("descriptor count", descriptors)
    attempt("core limit", lambda: resource.getrlimit(resource.RLIMIT_CORE)[1])
    attempt("process count", forks)


RESULTS["descriptors"] = open_descriptors()
RESULTS["uid"] = os.getuid()
RESULTS["environment"] = dict(os.environ)
RESULTS["cwd"] = str(Path.cwd())
RESULTS["stdin"] = len(sys.stdin.buffer.read())
RESULTS["terminal"] = any(os.isatty(number) for number in (0, 1, 2))
attempt("socket pair", socketpair)
attempt("inherited", lambda: echo(CONFIG["channel"]))
observe_host()
observe_files()
observe_limits()
sys.stdout.write("PROBE " + json.dumps(RESULTS) + "\n")
