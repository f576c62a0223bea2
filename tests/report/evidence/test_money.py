"""The money of rows, by the tokens that records tell of."""

import pytest

from peftbench.report.evidence import money
from peftbench.report.evidence.decide import decide
from peftbench.report.rows.table import build
from peftbench.store.record import Cost
from tests.report.evidence.answered import answered, cases, table
from tests.report.priced import prices, with_tokens
from tests.report.records import record


@pytest.fixture
def given(tmp_path):
    return prices(tmp_path)


def rows(*records):
    (built,) = build(records)
    return built.rows


def row(made):
    return rows(made)[0]


def test_the_tokens_behind_a_records_costs_are_found_again():
    needed = money.demand(row(with_tokens(record(shots=41))))
    assert (needed.use, needed.num_prompts, needed.is_shared) == ("icl", 1, True)
    assert (needed.shot_tokens, needed.input_tokens) == (pytest.approx(4018), pytest.approx(103))
    assert (needed.choice_tokens, needed.num_choices) == (pytest.approx(4), 2)


def test_what_is_tuned_is_trained_on_so_many_examples():
    needed = money.demand(row(with_tokens(record("ia3", training_flops=10**15))))
    assert (needed.use, needed.shot_tokens) == ("tuned", 0)
    assert needed.num_examples == pytest.approx(8000)
    assert needed.training_flops == 3 * 2_810_000 * 8000 * 107  # no count: by the rule


def test_a_decoders_last_tokens_are_tokens_too():
    made = with_tokens(record(shots=0))
    decoder = made.model_copy(
        update={
            "model": made.model.model_copy(update={"is_encoder_decoder": False}),
            "costs": [cost.model_copy(update={"value": 2 * (cost.value or 0)}) for cost in made.costs],
            "work": {"scoring_choice_tokens": made.work["scoring_choice_tokens"] // 2},  # one token of two is fed
        }
    )
    needed = money.demand(row(decoder))
    assert (needed.input_tokens, needed.choice_tokens) == (pytest.approx(103), pytest.approx(4))


def test_an_ensemble_has_a_prompt_for_each_shot():
    made = with_tokens(record(shots=5, icl={"ensemble": "mean"}))
    needed = money.demand(row(made))
    assert (needed.num_prompts, needed.shot_tokens) == (5, pytest.approx(490))


@pytest.mark.parametrize(
    ("options", "once", "prompts"), [({}, True, 1), ({}, False, 3), ({"calibrate_by": "batch"}, False, 1)]
)
def test_calibration_of_each_query_takes_prompts_of_its_own(options, once, prompts):
    made = with_tokens(record(shots=5, icl={"calibrate": True} | options))
    flops = Cost(name="calibration_flops", value=1, unit="FLOPs", kind="counted", convention="c")
    made = made.model_copy(update={"costs": [*made.costs, flops]}) if once else made
    assert money.demand(row(made)).num_prompts == prompts


def test_shots_of_their_own_are_input():
    made = with_tokens(record(shots=5))
    learned = made.learned.model_copy(update={"chosen_from": 40})
    needed = money.demand(row(made.model_copy(update={"learned": learned})))
    assert (needed.is_shared, needed.shot_tokens, needed.input_tokens) == (False, 0, pytest.approx(5 * 98 + 103))


def test_what_records_do_not_say_has_no_price(given):
    without = record(shots=5)
    assert money.demand(row(without)) is None
    for options in ({"as_prefix": True}, {"attention": "block", "block_shots": 2}):
        assert money.demand(row(with_tokens(record(shots=5, icl=options)))) is None
    assert money.of_rows(rows(without), given).money.unpriced == (0,)


def test_means_are_over_tasks():
    few, many = with_tokens(record(task="a"), shots=10), with_tokens(record(task="b"), shots=30)
    assert money.demand(row(few)).shot_tokens == pytest.approx(980)
    (both,) = build([few, many])
    assert money.demand(both.rows[0]).shot_tokens == pytest.approx(1960)


def test_rows_cost_what_their_prompts_cost(given):
    priced = money.of_rows(
        rows(with_tokens(record(shots=41)), with_tokens(record("ia3", training_flops=10**15))), given
    )
    totals = {(priced.row(quote).method, quote.offer.title): quote.total for quote in priced.money.quotes}
    assert totals["ICL", "haiku"] == pytest.approx(4121 + 10)
    assert totals["ICL", "mini; shots cached"] == pytest.approx(458.00 + 3.20, abs=0.005)
    assert totals["ia3", "one H100; api"] == pytest.approx(2059.20 + 0.3864)
    assert len(priced.shown) == 3  # the cheapest of ICL, plain and cached, and that of (IA)^3
    (point,) = priced.points
    assert (priced.row(point.tuned).method, point.prompted.offer.title) == ("ia3", "mini; shots cached")


def test_a_decision_has_the_money_of_its_best_two(given):
    built, labels = cases()["tune"]
    records = [with_tokens(made) for of_row in built.rows for made in of_row.records]
    decision = decide(table(*records), 100, labels)
    priced = money.of_decision(decision, given)
    assert priced.rows == (decision.prompted.row, decision.tuned.row)
    assert len(priced.points) == 2 * len(priced.money.of(0))


def test_a_decision_without_a_tuned_row_has_no_points(given):
    decision = decide(table(with_tokens(answered("ICL", [1, 0] * 20))), 100, [0, 1] * 20)
    assert money.of_decision(decision, given).points == ()
