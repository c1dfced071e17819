"""Hostile gateways and bundlers: each case names the error, and that nothing unproven was returned or kept.

Every case runs twice: alone, where it must end in one certain error with nothing on disk; and beside an
honest server, where the right bytes must come and the hostile server must be named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import (
    ABSENT,
    BROKEN,
    CHAIN_HEADERS,
    CONTRADICTIONS,
    DATA,
    ITEM,
    ITEMS_OF_THE_ID,
    L1_HEADERS,
    NO_ITEMS,
    OTHER,
    RESETS,
    SLOW,
    TOO_LARGE,
    USELESS,
    WRONG_PAYLOADS,
    Resetting,
    Setup,
    chain_case,
    flip,
    holding_blob,
    l1_case,
    serve_body,
)
from irys_sims import NO_WAIT, QUICK, SimIrys, hosts_of, root_of_item, storage_of
from irys_vectors import load
from storage_sims import http

from armlx_chain.encodings import base64url_encode
from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentTooLarge,
    ContentUnproven,
    StorageError,
    StorageUnavailable,
)
from armlx_chain.irys_hosts import IrysHosts
from armlx_chain.storage.cache import CachedStorage, ContentCache
from armlx_chain.storage.files import WholeFiles
from armlx_chain.storage.http import Timeouts
from armlx_chain.storage.interface import FaultKind, UnverifiedBytes
from armlx_chain.storage.irys.client import IrysStorage
from armlx_chain.types import Root

pytestmark = pytest.mark.integration

LIMIT = 4096
IMPATIENT = Timeouts(connect=20, read=0.4, total=0.8, transfer=0.8, overall=2.0)
"""For servers that never finish: how long is waited decides nothing but the test's duration."""
IMPATIENT_WITH_METADATA = Timeouts(connect=20, read=20, total=0.8, transfer=60, overall=120)
"""The same where the payload is served honestly, and must be waited for."""


