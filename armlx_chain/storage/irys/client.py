"""Verified fetch by Irys id.

Invariants:

- What leaves :meth:`IrysStorage.fetch` is proven: a signed item whose id was asked for, a signed transaction
  that commits to the bytes, or a SHA-256 that the caller vouches for.
- Payloads and the fields that would prove them are asked for at all servers, in any combination: acceptance
  is decided by signatures alone, so a stale cache or a dishonest server costs time and nothing else.
- Bytes that nobody can prove are refused by :meth:`IrysStorage.fetch`, with an error that says exactly that,
  and come from :meth:`IrysStorage.fetch_unproven` only as :class:`UnverifiedBytes`.

Usage::

    storage = IrysStorage(IRYS_MAINNET)
    found = storage.fetch(Root.parse("irys:T4DMg1hT7mSldtqCRKi1PN1Lvvpdw08FRFsfR3nrPWM"), max_bytes=1 << 20)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from armlx_chain.encodings import base64url_decode
from armlx_chain.errors import (
    ContentMismatch,
    ContentTooLarge,
    ContentUnproven,
    EndpointFault,
    SchemeUnsupported,
    UsageError,
)
from armlx_chain.irys_hosts import IrysHosts
from armlx_chain.storage.http import BoundedHttp, Timeouts
from armlx_chain.storage.interface import (
    MAX_DOCUMENT_BYTES,
    FaultKind,
    ProofKind,
    UnverifiedBytes,
    VerifiedBytes,
)
from armlx_chain.storage.irys import endpoints
from armlx_chain.storage.irys.endpoints import IrysHttp, Patience, metadata_urls, path_of
from armlx_chain.storage.irys.proofs import Claim, ClaimKind, Outcome, names_signature, prove_claim, prove_raw
from armlx_chain.storage.irys.results import Reason
from armlx_chain.storage.irys.search import Search
from armlx_chain.types import Root

__all__ = ["MEMORY_LIMIT", "IrysStorage"]

MEMORY_LIMIT = MAX_DOCUMENT_BYTES
"""No more than this is taken, whatever the caller allows."""
_ITEM_HEAD = 8 << 10
"""More than the fields before a payload take (4096 bytes of tags, 2 × 512 of an RSA key and signature)."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL that may serve the payload."""

    url: str
    server: str
    is_gateway: bool = False
    is_text: bool = False
    """The body is base64url text of the payload."""


@dataclass(slots=True)
class _Claims:
    """The claims of all servers, asked for one after the other, each once."""

    pending: Iterator[Claim]
    known: list[Claim] = field(default_factory=list)

    def __iter__(self) -> Iterator[Claim]:
        yield from self.known
        for claim in self.pending:
            self.known.append(claim)
            yield claim


