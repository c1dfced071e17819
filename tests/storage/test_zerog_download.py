"""Downloads to a file: proven before they are written, resumed after any stop, complete or not there."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from storage_sims import SEGMENT, Error, HttpSim, Raw, SimStorage, forever, http

from armlx_chain.errors import (
    ContentIncomplete,
    ContentMismatch,
    ContentNotFinal,
    ContentPruned,
    MachineError,
    StorageError,
    StorageUnavailable,
)
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.merkle import FileTree, root_of
from armlx_chain.storage.zerog.partfile import part_paths

pytestmark = pytest.mark.integration

PATIENT = Timeouts(connect=60.0, read=60.0, total=60.0, transfer=60.0, overall=120.0)
HASTY = Timeouts(connect=0.5, read=0.5, total=0.5, transfer=0.5, overall=5.0)
DATA = bytes(itertools.islice(itertools.cycle(range(251)), 11 * SEGMENT + 777))
TREE = FileTree.of(DATA)
ROOT = TREE.root
COUNT = 12
PROVEN, PLAIN = "zgs_downloadSegmentWithProofByTxSeq", "zgs_downloadSegmentByTxSeq"
ABSENT = b'{"code":101,"message":"File not found","data":null}'


@contextmanager
def serving(*sims: HttpSim) -> Iterator[None]:
    with ExitStack() as stack:
        for sim in sims:
            stack.callback(sim.stop)
        yield


def storage(*urls: str, timeouts: Timeouts = PATIENT, **options: Any) -> ZeroGStorage:
    return ZeroGStorage([Endpoint(url) for url in urls], timeouts=timeouts, **options)


def asked(sim: SimStorage, method: str = PROVEN) -> list[int]:
    """Which segments were asked of it, in order."""
    import json

    calls = [json.loads(body) for _, _, body in sim.requests if body]
    return [call["params"][1] for call in calls if call["method"] == method]


def no_gateway(sim: SimStorage) -> None:
    sim.rest = lambda _: http(ABSENT)


class Watcher:
    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.notes: list[str] = []
        self._lock = threading.Lock()

    def start(self, total: int | None) -> None:
        self.total = total

    def advance(self, count: int) -> None:
        with self._lock:
            self.done += count

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    "size", [1, 255, 256, 257, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, len(DATA)]
)
def test_a_download_is_the_file_and_leaves_nothing_else(tmp_path: Path, size: int) -> None:
    sim, watcher = SimStorage(DATA[:size]), Watcher()
    with serving(sim):
        found = storage(sim.url).download(
            root_of(DATA[:size]), tmp_path / "f", max_bytes=size, progress=watcher
        )
    assert (tmp_path / "f").read_bytes() == DATA[:size]
    assert (found.path, found.size, found.source, found.faults) == (tmp_path / "f", size, sim.url, ())
    assert os.listdir(tmp_path) == ["f"]
    assert (watcher.total, watcher.done) == (size, size)


def test_an_existing_file_is_replaced_only_by_the_whole_new_one(tmp_path: Path) -> None:
    destination = tmp_path / "f"
    destination.write_bytes(b"old")
    sim = SimStorage(DATA)
    sim.hooks[PROVEN] = lambda p, honest: honest if p[1] < 7 else None
    sim.hooks[PLAIN] = lambda _, __: None
    no_gateway(sim)
    with serving(sim):
        with pytest.raises(ContentIncomplete):
            storage(sim.url).download(ROOT, destination, max_bytes=len(DATA))
        assert destination.read_bytes() == b"old"
        sim.hooks.clear()
        storage(sim.url).download(ROOT, destination, max_bytes=len(DATA))
    assert destination.read_bytes() == DATA


def stopped_half_way(tmp_path: Path, have: int) -> Path:
    """A download that got the first ``have`` segments."""
    sim = SimStorage(DATA)
    sim.hooks[PROVEN] = lambda p, honest: honest if p[1] < have else None
    sim.hooks[PLAIN] = lambda _, __: None
    no_gateway(sim)
    destination = tmp_path / "f"
    with serving(sim), pytest.raises(ContentIncomplete):
        storage(sim.url).download(ROOT, destination, max_bytes=len(DATA))
    assert not destination.exists()
    return destination


def resumed(destination: Path, watcher: Watcher | None = None) -> list[int]:
    """Finish from an honest server; which segments it was asked for."""
    sim = SimStorage(DATA)
    with serving(sim):
        storage(sim.url).download(ROOT, destination, max_bytes=len(DATA), progress=watcher)
    assert destination.read_bytes() == DATA
    assert os.listdir(destination.parent) == [destination.name]
    return sorted(asked(sim))


def test_what_was_proven_is_not_downloaded_again(tmp_path: Path) -> None:
    watcher = Watcher()
    assert resumed(stopped_half_way(tmp_path, 7), watcher) == list(range(7, COUNT))
    assert watcher.done == len(DATA)
    assert any("7 of 12 segments" in note for note in watcher.notes)


@pytest.mark.parametrize("at", [0, 3 * SEGMENT + 17, 7 * SEGMENT - 1])
def test_a_damaged_part_file_is_noticed_and_only_the_damage_fetched_again(tmp_path: Path, at: int) -> None:
    destination = stopped_half_way(tmp_path, 7)
    content, _ = part_paths(destination)
    with content.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    assert resumed(destination) == sorted({at // SEGMENT, *range(7, COUNT)})


@pytest.mark.parametrize("cut", [0, 1, 20, 71, 72, 73, 100, 151, 152, 200])
def test_a_state_file_that_was_cut_anywhere_costs_segments_and_never_correctness(
    tmp_path: Path, cut: int
) -> None:
    destination = stopped_half_way(tmp_path, 7)
    _, state = part_paths(destination)
    os.truncate(state, cut)
    kept = max(0, (cut - 64) // 40)
    assert len(resumed(destination)) == COUNT - kept


def test_a_missing_part_file_beside_a_state_is_an_empty_one(tmp_path: Path) -> None:
    destination = stopped_half_way(tmp_path, 7)
    part_paths(destination)[0].unlink()
    assert resumed(destination) == list(range(COUNT))


def test_a_forged_state_with_matching_content_does_not_pass(tmp_path: Path) -> None:
    """Somebody wrote other bytes into the part file and their true hash into the state."""
    destination = stopped_half_way(tmp_path, 7)
    content, state = part_paths(destination)
    other = b"\x07" * SEGMENT
    with content.open("r+b") as file:
        file.seek(2 * SEGMENT)
        file.write(other)
    with state.open("ab") as file:
        file.write((2).to_bytes(8, "big") + FileTree.of(other).root.digest)
    again = resumed(destination)
    assert 2 in again
    assert again == sorted({*range(7), *range(7, COUNT)}), "nothing of the earlier run is believed then"


def test_the_part_of_another_root_is_not_used(tmp_path: Path) -> None:
    destination = stopped_half_way(tmp_path, 7)
    other = bytes(reversed(DATA))
    sim = SimStorage(other)
    with serving(sim):
        storage(sim.url).download(root_of(other), destination, max_bytes=len(DATA))
    assert destination.read_bytes() == other
    assert sorted(asked(sim)) == list(range(COUNT))


def test_a_longer_part_than_the_file_is_cut(tmp_path: Path) -> None:
    destination = stopped_half_way(tmp_path, 7)
    with part_paths(destination)[0].open("ab") as file:
        file.write(b"x" * 5000)
    resumed(destination)


def test_two_downloads_to_one_name_exclude_each_other(tmp_path: Path) -> None:
    sim = SimStorage(DATA)
    entered, go_on = threading.Event(), threading.Event()

    def wait(_: Any, honest: Any) -> Any:
        entered.set()
        go_on.wait(60)
        return honest

    sim.hooks[PROVEN] = wait
    destination = tmp_path / "f"
    done: list[bytes] = []

    def first() -> None:
        storage(sim.url).download(ROOT, destination, max_bytes=len(DATA))
        done.append(destination.read_bytes())

    with serving(sim):
        thread = threading.Thread(target=first)
        thread.start()
        assert entered.wait(60)
        with pytest.raises(MachineError, match="Another process"):
            storage(sim.url).download(ROOT, destination, max_bytes=len(DATA))
        go_on.set()
        thread.join(60)
    assert done == [DATA]


@pytest.mark.parametrize("which", [0, 1])
def test_a_symbolic_link_in_the_place_of_the_part_is_not_followed(tmp_path: Path, which: int) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    part_paths(tmp_path / "f")[which].symlink_to(victim)
    sim = SimStorage(DATA)
    with serving(sim), pytest.raises(MachineError):
        storage(sim.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_is_missing_is_an_error_of_the_machine(tmp_path: Path) -> None:
    sim = SimStorage(DATA)
    with serving(sim), pytest.raises(MachineError, match="cannot be written"):
        storage(sim.url).download(ROOT, tmp_path / "none" / "f", max_bytes=len(DATA))


def test_a_full_disk_keeps_what_was_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, count = os.pwrite, itertools.count()

    def full(descriptor: int, data: Any, at: int) -> int:
        if len(data) > 1000 and next(count) >= 5:
            raise OSError(28, "No space left on device")
        return honest(descriptor, data, at)

    sim = SimStorage(DATA)
    destination = tmp_path / "f"
    with serving(sim), monkeypatch.context() as patch:
        patch.setattr("armlx_chain.storage.zerog.partfile.os.pwrite", full)
        with pytest.raises(MachineError, match="No space left"):
            storage(sim.url).download(ROOT, destination, max_bytes=len(DATA))
    assert not destination.exists()
    assert len(resumed(destination)) == COUNT - 5


# --- several nodes ---------------------------------------------------------------------------------------


def listing(*nodes: SimStorage) -> SimStorage:
    indexer = SimStorage()
    indexer.hooks["indexer_getFileLocations"] = lambda _, __: [node._listed() for node in nodes]
    return indexer


def test_segments_come_from_all_nodes(tmp_path: Path) -> None:
    nodes = [SimStorage(DATA) for _ in range(3)]
    indexer = listing(*nodes)
    with serving(indexer, *nodes):
        found = storage(indexer.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert sorted(index for node in nodes for index in asked(node)) == list(range(COUNT))
    assert all(asked(node) for node in nodes)
    assert set(found.source.split(", ")) == {node.url for node in nodes}


def test_a_node_that_holds_its_first_answer_back_holds_one_worker_and_not_the_download(
    tmp_path: Path,
) -> None:
    holder, honest = SimStorage(DATA), SimStorage(DATA)
    others_done, count = threading.Event(), itertools.count(1)

    def hold(_: Any, answer: Any) -> Any:
        others_done.wait(60)
        return answer

    def tell(_: Any, answer: Any) -> Any:
        if next(count) == COUNT - 1:
            others_done.set()
        return answer

    holder.hooks[PROVEN], honest.hooks[PROVEN] = hold, tell
    indexer = listing(holder, honest)
    with serving(indexer, holder, honest):
        storage(indexer.url, workers=2).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert (len(asked(holder)), len(asked(honest))) == (1, COUNT - 1)


@pytest.mark.parametrize("start_entry", [1024, 2048, 3 * 1024])
def test_shards_are_asked_by_the_global_segment_number(tmp_path: Path, start_entry: int) -> None:
    nodes = [SimStorage(DATA, start_entry=start_entry) for _ in range(4)]
    for number, node in enumerate(nodes):
        node.shard = (number, 4)
    indexer = listing(*nodes)
    with serving(indexer, *nodes):
        storage(indexer.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    for number, node in enumerate(nodes):
        own = [i for i in range(COUNT) if (start_entry // 1024 + i) % 4 == number]
        assert sorted(asked(node)) == own


def test_a_node_that_lies_in_the_middle_is_set_aside_and_the_others_finish(tmp_path: Path) -> None:
    liar, honest = SimStorage(DATA), SimStorage(DATA)
    lied = threading.Event()

    def lie(position: Any, answer: Any) -> Any:
        if position[1] < 2:
            return answer
        lied.set()
        return {**answer, "data": answer["data"].replace("A", "B", 1)}

    def after_the_lie(_: Any, answer: Any) -> Any:
        lied.wait(60)  # else the honest node, if it is the quicker one, leaves the other nothing to lie about
        return answer

    liar.hooks[PROVEN], honest.hooks[PROVEN] = lie, after_the_lie
    indexer = listing(liar, honest)
    with serving(indexer, liar, honest):
        found = storage(indexer.url, workers=2).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert (tmp_path / "f").read_bytes() == DATA
    assert {(f.endpoint, f.kind) for f in found.faults} == {(liar.url, FaultKind.WRONG_BYTES)}
    under_way = [i for i in asked(liar) if i >= 2]
    assert 1 <= len(under_way) <= 2, "two workers: nothing more than what was under way at its first lie"


def test_a_node_that_stalls_in_the_middle_is_set_aside_and_the_others_finish(tmp_path: Path) -> None:
    """The stall is timed for the stalling node alone: the honest one is a second endpoint."""
    staller = SimStorage(DATA)
    staller.hooks[PROVEN] = lambda p, h: h if p[1] < 2 else Raw(forever(b"", pause=0.05))
    no_gateway(staller)
    destination = tmp_path / "f"
    with serving(staller), pytest.raises(StorageUnavailable) as caught:
        storage(staller.url, timeouts=HASTY).download(ROOT, destination, max_bytes=len(DATA))
    assert any(f"{staller.url}: stalled" in fault for fault in caught.value.details["faults"])
    assert not destination.exists()
    resumed(destination)


def test_a_connection_that_breaks_now_and_then_is_named_and_forgiven(tmp_path: Path) -> None:
    sim, count = SimStorage(DATA), itertools.count()
    sim.hooks[PROVEN] = lambda _, honest: Raw(b"") if next(count) % 4 == 1 else honest
    no_gateway(sim)
    with serving(sim):
        found = storage(sim.url, workers=1).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert (tmp_path / "f").read_bytes() == DATA
    assert {(f.endpoint, f.kind) for f in found.faults} == {(sim.url, FaultKind.UNREACHABLE)}


def test_what_one_endpoints_nodes_proved_is_kept_for_the_next_endpoint(tmp_path: Path) -> None:
    first, second = SimStorage(DATA), SimStorage(DATA)
    first.hooks[PROVEN] = lambda p, honest: honest if p[1] % 2 else None
    first.hooks[PLAIN] = lambda _, __: None
    with serving(first, second):
        found = storage(first.url, second.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert sorted(asked(second)) == list(range(0, COUNT, 2))
    assert found.source == second.url or set(found.source.split(", ")) <= {first.url, second.url}
    assert (tmp_path / "f").read_bytes() == DATA


def test_the_gateway_helps_where_the_nodes_lack_segments(tmp_path: Path) -> None:
    sim, watcher = SimStorage(DATA), Watcher()
    sim.hooks[PROVEN] = lambda p, honest: honest if p[1] < 4 else None
    sim.hooks[PLAIN] = lambda _, __: None
    with serving(sim):
        storage(sim.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA), progress=watcher)
    assert (tmp_path / "f").read_bytes() == DATA
    assert os.listdir(tmp_path) == ["f"]
    assert watcher.done == len(DATA)


def test_of_two_gateways_that_disagree_the_root_decides(tmp_path: Path) -> None:
    liar, honest = SimStorage(DATA), SimStorage(DATA)
    liar.rest = lambda data: http(b"?" + data[1:])
    with serving(liar, honest):
        endpoints = [Endpoint(liar.url, "gateway"), Endpoint(honest.url, "gateway")]
        found = ZeroGStorage(endpoints, timeouts=PATIENT).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert (tmp_path / "f").read_bytes() == DATA
    assert found.source == honest.url
    assert [(f.endpoint, f.kind) for f in found.faults] == [(liar.url, FaultKind.WRONG_BYTES)]


def test_without_proof_methods_plain_segments_and_the_whole_root_do(tmp_path: Path) -> None:
    sim = SimStorage(DATA)
    sim.hooks[PROVEN] = lambda _, __: Error(-32601, "Method not found")
    no_gateway(sim)
    with serving(sim):
        found = storage(sim.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert (tmp_path / "f").read_bytes() == DATA
    assert found.faults == ()


# --- forms that users meet -------------------------------------------------------------------------------


def test_announced_as_final_but_missing_says_so_and_keeps_the_rest(tmp_path: Path) -> None:
    sim = SimStorage(DATA)
    sim.hooks[PROVEN] = lambda p, honest: honest if p[1] != 5 else None
    sim.hooks[PLAIN] = lambda p, honest: honest if p[1] != 5 * 1024 else None
    no_gateway(sim)
    with serving(sim), pytest.raises(ContentIncomplete, match="segment 5 is not there") as caught:
        storage(sim.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert caught.value.exit_code == 75
    assert resumed(tmp_path / "f") == [5]


def test_not_yet_final_says_how_far_the_upload_is(tmp_path: Path) -> None:
    sim = SimStorage(DATA)
    sim.hooks["zgs_getFileInfo"] = lambda _, h: {**h, "finalized": False, "uploadedSegNum": 3}
    sim.hooks["indexer_getFileLocations"] = lambda _, __: None
    sim.hooks[PROVEN] = lambda p, honest: honest if p[1] < 3 else None
    sim.hooks[PLAIN] = lambda _, __: None
    no_gateway(sim)
    with serving(sim), pytest.raises(ContentNotFinal, match="3 of 12 segments so far") as caught:
        storage(sim.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("by", ["node", "gateway"])
def test_pruned_says_that_waiting_does_not_help(tmp_path: Path, by: str) -> None:
    sim = SimStorage(DATA)
    sim.rest = lambda _: http(b'{"code":102,"message":"File already pruned","data":null}')
    if by == "node":
        no_gateway(sim)
    sim.hooks["indexer_getFileLocations"] = lambda _, __: None
    pruned = {"finalized": False, "pruned": True}
    sim.hooks["zgs_getFileInfo"] = lambda p, h: None if p[1] or by == "gateway" else {**h, **pruned}
    with serving(sim), pytest.raises(ContentPruned) as caught:
        storage(sim.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert caught.value.exit_code == 1


# --- lengths ---------------------------------------------------------------------------------------------

SHORT = b"x" * 1000


@pytest.mark.parametrize("kind", ["indexer", "gateway", "node"])
@pytest.mark.parametrize("served", [SHORT, SHORT + bytes(1), SHORT + bytes(24)])
def test_an_expected_size_mends_zeros_that_a_server_added(tmp_path: Path, kind: Any, served: bytes) -> None:
    sim = SimStorage(served)
    with serving(sim):
        found = ZeroGStorage([Endpoint(sim.url, kind)], timeouts=PATIENT).download(
            root_of(SHORT), tmp_path / "f", max_bytes=5000, expected_size=1000
        )
    assert (tmp_path / "f").read_bytes() == SHORT
    assert found.size == 1000
    kinds = [fault.kind for fault in found.faults]
    assert kinds == ([] if len(served) == 1000 else [FaultKind.WRONG_LENGTH])


def test_an_expected_size_mends_zeros_that_a_server_took_away(tmp_path: Path) -> None:
    whole = b"y" * 900 + bytes(100)
    sim = SimStorage(whole[:900])
    with serving(sim):
        found = storage(sim.url).download(root_of(whole), tmp_path / "f", max_bytes=5000, expected_size=1000)
    assert (tmp_path / "f").read_bytes() == whole
    assert found.faults[0].kind is FaultKind.WRONG_LENGTH


@pytest.mark.parametrize("expected", [999, 1025, 4000, 700])
def test_an_impossible_expected_size_leaves_no_file(tmp_path: Path, expected: int) -> None:
    sim = SimStorage(SHORT)
    with serving(sim), pytest.raises(StorageError) as caught:
        storage(sim.url).download(root_of(SHORT), tmp_path / "f", max_bytes=5000, expected_size=expected)
    assert sim.url in caught.value.message
    assert "Check the length" in (caught.value.next_step or ""), "the caller may be the one who is wrong"
    assert not (tmp_path / "f").exists()


def test_nodes_that_disagree_about_the_size_are_both_tried(tmp_path: Path) -> None:
    wrong, right = SimStorage(DATA), SimStorage(DATA)
    wrong.hooks["zgs_getFileInfo"] = lambda _, h: {**h, "tx": {**h["tx"], "size": len(DATA) - 300}}
    indexer = listing(wrong, right)
    with serving(indexer, wrong, right):
        found = storage(indexer.url).download(ROOT, tmp_path / "f", max_bytes=len(DATA))
    assert (tmp_path / "f").read_bytes() == DATA
    assert {fault.endpoint for fault in found.faults} == {wrong.url}


def test_a_false_size_does_not_cost_what_an_earlier_run_proved(tmp_path: Path) -> None:
    """The liar is asked first; its length has another padding than the file's."""
    destination = stopped_half_way(tmp_path, 7)
    liar, honest = SimStorage(DATA), SimStorage(DATA)
    node = [[33, ROOT.hex]]
    liar.hooks["zgs_getFileInfo"] = lambda _, h: {
        **h,
        "tx": {**h["tx"], "size": 1 << 40, "merkleNodes": node},
    }
    no_gateway(liar)
    with serving(liar, honest):
        found = storage(liar.url, honest.url).download(ROOT, destination, max_bytes=1 << 41)
    assert {fault.endpoint for fault in found.faults} == {liar.url}
    assert destination.read_bytes() == DATA
    assert sorted(asked(honest)) == list(range(7, COUNT))


