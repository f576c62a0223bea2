"""One file per command. A command parses, calls, prints; what is heavy to import is imported inside it."""
