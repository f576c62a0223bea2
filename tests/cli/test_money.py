"""`--prices` as a person types it: money beside FLOPs, never among them, and one line where a file is wrong."""

import json
import shlex
import sys

import pytest

from peftbench.cli.app import main
from peftbench.store.results import Store
from tests.costs.prices.files import API, H100, HAIKU, MINI, ON_H100, toml
from tests.report.priced import with_tokens
from tests.report.stored import scores, stored

PAPER = "--model t0-11b --shots 41 --query-tokens 107"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    tables = {"model": [HAIKU, MINI], "hosting": [H100], "training": [API, ON_H100 | {"start_seconds": 3600.0}]}
    (tmp_path / "prices.toml").write_text(toml(**tables))
    return tmp_path


def run(words, capsys):
    assert main(shlex.split(words)) == 0
    return capsys.readouterr().out


def test_cost_shows_money_below_all_else_at_100_columns(capsys):
    words = f"cost {PAPER} --method ia3 --method lora"
    plain = run(words, capsys)
    out = run(f"{words} --prices prices.toml", capsys)
    head, _, rest = out.partition("Money in USD, 1,000,000 queries, 33,333 a day over 30 days; prices of prices.toml")
    assert plain.startswith(head)
    assert max(map(len, out.splitlines())) <= 100
    assert "- hosting: keeping 'one H100' up for 30 days costs 2,059 USD" in rest
    assert "- not cached: 'haiku' caches from 4,096 tokens on, and the shots have 4,018" in rest
    assert "tuned, 2 methods" in rest
    assert "from which on tuning costs no more than" in rest


def test_cost_has_each_amount_as_data(capsys):
    document = json.loads(run(f"cost {PAPER} --method ia3 --prices prices.toml --format json", capsys))
    money = document["models"][0]["money"]
    quotes = {(quote["strategy"], quote["offer"]): quote for quote in money["quotes"]}
    assert quotes["ICL", "haiku"]["total"]["value"] == pytest.approx(4121 + 10)
    assert quotes["ICL", "mini; shots cached"]["total"]["value"] == pytest.approx(458.00 + 3.20, abs=0.005)
    hosted = {item["name"]: item["value"] for item in quotes["ia3", "one H100; on one H100"]["items"]}
    assert hosted == pytest.approx({"hosting": 2059.20, "training": 2.86 + 0.0494}, abs=5e-5)
    assert {item["kind"] for quote in money["quotes"] for item in quote["items"]} == {"priced"}
    assert all(item["convention"] for quote in money["quotes"] for item in quote["items"])
    assert len(money["break_evens"]) == 2 * 4


def test_the_queries_that_are_typed_are_those_that_are_priced(capsys):
    out = run("cost --model t0-11b --method ia3 --queries 3000 --prices prices.toml", capsys)
    assert "Money in USD, 3,000 queries, 100 a day over 30 days" in out


def test_without_prices_nothing_is_new(capsys):
    assert "money" not in run("cost --model t0-11b --method ia3 --format json", capsys)


@pytest.mark.parametrize("words", ["--audit t-few", "--verify --model t0-11b"])
def test_prices_are_of_counts(capsys, words):
    assert main(shlex.split(f"cost {words} --prices prices.toml")) == 2
    assert "--prices is of what is counted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": -0.4}, "model.0.input: Input should be greater than or equal to 0"),
        ({"source": ""}, "model.0.source"),
        ({"requests_per_query": "words"}, "Input should be 1 or 'choices'"),
        ({"cached_input": 2.0}, "cached input at 2 is dearer than input at 1"),
    ],
)
def test_a_faulty_file_is_one_line_and_a_hint(folder, capsys, change, message):
    (folder / "prices.toml").write_text(toml(model=[HAIKU | change]))
    assert main(shlex.split("cost --model t0-11b --method ia3 --prices prices.toml")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error, blank, hint = err.splitlines()
    assert error.startswith("error: prices 'prices.toml': model.0.")
    assert message in error
    assert (blank, hint[:6]) == ("", "hint: ")


@pytest.fixture
def records(folder):
    """Prompts and tuning on one model, with the tokens of their queries."""
    right = {"ICL": {0: [1, 1, 1, 0] * 25}, "ia3": {0: [1, 1, 1, 0] * 25}}
    for method, answers in right.items():
        for seed in (0, 1):
            made = stored(folder / "unpriced", answers, method, seed=seed, shots=41)
            Store(folder / "results").write(with_tokens(made), scores(answers))
    return folder


def test_advise_names_the_cheapest_in_money(records, capsys):
    out = run("advise --prices prices.toml", capsys)
    assert max(map(len, out.splitlines())) <= 100
    assert "1,000,000 queries, not shown to be worse than" in out
    words = " ".join(out.split())
    assert "Cheapest in money: ICL on mini-gpt, 41 shots (461.20 USD, mini; shots cached)." in words
    assert "money: hosting: keeping 'one H100' up for 30 days costs 2,059 USD" in words
    assert "money: ia3 on mini-gpt, 41 shots (one H100; api) costs no more than" in words


def test_advice_for_typed_queries_is_as_without_prices_and_money_besides(records, capsys):
    plain = json.loads(run("advise --queries 500 --format json", capsys))["tables"][0]
    priced = json.loads(run("advise --queries 500 --prices prices.toml --format json", capsys))["tables"][0]
    money = priced.pop("money")
    for table in (plain, priced):
        del table["answer"], table["caveats"], table["conventions"]
    assert priced == plain
    assert (money["num_queries"], money["days"]) == (500, 30)


@pytest.mark.parametrize(("form", "mark"), [("table", "paid to"), ("md", "| paid to |"), ("html", "paid to")])
def test_the_report_shows_money_beside_its_table(records, capsys, form, mark):
    run(f"report --format {form} --out plain", capsys)
    run(f"report --format {form} --out priced --prices prices.toml", capsys)
    plain, priced = ((records / name).read_text() for name in ("plain", "priced"))
    assert mark in priced
    assert "461.20" in priced
    assert "Money in USD, 1,000,000 queries" in priced
    assert "USD" not in plain


def test_the_report_as_data_has_money_by_table(records, capsys):
    plain, priced = (json.loads(run(f"report --format json {words}", capsys)) for words in ("", "--prices prices.toml"))
    assert priced["tables"][0].pop("money")["currency"] == "USD"
    assert priced["tables"] == plain["tables"]


@pytest.mark.parametrize("form", ["csv", "latex", "png"])
def test_forms_without_a_place_for_money_say_so(records, capsys, form):
    assert main(shlex.split(f"report --prices prices.toml --format {form}")) == 2
    assert f"--format {form} has no place for money" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["advise --queries 10", "report", "decide rows.csv"])
def test_each_command_refuses_a_faulty_file_before_it_does_anything(folder, capsys, command):
    (folder / "prices.toml").write_text(toml(model=[HAIKU | {"input": -1.0}]))
    assert main(shlex.split(f"{command} --prices prices.toml")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "model.0.input" in err
    assert len(err.splitlines()) == 3


def test_without_the_package_the_extra_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert main(shlex.split("cost --model t0-11b --method ia3 --queries 9 --prices genai:claude-haiku-4-5")) == 2
    assert "pip install 'peftbench[prices]'" in capsys.readouterr().err
