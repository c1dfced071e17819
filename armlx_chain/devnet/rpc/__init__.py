"""JSON-RPC 2.0 over HTTP in front of the embedded chain or of anvil."""
