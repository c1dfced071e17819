"""A project's environment as its protocol says: from set-up commands and a lock file to an interpreter.

- ``commands`` reads set-up and execution commands with a small grammar of ours; no shell ever sees them.
- ``lockfile`` says which packages a lock names, where they come from, and whether they are safe to install.
- ``fields`` says what every other field of a protocol means here: limits, notices, refusals.
- ``columns`` turns a run into a row of the protocol's results log.
- ``uvtool`` finds or fetches the one uv we use; ``building`` runs the steps in the sandbox; ``store`` keeps
  what they made, by digest.
- ``shards`` records data and tokenizer as a manifest of roots and checks it again quickly.
"""
