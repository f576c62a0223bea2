"""The drills with folders, in short: each is used or refused in one line; no traceback, no hang."""

import pytest

from tests.drills import folders


@pytest.mark.parametrize("name", folders.DRILLS)
def test_hostile_folders_are_used_or_refused_in_one_line(name):
    tally = folders.DRILLS[name](80, 0)
    assert tally.failures == []
    assert tally.tries == 80
    assert {*tally.notes} == {"used", "refused"}


def test_a_drill_names_what_goes_wrong(monkeypatch):
    """Without the boundary, tracebacks are seen and told."""

    def fail(_):
        raise KeyError("x")

    monkeypatch.setattr(folders, "_use_adapter", fail)
    monkeypatch.setattr(folders, "_mutated_adapter", lambda folder, rng: "as it was")
    (line,) = folders.adapters(1, 0).failures
    assert line.startswith("try 0 of seed 0, as it was: KeyError")
