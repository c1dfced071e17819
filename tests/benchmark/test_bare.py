"""Bare runs: the benchmark measures what it should, and every cheat works where nothing stops it.

Without these, a verifier that finds nothing and a cheat that does nothing look the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armlx_chain.devnet.benchmark import candidates
from armlx_chain.devnet.benchmark.project import snapshot_files
from tests.attacks.load import Variant, cheats, honest, validation_table
from tests.benchmark.bare import FULL, QUICK, BareRun, Profile, bare_run

pytestmark = pytest.mark.integration

CHEATS = cheats()
WORTH = 0.10
"""By how much a cheat must beat honest code to count as one that works, in bits per byte."""


LEARNT = 0.1
"""What even a handful of steps on a busy machine gain over an untrained model, in bits per byte."""


def showing(*words: str) -> list[str]:
    return [name for name, cheat in CHEATS.items() if cheat.facts["shows"] in words]


Run = Callable[..., BareRun]


@pytest.fixture
def run(data_folder: Path, tmp_path: Path) -> Run:
    """Runs a variant or a source in this test's folder, with the quick profile unless told otherwise."""

    def run(what: Variant | bytes, profile: Profile = QUICK, **values: str) -> BareRun:
        source = what if isinstance(what, bytes) else what.source(**values)
        return bare_run(source, data_folder, tmp_path, profile=profile)

    return run


@pytest.fixture(scope="session")
def honest_score(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The best of three quick runs of the unchanged ``train.py``."""
    source = snapshot_files()["train.py"]
    runs = [bare_run(source, data_folder, tmp_path_factory.mktemp("honest"), profile=QUICK) for _ in range(3)]
    return min(score for one in runs if (score := one.score) is not None)


def test_the_baseline_trains_and_the_better_recipe_is_clearly_better(run: Run) -> None:
    untrained = run(snapshot_files()["train.py"], Profile(0.001, FULL.eval_tokens))
    baseline = run(snapshot_files()["train.py"], FULL)
    better = run(candidates.better_train(), FULL)
    assert untrained.score is not None
    assert baseline.score is not None
    assert better.score is not None
    assert baseline.score < untrained.score - 1
    assert better.score < baseline.score - WORTH


@pytest.mark.parametrize("name", honest())
def test_an_honest_variant_trains_and_prints_one_metric(name: str, run: Run) -> None:
    untrained = run(honest()[name], Profile(0.001, QUICK.eval_tokens))
    result = run(honest()[name])
    assert result.exit_code == 0, result.text
    assert len(re.findall(r"(?m)^val_bpb:", result.text)) == 1
    assert result.score is not None
    assert untrained.score is not None
    assert 0.5 < result.score < untrained.score - LEARNT


@pytest.mark.parametrize("name", showing("score"))
def test_a_cheat_prints_a_score_that_honest_code_does_not_reach(
    name: str, run: Run, honest_score: float, data_folder: Path
) -> None:
    values = {"TABLE": validation_table(data_folder)} if CHEATS[name].parameters == ("TABLE",) else {}
    if CHEATS[name].parameters == ("WHOLE_TABLE",):
        values = {"WHOLE_TABLE": validation_table(data_folder, whole=True)}
    result = run(CHEATS[name], **values)
    assert result.exit_code == 0, result.text[-2000:]
    assert result.score is not None
    assert result.score < honest_score - WORTH


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("log_nan", r"(?m)^val_bpb:\s+nan$"),
        ("log_exponent", r"(?m)^val_bpb:\s+0\.[0-9]+e1$"),
        ("hostile_crash", r"MemoryError: out of luck"),
        ("hostile_fork_bomb", r"(?m)^children: [1-9][0-9]+$"),
        ("claim_inflated", r"(?m)^val_bpb:\s+[0-9.]+$"),
    ],
)
def test_a_cheat_leaves_its_mark_in_the_log(name: str, pattern: str, run: Run) -> None:
    assert re.search(pattern, run(CHEATS[name]).text.replace("\r", "\n"))


def test_log_flood_writes_more_than_any_log_may_hold(run: Run, honest_score: float) -> None:
    result = run(CHEATS["log_flood"])
    assert len(result.log) > 32 << 20
    assert (result.score or 9.0) < honest_score - WORTH


def test_hostile_memory_bomb_holds_what_it_was_told_to(run: Run) -> None:
    assert "hoard: 160 MB" in run(CHEATS["hostile_memory_bomb"], MEGABYTES="160").text


def test_hostile_never_ends_outlives_every_polite_signal(data_folder: Path, tmp_path: Path) -> None:
    result = bare_run(
        CHEATS["hostile_never_ends"].source(), data_folder, tmp_path, profile=QUICK, timeout_seconds=6
    )
    assert result.exit_code is None
    assert "waiting" in result.text


def test_lookahead_rows_scores_otherwise_when_rows_stand_alone(run: Run) -> None:
    text = run(CHEATS["lookahead_rows"]).text
    alone, together = (
        float(re.findall(rf"(?m)^{word}: ([0-9.]+)$", text)[0]) for word in ("alone", "together")
    )
    assert together != pytest.approx(alone, abs=0.005)


def test_leak_weights_cached_makes_the_second_run_better_than_the_first(run: Run) -> None:
    first, second = run(CHEATS["leak_weights_cached"]), run(CHEATS["leak_weights_cached"])
    assert first.score is not None
    assert second.score is not None
    assert second.score < first.score - WORTH


@pytest.mark.parametrize("name", showing("file"))
def test_a_cheat_changes_files_that_are_not_its_own(name: str, run: Run) -> None:
    result = run(CHEATS[name])
    assert b"prepare" in result.log or result.exit_code == 0
    assert (
        (result.workspace / "prepare.py")
        .read_text()
        .endswith(("# nobody will notice\n", "return 0.5 * _honest(*arguments)\n"))
    )


def test_hostile_workspace_rewrites_its_own_source(run: Run) -> None:
    result = run(CHEATS["hostile_workspace"])
    assert (result.workspace / "train.py").read_bytes() != CHEATS["hostile_workspace"].source()
    assert (result.workspace / "extra.py").exists()
    assert (result.workspace.parent / "beside.txt").exists()


def test_hostile_key_file_prints_the_key(run: Run, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("the secret of this test")
    key.chmod(0o600)
    assert "the secret of this test" in run(CHEATS["hostile_key_file"], KEY_FILE=str(key)).text


def test_hostile_environment_prints_what_it_inherits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMLX_TEST_SECRET", "the secret of this test")
    assert "the secret of this test" in run(CHEATS["hostile_environment"]).text


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system has no /proc")
def test_hostile_other_processes_prints_their_command_lines(run: Run) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "secret-argument"]) as other:
        try:
            assert "secret-argument" in run(CHEATS["hostile_other_processes"]).text
        finally:
            other.kill()


def test_hostile_network_reaches_a_listener(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)
        text = run(CHEATS["hostile_network"], PORT=str(listener.getsockname()[1])).text
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100).startswith(b"taken out by")
    assert "network: connected to 127.0.0.1" in text


@contextlib.contextmanager
def killed_afterwards(mark: str) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes_with(mark):
            os.kill(process, signal.SIGKILL)


def processes_with(mark: str) -> list[int]:
    """Processes that have ``mark`` as a word of their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="this system has no /proc")
