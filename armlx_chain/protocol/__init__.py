"""The published protocol of a project: its model, its extraction rule, its score codec, its rendering.

Nothing here opens a file, a socket or a clock. Every hostile document ends in ``ProtocolInvalid``, every log
without exactly one metric in ``MetricError``.
"""
