"""The paper in miniature: a generated world, its tasks, and how the embedded models were made from it.

Nothing in the rest of the package imports this one; its tasks and models are found as files.
"""
