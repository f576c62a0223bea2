"""Adapters in the layout of the peft library: read, written, and looked at without weights."""
