"""`--prices` as a person types it: money beside FLOPs, never among them, and one line where a file is wrong."""

import json
import shlex

import pytest

from peftbench.cli.app import main
from tests.costs.prices.files import API, H100, HAIKU, MINI, ON_H100, toml

PAPER = "--model t0-11b --shots 41 --query-tokens 107"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = {"model": [HAIKU, MINI], "hosting": [H100], "training": [API, ON_H100]}
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
    assert hosted == pytest.approx({"hosting": 2059.20, "training": 0.0494}, abs=5e-5)
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
