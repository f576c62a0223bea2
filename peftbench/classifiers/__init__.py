"""Classifiers of embeddings: baselines without a prompt and without a gradient through a model, a file for each."""