def test_a_false_size_that_no_disk_could_hold_does_not_stop_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without sparse files, room for what a liar announces is never there."""
    real = os.ftruncate

    def without_sparse_files(descriptor: int, length: int) -> None:
        if length > 1 << 30:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, length)

    monkeypatch.setattr(os, "ftruncate", without_sparse_files)
    liar, honest = SimStorage(DATA), SimStorage(DATA)
    node = [[33, ROOT.hex]]
    liar.hooks["zgs_getFileInfo"] = lambda _, h: {
        **h,
        "tx": {**h["tx"], "size": 1 << 40, "merkleNodes": node},
    }
    no_gateway(liar)
    with serving(liar, honest):
        storage(liar.url, honest.url).download(ROOT, tmp_path / "f", max_bytes=1 << 41)
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_size_claim_reserves_no_memory_and_no_disk(tmp_path: Path) -> None:
    """2**40 bytes are claimed, within a foolish limit; only a sparse file and small state come of it."""
    size = 1 << 40
    sim = SimStorage(DATA)
    node = [[33, ROOT.hex]]
    sim.hooks["zgs_getFileInfo"] = lambda _, h: {**h, "tx": {**h["tx"], "size": size, "merkleNodes": node}}
    no_gateway(sim)
    with serving(sim), pytest.raises(ContentMismatch):
        storage(sim.url).download(ROOT, tmp_path / "f", max_bytes=1 << 41)
    assert not (tmp_path / "f").exists()
    assert part_paths(tmp_path / "f")[0].stat().st_blocks < 1000
