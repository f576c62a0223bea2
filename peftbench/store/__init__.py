"""Finished runs on disk: each written once, whole or not at all."""
