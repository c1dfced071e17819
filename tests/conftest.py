"""Shared by all tests: makes the helpers in this folder importable (``import shared_material``)."""
