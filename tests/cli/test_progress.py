import io

import pytest
from rich.console import Console

from peftbench.cli import progress


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
