"""In-context learning against prompts written by hand."""

import pytest
from tokenizers import normalizers

from peftbench.errors import ModelError
from peftbench.learners import icl
from peftbench.scoring.score import score
from peftbench.spec.cell import IclOptions, Scoring
from peftbench.tasks.template import Template
from tests.learners.toy import RAGGED, ROWS, TEMPLATE, row, scoring
from tests.scoring.prompts import example
from tests.tiny import tiny_backbone

WORDY = Template("wordy", 1, "{{text}}" + " does it follow or not" * 3 + " ||| {{choice}}", ["no", "yes"], "label")
QUERIES = [TEMPLATE.render(each) for each in ROWS[6:]]


def learn(backbone, num_shots, *, template=TEMPLATE, fit_shots=False, rows=ROWS, **settings):
    learner = icl.Icl((template,), tuple(rows[:num_shots]), IclOptions(fit_shots=fit_shots))
    return icl.learn(backbone, template, learner, scoring(backbone, **settings))


def fitted(predictor, queries=QUERIES):
    icl.fit([predictor], [queries])
    return predictor


def sums(scores):
    return [choice.log_prob for choices in scores.choices for choice in choices]


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_shots_stand_before_the_query_with_their_answers(family):
    backbone = tiny_backbone(family)
    rule = scoring(backbone)
    first, second = ROWS[0].fields["text"], ROWS[1].fields["text"]
    head = f"{first}\nyes or no? negative##{second}\nyes or no? positive##"
    by_hand = [example(head + query.input, query.choices) for query in QUERIES]
    expected = score(backbone, by_hand, Scoring(end=rule.end, separator="##"))
    found = learn(backbone, 2, separator="##").score(QUERIES)
    assert sums(found) == pytest.approx(sums(expected), abs=1e-4)


def test_no_shots_is_the_bare_query():
    backbone = tiny_backbone("gpt2")
    predictor = learn(backbone, 0)
    expected = score(backbone, [example(q.input, q.choices) for q in QUERIES], Scoring(end="none", separator="\n\n"))
    assert sums(predictor.score(QUERIES)) == pytest.approx(sums(expected), abs=1e-4)
    assert (predictor.num_shots, predictor.shot_tokens) == (0, 0)


def test_choices_may_differ_in_number():
    predictor = learn(tiny_backbone("gpt2"), 4, template=RAGGED)
    scores = predictor.score([RAGGED.render(each) for each in ROWS])
    assert [len(choices) for choices in scores.choices] == [3 if each.fields["more"] else 2 for each in ROWS]


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
def test_shot_tokens_are_what_the_shots_add_to_each_context(family):
    backbone = tiny_backbone(family)
    with_shots, without = learn(backbone, 3), learn(backbone, 0)
    pairs = zip(with_shots.score(QUERIES).lengths, without.score(QUERIES).lengths, strict=True)
    assert {shot.context - bare.context for shot, bare in pairs} == {with_shots.shot_tokens}


def test_too_many_shots_are_an_error_that_says_how_many_fit():
    backbone = tiny_backbone("gpt2")
    rows = [row(number) for number in range(100)]
    with pytest.raises(ModelError, match=r"100 shots and the longest query have .* takes 512") as error:
        fitted(learn(backbone, 100, rows=rows))
    num_fit = int(error.value.hint.split(" shots would fit")[0])
    fitted(learn(backbone, num_fit, rows=rows)).score(QUERIES)
    with pytest.raises(ModelError, match=f"{num_fit + 1} shots"):
        fitted(learn(backbone, num_fit + 1, rows=rows))


def test_fit_shots_takes_the_first_ones_that_fit():
    backbone = tiny_backbone("gpt2")
    rows = [row(number) for number in range(100)]
    shortened = fitted(learn(backbone, 100, rows=rows, fit_shots=True))
    assert 0 < shortened.num_shots < 100
    short = learn(backbone, shortened.num_shots, rows=rows)
    assert sums(shortened.score(QUERIES)) == pytest.approx(sums(short.score(QUERIES)))
    assert shortened.shot_tokens == short.shot_tokens


