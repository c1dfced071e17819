"""Irys: a document's id in, verified bytes out; and small documents uploaded with an Ethereum key.

- An Irys id is the hash of a *signature*. What ties it to the content is the signature over the content, by
  the owner whose key is itself under that signature. So whoever serves the bytes must also serve the signed
  item's fields; without them nothing can be said about the bytes, and they are refused.
- Everything about bytes is in pure modules that open no socket and no file: ``ids``, ``deephash``, ``avro``,
  ``keys``, ``schemes``, ``items``, ``bundles``, ``rebuild``, ``receipts``, ``dataroot``, ``arweave``,
  ``datachain``, ``build``, ``records``. ``endpoints``, ``client`` and ``publish`` talk to the network.
"""
