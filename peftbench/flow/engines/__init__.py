"""Engines: what runs batches of cells in other processes, on this machine or on others."""
