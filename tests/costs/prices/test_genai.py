"""Prices of the package genai-prices, and what is said where it is missing."""

import sys
from datetime import date
from decimal import Decimal

import pytest

from peftbench.costs.prices import genai
from peftbench.costs.prices.read import read
from peftbench.errors import CostError


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(CostError, match="genai-prices, which is not installed") as caught:
        read("genai:claude-haiku-4-5", 1000)
    assert caught.value.hint == "the extra `prices` brings it: pip install 'peftbench[prices]'"


def test_its_prices_are_taken_as_they_are():
    package = pytest.importorskip("genai_prices")
    prices = read("genai:claude-haiku-4-5", 3000)
    (model,) = prices.file.model
    _, info = package.data_snapshot.get_snapshot().find_provider_model("claude-haiku-4-5", None, "anthropic", None)
    listed = {name: float(value) for name, value in vars(info.prices).items() if isinstance(value, Decimal)}
    assert (model.input, model.output) == (listed["input_mtok"], listed["output_mtok"])
    assert (model.cached_input, model.cache_write) == (listed["cache_read_mtok"], listed["cache_write_mtok"])
    assert model.source == f"genai-prices {package.__version__}, anthropic/claude-haiku-4-5"
    assert model.as_of is None or model.as_of <= date.today()
    assert (prices.traffic.queries_per_day, prices.traffic.days, prices.traffic.cache_hit_rate) == (100, 30, 1)
    assert any("no floor, step or lifetime" in remark for remark in prices.remarks)


def test_dearer_long_prompts_are_remarked_on():
    package = pytest.importorskip("genai_prices")
    snapshot = package.data_snapshot.get_snapshot()
    tiered = next(
        model
        for provider in snapshot.providers
        if provider.id == "google"
        for model in provider.models
        if hasattr(getattr(model.prices, "input_mtok", None), "tiers")
    )
    prices = read(f"genai:{tiered.id}", 1000)
    assert prices.file.model[0].input == float(tiered.prices.input_mtok.base)
    assert any("tokens and more cost more" in remark for remark in prices.remarks)


@pytest.mark.parametrize(
    ("comments", "day"),
    [
        ("Flex rates verified on 2026-10-12, batch rates on 2026-10-14; until 2099-12-31", date(2026, 10, 14)),
        ("ends on 2026-13-45", None),
        ("", None),
    ],
)
def test_the_newest_day_that_a_comment_names_is_when_somebody_looked(comments, day):
    assert genai._newest(comments) == day


@pytest.mark.parametrize(
    ("name", "queries", "message"), [("no-such-model", 9, "has no model"), ("x", None, "how many")]
)
def test_what_it_does_not_say_is_refused(name, queries, message):
    pytest.importorskip("genai_prices")
    with pytest.raises(CostError, match=message) as caught:
        read(f"genai:{name}", queries)
    assert caught.value.hint
