"""`decide` on the command line."""

import json
from pathlib import Path

import pytest

from peftbench.cli import decide as command
from peftbench.cli.app import main
from peftbench.decision import schedule
from tests.costs.prices.files import API, H100, HAIKU, toml
from tests.decision.rows import write_model, write_rows

DECIDE = ["decide", "rows.csv", "--model", "model", "--folds", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def known_rate(monkeypatch):
    """Spare each decision the second in which the machine's own rate is measured."""
    monkeypatch.setattr(schedule, "matmul_flops_per_second", lambda *_: 1e10)


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory):
    """Decide once."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_rows(folder)
        write_model(folder)
        assert main(DECIDE) == 0
    return folder


@pytest.fixture
def finished(finished_folder, monkeypatch):
    monkeypatch.chdir(finished_folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)
    write_model(tmp_path)
    return tmp_path


def decide(capsys, *words):
    code = main([*DECIDE, *words])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_from_rows_to_predictions(folder, capsys):
    write_rows(folder, 36)
    (folder / "model" / "peftbench.toml").write_text("[tune]\nnum_steps = 20\nlr = 1e-1\nscale_parameter = false\n")
    code, out, err = decide(capsys, "--queries", "500")
    assert code == 0
    assert err.index("Label: label, 2 classes in 36 rows") < err.index("11 strategies, 22 runs")
    assert out.startswith("Tune: ")
    again = "peftbench decide rows.csv --model model --queries 500 --folds 2 --device cpu --keep my-rows"
    assert out.endswith(f"Next: {again}\n")
    assert all(len(line) <= 100 for line in out.splitlines())
    records = sorted(path.name for path in Path("results/records").iterdir())
    assert main(again.split()[1:]) == 0
    kept = capsys.readouterr().out
    assert sorted(path.name for path in Path("results/records").iterdir()) == records
    assert kept.rpartition("Next: ")[0] == out.rpartition("Next: ")[0]
    Path("NEW.csv").write_text("text\na fine thing\n")
    assert main(kept.rpartition("Next: ")[2].split()[1:]) == 0
    assert json.loads(capsys.readouterr().out)["prediction"] == "good"


def test_where_nothing_is_worth_it_nothing_is_kept(finished, capsys, monkeypatch):
    from peftbench.decision import decide as decision

    monkeypatch.setattr(decision, "chosen_cell", lambda *_: None)
    code, out, err = decide(capsys, "--keep", "mine")
    assert code == 0
    assert "nothing is written to 'mine': nothing is shown to be worth it" in err
    assert out.endswith("Next: peftbench list models\n")
    assert not Path("mine").exists()


def test_the_plan_is_shown_and_nothing_is_run(folder, capsys):
    code, out, err = decide(capsys, "--plan", "--budget", "1h", "--save-task", "task.toml", "--max-input-tokens", "9")
    assert code == 0
    assert "lora, its learning rate searched for" in out
    assert err.endswith(
        "next: peftbench decide rows.csv --model model --folds 2 --budget 1h --max-input-tokens 9 --device cpu\n"
    )
    assert not Path("results/records").exists()
    assert main(["icl", "--task", "task.toml", "--model", "model", "--shots", "2", "--folds", "2"]) == 0


@pytest.mark.parametrize("form", ["json", "md", "html"])
def test_formats_go_to_a_file(finished, capsys, form):
    assert decide(capsys, "--out", f"answer.{form}", "--format", form)[:2] == (0, "")
    text = Path(f"answer.{form}").read_text()
    assert {"json": '"verdict"', "md": "| method", "html": "<svg"}[form] in text


@pytest.mark.parametrize("form", ["table", "json", "md", "html"])
def test_prices_add_money_to_the_answer(finished, capsys, form):
    Path("prices.toml").write_text(toml(model=[HAIKU], hosting=[H100], training=[API]))
    code, out, _ = decide(capsys, "--prices", "prices.toml", "--format", form)
    assert code == 0
    assert "In money, for 1,000,000 queries in 30 days: " in " ".join(out.split())
    assert "keeping 'one H100' up for 30 days" in " ".join(out.replace("&#39;", "'").split())
    if form == "json":
        money = json.loads(out)["money"]
        assert money["num_queries"] == json.loads(out)["num_queries"] == 1_000_000
        assert {quote["is_hosted"] for quote in money["quotes"]} == {True, False}
    elif form == "table":
        assert max(map(len, out.splitlines()[:-1])) <= 100


def test_queries_that_are_typed_are_decided_and_priced(finished, capsys):
    Path("prices.toml").write_text(toml(model=[HAIKU], hosting=[H100], training=[API]))
    _, out, err = decide(capsys, "--prices", "prices.toml", "--queries", "600", "--plan")
    assert "--queries 600 --prices prices.toml" in err
    out = decide(capsys, "--prices", "prices.toml", "--queries", "600")[1]
    assert "Money in USD, 600 queries, 20 a day over 30 days" in out
    assert "you asked for 600" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--budget soon", "--budget 'soon' is no time"),
        ("--budget 0m", "--budget '0m' is no time"),
        ("--budget 0.001s", "are too short: zero-shot; zero-shot, calibrated; ICL, 4 shots"),
        ("--label colour", "--label 'colour' is no column"),
        ("--folds 30", "30 folds"),
        ("--group who", "--group 'who' is no column"),
        ("--keep model", "'model' is there already"),
        ("--keep rows.csv/mine", "nothing can be written in"),
    ],
)
def test_wrong_input_is_one_line_and_a_hint_and_leaves_nothing(folder, capsys, words, message):
    before = sorted(folder.iterdir())
    code, out, err = decide(capsys, *words.split())
    assert (code, out) == (1 if "0.001" in words else 2, "")
    assert message in err
    assert "hint: " in err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), (None, None)])
def test_budgets_are_times(text, seconds):
    assert command._seconds(text) == seconds
