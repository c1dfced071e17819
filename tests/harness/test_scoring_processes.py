"""Processes of our own that score: the threads' figures to the last bit, faults told apart, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from armlx_chain.errors import LogitsNotFinite, ModelUnsupported, VerifierFault
from verifier.harness import processes as module
from verifier.harness.evaluator import Answer
from verifier.harness.processes import LEAST_LOGITS, Processes, scoring_for
from verifier.harness.scoring import Floats
from verifier.harness.slate import Slate, write_at
from verifier.harness.workers import Workers

pytestmark = pytest.mark.integration
ROWS, LENGTH, OUTPUTS = 4, 50, 30_011
"""Eight positions a block: a row is no whole number of blocks, and neither is a process's slice."""
BATCH = ROWS * LENGTH * OUTPUTS


@pytest.fixture(scope="module")
def crew() -> Iterator[Processes]:
    with Processes(3) as started:
        yield started


@pytest.fixture(scope="module")
def logits() -> Floats:
    return np.random.default_rng(0).normal(0, 4, (ROWS, LENGTH, OUTPUTS)).astype(np.float32)


@pytest.fixture
def slate() -> Iterator[Slate]:
    made = Slate()
    made.resize(2 * 4 * BATCH)
    yield made
    made.close()


def targets() -> np.ndarray:
    return np.random.default_rng(1).integers(0, OUTPUTS, (ROWS, LENGTH)).astype(np.int32)


def put(slate: Slate, part: int, logits: Floats) -> Answer:
    write_at(slate.fileno(), 4 * part * BATCH, logits)
    return Answer(slate, 4 * part * BATCH, OUTPUTS)


def open_descriptors() -> set[str]:
    folder = "/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"
    return set(os.listdir(folder))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_figures_are_the_threads_to_the_last_bit_with_what_is_kept_across_slices_and_batches(
    crew: Processes, slate: Slate, logits: Floats
) -> None:
    first = put(slate, 0, logits)
    keep = [(0, 49), (1, 1), (1, 33), (3, 50)]
    with Workers(2) as threads:
        losses, originals = threads.score(first, targets(), keep)
        found, stored = crew.score(first, targets(), keep)
        assert found.dtype == losses.dtype and np.array_equal(found, losses)
        # Another batch is scored in between, in the same memory: what was kept must be a copy.
        later, more = crew.score(put(slate, 0, logits[::-1].copy()), targets(), [(2, 50)])
        assert not np.array_equal(later, losses)
        altered = logits[[0, 1, 1, 3]].copy()
        altered[0, 30, 7] += np.float32(0.25)
        altered[2, 32, OUTPUTS - 1] -= np.float32(3)
        altered[3, 49, 0] += np.float32(1e-3)
        altered[1, 1:] = 0  # at and after the position: nobody looks there
        answer = put(slate, 1, altered)
        moved = crew.compare(answer, LENGTH, stored)
        assert moved == threads.compare(answer, LENGTH, originals)
    assert moved[1] == 0 and min(moved[0], moved[2], moved[3]) > 0
    assert crew.compare(put(slate, 1, logits[[1, 1, 1, 1]]), LENGTH, more) == [0.0]


def test_places_are_used_again_once_their_probes_are_compared(
    crew: Processes, slate: Slate, logits: Floats
) -> None:
    answer = put(slate, 0, logits)
    _, first = crew.score(answer, targets(), [(0, 5), (1, 5)])
    crew.compare(answer, LENGTH, first)
    _, second = crew.score(answer, targets(), [(2, 5), (3, 5)])
    assert {stored.place for stored in second} == {stored.place for stored in first}
    assert crew.compare(put(slate, 1, logits[[2, 3, 0, 0]]), LENGTH, second) == [0.0, 0.0]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 40, 17), (3, 49, OUTPUTS - 1)])
def test_a_logit_that_is_no_number_is_refused_in_any_slice_and_the_next_batch_is_scored(
    crew: Processes, slate: Slate, logits: Floats, number: float, place: tuple[int, int, int]
) -> None:
    broken = logits.copy()
    broken[place] = number
    good, bad = put(slate, 0, logits), put(slate, 1, broken)
    with pytest.raises(LogitsNotFinite, match="not all finite"):
        crew.score(bad, targets(), [])
    losses, stored = crew.score(good, targets(), [(place[0], LENGTH)] * ROWS)
    assert np.isfinite(losses).all()
    altered = logits[[place[0]] * ROWS].copy()
    altered[2, place[1], place[2]] = number
    with pytest.raises(LogitsNotFinite):
        crew.compare(put(slate, 1, altered), LENGTH, stored)


