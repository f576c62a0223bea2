import pytest

from tests.drills import inputs
from tests.drills.inputs import DRILLS


@pytest.mark.parametrize("name", DRILLS)
def test_what_strangers_wrote_is_used_or_refused(name):
    tally = DRILLS[name](60, seed=0)
    assert tally.failures == []
    assert tally.tries == 60
    assert set(tally.notes) == {"used", "refused"}


def test_a_traceback_and_a_late_end_are_failures():
    def broken(drawn, folder):
        raise ZeroDivisionError

    assert inputs._drill(3, 0, broken).failures[2] == "broken 0 2: ZeroDivisionError: ''"
