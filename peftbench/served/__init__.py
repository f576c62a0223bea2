"""Models behind a server: they are asked for log-probabilities over HTTP, and no weights are here."""
