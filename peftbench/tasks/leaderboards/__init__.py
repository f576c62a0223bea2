"""Leaderboards: rows whose labels nobody shows are answered in a folder, and somebody else scores it."""
