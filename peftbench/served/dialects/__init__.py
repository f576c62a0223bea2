"""Dialects: how servers are asked for the log-probability of tokens that somebody else chose."""