class IrysStorage:
    """Reads Irys ids.

    Args:
        hosts: The servers.
        timeouts: Patience for one request and for all.
        http: A shared HTTP client; overrides ``timeouts``. Its redirects must be limited to ``hosts``.
        patience: How often a request that fails in passing is made again.
        memory_limit: Most bytes of one document.
    """

    def __init__(
        self,
        hosts: IrysHosts,
        *,
        timeouts: Timeouts | None = None,
        http: BoundedHttp | None = None,
        patience: Patience | None = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self._hosts = hosts
        self._memory_limit = memory_limit
        self._http = IrysHttp(http or http_for(hosts, timeouts), patience)

    # --- the interface --------------------------------------------------------------------------------------

    def fetch(
        self,
        root: Root,
        *,
        max_bytes: int,
        expected_size: int | None = None,
        sha256: bytes | None = None,
    ) -> VerifiedBytes:
        """See :meth:`armlx_chain.storage.interface.Fetcher.fetch`.

        Args:
            sha256: The content's digest from a place that is trusted for it. It then decides alone where the
                signed item cannot be had, and must agree where it can.
        """
        if expected_size is not None and expected_size > max_bytes:
            raise ContentTooLarge(f"{root} has {expected_size} bytes; the limit is {max_bytes}.")
        search = self._search(root, max_bytes)
        found = self._run(search, sha256)
        if found is None:
            raise search.failure()
        if expected_size not in (None, len(found.data)):
            raise ContentMismatch(
                f"The content of {root} has {len(found.data)} bytes, proven; {expected_size} are expected.",
                meaning="Whoever named the length and whoever signed the item mean different documents.",
            )
        return found

    def fetch_unproven(
        self, root: Root, *, max_bytes: int, sha256: bytes | None = None
    ) -> VerifiedBytes | UnverifiedBytes:
        """See :meth:`armlx_chain.storage.interface.UnprovenSource.fetch_unproven`."""
        search = self._search(root, max_bytes)
        found = self._run(search, sha256)
        if found is not None:
            return found
        failure = search.failure()
        if search.unproven is None or not isinstance(failure, ContentUnproven):
            raise failure
        data, url, why = search.unproven
        return UnverifiedBytes(root, data, url, why, tuple(search.faults))

    def _search(self, root: Root, max_bytes: int) -> Search:
        if root.scheme != "irys":
            raise SchemeUnsupported(f"{root} is not an Irys id, and this storage proves no other.")
        if not (self._hosts.gateways or self._hosts.bundlers or self._hosts.arweave):
            raise UsageError(
                "No Irys server is configured.",
                next_step="Set ARMLX_IRYS=mainnet, or ARMLX_IRYS_GATEWAY and ARMLX_IRYS_BUNDLER.",
            )
        most = min(max_bytes, self._memory_limit)
        return Search(root, max_bytes=most, seconds=self._http.overall_seconds)

    # --- the search -----------------------------------------------------------------------------------------

    def _run(self, search: Search, sha256: bytes | None) -> VerifiedBytes | None:
        claims = _Claims(self._ask_claims(search))
        refused: list[tuple[str, bytes]] = []
        for place in self._places(search):
            body = self._body(search, place)
            if body is None:
                continue
            found = self._judge(search, claims, place, body, sha256)
            if found is None and place.is_gateway and _is_manifest(claims):
                body = self._body(search, place, accept=endpoints.MANIFEST_TYPES[0])
                found = None if body is None else self._judge(search, claims, place, body, sha256)
            if found is not None:
                return _with_liars(search, found, refused)
            if body is not None:
                refused.append((place.url, hashlib.sha256(body).digest()))
        return None

    def _judge(
        self, search: Search, claims: _Claims, place: _Place, body: bytes, sha256: bytes | None
    ) -> VerifiedBytes | None:
        """``body``, if anything proves it; what speaks against it is recorded."""
        outcome = self._prove(search, claims, place, body)
        if outcome is not None:
            payload = outcome.payload
            _check_length(search, payload)
            _check_pin(search, payload, sha256)
            return VerifiedBytes(
                search.root,
                payload,
                place.url,
                tuple(search.faults),
                outcome.kind,
                outcome.evidence,
            )
        if len(body) > search.max_bytes:
            search.blame(place.url, FaultKind.TOO_LARGE, f"it sends more than {search.max_bytes} bytes")
        elif sha256 is not None and hashlib.sha256(body).digest() == sha256:
            faults = tuple(search.faults)
            return VerifiedBytes(search.root, body, place.url, faults, ProofKind.SHA256_PIN)
        elif sha256 is not None:
            detail = "what it serves has another SHA-256 than the one given"
            search.blame(place.url, FaultKind.WRONG_BYTES, detail)
        else:
            search.nothing_said(body, place.url, _silence(search, claims))
        return None

    def _prove(self, search: Search, claims: _Claims, place: _Place, body: bytes) -> Outcome | None:
        wanted = search.root.digest
        outcome = prove_raw(body, wanted)
        if outcome is not None and outcome.verdict.accepted:
            return outcome
        if outcome is not None:
            detail = f"the item it serves is not the one that was signed ({outcome.verdict.reason})"
            search.blame(place.url, FaultKind.WRONG_BYTES, detail)
            return None
        for claim in claims:
            outcome = prove_claim(claim, body, wanted)
            if outcome.verdict.accepted:
                return outcome
            _record(search, claim, place, outcome)
        return None

    # --- questions ------------------------------------------------------------------------------------------

    def _ask_claims(self, search: Search) -> Iterator[Claim]:
        """What servers say the signed object looks like, bundlers first."""
        servers = list(dict.fromkeys((*self._hosts.bundlers, *self._hosts.gateways)))
        for server in servers:
            yield from self._claims_at(search, ClaimKind.ITEM, metadata_urls(server, search.forms))
        for server in self._hosts.arweave:
            url = path_of(server, "tx", search.forms.base64url)
            yield from self._claims_at(search, ClaimKind.ARWEAVE, [url])
        for server in self._hosts.chain_nodes:
            url = path_of(server, "v1", "tx", search.forms.base58)
            yield from self._claims_at(search, ClaimKind.DATACHAIN, [url])

    def _claims_at(self, search: Search, kind: ClaimKind, urls: list[str]) -> Iterator[Claim]:
        for url in urls:
            if search.is_over:
                return
            try:
                document = self._http.document(url, seconds=search.remaining())
            except EndpointFault as error:
                search.blame_error(error)
                return
            if document is not None:
                yield Claim(kind, document, url)
                return

    def _places(self, search: Search) -> Iterator[_Place]:
        """Where the payload may be: gateways, bundlers, Arweave; in each the likelier spelling first.

        A server that answered, or failed, under one spelling is not asked under the other.
        """
        forms = search.forms
        places = [
            _Place(path_of(server, forms.in_form(form)), server, is_gateway=True)
            for form in endpoints.BY_GATEWAY
            for server in self._hosts.gateways
        ]
        places += [
            _Place(path_of(server, "tx", forms.in_form(form), "data"), server + "/tx")
            for form in endpoints.BY_BUNDLER
            for server in self._hosts.bundlers
        ]
        for server in self._hosts.arweave:
            places.append(_Place(path_of(server, forms.base64url), server))
            url = path_of(server, "tx", forms.base64url, "data")
            places.append(_Place(url, server + "/tx", is_text=True))
        for place in places:
            if place.server not in search.bad and not search.is_over:
                yield place

    def _body(self, search: Search, place: _Place, *, accept: str | None = None) -> bytes | None:
        limit = search.max_bytes + _ITEM_HEAD
        if place.is_text:
            limit = -(-limit * 4 // 3) + 4
        try:
            body = self._http.payload(place.url, limit=limit, seconds=search.remaining(), accept=accept)
        except EndpointFault as error:
            search.bad.add(place.server)
            search.blame_error(error)
            return None
        if body is None:
            search.missing(place.url)
            return None
        search.bad.add(place.server)  # it has answered: no need for the other spelling
        if place.is_text:
            body = base64url_decode(body.decode("ascii", "replace"))
            if body is None:
                search.blame(place.url, FaultKind.NONSENSE, "what it serves is no base64url text")
        return body


def http_for(hosts: IrysHosts, timeouts: Timeouts | None) -> BoundedHttp:
    """An HTTP client that follows redirects among ``hosts`` only."""
    return BoundedHttp(timeouts, configured=hosts.urls, redirect_hosts=hosts.redirect_hosts)


def _check_length(search: Search, payload: bytes) -> None:
    if len(payload) > search.max_bytes:
        raise ContentTooLarge(f"{search.root} has {len(payload)} bytes; the limit is {search.max_bytes}.")


def _check_pin(search: Search, payload: bytes, sha256: bytes | None) -> None:
    """Proven content must agree with the digest given (specification, section 6.2: report both facts)."""
    digest = hashlib.sha256(payload).digest()
    if sha256 is not None and digest != sha256:
        raise ContentMismatch(
            f"{search.root} is proven to be a document with SHA-256 {digest.hex()}, but {sha256.hex()} is the"
            " one given for it.",
            meaning="The id and the digest name two different documents. Neither was kept.",
            next_step="Find out which of the two is meant; whoever published them made a mistake, or a lie.",
            details={"root": str(search.root), "sha256": digest.hex(), "expected_sha256": sha256.hex()},
        )


def _record(search: Search, claim: Claim, place: _Place, outcome: Outcome) -> None:
    """Who is to blame for a claim that does not prove a body: often that cannot be told."""
    reason = outcome.verdict.reason
    if reason is Reason.ID_MISMATCH:
        search.blame(claim.source, FaultKind.NONSENSE, "its metadata belongs to another id")
    elif reason in (Reason.WEAK_KEY, Reason.BAD_OWNER, Reason.HIGH_S):
        search.blame(claim.source, FaultKind.WRONG_BYTES, f"its metadata is forged ({reason})")
    elif reason in (Reason.NOT_VERIFIABLE, Reason.UNSUPPORTED_SIG_TYPE) or claim.lacks_anchor:
        return  # the claim is not complete enough to contradict anything
    else:
        detail = f"its payload and the signed fields from {claim.source} do not fit together ({reason})"
        search.blame(place.url, FaultKind.SUSPECT, detail)


def _silence(search: Search, claims: _Claims) -> str:
    """Why nothing can be said about bytes that came."""
    named = [claim for claim in claims.known if claim.kind is ClaimKind.ITEM]
    signed = [claim for claim in named if names_signature(claim, search.root.digest)]
    if any(claim.lacks_anchor for claim in signed):
        return "the metadata holds no anchor, and items of Irys' own uploaders cannot be rebuilt without one"
    if named:
        return "the metadata that was served lacks what a proof needs"
    return "no server gave the signed item's fields"


def _is_manifest(claims: _Claims) -> bool:
    """Whether some metadata calls the item a path manifest, for which gateways serve another item."""
    for claim in claims.known:
        tags = claim.fields.get("tags")
        for tag in tags if isinstance(tags, list) else ():
            if isinstance(tag, dict) and tag.get("value") in endpoints.MANIFEST_TYPES:
                return True
    return False


def _with_liars(search: Search, found: VerifiedBytes, refused: list[tuple[str, bytes]]) -> VerifiedBytes:
    """Now that the content is known, whoever served other bytes for it is proven wrong."""
    digest = hashlib.sha256(found.data).digest()
    wrong = [url for url, seen in refused if seen != digest]
    for url in wrong:
        search.blame(url, FaultKind.WRONG_BYTES, "it served bytes that do not belong to the id")
    faults = tuple(f for f in search.faults if f.kind is not FaultKind.SUSPECT or f.endpoint not in wrong)
    return VerifiedBytes(found.root, found.data, found.source, faults, found.proof, found.evidence)
