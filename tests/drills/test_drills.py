"""The drills in their short form; `make drill` has the long one. Those with what strangers wrote are beside it."""

import pytest

from tests.drills import folders, inputs
from tests.drills.drills import DRILLS, TRIES

STRANGERS = {*folders.DRILLS.values(), *inputs.DRILLS.values()}


@pytest.mark.parametrize("name", [name for name, drill in DRILLS.items() if drill not in STRANGERS])
def test_nothing_is_lost(name):
    tries = max(10, TRIES.get(name, 0) // 50)
    tally = DRILLS[name](tries, 0)
    assert tally.failures == []
    assert tally.tries == tries


def test_no_drill_is_left_out():
    assert set(DRILLS.values()) >= STRANGERS
