"""The worked examples of docs/money.md: their arithmetic by itself, and what `cost` says."""

import json
import re
import shlex
from pathlib import Path

import pytest

from peftbench.cli.app import main

PAGE = (Path(__file__).parents[3] / "docs" / "money.md").read_text()
EXAMPLES = re.split(r"^## Worked example \d: ", PAGE, flags=re.MULTILINE)[1:]
ROW = re.compile(r"^\| (?!item|break-even|-)(.+?) \| (.+?) \| ([\d,.]+) \|(?: ([\d,.]+) \|)?$", re.MULTILINE)
COMMAND = re.compile(r"(`peftbench cost [^`]*`|The same with `--shots \d+`)")


def value(formula):
    """Compute what stands on the page, with nothing of the package."""
    assert re.fullmatch(r"[\d,.x/+() -]+", formula)
    return eval(formula.replace(",", "").replace("x", "*"))


def number(text):
    return float(text.replace(",", ""))


def parts(example):
    """Each command with the rows that follow it."""
    pieces = COMMAND.split(example)
    words = ""
    for command, text in zip(pieces[1::2], pieces[2::2], strict=True):
        shots = re.search(r"--shots \d+", command)[0]
        words = re.sub(r"--shots \d+", shots, words) if command.startswith("The same") else command.strip("`")
        yield words, ROW.findall(text)


def money(words, capsys):
    assert main([*shlex.split(words)[1:], "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)["models"][0]["money"]


def amounts(table):
    """Items and totals by what the page calls them."""
    return {
        f"{quote['strategy']}, {quote['offer']}, {item['name']}": item["value"]
        for quote in table["quotes"]
        for item in (*quote["items"], quote["total"])
    }


def break_evens(table):
    return {
        ", ".join(point[side][name] for side in ("tuned", "prompted") for name in ("strategy", "offer")): (
            point["queries"],
            point["queries_per_day"],
        )
        for point in table["break_evens"]
    }


def test_there_are_three():
    assert [len([row for _, rows in parts(example) for row in rows]) for example in EXAMPLES] == [8, 6, 8]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.partition("\n")[0])
def test_each_formula_is_its_amount_and_what_cost_says(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (file,) = re.findall(r"```toml\n(.*?)```", example, re.DOTALL)
    Path("prices.toml").write_text(file)
    for words, rows in parts(example):
        table = money(words, capsys)
        items, points = amounts(table), break_evens(table)
        for name, formula, amount, by_day in rows:
            if by_day:
                assert (number(amount), number(by_day)) == points[name]
                assert value(formula) == pytest.approx(number(amount), abs=2)
            else:
                assert value(formula) == pytest.approx(number(amount), abs=0.005)
                assert items[name] == pytest.approx(value(formula), rel=1e-6)


def test_sums_in_sentences_are_right():
    sums = re.findall(r"([\d(][\d,.x/+() -]+[\d)]) = ([\d,.]+\d)", "\n".join(EXAMPLES))
    assert len(sums) >= 5
    for formula, result in sums:
        assert value(formula) == pytest.approx(number(result), abs=0.005), formula
