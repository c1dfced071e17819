"""A small benchmark of our own, in the image of the real one.

- ``files/`` is the snapshot of a project's repository: ``prepare.py``, ``train.py`` and what belongs to them.
- ``data`` makes the shards, the tokenizer and the byte table, byte for byte the same on every machine.
- ``project`` hands out the snapshot and writes the protocol document.
- ``candidates`` holds the named ``train.py`` of the demonstration, honest and not.

Importing this package imports nothing heavy.
"""
