"""The verifier: takes a claim, returns a verdict. It knows nothing of wallets."""
