import json
import math
import random

import pytest
from rich.console import Console

from peftbench import registry
from peftbench.report.evidence.advise import advise
from peftbench.report.formats import advise_text
from peftbench.report.notes import advice as notes
from peftbench.report.rows import names as row_names
from peftbench.report.rows.table import build
from tests.report.evidence.answered import curved
from tests.report.records import record, under

COSTS = {"inference_flops_per_example": 0, "training_flops": 1}


def row(method, share, *, each, once=0, cached=None, model="mini-gpt", shots=32, seeds=(0, 1), task="nli", n=200):
    """Records of one row: right answers by chance, and the costs that are given."""
    made = []
    for seed in seeds:
        one = record(method, model, task, shots=shots, seed=seed, num_examples=n, correct=(0, 0))
        # A stream of its own for each row; the same examples are hard for all of them.
        draws, hard = random.Random(f"{method}{shots}{seed}"), random.Random(task)
        right = [
            "".join("01"[0.6 * level + 0.4 * draws.random() < share] for level in [hard.random() for _ in range(n)])
            for _ in one.results
        ]
        results = [
            result.model_copy(update={"right": text, "num_correct": {"token": text.count("1")}})
            for result, text in zip(one.results, right, strict=True)
        ]
        values = {"inference_flops_per_example": each, "training_flops": once}
        if cached:
            values |= {"cached_inference_flops_per_example": cached[0], "cache_flops": cached[1]}
        costs = [one.costs[0].model_copy(update={"name": name, "value": value}) for name, value in values.items()]
        made.append(one.model_copy(update={"results": results, "costs": costs}))
    return made


def told(*rows, queries=100, score=None):
    (table,) = build([one for some in rows for one in some])
    return advise(table, queries, score)


def names(advice):
    choices = [(pick.model, pick.plain, pick.cached) for pick in advice.picks]
    return [(model, *(choice and row_names.title(choice.row) for choice in both)) for model, *both in choices]


ICL = row("ICL", 0.7, each=1000, cached=(20, 500))
IA3 = row("ia3", 0.7, each=10, once=50_000)
ZERO = row("ICL", 0.3, each=10, shots=0, seeds=(0,))


def test_totals_by_hand():
    choices = {one.row.method: one for one in told(ZERO, ICL, IA3, queries=100).choices}
    assert (choices["ICL"].flops, choices["ICL"].cached_flops) == (100_000, 2_500)
    assert (choices["ia3"].flops, choices["ia3"].cached_flops) == (51_000, None)
    assert choices["zero-shot"].flops == 1_000
    assert [one.row.method for one in told(ICL, IA3, ZERO, queries=1_000).choices] == ["zero-shot", "ia3", "ICL"]


def test_the_answer_turns_with_the_queries_at_the_break_even():
    # 50,000 / (1,000 - 10) = 50.5; cached (50,000 - 500) / (20 - 10) = 4,950
    found = {n: names(told(ZERO, ICL, IA3, queries=n, score=0.5))[0][1:] for n in (50, 51, 4_949, 4_951)}
    icl, ia3 = "ICL on mini-gpt", "ia3 on mini-gpt"
    assert found == {50: (icl, icl), 51: (ia3, icl), 4_949: (ia3, icl), 4_951: (ia3, ia3)}
    (one,) = told(ZERO, ICL, IA3).break_evens
    assert (one.plain, one.cached) == (51, 4_950)


def test_what_is_too_inaccurate_is_never_picked_however_cheap():
    advice = told(ZERO, ICL, IA3, score=0.5)
    assert {one.row.method: one.is_enough for one in advice.choices} == {"zero-shot": "no", "ICL": "yes", "ia3": "yes"}
    assert advice.choices[0].row.method == "zero-shot"
    assert names(advice)[0][1] != "zero-shot on mini-gpt"


def test_a_point_above_the_line_is_not_enough_where_its_interval_is_not():
    low, high = next(one.row.interval for one in told(ICL, IA3).choices if one.row.method == "ICL")
    advice = told(ICL, IA3, score=(low + high) / 2)
    assert {one.is_enough for one in advice.choices if one.row.method == "ICL"} == {"unclear"}
    advice = told(ICL, IA3, score=high + 0.001)
    assert {one.is_enough for one in advice.choices if one.row.method == "ICL"} == {"no"}
    assert any(
        text.startswith("unclear whether they reach") for text in notes.caveats(told(ICL, IA3, score=low + 0.01))
    )


def test_nothing_reaches_it_and_it_says_so():
    advice = told(ICL, IA3, score=0.95)
    assert names(advice) == [(None, None, None)]
    assert not advice.gaps
    assert list(advise_text.answers(advice)) == ["Cheapest over all: none of these is shown to be good enough."]


def test_without_a_score_what_is_shown_to_be_worse_than_the_best_is_out():
    advice = told(ZERO, row("ICL", 0.69, each=1000), row("ia3", 0.7, each=10, once=50_000))
    assert {one.row.method: one.is_enough for one in advice.choices} == {"zero-shot": "no", "ICL": "yes", "ia3": "yes"}
    assert advice.best.score == max(one.row.score for one in advice.choices)
    assert any("no proof" in text for text in notes.caveats(advice))


