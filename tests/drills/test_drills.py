"""The drills in their short form, over all of them; `make drill` has the long one."""

import pytest

from tests.drills.drills import DRILLS, TRIES


@pytest.mark.parametrize("name", DRILLS)
def test_nothing_is_lost(name):
    tries = max(10, TRIES.get(name, 0) // 50)
    tally = DRILLS[name](tries, 0)
    assert tally.failures == []
    assert tally.tries == tries
