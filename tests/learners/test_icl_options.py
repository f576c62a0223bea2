"""Other ways to prompt, against prompts written by hand and arithmetic of one's own."""

import math
from dataclasses import replace

import pytest

from peftbench.adapters import saved
from peftbench.errors import MethodError, ModelError, TaskError
from peftbench.learners import icl
from peftbench.learners.shots_as_prefix import PrefixPredictor
from peftbench.scoring.layout import Layout
from peftbench.scoring.ranking import NORMALIZATIONS, predict
from peftbench.scoring.score import score
from peftbench.spec.cell import IclOptions, Scoring
from peftbench.tasks.template import Template
from tests.learners.toy import RAGGED, ROWS, TEMPLATE, row, scoring
from tests.scoring.prompts import example
from tests.tiny import tiny_backbone

join = Layout().text

QUERIES = [TEMPLATE.render(each) for each in ROWS[6:]]
RULE = Scoring(end="none")


@pytest.fixture(scope="module")
def gpt2():
    return tiny_backbone("gpt2")


def learn(backbone, num_shots=3, template=TEMPLATE, seed=0, **options):
    return prompt(backbone, ROWS[:num_shots], template, seed, **options)


def prompt(backbone, shots, template=TEMPLATE, seed=0, cache=True, **options):
    learner = icl.Icl((template,), tuple(shots), IclOptions(**options), seed)
    return icl.learn(backbone, template, learner, scoring(backbone, cache=cache))


def sums(scores):
    return [choice.log_prob for choices in scores.choices for choice in choices]


def by_hand(backbone, texts, queries=QUERIES):
    head = "".join(f"{text}\n\n" for text in texts)
    return score(backbone, [example(head + query.input, query.choices) for query in queries], RULE)


def shown(row, label):
    example = TEMPLATE.render(row)
    return f"{example.input} {example.choices[label]}"


def test_flipped_labels_are_never_right(gpt2):
    expected = by_hand(gpt2, [shown(each, 1 - each.label) for each in ROWS[:3]])
    assert sums(learn(gpt2, labels="flipped").score(QUERIES)) == pytest.approx(sums(expected), abs=1e-4)


def test_another_order_holds_the_same_shots(gpt2):
    texts = [shown(each, each.label) for each in ROWS[:3]]
    predictors = [learn(gpt2, order=order) for order in range(6)]
    found = [[join(shot.input, shot.answer) for shot in predictor.shown()] for predictor in predictors]
    assert len(set(map(tuple, found))) == 6
    assert {tuple(sorted(shots)) for shots in found} == {tuple(sorted(texts))}
    assert found[0] == texts
    last = found[4]
    assert sums(predictors[4].score(QUERIES)) == pytest.approx(sums(by_hand(gpt2, last)), abs=1e-4)


def test_the_mean_of_an_ensemble_is_that_of_probabilities(gpt2):
    single = [sums(by_hand(gpt2, [shown(each, each.label)])) for each in ROWS[:3]]
    expected = [math.log(sum(map(math.exp, values)) / 3) for values in zip(*single, strict=True)]
    predictor = learn(gpt2, ensemble="mean")
    found = predictor.score(QUERIES)
    assert sums(found) == pytest.approx(expected, abs=1e-4)
    assert len(found.lengths) == 3 * len(QUERIES)
    assert sum(length.shots for length in found.lengths) == len(QUERIES) * predictor.shot_tokens


def test_an_ensemble_votes_as_its_one_shot_prompts_answer(gpt2):
    single = [by_hand(gpt2, [shown(each, each.label)]) for each in ROWS[:3]]
    found = learn(gpt2, ensemble="vote").score(QUERIES)
    for name in NORMALIZATIONS:
        for index, choices in enumerate(found.choices):
            answers = [predict(scores.choices[index], name) for scores in single]
            assert [choice.value(name) for choice in choices] == [answers.count(0), answers.count(1)]


@pytest.mark.parametrize("template", [TEMPLATE, RAGGED], ids=["fixed choices", "choices of the row"])
def test_calibration_divides_by_what_is_said_without_content(gpt2, template):
    queries = [template.render(each) for each in ROWS[6:9]]
    predictor = learn(gpt2, 1, template=template, calibrate=True, content_free=("N/A", "xyz"))
    found = predictor.score(queries)
    plain = learn(gpt2, 1, template=template).score(queries)
    for query, scores, calibrated in zip(queries, plain.choices, found.choices, strict=True):
        texts = [query.input.replace(query.row.fields["text"], text) for text in ("N/A", "xyz")]
        empty = learn(gpt2, 1, template=template).score([type(query)(0, text, query.choices, 0) for text in texts])
        for name in NORMALIZATIONS:
            prior = [sum(column) / 2 for column in zip(*(shares(each, name) for each in empty.choices), strict=True)]
            expected = [math.log(p / q) for p, q in zip(shares(scores, name), prior, strict=True)]
            assert [choice.value(name) for choice in calibrated] == pytest.approx(expected, abs=1e-4)
    assert (len(found.once), len(found.lengths)) == ((2, 3) if template is TEMPLATE else (0, 3 + 4))


def shares(scores, name):
    values = [math.exp(score.value(name)) for score in scores]
    return [value / sum(values) for value in values]


