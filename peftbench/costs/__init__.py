"""Costs of four kinds that are never mixed: estimated, counted, traced, measured."""