def test_shots_fit_at_every_length_around_the_limit():
    backbone = tiny_backbone("gpt2")
    needed = max(length.context + max(length.choices) for length in learn(backbone, 3).score(QUERIES).lengths)
    backbone.max_positions = needed
    fitted(learn(backbone, 3)).score(QUERIES)
    shortened = fitted(learn(backbone, 6, fit_shots=True))
    shortened.score(QUERIES)
    assert shortened.num_shots == 3
    backbone.max_positions = needed - 1
    with pytest.raises(ModelError, match=f"3 shots and the longest query have {needed} tokens"):
        fitted(learn(backbone, 3))


def test_shots_must_fit_under_every_template_and_the_hint_says_how_many_do():
    backbone, rows = tiny_backbone("gpt2"), [row(number) for number in range(100)]
    templates = [TEMPLATE, WORDY]
    queries = [[template.render(each) for each in ROWS[6:]] for template in templates]
    with pytest.raises(ModelError, match=r"100 shots .* in template 'wordy'") as error:
        icl.fit([learn(backbone, 100, rows=rows, template=template) for template in templates], queries)
    num_fit = int(error.value.hint.split(" shots would fit")[0])
    icl.fit([learn(backbone, num_fit, rows=rows, template=template) for template in templates], queries)
    with pytest.raises(ModelError, match=f"{num_fit + 1} shots .* in template 'wordy'"):
        icl.fit([learn(backbone, num_fit + 1, rows=rows, template=template) for template in templates], queries)


def test_with_fit_shots_each_template_takes_as_many_as_it_would_alone():
    backbone, rows = tiny_backbone("gpt2"), [row(number) for number in range(100)]
    templates = [TEMPLATE, WORDY]
    queries = [[template.render(each) for each in ROWS[6:]] for template in templates]
    alone = [learn(backbone, 100, rows=rows, template=template, fit_shots=True) for template in templates]
    expected = [sums(fitted(predictor, some).score(some)) for predictor, some in zip(alone, queries, strict=True)]
    together = [learn(backbone, 100, rows=rows, template=template, fit_shots=True) for template in templates]
    icl.fit(together, queries)
    assert [predictor.num_shots for predictor in together] == [predictor.num_shots for predictor in alone]
    assert together[0].num_shots > together[1].num_shots > 0
    assert [sums(predictor.score(some)) for predictor, some in zip(together, queries, strict=True)] == expected


def test_choices_of_every_template_are_checked_before_any_is_scored():
    backbone = tiny_backbone("gpt2")
    backbone.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("!", "")
    same = Template("same", 2, "{{text}} ||| {{choice}}", ["yes", "yes!"], "label")
    templates = [TEMPLATE, same]
    queries = [[template.render(each) for each in ROWS[6:]] for template in templates]
    with pytest.raises(ModelError, match="answer choice 'yes!' has the same tokens"):
        icl.fit([learn(backbone, 2, template=template) for template in templates], queries)


def test_a_query_that_does_not_fit_alone_is_an_error_even_with_fit_shots():
    backbone = tiny_backbone("gpt2")
    backbone.max_positions = 4
    with pytest.raises(ModelError) as error:
        fitted(learn(backbone, 2, fit_shots=True))
    assert "not even the query" in error.value.hint


def test_inputs_are_cut_and_counted():
    backbone = tiny_backbone("gpt2")
    predictor = learn(backbone, 2, max_input_tokens=4)
    tokens = [len(backbone.tokenizer(TEMPLATE.render(each).input).input_ids) for each in ROWS]
    assert predictor.num_cut_tokens == sum(tokens[:2]) - 2 * 4
    scores = predictor.score(QUERIES)
    assert scores.work.cut_tokens == sum(tokens[6:]) - len(QUERIES) * 4
    assert {length.context - predictor.shot_tokens for length in scores.lengths} == {4}


def test_progress_counts_every_query():
    done = []
    learn(tiny_backbone("llama"), 1).score(QUERIES, done.append)
    assert sum(done) == len(QUERIES)
