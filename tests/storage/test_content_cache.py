"""The cache is proven on every read and safe between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from armlx_chain.errors import ContentMismatch, ContentTooLarge, StorageError
from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

pytestmark = pytest.mark.unit

DATA = b"some content " * 9000
ROOT = root_of(DATA)


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "new" / "folder")
    assert cache.get(ROOT, max_bytes=10**6) is None
    cache.put(ROOT, DATA)
    assert cache.get(ROOT, max_bytes=len(DATA)) == DATA


@pytest.mark.parametrize("change", [b"", DATA[:-1], DATA + b"x", b"x" + DATA[1:], b"other"])
def test_a_changed_entry_is_a_miss_and_is_removed(tmp_path: Path, change: bytes) -> None:
    cache = ContentCache(tmp_path)
    cache.put(ROOT, DATA)
    cache.path_of(ROOT).write_bytes(change)
    assert cache.get(ROOT, max_bytes=10**6) is None
    assert not cache.path_of(ROOT).exists()


def test_wrong_bytes_cannot_be_put(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    with pytest.raises(ContentMismatch):
        cache.put(ROOT, DATA + b"x")
    with pytest.raises(ContentMismatch):
        cache.put(Root("sha256", ROOT.digest), DATA)
    assert list(tmp_path.rglob("*")) == []


def test_another_scheme_with_the_same_bytes_is_another_root(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    cache.put(ROOT, DATA)
    assert cache.get(Root("sha256", ROOT.digest), max_bytes=10**6) is None


def test_an_entry_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    cache.put(ROOT, DATA)
    with pytest.raises(ContentTooLarge):
        cache.get(ROOT, max_bytes=len(DATA) - 1)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        ContentCache(tmp_path / "file").put(ROOT, DATA)