def test_zero_shot_needs_no_second_seed():
    advice = told(ZERO, ICL, IA3, score=0.1)
    assert advice.picks[0].plain.row.method == "zero-shot"
    assert advice.gaps == ()


def test_a_price_that_is_estimated_is_marked_and_said():
    guessed = [
        one.model_copy(update={"costs": [cost.model_copy(update={"kind": "estimated"}) for cost in one.costs]})
        for one in IA3
    ]
    for rows, is_said in (((ICL, guessed), True), ((ICL, IA3), False)):
        advice = told(*rows, score=0.5)
        assert any("by the paper's rule" in text for text in notes.caveats(advice)) is is_said
        assert ("(~5.1e4 FLOPs)" in next(advise_text.answers(advice))) is is_said


def test_a_row_whose_cost_nobody_knows_may_be_good_enough_and_is_said():
    """As those of a model behind a server that does not say how large it is."""
    served = row("ICL", 0.75, each=None, model="served:x")
    advice = told(ICL, IA3, served, score=0.5)
    assert names(advice)[0] == (None, "ia3 on mini-gpt", "ICL on mini-gpt")
    assert names(advice)[-1] == ("served:x", None, None)
    *_, line = advise_text.answers(advice)
    assert line == "Cheapest on served:x: nobody knows, as records do not say what those that are good enough cost."
    assert any("nobody knows the FLOPs of ICL on served:x" in text for text in notes.caveats(advice))
    assert not any("nobody knows" in text for text in notes.caveats(told(ICL, IA3, score=0.5)))


def test_each_model_has_an_answer_of_its_own():
    advice = told(ICL, IA3, row("ia3", 0.75, each=5, once=9_000_000, model="mini-t0"), score=0.5)
    assert names(advice) == [
        (None, "ia3 on mini-gpt", "ICL on mini-gpt"),
        ("mini-gpt", "ia3 on mini-gpt", "ICL on mini-gpt"),
        ("mini-t0", "ia3 on mini-t0", "ia3 on mini-t0"),
    ]
    assert any("different models" in text for text in notes.caveats(advice))


@pytest.mark.parametrize(
    ("rows", "reason", "command"),
    [
        ((ICL,), "no row was tuned", "peftbench tune --model mini-gpt --method ia3 --task PATH/nli.toml"),
        ((IA3,), "no row learns in context", "peftbench icl --model mini-gpt --shots 32 --task PATH/nli.toml"),
        (
            (ICL, row("ia3", 0.7, each=10, seeds=(0,))),
            "ia3 on mini-gpt has one seed: one draw of shots",
            "peftbench tune --model mini-gpt --method ia3 --task PATH/nli.toml --seeds 0,1,2,3,4",
        ),
        (
            (ICL, [record("ia3", "mini-gpt"), record("ia3", "mini-gpt", seed=1)]),
            "rows without a 95 % interval: records of schema version 1 do not say which examples are right",
            "peftbench tune --model mini-gpt --method ia3 --task PATH/nli.toml --seeds 0,1 --force",
        ),
    ],
)
def test_what_is_not_enough_evidence_names_what_to_run(rows, reason, command):
    # in the last case its tasks have another number of rows and so a table of their own
    tables = build([one for some in rows for one in some])
    found = [advise(table, 10, 0.5) for table in tables]
    assert any(reason in notes.lacking(one) and command in notes.run_next(one) for one in found)


def test_no_row_for_sure_and_some_perhaps_is_not_enough_evidence():
    low, high = next(one.row.interval for one in told(ICL, IA3).choices if one.row.method == "ICL")
    few = [row(name, 0.7, each=10, once=9, n=30) for name in ("ICL", "ia3")]
    advice = told(*few, score=(low + high) / 2)
    assert "no row is shown to be good enough, and some are not shown not to be" in notes.lacking(advice)


def test_the_text_fits_100_columns_and_answers_in_bold_words():
    text = advise_text.terminal([told(ZERO, ICL, IA3, score=0.5)], Console(width=100))
    assert max(map(len, text.splitlines())) <= 100
    assert "100 queries, at least 50.0 % accuracy" in text
    narrow = advise_text.terminal([told(ZERO, ICL, IA3, score=0.5)], Console(width=50))
    assert max(map(len, narrow.splitlines())) <= 50
    assert sum(line.startswith("method") for line in narrow.splitlines()) == 2
    answer = " ".join(text.split())
    assert (
        "Cheapest over all: ia3 on mini-gpt, 32 shots (5.1e4 FLOPs); where the shots' keys and values are cached,"
        in answer
    )
    assert "ICL on mini-gpt, 32 shots (2.5e3 FLOPs)." in answer


def test_not_enough_evidence_is_the_first_thing_it_says():
    first, second, *_ = advise_text.answers(told(ICL))
    assert first == "Not enough evidence: no row was tuned."
    assert second.startswith("Run next: peftbench tune ")


