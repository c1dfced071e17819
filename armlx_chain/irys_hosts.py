"""Which servers Irys content is read from and written to."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from armlx_chain.errors import UsageError

__all__ = ["IRYS_DEVNET", "IRYS_MAINNET", "NO_IRYS", "IrysHosts", "hosts_for"]

_MAX_URL = 300


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname))


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class IrysHosts:
    """Base URLs, each list in the order of asking.

    Attributes:
        gateways: Serve payloads at ``/{id}``, and often metadata at ``/tx/{id}``.
        bundlers: Serve metadata at ``/tx/{id}`` and payloads at ``/tx/{id}/data``.
        upload: The bundler that uploads go to; ``None`` for none.
        token: What uploads beyond the free tier are paid with, in the bundler's spelling.
        permanent: Whether ``upload`` stores for good. The public devnet deletes after some 60 days.
        chain_nodes: Nodes of the datachain; serve headers at ``/v1/tx/{id}``.
        arweave: Gateways of Arweave; serve headers at ``/tx/{id}``, data at ``/{id}``.
        redirects: Further host names that a redirect may lead to.

    Raises:
        UsageError: a URL is not https, nor http on this machine.
    """

    gateways: tuple[str, ...] = ()
    bundlers: tuple[str, ...] = ()
    upload: str | None = None
    token: str = "ethereum"  # noqa: S105 (a coin's name)
    permanent: bool = True
    chain_nodes: tuple[str, ...] = ()
    arweave: tuple[str, ...] = ()
    redirects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for url in self.urls:
            if not _is_allowed(url):
                raise UsageError(
                    f"{url[:100]!r} is no usable URL of an Irys server.",
                    next_step="Give an https URL, or http://127.0.0.1:PORT for a server on this machine.",
                )

    @property
    def urls(self) -> tuple[str, ...]:
        """Every configured URL."""
        upload = () if self.upload is None else (self.upload,)
        return (*self.gateways, *self.bundlers, *upload, *self.chain_nodes, *self.arweave)

    @property
    def redirect_hosts(self) -> frozenset[str]:
        """Host names that a redirect may lead to."""
        return frozenset(urlsplit(url).hostname or "" for url in self.urls) | frozenset(self.redirects)


IRYS_MAINNET = IrysHosts(
    gateways=("https://gateway.irys.xyz", "https://devnet.irys.xyz"),
    bundlers=("https://uploader.irys.xyz", "https://devnet.irys.xyz"),
    upload="https://uploader.irys.xyz",
)
"""The public servers. Reading asks the devnet too: where an id was uploaded does not show in it."""

IRYS_DEVNET = IrysHosts(
    gateways=("https://devnet.irys.xyz",),
    bundlers=("https://devnet.irys.xyz",),
    upload="https://devnet.irys.xyz",
    permanent=False,
)
"""Vendor's test network; uploads are deleted after some 60 days."""

NO_IRYS = IrysHosts()
"""None configured."""


def hosts_for(network: str, env: Mapping[str, str]) -> IrysHosts:
    """The servers for one of our networks, with overrides from the environment.

    ``ARMLX_IRYS`` is ``mainnet``, ``devnet`` or ``none``. ``ARMLX_IRYS_GATEWAY``, ``ARMLX_IRYS_BUNDLER``,
    ``ARMLX_IRYS_NODE`` and ``ARMLX_ARWEAVE_GATEWAY`` are comma-separated URLs instead of the usual ones; the
    first bundler takes uploads. ``ARMLX_IRYS_TOKEN`` names the coin. The local world has none by itself.

    Raises:
        UsageError: for an unknown name or an unusable URL.
    """
    known = {"mainnet": IRYS_MAINNET, "devnet": IRYS_DEVNET, "none": NO_IRYS}
    chosen = env.get("ARMLX_IRYS") or ("none" if network == "devnet" else "mainnet")
    if chosen not in known:
        raise UsageError(f"ARMLX_IRYS is {chosen!r}; it can be mainnet, devnet or none.")
    hosts = known[chosen]
    lists = {name: _listed(env.get(variable, "")) for name, variable in _VARIABLES.items()}
    given = {name: urls for name, urls in lists.items() if urls}
    hosts = replace(hosts, **given)  # type: ignore[arg-type]
    if "bundlers" in given:
        hosts = replace(hosts, upload=given["bundlers"][0])
    token = env.get("ARMLX_IRYS_TOKEN")
    return replace(hosts, token=token) if token else hosts


_VARIABLES = {
    "gateways": "ARMLX_IRYS_GATEWAY",
    "bundlers": "ARMLX_IRYS_BUNDLER",
    "chain_nodes": "ARMLX_IRYS_NODE",
    "arweave": "ARMLX_ARWEAVE_GATEWAY",
}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(url.strip().rstrip("/") for url in text.split(",") if url.strip())
