"""Any root in, verified bytes out: routing, offline, pins, and content without a proof."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_sims import SimStorage, http

from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentUnproven,
    SchemeUnsupported,
    StorageUnavailable,
    UsageError,
)
from armlx_chain.irys_hosts import IrysHosts
from armlx_chain.storage.cache import ContentCache
from armlx_chain.storage.fetch import ContentStorage, open_storage
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.interface import ProofKind, UnverifiedBytes, VerifiedBytes
from armlx_chain.storage.places import Places
from armlx_chain.storage.zerog.client import Endpoint, ZeroGStorage
from armlx_chain.storage.zerog.merkle import root_of
from armlx_chain.types import Root

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "irys"))

from irys_sims import SimIrys, root_of_item, vector

pytestmark = pytest.mark.integration

CALM = Timeouts(connect=30, read=30, total=60, transfer=60, overall=120)
FILE = bytes(range(256)) * 3000
LIMIT = 1 << 24


@pytest.fixture
def zerog() -> Iterator[SimStorage]:
    sim = SimStorage(FILE)
    yield sim
    sim.stop()


@pytest.fixture
def irys() -> Iterator[SimIrys]:
    sim = SimIrys().holding(vector())
    yield sim
    sim.stop()


def places(zerog: SimStorage | None = None, irys: SimIrys | None = None) -> Places:
    hosts = IrysHosts() if irys is None else IrysHosts(gateways=(irys.url,), bundlers=(irys.url,))
    return Places(() if zerog is None else (zerog.url,), hosts)


def front(
    folder: Path, zerog: SimStorage | None = None, irys: SimIrys | None = None, *, offline: bool = False
) -> ContentStorage:
    return open_storage(places(zerog, irys), folder / "cache", timeouts=CALM, offline=offline)


def unprovable(sim: SimIrys) -> None:
    """The gateway serves the payload; nobody serves the fields that would prove it."""
    sim.change["metadata"] = lambda _: http(b"Not Found", status="404 Not Found")


ITEM = vector()
IRYS_ROOT = root_of_item(ITEM)
DIGEST = hashlib.sha256(ITEM.data).digest()


def test_each_root_goes_to_its_own_network(tmp_path: Path, zerog: SimStorage, irys: SimIrys) -> None:
    storage = front(tmp_path, zerog, irys)
    assert storage.fetch(root_of(FILE), max_bytes=LIMIT).data == FILE
    assert irys.requests == []
    asked = len(zerog.requests)
    assert storage.fetch(IRYS_ROOT, max_bytes=LIMIT).data == ITEM.data
    assert len(zerog.requests) == asked


def test_the_right_bytes_under_another_scheme_are_not_the_content(
    tmp_path: Path, zerog: SimStorage, irys: SimIrys
) -> None:
    storage = front(tmp_path, zerog, irys)
    storage.fetch(root_of(FILE), max_bytes=LIMIT)
    for scheme in ("irys", "sha256"):
        with pytest.raises((ContentNotFound, SchemeUnsupported)):
            storage.fetch(Root(scheme, root_of(FILE).digest), max_bytes=LIMIT)


def test_a_hit_asks_nobody_and_a_second_process_hits_too(tmp_path: Path, zerog: SimStorage) -> None:
    front(tmp_path, zerog).download(root_of(FILE), tmp_path / "a", max_bytes=LIMIT)
    asked = len(zerog.requests)
    again = front(tmp_path, zerog)
    assert again.fetch(root_of(FILE), max_bytes=LIMIT).source == "cache"
    assert again.download(root_of(FILE), tmp_path / "b", max_bytes=LIMIT).source == "cache"
    assert len(zerog.requests) == asked
    assert (tmp_path / "b").read_bytes() == FILE


def test_offline_serves_what_is_kept_and_nothing_else(
    tmp_path: Path, zerog: SimStorage, irys: SimIrys
) -> None:
    front(tmp_path, zerog, irys).fetch(root_of(FILE), max_bytes=LIMIT)
    front(tmp_path, zerog, irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    zerog.requests.clear()
    irys.requests.clear()
    storage = front(tmp_path, zerog, irys, offline=True)
    assert storage.fetch(root_of(FILE), max_bytes=LIMIT).data == FILE
    assert storage.fetch(IRYS_ROOT, max_bytes=LIMIT).data == ITEM.data
    other = root_of(b"something else")
    for ask in (
        lambda: storage.fetch(other, max_bytes=LIMIT),
        lambda: storage.download(other, tmp_path / "x", max_bytes=LIMIT),
        lambda: storage.fetch(Root("irys", b"x" * 32), max_bytes=LIMIT),
        lambda: storage.fetch_unproven(Root("irys", b"x" * 32), max_bytes=LIMIT),
        lambda: storage.fetch(Root("sha256", b"x" * 32), max_bytes=LIMIT),
    ):
        with pytest.raises(StorageUnavailable, match="offline"):
            ask()
    assert zerog.requests == irys.requests == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("large", [False, True])
def test_offline_says_what_was_wrong_with_the_entry(tmp_path: Path, zerog: SimStorage, large: bool) -> None:
    """Without it, "not in the cache" would puzzle whoever fetched the file before."""
    root = root_of(FILE)
    front(tmp_path, zerog).fetch(root, max_bytes=LIMIT)
    with ContentCache(tmp_path / "cache").path_of(root).open("r+b") as file:
        file.write(b"edited")
    storage = front(tmp_path, offline=True)
    with pytest.raises(StorageUnavailable, match="offline") as caught:
        if large:
            storage.download(root, tmp_path / "f", max_bytes=LIMIT)
        else:
            storage.fetch(root, max_bytes=LIMIT)
    assert "do not belong to its name; it was removed" in (caught.value.meaning or "")
    assert len(caught.value.details["faults"]) == 1
    assert not (tmp_path / "f").exists()


def test_the_next_endpoint_is_asked_when_the_first_is_gone_and_the_first_is_named(
    tmp_path: Path, zerog: SimStorage
) -> None:
    gone = SimStorage(FILE)
    gone.stop()
    storage = open_storage([gone.url, zerog.url], tmp_path / "cache", timeouts=CALM)
    found = storage.download(root_of(FILE), tmp_path / "x", max_bytes=LIMIT)
    assert (tmp_path / "x").read_bytes() == FILE
    assert gone.url in {fault.endpoint for fault in found.faults}
    assert zerog.url in found.source


def test_places_are_looked_up_only_when_the_cache_does_not_do(tmp_path: Path, zerog: SimStorage) -> None:
    front(tmp_path, zerog).fetch(root_of(FILE), max_bytes=LIMIT)

    def nowhere() -> Places:
        raise UsageError("no network is configured")

    storage = open_storage(nowhere, tmp_path / "cache")
    assert storage.fetch(root_of(FILE), max_bytes=LIMIT).source == "cache"
    with pytest.raises(UsageError, match="no network"):
        storage.fetch(root_of(b"other"), max_bytes=LIMIT)


# --- Irys and its evidence ---------------------------------------------------------------------------------


def test_a_kept_irys_document_is_proven_again_from_its_signature(tmp_path: Path, irys: SimIrys) -> None:
    first = front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    assert first.proof in (ProofKind.REBUILT_ITEM, ProofKind.SIGNED_ITEM)
    irys.requests.clear()
    again = front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    assert (again.source, again.data, again.proof) == ("cache", ITEM.data, first.proof)
    assert irys.requests == []


@pytest.mark.parametrize("part", ["payload", "evidence"])
def test_a_forged_irys_entry_is_found_out(tmp_path: Path, irys: SimIrys, part: str) -> None:
    front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    name = IRYS_ROOT.digest.hex() + ("" if part == "payload" else ".proof")
    path = tmp_path / "cache" / "irys" / name[:2] / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    assert found.source != "cache"
    assert found.data == ITEM.data
    assert [fault.endpoint for fault in found.faults] == ["cache"]


def test_bytes_moved_between_evidence_and_payload_are_not_the_content(tmp_path: Path, irys: SimIrys) -> None:
    """The signed item as a whole stays the same; what would be served as its payload does not."""
    front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    name = IRYS_ROOT.digest.hex()
    payload = tmp_path / "cache" / "irys" / name[:2] / name
    proof = payload.with_name(name + ".proof")
    data = payload.read_bytes()
    proof.write_bytes(proof.read_bytes() + data[:7])
    payload.write_bytes(data[7:])
    with pytest.raises(StorageUnavailable, match="offline"):
        front(tmp_path, irys=irys, offline=True).fetch(IRYS_ROOT, max_bytes=LIMIT)


def test_an_endless_irys_entry_is_not_read_into_memory(tmp_path: Path, irys: SimIrys) -> None:
    """Whoever can write to the cache makes it a sparse file of a tebibyte."""
    front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    payload = next(path for path in (tmp_path / "cache" / "irys").rglob("*") if len(path.name) == 64)
    ways: list[Callable[[ContentStorage], object]] = [
        lambda storage: storage.download(IRYS_ROOT, tmp_path / "f", max_bytes=1 << 40),
        lambda storage: storage.fetch(IRYS_ROOT, max_bytes=LIMIT),
        lambda storage: storage.fetch_unproven(IRYS_ROOT, max_bytes=1 << 40),
    ]
    for way in ways:
        os.truncate(payload, 1 << 40)
        way(front(tmp_path, irys=irys))
        assert payload.stat().st_size == len(ITEM.data), "replaced by what was fetched anew"
    assert (tmp_path / "f").read_bytes() == ITEM.data


def test_a_document_without_proof_is_refused_by_default(tmp_path: Path, irys: SimIrys) -> None:
    unprovable(irys)
    with pytest.raises(ContentUnproven):
        front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    with pytest.raises(ContentUnproven):
        front(tmp_path, irys=irys).download(IRYS_ROOT, tmp_path / "x", max_bytes=LIMIT)
    assert not (tmp_path / "x").exists()


def test_a_document_without_proof_comes_as_another_type_and_is_never_kept(
    tmp_path: Path, irys: SimIrys
) -> None:
    unprovable(irys)
    found = front(tmp_path, irys=irys).fetch_unproven(IRYS_ROOT, max_bytes=LIMIT)
    assert isinstance(found, UnverifiedBytes)
    assert not isinstance(found, VerifiedBytes)
    assert found.reason
    with pytest.raises(StorageUnavailable):
        front(tmp_path, irys=irys, offline=True).fetch_unproven(IRYS_ROOT, max_bytes=LIMIT)
    assert not list((tmp_path / "cache").rglob("*")), "nothing unproven is kept"


def test_a_proof_is_used_even_where_none_was_asked_for(tmp_path: Path, irys: SimIrys) -> None:
    found = front(tmp_path, irys=irys).fetch_unproven(IRYS_ROOT, max_bytes=LIMIT)
    assert isinstance(found, VerifiedBytes)


def test_a_pinned_digest_proves_what_nothing_else_does(tmp_path: Path, irys: SimIrys) -> None:
    unprovable(irys)
    found = front(tmp_path, irys=irys).fetch_unproven(IRYS_ROOT, max_bytes=LIMIT, sha256=DIGEST)
    assert isinstance(found, VerifiedBytes)
    assert (found.root, found.proof) == (IRYS_ROOT, ProofKind.SHA256_PIN)
    offline = front(tmp_path, irys=irys, offline=True)
    kept = offline.fetch_unproven(IRYS_ROOT, max_bytes=LIMIT, sha256=DIGEST)
    assert (kept.data, kept.source) == (ITEM.data, "cache")
    assert offline.fetch(Root("sha256", DIGEST), max_bytes=LIMIT).data == ITEM.data
    with pytest.raises(StorageUnavailable):
        offline.fetch(IRYS_ROOT, max_bytes=LIMIT)


@pytest.mark.parametrize("proven", [True, False])
def test_another_digest_than_the_pinned_one_is_a_mismatch_proof_or_not(
    tmp_path: Path, irys: SimIrys, proven: bool
) -> None:
    if not proven:
        unprovable(irys)
    with pytest.raises(ContentMismatch):
        front(tmp_path, irys=irys).fetch_unproven(IRYS_ROOT, max_bytes=LIMIT, sha256=b"x" * 32)


def test_a_kept_document_must_agree_with_the_pin_too(tmp_path: Path, irys: SimIrys) -> None:
    front(tmp_path, irys=irys).fetch(IRYS_ROOT, max_bytes=LIMIT)
    with pytest.raises(ContentMismatch, match="has the SHA-256"):
        front(tmp_path, irys=irys, offline=True).fetch_unproven(IRYS_ROOT, max_bytes=LIMIT, sha256=b"x" * 32)


def test_a_pinned_download_gets_its_name_only_if_both_agree(tmp_path: Path, zerog: SimStorage) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"before")
    storage = front(tmp_path, zerog)
    with pytest.raises(ContentMismatch):
        storage.download_pinned(root_of(FILE), target, sha256=b"x" * 32, max_bytes=LIMIT)
    assert target.read_bytes() == b"before"
    right = hashlib.sha256(FILE).digest()
    found = storage.download_pinned(root_of(FILE), target, sha256=right, max_bytes=LIMIT)
    assert (found.path, target.read_bytes()) == (target, FILE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "x"]


def test_a_pinned_download_is_judged_and_named_as_one_file(
    tmp_path: Path, zerog: SimStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that downloads to the same name puts other bytes there meanwhile."""
    real = hashlib.file_digest

    def meanwhile(file: Any, name: str) -> object:
        found = real(file, name)
        (tmp_path / "f.unpinned").write_bytes(b"of the other process")
        return found

    monkeypatch.setattr(hashlib, "file_digest", meanwhile)
    pin = hashlib.sha256(FILE).digest()
    front(tmp_path, zerog).download_pinned(root_of(FILE), tmp_path / "f", sha256=pin, max_bytes=LIMIT)
    assert (tmp_path / "f").read_bytes() == FILE


