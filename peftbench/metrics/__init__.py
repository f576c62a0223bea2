"""Metrics: one file for each, a function of predicted and right choices."""
