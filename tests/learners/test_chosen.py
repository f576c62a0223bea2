"""Shots of each query's own, against prompts written by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench import registry
from peftbench.errors import ModelError, TaskError
from peftbench.learners import icl
from peftbench.scoring.layout import Layout
from peftbench.scoring.score import score
from peftbench.selection import bm25
from peftbench.selection.base import Neighbours
from peftbench.spec.cell import IclOptions, Scoring
from peftbench.tasks.task import Row
from tests.learners.toy import RAGGED, ROWS, TEMPLATE, scoring
from tests.scoring.prompts import example
from tests.tiny import tiny_backbone

QUERIES = [TEMPLATE.render(each) for each in ROWS[6:9]]
TEXTS = [TEMPLATE.render(each).input for each in ROWS]
join = Layout().text


def learn(backbone, num_shots=3, rows=ROWS, template=TEMPLATE, **options):
    options = {"select": "bm25"} | options
    learner = icl.Icl((template,), tuple(rows), IclOptions(**options), num_chosen=num_shots)
    return icl.learn(backbone, template, learner, scoring(backbone))


def written(row, template=TEMPLATE):
    example = template.render(row)
    return join(example.input, example.target, example.joint)


def nearest(query, number, template=TEMPLATE, rows=ROWS):
    """The rows that bm25 finds, the nearest first."""
    texts = [template.render(each).input for each in rows]
    (places,) = Neighbours(bm25.index(texts, None), texts).nearest([query.input], number)
    return [rows[place] for place in places]


def by_hand(backbone, query, shots, input=None):
    """Score one query after shots; `input` stands in its place."""
    head = "".join(f"{written(shot)}\n\n" for shot in shots)
    return score(backbone, [example(head + (input or query.input), query.choices)], Scoring(end=scoring(backbone).end))


def sums(scores):
    return [choice.log_prob for choices in scores.choices for choice in choices]


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_each_query_stands_after_the_rows_most_like_it_the_nearest_last(family):
    backbone = tiny_backbone(family)
    predictor = learn(backbone)
    icl.fit([predictor], [QUERIES])
    found = predictor.score(QUERIES)
    expected = [by_hand(backbone, query, reversed(nearest(query, 3))) for query in QUERIES]
    assert sums(found) == pytest.approx([value for scores in expected for value in sums(scores)], abs=1e-4)
    assert [length.context for length in found.lengths] == [scores.lengths[0].context for scores in expected]
    assert len({tuple(row.id for row in nearest(query, 3)) for query in QUERIES}) == len(QUERIES)
    assert {length.shots for length in found.lengths} != {0}


@given(st.lists(st.sampled_from(["the cat", "The Cat", "the dog", "a cat", "rain"]), min_size=5, max_size=8))
@settings(max_examples=25, deadline=None)
def test_no_shot_has_the_text_of_its_query(texts):
    rows = [Row(number, {"text": text, "label": 0}, 0) for number, text in enumerate(texts)]
    predictor = learn(BACKBONE, 1, rows)
    for row in rows:
        others = [each for each in rows if each.fields["text"].casefold() != row.fields["text"].casefold()]
        query = TEMPLATE.render(Row(99, row.fields, 0))
        if not others:
            with pytest.raises(TaskError):
                predictor.shown(query)
        else:
            (shot,) = predictor.shown(query)
            assert shot.input.casefold() != query.input.casefold()


BACKBONE = tiny_backbone("gpt2")


@pytest.mark.parametrize("template", [TEMPLATE, RAGGED], ids=["fixed choices", "choices of the row"])
def test_calibration_divides_by_what_is_said_without_content_after_the_same_shots(template):
    queries = [template.render(each) for each in ROWS[6:9]]
    found = learn(BACKBONE, 2, template=template, calibrate=True, content_free=("N/A",)).score(queries)
    plain = learn(BACKBONE, 2, template=template).score(queries)
    for query, scores, calibrated in zip(queries, plain.choices, found.choices, strict=True):
        head = "".join(f"{written(shot, template)}\n\n" for shot in reversed(nearest(query, 2, template)))
        without = template.render(query.row, "N/A").input
        (empty,) = score(BACKBONE, [example(head + without, query.choices)], Scoring(end="none")).choices
        expected = [math.log(p / q) for p, q in zip(shares(scores), shares(empty), strict=True)]
        assert [choice.value() for choice in calibrated] == pytest.approx(expected, abs=1e-4)
    assert (len(found.once), len(found.lengths)) == (0, 2 * len(queries))


def shares(scores):
    values = [math.exp(score.value()) for score in scores]
    return [value / sum(values) for value in values]


def test_other_orders_and_labels_are_of_the_same_rows():
    (query,) = QUERIES[:1]
    predictors = [learn(BACKBONE, order=order) for order in range(6)]
    found = [[shot.input for shot in predictor.shown(query)] for predictor in predictors]
    assert len(set(map(tuple, found))) == 6
    assert {tuple(sorted(inputs)) for inputs in found} == {tuple(sorted(found[0]))}
    flipped = [shot.answer for shot in learn(BACKBONE, labels="flipped").shown(query)]
    gold = [TEMPLATE.render(row).target for row in reversed(nearest(query, 3))]
    assert all(a != b for a, b in zip(flipped, gold, strict=True))


def test_the_least_similar_shots_are_left_out_where_not_all_fit():
    backbone = tiny_backbone("gpt2")
    longest = max(length.total for length in learn(backbone, 2).score(QUERIES).lengths)
    backbone.max_positions = longest
    with pytest.raises(ModelError, match="3 shots and the longest query have") as error:
        icl.fit([learn(backbone, 3)], [QUERIES])
    assert "2 shots would fit: --shots 2" in error.value.hint
    predictor = learn(backbone, 3, fit_shots=True)
    icl.fit([predictor], [QUERIES])
    assert predictor.num_shots == 2
    assert [shot.input for shot in predictor.shown(QUERIES[0])] == [
        TEMPLATE.render(row).input for row in reversed(nearest(QUERIES[0], 2))
    ]


def test_rows_of_one_text_and_too_few_of_another_are_refused():
    same = [Row(number, ROWS[0].fields, 0) for number in range(3)]
    with pytest.raises(TaskError, match="all 3 training rows have the same text in template 'plain'"):
        learn(BACKBONE, 1, same).shown(QUERIES[0])
    with pytest.raises(TaskError, match="11 of 12 training rows have another text than row 7") as error:
        learn(BACKBONE, 12).shown(QUERIES[0])
    assert "--shots 11" in error.value.hint


def test_what_was_chosen_for_earlier_queries_is_let_go_of():
    predictor = learn(BACKBONE)
    for query in QUERIES:
        icl.fit([predictor], [[query]])
    assert len(predictor._chosen) == 1


@pytest.mark.parametrize("name", registry.SELECTORS)
def test_each_selector_is_one_by_its_name(name):
    assert registry.selector(name).name == name


def test_tokens_bytes_and_cuts_are_of_the_rows_that_are_kept():
    backbone = tiny_backbone("gpt2")
    predictor = learn(backbone)
    texts = [written(row) for row in ROWS]
    ids = backbone.tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert predictor.shot_tokens == sum(map(len, ids))
    assert predictor.shot_bytes == sum(len(text.encode()) for text in texts)
    learner = icl.Icl((TEMPLATE,), tuple(ROWS), IclOptions(select="bm25"), num_chosen=1)
    cut = icl.learn(backbone, TEMPLATE, learner, scoring(backbone, max_input_tokens=4))
    icl.fit([cut], [QUERIES[:1]])
    (row,) = nearest(QUERIES[0], 1)
    (whole,) = backbone.tokenizer([TEMPLATE.render(row).input], add_special_tokens=False)["input_ids"]
    assert cut.num_cut_tokens == len(whole) - 4