def test_an_indexer_cannot_send_us_to_other_places_on_this_machine(tmp_path: Path) -> None:
    """The node it lists has a public name, behind which is a service on our own machine."""
    victim = SimStorage(FILE)
    indexer = SimStorage(FILE)
    inner = victim.url.replace("127.0.0.1", "node.example")
    try:
        for method in ("indexer_getFileLocations", "indexer_getShardedNodes"):
            indexer.hooks[method] = lambda params, honest: pointed(honest, inner)
        named = indexer.url.replace("127.0.0.1", "indexer.example")
        client = BoundedHttp(CALM, configured=[named], resolve=lambda host, port, seconds: ["127.0.0.1"])
        found = ZeroGStorage([Endpoint(named)], http=client).fetch(root_of(FILE), max_bytes=LIMIT)
        assert victim.requests == []
        assert [fault.endpoint for fault in found.faults] == [inner]
        assert "private" in found.faults[0].detail
    finally:
        victim.stop()
        indexer.stop()


def pointed(listed: object, url: str) -> object:
    """An indexer's list with every URL replaced."""
    if isinstance(listed, dict):
        return {key: url if key == "url" else pointed(value, url) for key, value in listed.items()}
    return [pointed(value, url) for value in listed] if isinstance(listed, list) else listed
