"""Keys, keystores, EIP-712 signatures, and the guard that lets a key sign one verdict per proposal.

A key is never shown: not by ``repr``, not in an error, not by pickling. Passphrases and keys come through
callables or files, never through arguments of a command or the environment.
"""
