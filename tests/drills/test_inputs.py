import pytest

from tests.drills import inputs
from tests.drills.inputs import DRILLS

TRIES = {"files of rows": 180, "templates": 100, "TOML": 100}


@pytest.mark.parametrize("name", DRILLS)
def test_what_strangers_wrote_is_used_or_refused(name):
    tries = TRIES.get(name, 60)
    tally = DRILLS[name](tries, seed=0)
    assert tally.failures == []
    assert tally.tries == tries
    assert set(tally.notes) == {"used", "refused"}


def test_a_traceback_and_a_late_end_are_failures():
    def broken(drawn, folder):
        raise ZeroDivisionError

    assert inputs._drill(3, 0, broken).failures[2] == "broken 0 2: ZeroDivisionError: ''"
