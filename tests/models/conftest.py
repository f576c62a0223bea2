"""What transformers says of a model while it is loaded."""

import logging

import pytest


class Lines(logging.Handler):
    """Keeps what is logged, in place of pytest's plugin: see pyproject.toml."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def remarks():
    """Warnings that transformers logs, as lines."""
    handler, logger = Lines(), logging.getLogger("transformers")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)