class Disk:
    """A cache and a destination; at the end nothing may be there that was not proven."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.destination = folder / "out" / "document.json"
        self.destination.parent.mkdir()

    def download(self, storage: IrysStorage, root: Root) -> bytes:
        cached = CachedStorage(WholeFiles(storage), ContentCache(self.folder / "cache"))
        found = cached.download(root, self.destination, max_bytes=LIMIT)
        assert found.path == self.destination
        return self.destination.read_bytes()

    def require_empty(self) -> None:
        assert list(self.destination.parent.iterdir()) == []
        kept = [path for path in self.folder.rglob("*") if path.is_file() and path.stat().st_size > 0]
        assert kept == []


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def refuse(disk: Disk, storage: IrysStorage, root: Root, error: type[StorageError]) -> StorageError:
    """Both ways in end in exactly ``error``, and leave nothing behind."""
    with pytest.raises(StorageError) as caught:
        disk.download(storage, root)
    assert type(caught.value) is error, caught.value
    disk.require_empty()
    return caught.value


ALONE: list[tuple[str, Setup, type[StorageError]]] = [
    *((f"payload: {name}", setup, ContentMismatch) for name, setup in WRONG_PAYLOADS.items()),
    *((f"fields: {name}", setup, ContentMismatch) for name, setup in CONTRADICTIONS.items()),
    *((f"fields: {name}", setup, ContentUnproven) for name, setup in USELESS.items()),
    *((name, setup, ContentMismatch) for name, setup in ITEMS_OF_THE_ID.items()),
    *((name, setup, ContentUnproven) for name, setup in NO_ITEMS.items()),
    *((f"http: {name}", setup, ContentNotFound) for name, setup in ABSENT.items()),
    *((f"http: {name}", setup, StorageUnavailable) for name, setup in BROKEN.items()),
    *((f"http: {name}", setup, ContentTooLarge) for name, setup in TOO_LARGE.items()),
]


def test_there_are_far_more_than_eighty_cases() -> None:
    names = [name for name, _, _ in ALONE]
    assert len(names) == len(set(names))
    more = len(SLOW) + len(RESETS) + len(CHAIN_HEADERS) + len(L1_HEADERS)
    assert (len(names) + more) >= 190


@pytest.mark.parametrize(("setup", "error"), [case[1:] for case in ALONE], ids=[case[0] for case in ALONE])
def test_a_hostile_server_alone_ends_in_the_one_right_error_with_nothing_on_disk(
    setup: Setup, error: type[StorageError], sim: SimIrys, disk: Disk
) -> None:
    setup(sim.holding(ITEM, OTHER))
    found = refuse(disk, storage_of(sim), root_of_item(ITEM), error)
    assert found.next_step and found.details["root"] == str(root_of_item(ITEM))
    if error is ContentMismatch or error is StorageUnavailable:
        assert sim.url in found.message


WITH_HELP = [case for case in ALONE if not case[0].startswith("fields: ") or case[2] is ContentMismatch]


@pytest.mark.parametrize("setup", [case[1] for case in WITH_HELP], ids=[case[0] for case in WITH_HELP])
def test_beside_an_honest_server_the_right_bytes_come_and_the_hostile_one_is_named(
    setup: Setup, sim: SimIrys, other: SimIrys, disk: Disk
) -> None:
    setup(sim.holding(ITEM, OTHER))
    other.holding(ITEM)
    storage = storage_of(sim, other)
    assert disk.download(storage, root_of_item(ITEM)) == DATA
    found = storage.fetch(root_of_item(ITEM), max_bytes=LIMIT)
    assert found.data == DATA
    named = [fault for fault in found.faults if fault.endpoint.startswith(sim.url)]
    assert named or setup in ABSENT.values() or setup in CONTRADICTIONS.values()
    assert (
        all(not fault.endpoint.startswith(other.url) for fault in found.faults)
        or setup in CONTRADICTIONS.values()
    )


@pytest.mark.parametrize("name", USELESS)
def test_useless_fields_beside_an_honest_server_cost_nothing(
    name: str, sim: SimIrys, other: SimIrys, disk: Disk
) -> None:
    USELESS[name](sim.holding(ITEM, OTHER))
    assert disk.download(storage_of(sim, other.holding(ITEM)), root_of_item(ITEM)) == DATA


@pytest.mark.parametrize("name", SLOW)
def test_a_server_that_never_finishes_ends_as_unavailable_or_unproven(
    name: str, sim: SimIrys, disk: Disk
) -> None:
    SLOW[name](sim.holding(ITEM))
    for_metadata = name.startswith("metadata")
    error = ContentUnproven if for_metadata else StorageUnavailable
    timeouts = IMPATIENT_WITH_METADATA if for_metadata else IMPATIENT
    found = refuse(disk, storage_of(sim, timeouts=timeouts), root_of_item(ITEM), error)
    assert FaultKind.STALLED.value in " ".join(found.details["faults"])


@pytest.mark.parametrize("phase", RESETS)
def test_a_connection_reset_in_any_phase_leaves_nothing(phase: str, disk: Disk) -> None:
    server = Resetting(RESETS[phase])
    try:
        hosts = IrysHosts(gateways=(server.url,), bundlers=(server.url,))
        storage = IrysStorage(hosts, timeouts=QUICK, patience=NO_WAIT)
        refuse(disk, storage, root_of_item(ITEM), StorageUnavailable)
    finally:
        server.stop()


@pytest.mark.parametrize("phase", RESETS)
def test_after_a_reset_the_next_server_is_asked(phase: str, sim: SimIrys, disk: Disk) -> None:
    server = Resetting(RESETS[phase])
    try:
        urls = (server.url, sim.holding(ITEM).url)
        storage = IrysStorage(IrysHosts(gateways=urls, bundlers=urls), timeouts=QUICK, patience=NO_WAIT)
        assert disk.download(storage, root_of_item(ITEM)) == DATA
    finally:
        server.stop()


# --- several servers ---------------------------------------------------------------------------------------


def test_two_gateways_that_disagree_and_both_lie_are_both_named(
    sim: SimIrys, other: SimIrys, disk: Disk
) -> None:
    serve_body(lambda body: flip(body, 0))(sim.holding(ITEM))
    serve_body(lambda body: flip(body, 1))(other.holding(ITEM))
    error = refuse(disk, storage_of(sim, other), root_of_item(ITEM), ContentMismatch)
    assert sim.url in error.message and other.url in error.message


def test_a_liar_is_proven_one_once_the_right_bytes_are_known(sim: SimIrys, other: SimIrys) -> None:
    serve_body(lambda body: flip(body, 0))(sim.holding(ITEM))
    found = storage_of(sim, other.holding(ITEM)).fetch(root_of_item(ITEM), max_bytes=LIMIT)
    assert {fault.kind for fault in found.faults} == {FaultKind.WRONG_BYTES}
    assert all(fault.endpoint.startswith(sim.url) for fault in found.faults)


def test_a_stale_answer_is_as_good_as_a_wrong_one(sim: SimIrys, other: SimIrys, disk: Disk) -> None:
    """A cache in front of the gateway answers every id with what was asked before."""
    sim.holding(ITEM, OTHER).change["any"] = lambda _: http(OTHER.data)
    assert disk.download(storage_of(sim, other.holding(ITEM)), root_of_item(ITEM)) == DATA


def test_metadata_of_one_item_never_proves_the_payload_of_another(sim: SimIrys, disk: Disk) -> None:
    """Another item, flawless in itself, under the id that was asked for."""
    sim.items[ITEM.id] = OTHER
    refuse(disk, storage_of(sim), root_of_item(ITEM), ContentUnproven)


def test_unproven_bytes_of_a_liar_are_not_chosen_over_the_proof_of_another(
    sim: SimIrys, other: SimIrys
) -> None:
    sim.change["payload"] = sim.change["data"] = lambda _: http(b"evil")
    sim.holding(ITEM).change["metadata"] = lambda _: http(b"{}")
    found = storage_of(sim, other.holding(ITEM)).fetch_unproven(root_of_item(ITEM), max_bytes=LIMIT)
    assert not isinstance(found, UnverifiedBytes) and found.data == DATA


def test_the_explicit_switch_never_reaches_the_cache(sim: SimIrys, tmp_path: Path) -> None:
    from armlx_chain.storage.fetch import Places, open_storage

    USELESS["no metadata"](sim.holding(ITEM))
    storage = open_storage(Places(irys=hosts_of(sim)), tmp_path / "cache", timeouts=QUICK)
    found = storage.fetch_unproven(root_of_item(ITEM), max_bytes=LIMIT)
    assert isinstance(found, UnverifiedBytes) and found.data == DATA
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 0]
    assert kept == []
    with pytest.raises(ContentUnproven):
        storage.fetch(root_of_item(ITEM), max_bytes=LIMIT)


@pytest.mark.parametrize("where", ["evil.example", "127.0.0.1"])
def test_a_redirect_among_configured_servers_is_followed_and_to_others_not(
    where: str, sim: SimIrys, other: SimIrys, disk: Disk
) -> None:
    other.holding(ITEM)
    text = base64url_encode(ITEM.id)
    target = f"{other.url}/{text}" if where == "127.0.0.1" else f"https://{where}/{text}"
    sim.holding(ITEM).change["payload"] = lambda _: http(
        b"", status="302 Found", headers=f"Location: {target}\r\n"
    )
    hosts = IrysHosts(gateways=(sim.url,), bundlers=(other.url,))
    other.change["data"] = lambda _: http(b"", status="404 Not Found")
    storage = IrysStorage(hosts, timeouts=QUICK, patience=NO_WAIT)
    if where == "127.0.0.1":
        assert disk.download(storage, root_of_item(ITEM)) == DATA
    else:
        refuse(disk, storage, root_of_item(ITEM), StorageUnavailable)


# --- other schemes and forged keys -------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAIN_HEADERS)
def test_a_datachain_header_that_was_not_signed_so_proves_nothing(
    name: str, sim: SimIrys, disk: Disk
) -> None:
    case = chain_case()
    wanted = holding_blob(sim, case, CHAIN_HEADERS[name](case["header"]))
    hosts = IrysHosts(gateways=(sim.url,), chain_nodes=(sim.url,))
    storage = IrysStorage(hosts, timeouts=QUICK, patience=NO_WAIT)
    with pytest.raises(StorageError) as caught:
        storage.fetch(Root("irys", wanted), max_bytes=1 << 20)
    assert isinstance(caught.value, ContentMismatch | ContentUnproven)
    disk.require_empty()


@pytest.mark.parametrize("name", L1_HEADERS)
def test_an_arweave_header_that_was_not_signed_so_proves_nothing(name: str, sim: SimIrys, disk: Disk) -> None:
    case = l1_case()
    wanted = holding_blob(sim, case, L1_HEADERS[name](case["header"]))
    storage = IrysStorage(IrysHosts(arweave=(sim.url,)), timeouts=QUICK, patience=NO_WAIT)
    refuse(disk, storage, Root("irys", wanted), ContentMismatch)


def weak_keys() -> Iterator[bytes]:
    for case in load("05")["cases"]:
        if case["label"].startswith("same id, different payloads"):
            import base64

            yield base64.b64decode(case["raw_base64"])


def test_items_under_keys_that_sign_anything_are_refused_in_every_form(sim: SimIrys, disk: Disk) -> None:
    """One id, several contents, and the signature fits each: the reference libraries accept them."""
    from irys_sims import metadata_of

    from armlx_chain.storage.irys.items import parse_item

    raws = list(weak_keys())
    assert len(raws) >= 2
    for raw in raws:
        item = parse_item(raw)
        sim.holding(item).metadata = {"signature_type": None}
        assert metadata_of(item)["owner"]
        refuse(disk, storage_of(sim), Root("irys", item.id), ContentMismatch)
        sim.change["payload"] = sim.change["data"] = lambda _, raw=raw: http(raw)
        refuse(disk, storage_of(sim), Root("irys", item.id), ContentMismatch)
        sim.change.clear()


def test_the_pause_before_another_try_is_bounded_whatever_the_server_wishes(sim: SimIrys) -> None:
    pauses: list[float] = []
    sim.change["any"] = sim.change["absent"] = lambda _: http(
        b"", status="429 Too Many Requests", headers="Retry-After: 99999999\r\n"
    )
    patience = replace(NO_WAIT, pause=0.5, longest=10.0, sleep=pauses.append)
    storage = IrysStorage(hosts_of(sim), timeouts=QUICK, patience=patience)
    with pytest.raises(StorageUnavailable):
        storage.fetch(root_of_item(ITEM), max_bytes=LIMIT)
    assert pauses and max(pauses) <= 10.0