def test_an_answer_cut_short_is_the_models_as_with_threads(crew: Processes, slate: Slate) -> None:
    answer = Answer(slate, 4 * BATCH + 4, OUTPUTS)
    said = []
    with Workers(2) as threads:
        for scoring in (threads, crew):
            with pytest.raises(ModelUnsupported) as problem:
                scoring.score(answer, targets(), [])  # type: ignore[attr-defined]
            said.append((type(problem.value), problem.value.message))
    assert said[0] == said[1]


def test_fewer_blocks_than_processes_and_no_originals_at_all(crew: Processes, slate: Slate) -> None:
    small = np.random.default_rng(2).normal(0, 1, (1, 3, OUTPUTS)).astype(np.float32)
    answer = put(slate, 0, small)
    with Workers(1) as threads:
        expected, _ = threads.score(answer, targets()[:1, :3].copy(), [])
    assert np.array_equal(crew.score(answer, targets()[:1, :3].copy(), [])[0], expected)
    assert crew.compare(answer, LENGTH, []) == []
    crew.copy(answer, 3)


def test_a_killed_process_is_our_own_fault_and_all_of_them_end(slate: Slate, logits: Floats) -> None:
    answer = put(slate, 0, logits)
    before = open_descriptors()
    with Processes(2) as crew:
        crew.copy(answer, 10)
        pids = crew.processes
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(VerifierFault, match="gave no answer"):
            crew.score(answer, targets(), [(0, 7)])
        assert not any(map(alive, pids)) and not open_descriptors() - before
        with pytest.raises(VerifierFault, match="have ended"):
            crew.score(answer, targets(), [])


def test_a_process_that_does_not_answer_is_not_waited_for_for_ever(slate: Slate, logits: Floats) -> None:
    answer = put(slate, 0, logits)
    with Processes(1, patience=0.5) as crew:
        (pid,) = crew.processes
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(VerifierFault, match="gave no answer"):
            crew.score(answer, targets(), [])
        assert not alive(pid)


def test_nothing_is_left_after_an_exception(slate: Slate, logits: Floats) -> None:
    answer = put(slate, 0, logits)
    before = open_descriptors()
    with pytest.raises(KeyboardInterrupt), Processes(2) as crew:
        pids = crew.processes
        crew.score(answer, targets(), [(0, 9)])
        raise KeyboardInterrupt
    assert not any(map(alive, pids)) and not open_descriptors() - before


def test_a_process_that_cannot_start_is_a_fault_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_descriptors()
    monkeypatch.setattr(module.sys, "executable", "/nowhere/python")
    with pytest.raises(VerifierFault, match="cannot be started"):
        Processes(2)
    assert not open_descriptors() - before


def test_they_end_with_a_verifier_that_is_killed() -> None:
    text = (
        "import time\nfrom verifier.harness.processes import Processes\n"
        "crew = Processes(2)\nprint(*crew.processes, flush=True)\ntime.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as verifier:
        assert verifier.stdout is not None
        pids = [int(word) for word in verifier.stdout.readline().split()]
        assert len(pids) == 2 and all(map(alive, pids))
        verifier.kill()
    end = time.monotonic() + 60
    while any(map(running, pids)):
        assert time.monotonic() < end, "they run on without a verifier"
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Alive and no zombie that nobody has collected."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip() not in ("", "Z", "Z+")


@pytest.mark.parametrize("cores", [1, 2])
def test_few_processors_stay_with_threads(cores: int) -> None:
    assert scoring_for(100 * LEAST_LOGITS, cores) is Workers


def test_small_problems_stay_with_threads_and_large_ones_get_a_process_a_core() -> None:
    assert scoring_for(LEAST_LOGITS - 1, 16) is Workers
    with scoring_for(LEAST_LOGITS, 3)() as crew:
        assert isinstance(crew, Processes) and len(crew.processes) == 3
