"""A metric of which less is better: none that comes with the package has that direction."""

import sys
from types import SimpleNamespace

import pytest

from peftbench import registry
from peftbench.metrics.base import Metric


def wrong(counts):
    """The share of wrong predictions."""
    return 1 - registry.metric("accuracy").value(counts)


ERROR = Metric("error", "error", "per cent", False, wrong, lambda labels, num_choices: 0.5, lowest=-1.0)


@pytest.fixture
def error(monkeypatch):
    """The name by which the registry finds it."""
    monkeypatch.setitem(sys.modules, "tests.made_up_metric", SimpleNamespace(METRIC=ERROR))
    monkeypatch.setitem(registry.METRICS, "error", "tests.made_up_metric")
    return "error"
