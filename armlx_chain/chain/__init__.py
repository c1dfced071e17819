"""The chain: RPC, one class per contract, and transactions that happen exactly once."""
