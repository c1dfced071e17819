"""A whole world on one machine: an EVM behind JSON-RPC, a storage node, funded accounts, deployed contracts.

Everything here is for practice. The accounts' keys are public knowledge, so a devnet refuses the chain ids
of real networks, and its node refuses every transaction that is not signed for the devnet's own chain id.
"""