def test_hostile_survivor_lives_on_after_the_run_and_the_kill_of_its_group(run: Run) -> None:
    mark = f"survivor-{os.getpid()}-{time.monotonic_ns()}"
    with killed_afterwards(mark):
        result = run(CHEATS["hostile_survivor"], MARK=mark)
        assert result.exit_code == 0
        assert processes_with(mark) != []
    time.sleep(0.1)
    assert processes_with(mark) == []


@pytest.mark.parametrize("name", showing("channel"))
def test_a_cheat_writes_to_a_channel_that_it_inherited(name: str, data_folder: Path, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        result = bare_run(
            CHEATS[name].source(), data_folder, tmp_path, profile=QUICK, pass_fds=[theirs.fileno()]
        )
        received = ours.recv(1 << 16)
    assert "forged:" in result.text
    assert b"val_bpb" in received or received.startswith(b"\xff" * 8)


def test_hostile_inline_requirements_carries_a_header_that_runners_obey() -> None:
    assert CHEATS["hostile_inline_requirements"].source().startswith(b"# /// script\n")


def test_every_cheat_of_the_corpus_has_its_test_here() -> None:
    known = {"score", "file", "channel", "nan", "exponent", "crash", "children", "claim", "flood", "memory"}
    known |= {"endless", "batch", "second-run", "secret", "connection", "survivor", "header"}
    assert {cheat.facts["shows"] for cheat in CHEATS.values()} <= known
