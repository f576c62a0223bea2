"""From one file of rows to a decision: what is run, for how long, and what follows from it."""

MODEL, QUERIES = "smollm2-135m", 1_000
"""What is decided for, where nobody says otherwise."""
