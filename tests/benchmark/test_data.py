"""The data is the same everywhere, has the roles it should have, and held-out text is really held out."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from armlx_chain.devnet.benchmark import bpe
from armlx_chain.devnet.benchmark.data import make_data
from armlx_chain.devnet.benchmark.project import constants
from armlx_chain.errors import DevnetError

pytestmark = pytest.mark.integration

# Measured once; holds for the versions of the lock file on every platform.
DIGEST = "69a60c396f6fbdc6a6249b1541d409c3fd164990bca6eb6cdd6b0f5d3c932f51"


def tree_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def texts(path: Path) -> list[str]:
    found: list[str] = pq.read_table(path)["text"].to_pylist()
    return found


def test_two_generations_agree_byte_for_byte_and_with_the_recorded_digest(
    data_folder: Path, tmp_path: Path
) -> None:
    make_data(tmp_path)
    assert tree_digest(tmp_path) == tree_digest(data_folder)
    assert tree_digest(tmp_path) == DIGEST


def test_another_seed_gives_other_files_everywhere(data_folder: Path, tmp_path: Path) -> None:
    for file in make_data(tmp_path, seed=1):
        assert (tmp_path / file.path).read_bytes() != (data_folder / file.path).read_bytes(), file.path


def test_the_listing_names_every_file_once_with_its_role(tmp_path: Path) -> None:
    files = make_data(tmp_path)
    on_disk = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert [file.path for file in files] == sorted(on_disk)
    roles = [file.role for file in files]
    assert {role: roles.count(role) for role in roles} == {
        "train": constants()["MAX_SHARD"],
        "validation": 1,
        "fresh": 1,
        "tokenizer": 1,
        "byte-table": 1,
    }


def test_the_fresh_shard_lies_outside_the_folder_that_a_candidate_reads(data_folder: Path) -> None:
    fresh = data_folder / "fresh/shard_00000.parquet"
    assert fresh.is_file()
    assert data_folder / "data" not in fresh.parents


def test_held_out_documents_are_not_found_in_the_training_shards(data_folder: Path) -> None:
    trained_on = {
        text for index in range(4) for text in texts(data_folder / f"data/shard_{index:05d}.parquet")
    }
    for held_out in ("data/shard_00004.parquet", "fresh/shard_00000.parquet"):
        documents = texts(data_folder / held_out)
        seen = sum(text in trained_on for text in documents)
        assert seen < len(documents) / 50, held_out


def test_the_held_out_shards_are_large_enough_for_all_scored_rows(data_folder: Path) -> None:
    encoding = pickle.loads((data_folder / "tokenizer/tokenizer.pkl").read_bytes())
    for held_out in ("data/shard_00004.parquet", "fresh/shard_00000.parquet"):
        tokens = sum(len(row) + 1 for row in encoding.encode_ordinary_batch(texts(data_folder / held_out)))
        assert tokens > 1.5 * constants()["EVAL_TOKENS"], held_out


def test_tokenizer_and_byte_table_account_for_every_byte_of_the_text(data_folder: Path) -> None:
    encoding = pickle.loads((data_folder / "tokenizer/tokenizer.pkl").read_bytes())
    table = np.load(data_folder / "tokenizer/token_bytes.npy", allow_pickle=False)
    assert encoding.n_vocab == len(table) == constants()["VOCAB_SIZE"]
    assert [int(table[encoding.encode_single_token(name)]) for name in constants()["SPECIAL_TOKENS"]] == [
        0
    ] * 4
    for text in texts(data_folder / "data/shard_00004.parquet")[:200]:
        tokens = encoding.encode_ordinary(text)
        assert encoding.decode(tokens) == text
        assert table[tokens].sum() == len(text.encode())


def test_pairs_join_by_frequency_then_by_byte_order() -> None:
    ranks = bpe.train(["abab abab cd cd cd cd"], r" ?[a-z]+", 259)
    # "a" + "b", "c" + "d" and " " + "c" all occur four times; the blank comes first in byte order.
    learned = [token for token, rank in sorted(ranks.items(), key=lambda item: item[1]) if rank >= 256]
    assert learned == [b" c", b" cd", b"ab"]


def test_overlapping_pairs_join_from_the_left() -> None:
    assert bpe.train(["aaa aaa"], "[a-z]+", 258) == {
        **{bytes([value]): value for value in range(256)},
        b"aa": 256,
        b"aaa": 257,
    }


def test_a_text_too_small_for_its_vocabulary_is_refused() -> None:
    with pytest.raises(DevnetError, match="too small"):
        bpe.train(["ab"], "[a-z]+", 300)
