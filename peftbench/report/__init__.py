"""From records to a table: nothing in this folder imports torch, nor pandas; it sees records only."""
