"""The documents that outlive this program: bundles, manifests, evidence, claims, attestations.

``docs/formats.md`` describes them byte by byte; ``tests/vectors/formats`` holds vectors. Nothing here opens a
file, a socket or a clock. Every hostile input ends in ``FormatError``.
"""
