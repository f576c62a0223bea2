"""From one file of rows to a decision: what is run, for how long, and what follows from it."""
