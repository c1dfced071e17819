"""A 0G storage node, its indexer and its REST gateway in one process, for one machine."""

from armlx_chain.storage.zerog.localnode.faulty import GatewayFault, LyingGateway
from armlx_chain.storage.zerog.localnode.node import LocalStorageNode

__all__ = ["GatewayFault", "LocalStorageNode", "LyingGateway"]
