"""armlx-chain: verified training-recipe benchmarks on a chain.

The client side: everything that talks to storage, to the chain and to people. The verifier, which runs
strangers' code and judges it, is the sibling package ``verifier``.
"""

__version__ = "0.1.0"
