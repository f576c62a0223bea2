"""Choosing shots for each query: a file for each selector, and what is the same for all of them."""