def test_without_content_there_must_be_something_to_read(gpt2):
    bare = Template("bare", 0, "{{text}} ||| {{choice}}", ["no", "yes"], "label")
    predictor = prompt(gpt2, ROWS[:1], bare, calibrate=True, content_free=("N/A", ""))
    with pytest.raises(TaskError, match="template 'bare' gives an empty input for the content-free text ''") as error:
        icl.fit([predictor], [[bare.render(each) for each in ROWS[6:]]])
    assert "--content-free 'N/A'" in error.value.hint


@pytest.mark.parametrize("options", [{}, {"calibrate": True}, {"ensemble": "vote"}, {"as_prefix": True}])
def test_choices_that_read_alike_are_refused_however_one_prompts(gpt2, options):
    alike = replace(QUERIES[0], choices=("yes", "yes"))
    with pytest.raises(ModelError, match="same tokens"):
        learn(gpt2, **options).check_choices([*QUERIES, alike])


def test_a_shot_that_does_not_fit_is_an_error_in_an_ensemble_even_with_fit_shots():
    backbone = tiny_backbone("gpt2")
    backbone.max_positions = 30
    predictor = learn(backbone, ensemble="vote", fit_shots=True)
    with pytest.raises(ModelError, match=r"1 shot and the longest query have .* takes 30") as error:
        icl.fit([predictor], [QUERIES])
    assert "not even one shot fits" in error.value.hint


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gpt_neox", "bloom", "gemma", "phi3", "opt"])
@pytest.mark.parametrize("cache", [True, False])
def test_shots_saved_as_a_prefix_answer_as_the_prompt_does(family, cache, tmp_path):
    backbone = tiny_backbone(family)
    expected = prompt(backbone, ROWS[:4], cache=cache).score(QUERIES)
    predictor = prompt(backbone, ROWS[:4], cache=cache, as_prefix=True)
    icl.fit([predictor], [QUERIES])
    found = predictor.score(QUERIES)
    assert sums(found) == pytest.approx(sums(expected), abs=1e-4)
    assert [length.context for length in found.lengths] == [length.context for length in expected.lengths]
    predictor.write(tmp_path / "adapter", {})
    saved.load(tmp_path / "adapter", backbone)
    loaded = score(backbone, QUERIES, Scoring(end="none", cache=cache))
    assert sums(loaded) == pytest.approx(sums(expected), abs=1e-4)
    limit, num_keys = backbone.max_positions, predictor.config.num_virtual_tokens
    backbone.detach_all()
    assert (backbone.max_positions, backbone.num_positions_before) == (limit and limit + num_keys, 0)


@pytest.mark.parametrize(("family", "why"), [("t5", "its encoder"), ("mistral", "a window")])
def test_a_prefix_with_positions_needs_causal_attention_to_all_of_them(family, why):
    backbone = tiny_backbone(family)
    with pytest.raises(MethodError, match=why):
        prompt(backbone, ROWS[:2], as_prefix=True)


def test_a_prefix_leaves_no_more_positions_than_the_prompt_does():
    backbone = tiny_backbone("gpt2")
    rows = [row(number) for number in range(100)]
    predictor = prompt(backbone, rows, as_prefix=True)
    with pytest.raises(ModelError, match="100 shots and the longest query have"):
        icl.fit([predictor], [QUERIES])
    assert isinstance(predictor, PrefixPredictor)


class Described(Template):
    """A template with a line before everything, that makes nothing of every third row."""

    description = "Answer.\n\n"

    def reads(self, row):
        return row.id % 3 > 0

    def render(self, row, content=None):
        plain = super().render(row, content)
        return replace(plain, input=self.description + plain.input)


DESCRIBED = Described(TEMPLATE.name, 0, TEMPLATE.text, TEMPLATE.choices, "label")


@pytest.mark.parametrize("options", [{}, {"ensemble": "mean"}, {"calibrate": True}, {"as_prefix": True}])
def test_a_description_stands_once_before_the_shots_and_unread_shots_are_left_out(gpt2, options):
    predictor = prompt(gpt2, ROWS[:3], DESCRIBED, **options)
    icl.fit([predictor], [QUERIES])
    shots = [TEMPLATE.render(ROWS[number]) for number in (1, 2)]
    texts = [f"{shot.input} {shot.target}\n\n" for shot in shots]
    heads = [f"Answer.\n\n{text}" for text in texts] if "ensemble" in options else [f"Answer.\n\n{''.join(texts)}"]
    scores = [score(gpt2, [replace(each, input=head + each.input) for each in QUERIES], RULE) for head in heads]
    expected = [
        sum(math.exp(value) for value in values) / len(heads) for values in zip(*map(sums, scores), strict=True)
    ]
    assert [math.exp(value) for value in sums(predictor.score(QUERIES))] == pytest.approx(expected, abs=1e-6)
    assert predictor.num_shots == 2


def test_without_shots_a_description_stands_before_the_query(gpt2):
    queries = [DESCRIBED.render(each) for each in ROWS[6:]]
    expected = score(gpt2, [replace(each, input=f"Answer.\n\n{each.input}") for each in QUERIES], RULE)
    assert sums(prompt(gpt2, [], DESCRIBED).score(queries)) == pytest.approx(sums(expected), abs=1e-6)
