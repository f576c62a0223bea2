"""Money in words: what decides, and what amounts must not be read without."""

from datetime import date

import pytest

from peftbench.report.evidence.money import of_rows
from peftbench.report.notes import money as notes
from peftbench.report.rows.table import build
from tests.costs.prices.files import API, H100, HAIKU, MONTH, ON_H100
from tests.report.priced import prices, with_tokens
from tests.report.records import record

UNMEASURED = {name: value for name, value in H100.items() if name != "sustained_flops"}


@pytest.fixture
def priced(tmp_path):
    def of(shots=41, with_tuned=True, **changes):
        made = [with_tokens(record(shots=shots))]
        made += [with_tokens(record("ia3", training_flops=10**15))] if with_tuned else []
        (built,) = build(made)
        return of_rows(built.rows, prices(tmp_path, **changes))

    return of


def test_hosting_is_the_line_that_decides(priced):
    (line,) = notes.hosting(priced().money)
    assert line.startswith("hosting: keeping 'one H100' up for 30 days costs 2,059 USD, training 0.39 USD, 0.019% of")
    assert line.endswith("paid whether anybody asks or not")


def test_a_break_even_is_told_in_queries_and_in_queries_a_day(priced):
    (line,) = list(notes.decisive(priced(model=[HAIKU])))[1:]
    # (2,059.20 + 0.3864) / 0.004131 = 498,568.5; / 30 = 16,618.9
    assert line == (
        "ia3 on mini-gpt, 32 shots (one H100; api) costs no more than ICL on mini-gpt, 41 shots (haiku) "
        "from 498,569 queries in 30 days (16,619 a day) on"
    )


def test_what_never_pays_is_said(priced):
    lines = notes.decisive(priced(model=[], hosting=[UNMEASURED], training=[API]))
    assert "(one H100; api) costs more than ICL on mini-gpt, 41 shots (one H100) for any number" in "\n".join(lines)


@pytest.mark.parametrize(("today", "is_old"), [(date(2026, 8, 5), False), (date(2026, 8, 6), True)])
def test_prices_of_more_than_ninety_days_are_remarked_on(priced, today, is_old):
    lines = list(notes.remarks(priced(hosting=[H100], training=[ON_H100]).money, today))
    remark = "prices of 'one H100' are of 2026-05-07, 91 days ago: look again"
    assert (remark in lines) is is_old


def test_what_is_not_cached_says_why_once_for_each_model(priced):
    lines = list(notes.remarks(priced().money))
    assert [line for line in lines if "cached" in line] == [
        "not cached: 'haiku' caches from 4,096 tokens on, and the shots have 4,018"
    ]
    assert not [line for line in notes.remarks(priced(shots=42).money) if "not cached" in line]


def test_a_cache_that_nobody_finds_costs_more(priced):
    lines = list(notes.remarks(priced(shots=42, workload=MONTH | {"cache_hit_rate": 0.1}).money))
    assert "'haiku': caching costs more than it saves here, as too few prompts find it" in lines


def test_unmeasured_tokenizers_and_machines_are_said(priced):
    lines = "\n".join(notes.remarks(priced(hosting=[UNMEASURED]).money))
    assert "nobody measured tokens_per_our_token: 'mini', 'haiku'" in lines
    assert "one 'one H100' is taken to answer all queries: nobody measured the sustained_flops" in lines
    assert "no total: nobody measured the sustained_flops of 'one H100'" in lines


def test_more_machines_than_one_are_said(priced):
    lines = "\n".join(notes.remarks(priced(hosting=[H100 | {"sustained_flops": 1e7}]).money))
    assert "of 'one H100' answer so many queries" in lines


def test_scores_are_not_those_of_the_model_that_is_priced(priced):
    assert any("scores are those of mini-gpt and not of these" in line for line in notes.doubts(priced()))
    own = [HAIKU | {"name": "mini-gpt"}]
    assert not any("scores" in line for line in notes.doubts(priced(model=own)))


def test_a_pair_of_rows_in_one_sentence(priced):
    assert notes.pair(priced()) == (
        "In money, for 1,000,000 queries in 30 days: ICL on mini-gpt, 41 shots costs 461.20 USD (mini; shots cached); "
        "ia3 on mini-gpt, 32 shots costs 2,060 USD (one H100; api), of which 2,059 USD is hosting."
    )


def test_the_cheapest_is_named_with_its_offer(priced):
    assert notes.cheapest(priced(), [0, 1]) == (
        "Cheapest in money: ICL on mini-gpt, 41 shots (461.20 USD, mini; shots cached)."
    )
    assert "none of these has a price" in notes.cheapest(priced(), [])


def test_each_source_stands_with_its_date(priced):
    lines = list(notes.conventions(priced().money))
    assert lines[0].startswith("money, kind priced, USD")
    assert "price of haiku: https://example.org/prices, as of 2026-10-14" in lines
