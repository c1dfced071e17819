"""Upload of a small document to Irys, paid by nobody below 100 KiB (specification, section 11).

Invariants:

- The item is built, verified as a stranger's would be, and kept on disk before the first byte is sent.
- The same content, key, tags and bundler give the same item again after a stop, so it is stored once.
- It counts as uploaded when the id was fetched back, proven, and equal byte for byte; a bundler's word alone,
  even signed, does not count.
- Nothing is spent beyond ``max_fee``; what is below the free limit is sent without a look at the price.

Usage::

    upload = IrysPublisher(IRYS_MAINNET, signer, folder=home / "irys").upload(data, label="protocol")
    upload.root, upload.warnings
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from armlx_chain.encodings import base64url_decode
from armlx_chain.errors import (
    ContentMismatch,
    ContentNotFound,
    ContentUnproven,
    EndpointFault,
    InsufficientFunds,
    ItemRejected,
    StorageError,
    StorageUnavailable,
    UsageError,
)
from armlx_chain.irys_hosts import IrysHosts
from armlx_chain.storage.http import Answer, BoundedHttp, Timeouts, endpoint_fault
from armlx_chain.storage.interface import FaultKind
from armlx_chain.storage.irys.build import DeepHashSigner, build_item, new_anchor, usual_tags
from armlx_chain.storage.irys.client import IrysStorage, http_for
from armlx_chain.storage.irys.endpoints import IrysHttp, Patience, excerpt, path_of
from armlx_chain.storage.irys.foreign import Json, parse_object, same_id, whole_number
from armlx_chain.storage.irys.ids import IdForms, format_id
from armlx_chain.storage.irys.items import Item, assemble
from armlx_chain.storage.irys.kept import KeptUpload
from armlx_chain.storage.irys.receipts import KeyTrust, ReceiptCheck, verify_receipt
from armlx_chain.types import Root, Wei

__all__ = ["FREE_BYTES", "IrysPublisher", "IrysUpload", "publish_to_irys"]

log = logging.getLogger(__name__)

FREE_BYTES: Final = 100 * 1024
"""Items below this size, header and tags included, cost nothing: the public bundlers' policy in 2026."""
MAX_UPLOAD_BYTES: Final = 16 << 20
"""Small documents only; far below the 50 MB where another protocol begins."""


@dataclass(frozen=True, slots=True)
class IrysUpload:
    """A finished upload.

    Attributes:
        trust: Whose word the receipt is; ``None`` without a receipt (the item had been there before).
        warnings: Sentences for a person.
        item_path: The signed item, kept for proof and for another upload.
    """

    root: Root
    ids: IdForms
    sha256: bytes
    bundler: str
    permanent: bool
    trust: KeyTrust | None
    warnings: tuple[str, ...]
    item_path: Path


