"""Decide which images are the same photograph: links by id, hashes, pixels and features."""
