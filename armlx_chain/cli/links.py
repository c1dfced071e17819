"""Web addresses for a person: the explorer's pages, and a file at the storage's gateway."""

from __future__ import annotations

from armlx_chain.settings import Network
from armlx_chain.types import Root

__all__ = ["address_link", "file_link", "links_of", "transaction_link"]


def transaction_link(network: Network, tx_hash: str) -> str | None:
    """The explorer's page of a transaction; ``None`` where the network has no explorer."""
    return None if network.explorer_url is None else f"{network.explorer_url.rstrip('/')}/tx/{tx_hash}"


def address_link(network: Network, address: str) -> str | None:
    """The explorer's page of an account or contract."""
    return None if network.explorer_url is None else f"{network.explorer_url.rstrip('/')}/address/{address}"


def file_link(network: Network, root: Root) -> str | None:
    """Where the first storage endpoint serves a file; what it serves is proven by ``fetch`` only."""
    if root.scheme != "0g" or not network.storage_urls:
        return None
    return f"{network.storage_urls[0].rstrip('/')}/file?root={root.hex}"


def links_of(network: Network, tx_hash: str, **roots: Root) -> dict[str, str]:
    """Every link there is, by name."""
    found = {
        "transaction": transaction_link(network, tx_hash),
        "ledger": address_link(network, network.proposal_ledger),
    }
    found.update({name: file_link(network, root) for name, root in roots.items()})
    return {name: link for name, link in found.items() if link is not None}
