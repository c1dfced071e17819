"""Using up what there is: disk, descriptors, processes, threads."""

import os
import resource
import threading
from pathlib import Path

from verifier.sandbox.inside.tools import CONFIG, attempt

_BLOCK = b"\0" * (1 << 20)


def fill(folder: str, file_bytes: int) -> int:
    """Bytes that fit into a folder, in files of at most ``file_bytes``."""
    total = 0
    names = []
    try:
        for number in range(10_000):
            name = Path(folder, f"fill{number}")
            names.append(name)
            with name.open("wb", buffering=0) as sink:
                written = 0
                while written < file_bytes:
                    count = sink.write(_BLOCK)
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
    try:
        with Path(path).open("wb", buffering=0) as sink:
            while written < CONFIG["file_bytes"] * 4:
                written += sink.write(_BLOCK)
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


def threads() -> int:
    """How many threads run at once."""
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        while len(started) < 2_000:
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return len(started)
    finally:
        end.set()
        for thread in started:
            thread.join()
    return len(started)


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


def leave_traces() -> str:
    """For the next run to look for."""
    for folder in (CONFIG["tmp"], CONFIG["scratch"], "/dev/shm"):  # noqa: S108 (inside)
        if Path(folder).is_dir():
            Path(folder, "trace").write_text("left", encoding="ascii")
    return "left"


def observe() -> None:
    attempt("file size", lambda: largest_file(CONFIG["tmp"] + "/large"))
    attempt("folder size", lambda: fill(CONFIG["scratch"], CONFIG["file_bytes"]))
    attempt("shared memory size", lambda: fill("/dev/shm", CONFIG["file_bytes"]))  # noqa: S108 (inside)
    attempt("descriptor count", descriptors)
    attempt("core limit", lambda: resource.getrlimit(resource.RLIMIT_CORE)[1])
    attempt("thread count", threads)
    attempt("process count", forks)
    attempt("leave traces", leave_traces)
