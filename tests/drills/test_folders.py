"""The drills with folders, in short: `peftbench` uses each or refuses it in one line; no traceback, no hang."""

import pytest

from tests.drills import folders


@pytest.mark.parametrize("name", folders.DRILLS)
def test_hostile_folders_are_used_or_refused_in_one_line(name):
    assert folders.DRILLS[name](80, 0) == []


def test_a_drill_names_what_goes_wrong(monkeypatch):
    """Without the boundary, tracebacks are seen and told."""

    def fail(_):
        raise KeyError("x")

    monkeypatch.setattr(folders, "_use_adapter", fail)
    monkeypatch.setattr(folders, "_mutated_adapter", lambda folder, rng: "as it was")
    (line,) = folders.adapters(1, 0)
    assert line.startswith("0 as it was: KeyError")
