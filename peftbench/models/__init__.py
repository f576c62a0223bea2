"""Backbones: loading, families, attention, scoring. No method is known here."""
