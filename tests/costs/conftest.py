"""Tiny backbones that are loaded once: what a test attaches is taken out again when it ends."""

from functools import cache

import pytest

from tests.tiny import tiny_backbone

_loaded = cache(tiny_backbone)


@pytest.fixture
def backbone_of():
    """Give the backbone of a family, as it was loaded."""
    given = []

    def give(family):
        given.append(_loaded(family))
        return given[-1]

    yield give
    for backbone in given:
        backbone.detach_all()
        backbone.model.set_attn_implementation("peftbench")
