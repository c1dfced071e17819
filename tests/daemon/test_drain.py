"""Told to stop: once in order, twice at once. With real signals, to processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.faults.processes import ROOT
from verifier.daemon.drain import Drain

LONG = 60.0
PROGRAM = """
import sys, threading
from verifier.daemon.drain import Drain

released = threading.Event()
def stop(): print("stop", flush=True)
def kill(): print("kill", flush=True); released.set()
drain = Drain(stop=stop, kill=kill, seconds=float(sys.argv[1]), say=lambda _: None, as_json=True)
with drain.on_signals():
    print("ready", flush=True)
    if sys.argv[2] == "idle":
        drain.rest(60)
    else:
        released.wait(60)   # as long as a run takes that nobody ends
print("ended", drain.is_asked, flush=True)
"""


def process(seconds: float, way: str) -> subprocess.Popen[str]:
    found = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(seconds), way], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert found.stdout is not None
    assert found.stdout.readline() == "ready\n"
    return found


def rest_of(running: subprocess.Popen[str]) -> tuple[list[str], int]:
    out, _ = running.communicate(timeout=LONG)
    return out.splitlines(), running.returncode


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_nothing_runs_ends_it_in_order(number: signal.Signals) -> None:
    running = process(LONG, "idle")
    running.send_signal(number)
    assert rest_of(running) == (["stop", "ended True"], 0)


@pytest.mark.integration
def test_what_does_not_end_within_the_drain_time_is_ended() -> None:
    running = process(0.05, "busy")
    running.send_signal(signal.SIGTERM)
    assert rest_of(running) == (["stop", "kill", "ended True"], 0)


@pytest.mark.integration
def test_the_second_signal_ends_it_on_the_spot() -> None:
    running = process(LONG, "busy")
    assert running.stdout is not None
    running.send_signal(signal.SIGTERM)
    assert running.stdout.readline() == "stop\n"
    running.send_signal(signal.SIGINT)
    lines, code = rest_of(running)
    document = json.loads("\n".join(lines))
    assert (code, document["ok"], document["exit_code"]) == (130, False, 130), "one object, also then"


@pytest.mark.unit
def test_asked_several_times_it_stops_once_and_what_ends_in_time_is_not_killed() -> None:
    told: list[str] = []
    drain = Drain(
        stop=lambda: told.append("stop"), kill=lambda: told.append("kill"), seconds=0, say=lambda _: None
    )
    before = signal.getsignal(signal.SIGTERM)
    with drain.on_signals():
        pass
    assert signal.getsignal(signal.SIGTERM) is before
    threads = [threading.Thread(target=drain.ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert told.count("stop") == 1
    assert "kill" not in told, "it had ended before"


@pytest.mark.unit
def test_a_terminal_that_is_gone_keeps_nothing_from_being_stopped_and_ended() -> None:
    stopped, killed = threading.Event(), threading.Event()

    def gone(_: str) -> None:
        raise BrokenPipeError("the terminal was closed")

    drain = Drain(stop=stopped.set, kill=killed.set, seconds=0, say=gone)
    drain.ask()
    assert stopped.wait(LONG)
    assert killed.wait(LONG)


@pytest.mark.unit
def test_outside_the_main_thread_signals_are_left_alone(tmp_path: Path) -> None:
    drain = Drain(stop=lambda: None, kill=lambda: None, seconds=0, say=lambda _: None)
    found: list[object] = []

    def other() -> None:
        with drain.on_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=other)
    thread.start()
    thread.join(LONG)
    assert found == [before]
