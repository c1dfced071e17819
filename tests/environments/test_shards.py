"""Data snapshots: made, checked, shared; nothing is believed that changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from armlx_chain.errors import ContentNotFound, UsageError, VerifierFault
from armlx_chain.formats.manifest import BenchmarkManifest, ManifestRole
from armlx_chain.storage.interface import Storage
from armlx_chain.storage.zerog.merkle import root_of
from verifier import materials
from verifier.environments.shards import (
    SeenRoots,
    check_manifest,
    describe_shard,
    how_to_get,
    local_folder,
    make_manifest,
    roles_of,
    take_local,
)

pytestmark = pytest.mark.unit

PREPARE = b'MAX_SHARD = 2\nVAL_SHARD = MAX_SHARD\nVAL_FILENAME = f"shard_{VAL_SHARD:05d}.parquet"\n'
"""As upstream writes it: the name itself is no literal."""


def shard(path: Path, *texts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": list(texts)}), path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "autoresearch"
    for number in range(3):
        shard(folder / f"data/shard_{number:05d}.parquet", f"text {number}", "ü")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/tokenizer.pkl").write_bytes(b"tokenizer")
    (folder / "tokenizer/token_bytes.npy").write_bytes(b"table")
    return folder


@pytest.fixture
def seen(tmp_path: Path) -> SeenRoots:
    return SeenRoots(tmp_path / "seen.json")


@pytest.fixture
def manifest(cache: Path, seen: SeenRoots) -> BenchmarkManifest:
    return make_manifest(cache, roles_of(PREPARE), seen)


def test_every_file_has_its_role_and_root(cache: Path, manifest: BenchmarkManifest) -> None:
    assert {entry.path: entry.role.value for entry in manifest.entries} == {
        "data/shard_00000.parquet": "train",
        "data/shard_00001.parquet": "train",
        "data/shard_00002.parquet": "validation",
        "tokenizer/token_bytes.npy": "byte-table",
        "tokenizer/tokenizer.pkl": "tokenizer",
    }
    for entry in manifest.entries:
        assert entry.root == root_of((cache / entry.path).read_bytes())
        assert entry.size == (cache / entry.path).stat().st_size


def test_the_same_bytes_elsewhere_make_the_same_manifest(
    cache: Path, manifest: BenchmarkManifest, tmp_path: Path
) -> None:
    other = shutil.copytree(cache, tmp_path / "elsewhere")
    (other / "data/shard_00009.parquet.tmp").write_bytes(b"cut off")
    again = make_manifest(other, roles_of(PREPARE), SeenRoots(tmp_path / "other.json"))
    assert again.encode() == manifest.encode()


def test_a_fresh_shard_is_told_apart_from_training(cache: Path, seen: SeenRoots) -> None:
    made = make_manifest(cache, roles_of(PREPARE, fresh=["data/shard_00001.parquet"]), seen)
    assert [entry.path for entry in made.with_role(ManifestRole.FRESH)] == ["data/shard_00001.parquet"]
    assert len(made.with_role(ManifestRole.TRAIN)) == 1


@pytest.mark.parametrize("constants", [b"", b"VAL_SHARD = True", b"VAL_SHARD = -1", b'VAL_FILENAME = "a/b"'])
def test_without_a_word_on_validation_nothing_is_recorded(constants: bytes) -> None:
    with pytest.raises(UsageError, match="which shard is for validation"):
        roles_of(constants)
    assert roles_of(constants, validation="data/x.parquet")


def test_a_validation_shard_that_is_trained_on_is_refused(cache: Path, seen: SeenRoots) -> None:
    shutil.copy(cache / "data/shard_00002.parquet", cache / "data/shard_00000.parquet")
    with pytest.raises(UsageError, match="same bytes") as refused:
        make_manifest(cache, roles_of(PREPARE), seen)
    assert "never be trained on" in (refused.value.meaning or "")


def test_links_strange_files_and_missing_roles_are_refused(cache: Path, seen: SeenRoots) -> None:
    (cache / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"notes\.txt has no place"):
        make_manifest(cache, roles_of(PREPARE), seen)
    (cache / "notes.txt").unlink()
    (cache / "data/shard_00003.parquet").symlink_to("shard_00000.parquet")
    with pytest.raises(VerifierFault, match="is a link"):
        make_manifest(cache, roles_of(PREPARE), seen)
    (cache / "data/shard_00003.parquet").unlink()
    (cache / "tokenizer/tokenizer.pkl").unlink()
    with pytest.raises(UsageError, match="no tokenizer file"):
        make_manifest(cache, roles_of(PREPARE), seen)


# --- checking -----------------------------------------------------------------------------------------


def test_what_stood_still_is_not_read_again(cache: Path, manifest: BenchmarkManifest, tmp_path: Path) -> None:
    later = SeenRoots(tmp_path / "seen.json")
    assert check_manifest(cache, manifest, later) == []
    assert later.hashed == 0
    assert check_manifest(cache, manifest, later, afresh=True) == []
    assert later.hashed == len(manifest.entries)


def _rewrite(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def _rewrite_and_set_the_clock_back(path: Path) -> None:
    facts = path.stat()
    _rewrite(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _replace(path: Path) -> None:
    facts, data = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_rewrite, "has the root"),
        (_rewrite_and_set_the_clock_back, "has the root"),
        (_replace, "has the root"),
        (lambda path: path.write_bytes(b"short"), "bytes instead of"),
        (lambda path: path.unlink(), "is missing"),
        (_link, "is not a plain file"),
    ],
)
def test_any_change_is_found_by_the_quick_check(
    cache: Path, manifest: BenchmarkManifest, tmp_path: Path, change: Callable[[Path], Any], what: str
) -> None:
    change(cache / "data/shard_00001.parquet")
    faults = check_manifest(cache, manifest, SeenRoots(tmp_path / "seen.json"))
    assert [fault.path for fault in faults] == ["data/shard_00001.parquet"]
    assert what in faults[0].what


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 3}', b'{"x": [1, 2]}'])
def test_a_damaged_memory_costs_only_time(
    cache: Path, manifest: BenchmarkManifest, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    opened = SeenRoots(tmp_path / "broken.json")
    assert check_manifest(cache, manifest, opened) == []
    assert opened.hashed == len(manifest.entries)


def test_the_command_that_brings_missing_shards_asks_for_enough_of_them(manifest: BenchmarkManifest) -> None:
    text = how_to_get(manifest, ["data/shard_00001.parquet"])
    assert "uv run prepare.py --num-shards 2" in text and "shard_00001" in text
    assert "and 7 more" in how_to_get(manifest, [str(n) for n in range(10)])


# --- taking from the local cache ----------------------------------------------------------------------


class _Nothing:
    """Storage that has nothing, and counts how often it was asked."""

    asked = 0

    def fetch(self, *_: object, **__: object) -> object:
        self.asked += 1
        raise ContentNotFound("nobody has it")


def test_data_of_the_local_cache_is_taken_by_root_and_storage_is_not_asked(
    cache: Path, manifest: BenchmarkManifest, tmp_path: Path
) -> None:
    storage = _Nothing()
    target = tmp_path / "data" / "0xab"
    said: list[str] = []
    materials._ensure_data(manifest, target, cast(Storage, storage), said.append, cache)
    assert check_manifest(target, manifest, SeenRoots(tmp_path / "x.json")) == []
    assert storage.asked == 0 and len(said) == len(manifest.entries)
    materials._ensure_data(manifest, target, cast(Storage, storage), said.append, None)
    assert storage.asked == 0 and len(said) == len(manifest.entries)


def test_a_missing_shard_says_which_and_how_to_get_it(
    cache: Path, manifest: BenchmarkManifest, tmp_path: Path
) -> None:
    _rewrite(cache / "data/shard_00001.parquet")
    storage = cast(Storage, _Nothing())
    with pytest.raises(ContentNotFound, match="shard_00001") as missing:
        materials._ensure_data(manifest, tmp_path / "data" / "0xab", storage, lambda _: None, cache)
    assert "uv run prepare.py --num-shards 2" in (missing.value.next_step or "")


def test_a_file_that_is_changed_after_it_was_taken_is_noticed(
    cache: Path, manifest: BenchmarkManifest, seen: SeenRoots, tmp_path: Path
) -> None:
    entry = manifest.entries[0]
    target = tmp_path / "taken" / entry.path
    assert take_local(entry, cache, target, seen)
    assert seen.root(target)[0] == entry.root
    _rewrite(cache / entry.path)
    assert seen.root(target)[0] != entry.root or not target.samefile(cache / entry.path)
    assert not take_local(entry, cache, target, seen)


def test_the_local_folder_is_named_or_the_usual_one() -> None:
    assert local_folder({"ARMLX_DATA": "/data"}) == Path("/data")
    assert local_folder({}) == Path.home() / ".cache" / "autoresearch"


# --- parquet ------------------------------------------------------------------------------------------


def test_a_shard_is_looked_into_in_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["ü", "ab", "c"] * 1000}), path, row_group_size=700)
    found = describe_shard(path, walk=True)
    assert (found.documents, found.groups, found.text_bytes) == (3000, 5, 5000)
    assert describe_shard(path).text_bytes == 0


def test_what_is_no_shard_is_one_error(tmp_path: Path) -> None:
    whole = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"] * 100}), whole)
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:-9])
    (tmp_path / "empty").write_bytes(b"")
    pq.write_table(pa.table({"words": ["x"]}), tmp_path / "other")
    for name in ("cut", "empty", "other", "missing"):
        with pytest.raises(VerifierFault):
            describe_shard(tmp_path / name, walk=True)
