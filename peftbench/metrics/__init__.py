"""Metrics: one file for each, of predicted and right choices, or of written outputs and their references."""
