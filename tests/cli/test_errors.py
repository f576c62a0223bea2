import os
import subprocess
import sys

import pytest

from peftbench.cli import app
from peftbench.errors import RunError


def fails(capsys, *words):
    code = app.main(words)
    out, err = capsys.readouterr()
    assert out == ""
    return code, err


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir()), "wrong input wrote something"


def test_an_error_is_one_line_then_a_hint(capsys):
    code, err = fails(capsys, "report")
    assert code == 2
    assert err == "error: no records in 'results'\n\nhint: `peftbench icl --shots 32` makes the first ones\n"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("tune --method ia", "unknown method 'ia'", "did you mean 'ia3'?"),
        ("icl --task lab-nli", "unknown task 'lab-nli'", "did you mean 'lab-nli"),
        ("icl --seeds a", "--seeds 'a' is no list of whole numbers", "--seeds 0,1,2"),
        ("icl --shots -1", "--shots '-1' is no number of examples", "or all"),
        ("icl --seeds -1", "--seeds '-1' is no list of whole numbers", "--seeds 0,1,2"),
        ("icl --train r.csv", "--train, --test and --shots-from do not say how to read the rows", "--template"),
        (
            "icl --task lab --test r.csv",
            "'lab' is 4 tasks; --train, --test and --shots-from go with one",
            "peftbench list tasks",
        ),
        ("tune --method ia3 --set rank", "--set 'rank' is no KEY=VALUE", "--set rank=8"),
        ("tune", "Missing option '--method'", "peftbench tune --help"),
        ("icl --shot 3", "No such option: --shot", "peftbench icl --help"),
        ("run table1 --dtype float16", "No such option: --dtype", "peftbench run --help"),
        ("run nowhere.toml", "cannot read recipe 'nowhere.toml'", "peftbench list recipes"),
        ("report --reference x", "unknown reference 'x'", "t-few"),
        ("lab show lab-nli", "unknown task 'lab-nli'", "did you mean"),
        ("export a b", "Missing option '--to'. Choose from: peft, merged", "peftbench export --help"),
        ("list method", "Invalid value for 'KIND': 'method' is not one of 'methods'", "peftbench list --help"),
    ],
)
def test_wrong_input_says_what_was_asked_and_what_would_work(capsys, words, message, hint):
    code, err = fails(capsys, *words.split())
    assert code == 2
    assert err.startswith(f"error: {message}")
    assert hint in err.partition("\n\nhint: ")[2]
    assert err.count("\n") == 3


def raising(monkeypatch, error):
    def command(*_, **__):
        raise error

    monkeypatch.setattr(app, "app", command)
    return app.main([])


def test_a_failed_run_exits_with_one(monkeypatch, capsys):
    assert raising(monkeypatch, RunError("loss is not finite at step 3", hint="lower --set lr")) == 1
    assert capsys.readouterr().err.startswith("error: loss is not finite at step 3\n\nhint: ")


def test_line_breaks_in_an_error_are_shown_as_they_are_typed(monkeypatch, capsys):
    raising(monkeypatch, RunError("template 'a\nb' fails", hint="it stands in: {{a}\n{{b}}"))
    assert capsys.readouterr().err == "error: template 'a\\nb' fails\n\nhint: it stands in: {{a}\\n{{b}}\n"


def test_no_terminal_obeys_what_stands_in_an_error(monkeypatch, capsys):
    raising(monkeypatch, RunError("task 'a\x1b]0;title\x07\r' fails", hint="\u202eabc\ud800"))
    assert capsys.readouterr().err == ("error: task 'a\\x1b]0;title\\x07\\r' fails\n\nhint: \\u202eabc\\ud800\n")


def test_a_long_error_is_cut(monkeypatch, capsys):
    raising(monkeypatch, RunError("x" * 5000, hint="y" * 5000))
    assert capsys.readouterr().err == f"error: {'x' * 2000} ...\n\nhint: {'y' * 2000} ...\n"


def test_a_file_that_the_system_refuses_is_one_line_wherever_that_shows(monkeypatch, capsys):
    assert raising(monkeypatch, OSError(36, "File name too long", "x" * 300)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: cannot use '{'x' * 300}': File name too long\n\nhint: ")


def test_a_fault_of_the_system_without_a_file_keeps_its_traceback(monkeypatch):
    with pytest.raises(OSError, match="out of sockets"):
        raising(monkeypatch, OSError(24, "out of sockets"))


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    assert raising(monkeypatch, KeyboardInterrupt()) == 130
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "the same command goes on" in err


def test_a_bug_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        raising(monkeypatch, ZeroDivisionError())


def test_no_words_at_all_show_the_help(capsys):
    assert app.main([]) == 2
    assert "Usage: peftbench" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    program = "import sys; from peftbench.cli.app import main; sys.exit(main(['report', '--reference', 't-few']))"
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert run.stderr == ""
