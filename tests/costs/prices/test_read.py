"""Price files: what they hold, and all of their faults in one line."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from peftbench.costs.prices.read import read
from peftbench.errors import CostError
from tests.costs.prices.files import API, H100, HAIKU, MONTH, ON_H100, toml

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("prices-*.toml"))


@pytest.fixture
def refused(tmp_path):
    """Write a file that is refused, and return the error."""

    def write(text):
        path = tmp_path / "prices.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(CostError) as caught:
            read(str(path))
        assert "\n" not in caught.value.message
        assert caught.value.hint
        return caught.value

    return write


def without(table, *names):
    return {name: value for name, value in table.items() if name not in names}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_read_and_say_that_they_are_examples(path):
    prices = read(str(path))
    assert prices.file.model
    assert path.read_text().startswith("# An example")
    assert "as_of" in path.read_text()


def test_there_are_examples():
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"model": [HAIKU | {"input": -1.0}]}, "model.0.input: Input should be greater than or equal to 0"),
        ({"model": [without(HAIKU, "source")]}, "model.0.source: Field required"),
        ({"model": [without(HAIKU, "as_of")]}, "model.0.as_of: Field required"),
        ({"model": [HAIKU | {"cached_input": 1.5}]}, "cached input at 1.5 is dearer than input at 1"),
        ({"model": [without(HAIKU, "cached_input")]}, "cached_input, what that costs, is missing"),
        ({"model": [HAIKU | {"for": ["chat"]}]}, "model.0.for.0: Input should be 'zero-shot', 'icl' or 'tuned'"),
        ({"model": [HAIKU | {"requests_per_query": "tokens"}]}, "Input should be 1 or 'choices'"),
        ({"model": [HAIKU | {"input": "1.00"}]}, "model.0.input: Input should be a valid number"),
        ({"model": [HAIKU | {"cache_step": 0}]}, "cache_step"),
        ({"model": [HAIKU, HAIKU]}, "several are called 'haiku'"),
        ({"training": [API | {"billed": "hours"}]}, "billed: Input should be 'tokens x epochs' or 'rows x max_length'"),
        ({"training": [API | {"billed": "rows x max_length"}]}, "max_length goes with"),
        ({"training": [without(API, "source")]}, "source missing"),
        ({"training": [API | ON_H100]}, "one of per_million_tokens and on"),
        ({"training": [{"on": "two H100"}]}, "on = 'two H100' is no [[hosting]]; there is one H100"),
        ({"hosting": [H100 | {"hours_per_month": 800.0}]}, "hours_per_month"),
        ({"workload": MONTH | {"cache_hit_rate": 1.2}}, "cache_hit_rate"),
        ({"workload": without(MONTH, "cache_hit_rate")}, "'haiku' has a price of cached input"),
        ({"workload": MONTH | {"queries_per_day": 0}}, "queries_per_day"),
        ({"currency": "dollars"}, "currency"),
        ({"model": [], "hosting": []}, "neither [[model]] nor [[hosting]]"),
    ],
)
def test_a_fault_is_named(refused, tables, message):
    error = refused(toml(**{"model": [HAIKU], "hosting": [H100]} | tables))
    assert message in error.message


def test_all_faults_of_a_file_are_told_at_once(refused):
    bad = without(HAIKU, "source") | {"input": -1.0}
    error = refused(toml(model=[bad, HAIKU | {"cached_input": 3.0}], training=[API | {"billed": "hours"}]))
    for part in ("model.0.source", "model.0.input", "model.1.cached_input", "training.0.billed"):
        assert part in error.message


def test_an_unknown_field_meets_the_fields_of_its_table(refused):
    error = refused(toml(model=[HAIKU | {"cached": 0.1}]))
    assert error.hint.startswith("did you mean 'cached_input'? fields of model: name, for, source, as_of, input")
    assert "queries_per_day" in refused(toml(model=[HAIKU], workload=MONTH | {"querries_per_day": 1.0})).hint


def test_days_that_are_still_to_come_are_no_dates_of_prices(refused):
    ahead = date.today() + timedelta(days=9)
    assert "is still to come" in refused(toml(model=[HAIKU | {"as_of": ahead}])).message


@pytest.mark.parametrize(
    "content",
    ["input =", "input = nan", "a = " + "[" * 500, b"\xff\xfe", "x = 1" + "0" * 30, "currency = 'USD'\n[[model]]\n"],
)
def test_what_is_no_file_of_prices_is_refused(refused, content):
    refused(content)


@pytest.mark.parametrize("word", ["inf", "nan", "1e300", "true"])
def test_a_price_is_a_finite_number(refused, word):
    refused(toml(model=[HAIKU | {"output": 5.0}]).replace("output = 5.0", f"output = {word}"))


@pytest.mark.parametrize("name", ["missing.toml", ".", "/dev/zero"])
def test_what_cannot_be_read_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CostError, match="prices"):
        read(name)


def test_another_number_of_queries_comes_over_the_same_days(tmp_path):
    (tmp_path / "prices.toml").write_text(toml(model=[HAIKU]))
    prices = read(str(tmp_path / "prices.toml"), 600)
    assert (prices.traffic.num_queries, prices.traffic.queries_per_day, prices.traffic.days) == (600, 20, 30)
    assert read(str(tmp_path / "prices.toml")).traffic.num_queries == 1_000_000


def test_there_is_one_query_at_least(tmp_path):
    (tmp_path / "prices.toml").write_text(toml(model=[HAIKU], workload=MONTH | {"queries_per_day": 1e-9}))
    assert read(str(tmp_path / "prices.toml")).traffic.num_queries == 1