@dataclass(frozen=True, slots=True)
class Settling:
    """How long an upload is waited for, in seconds.

    Attributes:
        patience: Until it must have been fetched back.
        poll: Between two tries.
    """

    patience: float = 300.0
    poll: float = 2.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class IrysPublisher:
    """Uploads with one key to one bundler; a :class:`armlx_chain.storage.interface.Publisher`.

    Args:
        hosts: ``upload`` takes the item; all others serve to fetch it back.
        signer: The key.
        folder: Where items and records are kept.
        content_type: Of the documents.
        max_fee: Most that one upload may cost, from the balance at the bundler.
        randomness: For anchors.
    """

    def __init__(
        self,
        hosts: IrysHosts,
        signer: DeepHashSigner,
        *,
        folder: Path,
        content_type: str = "application/json",
        max_fee: Wei = Wei(0),
        timeouts: Timeouts | None = None,
        http: BoundedHttp | None = None,
        patience: Patience | None = None,
        settling: Settling | None = None,
        randomness: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        if hosts.upload is None:
            raise UsageError(
                "No Irys bundler to upload to is configured.",
                next_step="Set ARMLX_IRYS=mainnet (or devnet, which deletes after some 60 days).",
            )
        self._bundler: str = hosts.upload
        self._hosts = hosts
        self._signer = signer
        self._folder = folder
        self._content_type = content_type
        self._max_fee = max_fee
        bounded = http or http_for(hosts, timeouts)
        self._patience = patience or Patience()
        self._http = IrysHttp(bounded, self._patience)
        self._storage = IrysStorage(hosts, http=bounded, patience=Patience(attempts=1))
        self._settling = settling or Settling()
        self._randomness = randomness

    # --- queries --------------------------------------------------------------------------------------------

    def price(self, size: int) -> Wei:
        """What the bundler asks for ``size`` bytes, in the coin's smallest unit.

        Raises:
            EndpointFault: no usable answer.
        """
        url = path_of(self._bundler, "price", self._hosts.token, str(size))
        text = self._http.text(url).decode("ascii", "replace").strip().strip('"')
        amount = whole_number(text)
        if amount is None:
            raise _nonsense(url, "its price is no whole number")
        return Wei(amount)

    def balance(self, address: str) -> Wei:
        """What ``address`` has paid in at the bundler and not used, in the coin's smallest unit.

        Raises:
            EndpointFault: no usable answer.
        """
        url = path_of(self._bundler, "account", "balance", self._hosts.token)
        answer = parse_object(self._http.text(url, {"address": address.lower()})) or {}
        amount = whole_number(answer.get("balance"))
        if amount is None:
            raise _nonsense(url, "its balance is no whole number")
        return Wei(amount)

    # --- upload ---------------------------------------------------------------------------------------------

    def publish(self, data: bytes, *, label: str) -> Root:
        """See :meth:`armlx_chain.storage.interface.Publisher.publish`."""
        return self.upload(data, label=label).root

    def upload(self, data: bytes, *, label: str) -> IrysUpload:
        """Store ``data`` and fetch it back.

        Raises:
            StorageError: it is empty or too large.
            InsufficientFunds: it costs more than ``max_fee``, or than the balance at the bundler.
            ItemRejected: the bundler's receipt is not for this item, or forged.
            ContentMismatch: what comes back is not what was sent.
            StorageUnavailable: the bundler refuses, or nothing came back before the deadline.
            MachineError: the item cannot be kept on disk.
        """
        if not 0 < len(data) <= MAX_UPLOAD_BYTES:
            raise StorageError(
                f"An Irys upload has 1 to {MAX_UPLOAD_BYTES} bytes; this has {len(data)}.",
                next_step="Store large files on 0G.",
            )
        kept, item, is_new = self._item(data, label)
        if not is_new and self._is_back(item):
            log.info("%s is there already", format_id(item.id).base64url)
            return self._done(kept, item, None, [])
        self._check_price(item)
        check, warnings = self._send(kept, item)
        self._await(item)
        return self._done(kept, item, check, warnings)

    def _item(self, data: bytes, label: str) -> tuple[KeptUpload, Item, bool]:
        tags = usual_tags(data, self._content_type, label)
        kept = KeptUpload(
            self._folder, payload=data, owner=self._signer.public_key, tags=tags, bundler=self._bundler
        )
        item = kept.load()
        if item is not None:
            return kept, item, False
        item = build_item(self._signer, data, tags=tags, anchor=new_anchor(self._randomness))
        kept.save_item(item)
        return kept, item, True

    def _check_price(self, item: Item) -> None:
        """Refuse what costs more than allowed, before anything is sent."""
        size = len(assemble(item))
        if size < FREE_BYTES:
            return
        price = self.price(size)
        if price > self._max_fee:
            raise InsufficientFunds(
                f"The upload of {size} bytes costs {price} atomic units of {self._hosts.token};"
                f" at most {self._max_fee} are allowed.",
                next_step=f"Allow more, store it on 0G, or stay below {FREE_BYTES} bytes, which are free.",
            )
        address = item.address or ""
        balance = self.balance(address)
        if price > balance:
            raise _unpaid(f"it costs {price}, the balance of {address} is {balance}")

    def _send(self, kept: KeptUpload, item: Item) -> tuple[ReceiptCheck | None, list[str]]:
        url = path_of(self._bundler, "tx", self._hosts.token)
        answer = self._post(url, assemble(item))
        receipt = parse_object(answer.body)
        if answer.status == 201:  # it has this item already
            return None, ["The bundler had the item already; it gave no new receipt."]
        if receipt is None or not same_id(receipt.get("id"), item.id):
            raise ItemRejected(
                "ID_MISMATCH",
                f"The receipt of {self._bundler} is not for the item that was sent"
                f" ({format_id(item.id).base64url}).",
            )
        check = self._check_receipt(receipt, item)
        kept.save_record(item, self._facts("sent", receipt, check))
        if check.trust is KeyTrust.UNKNOWN:
            return check, ["The receipt's key is not one of the known bundler keys: it proves nothing."]
        return check, []

    def _check_receipt(self, receipt: Json, item: Item) -> ReceiptCheck:
        check = verify_receipt(receipt, item.id)
        if check.verdict.accepted and check.trust is KeyTrust.UNKNOWN:
            check = verify_receipt(receipt, item.id, published_key=self._published_key())
        if not check.verdict.accepted:
            raise ItemRejected(
                str(check.verdict.reason),
                f"The receipt of {self._bundler} does not hold: {check.verdict.detail}. The item is kept;"
                " it may or may not have been stored.",
            )
        return check

    def _published_key(self) -> bytes | None:
        try:
            text = self._http.text(path_of(self._bundler, "public"))
        except EndpointFault as error:
            log.info("the bundler's key could not be asked for: %s", error)
            return None
        return base64url_decode(text.decode("ascii", "replace").strip())

    def _post(self, url: str, raw: bytes) -> Answer:
        """Send the item; the same bytes again are harmless, so passing failures are tried again."""
        for attempt in range(self._patience.attempts):
            last = attempt + 1 >= self._patience.attempts
            try:
                answer = self._http.post(url, raw)
            except EndpointFault as error:
                if last:
                    raise _not_sent(str(error)) from error
                wished = None
            else:
                if answer.status in (200, 201):
                    return answer
                said = f"HTTP {answer.status}{excerpt(answer.body)}"
                if answer.status == 402:
                    raise _unpaid(said)
                if last or (answer.status < 500 and answer.status != 429):
                    raise _not_sent(f"{self._bundler} refuses it: {said}")
                wished = answer.headers.get("retry-after")
            self._patience.wait(attempt, wished)
        raise _not_sent("no attempt was allowed")

    # --- afterwards -----------------------------------------------------------------------------------------

    def _is_back(self, item: Item) -> bool:
        """Whether the id yields the content, proven.

        Raises:
            ContentMismatch: it yields something else.
        """
        try:
            found = self._storage.fetch(Root("irys", item.id), max_bytes=len(item.data))
        except (ContentNotFound, ContentUnproven, StorageUnavailable) as error:
            log.info("not back yet: %s", error)
            return False
        if found.data != item.data:
            raise ContentMismatch("Two contents under one signature: do not trust this key or bundler.")
        return True

    def _await(self, item: Item) -> None:
        settling = self._settling
        end = settling.clock() + settling.patience
        while not self._is_back(item):
            if settling.clock() >= end:
                raise StorageUnavailable(
                    f"The item {format_id(item.id).base64url} was taken, but did not come back, proven,"
                    f" within {settling.patience:.0f} seconds.",
                    next_step="Run the same command again: it goes on with the same item.",
                )
            settling.sleep(settling.poll)

    def _facts(self, state: str, receipt: Json | None, check: ReceiptCheck | None) -> dict[str, Any]:
        return {
            "state": state,
            "bundler": self._bundler,
            "permanent": self._hosts.permanent,
            "receipt": None if receipt is None else dict(receipt),
            "receipt_key": None if check is None else check.trust.value,
        }

    def _done(
        self, kept: KeptUpload, item: Item, check: ReceiptCheck | None, warnings: list[str]
    ) -> IrysUpload:
        if not self._hosts.permanent:
            warnings = [*warnings, "This bundler deletes what is uploaded after some 60 days."]
        kept.finish(item, self._facts("complete", None, check))
        return IrysUpload(
            root=Root("irys", item.id),
            ids=format_id(item.id),
            sha256=hashlib.sha256(item.data).digest(),
            bundler=urlsplit(self._bundler).hostname or self._bundler,
            permanent=self._hosts.permanent,
            trust=None if check is None else check.trust,
            warnings=tuple(warnings),
            item_path=kept.item_path,
        )


def publish_to_irys(
    data: bytes,
    *,
    label: str,
    signer: DeepHashSigner,
    hosts: IrysHosts,
    home: Path,
    content_type: str = "application/octet-stream",
    max_fee: Wei = Wei(0),
) -> IrysUpload:
    """Upload ``data`` as one command would; see :meth:`IrysPublisher.upload`. Kept under ``home``."""
    publisher = IrysPublisher(hosts, signer, folder=home / "irys", content_type=content_type, max_fee=max_fee)
    return publisher.upload(data, label=label)


def _nonsense(url: str, detail: str) -> EndpointFault:
    return endpoint_fault(url, FaultKind.NONSENSE, detail)


def _unpaid(why: str) -> InsufficientFunds:
    return InsufficientFunds(
        f"The Irys bundler wants to be paid for this upload: {why}.",
        meaning="The item is kept; nothing was stored.",
        next_step=f"Pay in at the bundler, or stay below {FREE_BYTES} bytes, which are free.",
    )


def _not_sent(why: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"The item could not be uploaded to Irys: {why}.",
        meaning="The item is kept; it may or may not have arrived.",
        next_step="Run the same command again: it sends the same item, so it is stored once.",
    )
