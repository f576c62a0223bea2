import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from peftbench.cli import progress
from peftbench.learners.progress import Remaining, duration


@pytest.fixture
def stream():
    return io.StringIO()


def test_a_log_file_gets_a_line_now_and_then(stream, monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Lines(Console(file=stream)).stage("rte: tuning ia3", 1000) as advance:
        advance(1, "loss 2.000")
        advance(99, "")
        advance(1, "loss 1.000")
    assert stream.getvalue() == "rte: tuning ia3: 100 of 1,000, loss 2.000\n"


def test_a_terminal_gets_a_bar_with_the_last_remark_which_goes_away(stream):
    console = Console(file=stream, force_terminal=True, width=120)
    with progress.Bars(console).stage("rte: scoring", 10) as advance:
        advance(5, "accuracy 0.500")
        advance(5, "")
    assert "accuracy 0.500" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_remarks_are_printed_as_they_are(stream):
    progress.Lines(Console(file=stream, width=20)).say("[1/2] " + "long " * 10)
    assert stream.getvalue() == "[1/2] " + "long " * 10 + "\n"


@pytest.mark.parametrize("name", ["x [/]", "[red]x", ":smile: x"])
def test_names_in_titles_and_remarks_are_no_markup(stream, name):
    console = Console(file=stream, force_terminal=True, width=120, color_system=None)
    bars = progress.Bars(console)
    with bars.stage(name, 2) as advance:
        advance(1, f"on {name}")
    with bars.waiting(f"loading {name}"):
        pass
    bars.say(name)
    progress.Lines(console).say(name)
    assert {text for text in (name, f"on {name}", f"loading {name}") if text not in stream.getvalue()} == set()


@pytest.mark.parametrize("kind", [progress.Bars, progress.Lines])
def test_no_terminal_obeys_a_remark_or_a_title(stream, kind):
    watch = kind(Console(file=stream, force_terminal=True, width=120, color_system=None))
    with watch.stage("a\x1b]0;b\x07c", 2) as advance:
        advance(1, "d\x1b[2Je\rf")
    watch.say("g\x1b[2Jh\ri\nj")
    assert "\x1b]0;" not in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()
    assert "g\\x1b[2Jh\\ri\nj\n" in stream.getvalue()


def test_quiet_says_nothing(capsys):
    silent = progress.watch(quiet=True)
    with silent.waiting("w"), silent.stage("s", 2) as advance:
        advance(1, "r")
    silent.say("t")
    assert capsys.readouterr() == ("", "")


LATER = Remaining(num_done=3, num_cells=18, num_known=18, seconds=700, share=0.25)


def test_a_line_says_how_long_the_whole_run_takes(stream, monkeypatch):
    clock = iter([0.0, 11.0, 11.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = progress.Lines(Console(file=stream, width=20))
    with lines.stage("rte: scoring", 0) as advance:
        lines.remain(LATER)
        advance(5, "")
    assert stream.getvalue() == "rte: scoring: 5, 3 of 18 cells, about 12 min left\n"


def test_above_a_stages_bar_stands_one_of_the_whole_run(stream):
    bars = progress.Bars(Console(file=stream, force_terminal=True, width=120, color_system=None))
    with bars.stage("rte: scoring", 10) as advance:
        bars.remain(LATER)
        advance(5, "")
    assert re.search(r"3 of 18 cells *━━━━━━[━╺╸ ]* *about 12 min left *\r?\n *rte: scoring", stream.getvalue())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "10 s"), (42, "40 s"), (94, "90 s"), (96, "2 min"), (3600, "60 min"), (5400, "1.5 h"), (90000, "25.0 h")],
)
def test_durations_are_as_rough_as_they_are_known(seconds, text):
    assert duration(seconds) == text


def test_a_single_cell_has_no_count_and_unknown_cells_have_no_time():
    assert str(replace(LATER, num_cells=1, num_known=1)) == "about 12 min left"
    assert str(replace(LATER, num_known=9)) == "3 of 18 cells, about 12 min to cell 9"
