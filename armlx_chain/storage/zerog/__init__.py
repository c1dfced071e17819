"""0G Storage: Merkle tree, node and indexer client, upload, and a local storage node."""