def test_json_holds_what_the_text_says():
    table = json.loads(json.dumps(advise_text.to_json([told(ZERO, ICL, IA3, score=0.5)]), allow_nan=False))
    (one,) = table["tables"]
    assert (table["schema_version"], one["num_queries"], one["has_enough_evidence"]) == (2, 100, True)
    assert one["cheapest"][0]["uncached"]["method"] == "ia3"
    assert one["cheapest"][0]["cached"]["cached_total_flops"] == 2_500
    assert one["break_evens"][0]["uncached_queries"] == 51


def test_a_mixture_of_tasks_decides_nothing():
    mixed = [one.model_copy(update={"task": one.task.model_copy(update={"family": "mixture"})}) for one in IA3]
    advice = told(mixed)
    assert notes.lacking(advice) == ["a mixture of tasks is there to start from, and the choice falls on a task"]
    assert (notes.run_next(advice), advice.picks[0].plain) == ([], None)


def test_json_says_what_is_lacking_and_what_to_run():
    (one,) = advise_text.to_json([told(ICL)])["tables"]
    assert (one["has_enough_evidence"], one["lacking"]) == (False, ["no row was tuned"])
    assert one["run_next"] == ["peftbench tune --model mini-gpt --method ia3 --task PATH/nli.toml"]


def priced(made, each, once=0):
    """The record with these costs of a query and of training."""
    values = {"inference_flops_per_example": each, "training_flops": once}
    costs = [made.costs[0].model_copy(update={"name": name, "value": value}) for name, value in values.items()]
    return made.model_copy(update={"costs": costs})


def of_metric(metric):
    """A dear ICL row that is nearly always right, and a cheap tuned one that guesses."""
    rows = (("ICL", 0.95, 1000), ("ia3", 0.1, 10))
    made = [
        priced(under(metric, record(method, seed=seed), share), each) for method, share, each in rows for seed in (0, 1)
    ]
    return build(made)[0]


@pytest.mark.parametrize("metric", registry.METRICS)
def test_the_score_of_any_metric_decides(metric):
    advice = advise(of_metric(metric), 10, 0.7)
    assert {choice.row.method: choice.is_enough for choice in advice.choices} == {"ICL": "yes", "ia3": "no"}
    unit, title = registry.metric(metric).unit, registry.metric(metric).title
    assert advise_text.question(advice) == f"10 queries, at least 70.0 {unit} {title}"
    text = advise_text.terminal([advice], Console(width=100))
    assert ("accuracy" in text) is ("accuracy" in title)
    without = advise(of_metric(metric), 10)
    assert {choice.row.method: choice.is_enough for choice in without.choices} == {"ICL": "yes", "ia3": "no"}
    assert f"({100 * without.best.score:.1f} {unit})" in advise_text.question(without)


def test_where_less_is_better_what_lies_below_is_enough(error):
    advice = advise(of_metric(error), 10, 0.3)
    assert {choice.row.method: choice.is_enough for choice in advice.choices} == {"ICL": "yes", "ia3": "no"}
    assert "at most 30.0 per cent error" in advise_text.question(advice)
    low, high = advice.choices[-1].row.interval
    assert {choice.is_enough for choice in advise(of_metric(error), 10, (low + high) / 2).choices} == {"unclear", "no"}
    assert advise(of_metric(error), 10).best.method == "ICL"


def right(num_right, seed):
    """A record of 200 examples of which the first ones are right."""
    text = "1" * num_right + "0" * (200 - num_right)
    made = record("ia3" if seed is None else "ICL", shots=32 if seed is None else seed, num_examples=200, correct=(0,))
    results = [made.results[0].model_copy(update={"right": text, "num_correct": {"token": num_right}})]
    return made.model_copy(update={"results": results, "costs": IA3[0].costs})


def test_the_best_row_is_not_compared_with_itself():
    # 4 of 200 examples decide: z = sqrt(4 / (1 - 4 / 200)), p = .043: enough for one row, and not for two
    advice = told([right(120, None)], [right(116, 16)])
    z = math.sqrt(4 / (1 - 4 / 200))
    assert math.erfc(z / math.sqrt(2)) < 0.05 < 2 * math.erfc(z / math.sqrt(2))
    assert {choice.row.method: choice.is_enough for choice in advice.choices} == {"ia3": "yes", "ICL": "no"}


def test_advice_says_where_learning_curves_cross():
    advice = advise(curved(), 100)
    (crossing,) = advice.crossings
    text = advise_text.terminal([advice], Console(width=100))
    assert f"from about {round(crossing.place)} examples on" in " ".join(text.split())
    (told_table,) = advise_text.to_json([advice])["tables"]
    (curves,) = told_table["learning_curves"]
    assert (curves["num_examples"], curves["ahead_from"]) == ([4, 16], crossing.place)
    never = advise_text.to_json([advise(curved(fewer=0.01), 100), told(row("ICL", 0.6, each=1))])["tables"]
    assert never[0]["learning_curves"][0]["ahead_from"] > 4
    assert never[1]["learning_curves"] == []
