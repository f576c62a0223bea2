"""Calibration by training rows, against arithmetic by hand and against prompts that are scored one by one."""

import math

import pytest

from peftbench.learners import icl
from peftbench.learners.calibration import PriorPredictor
from peftbench.scoring.ranking import NORMALIZATIONS, ChoiceScore, predict
from peftbench.scoring.score import Scores
from peftbench.scoring.work import Work
from peftbench.spec.cell import IclOptions
from tests.learners.toy import ROWS, TEMPLATE, scoring
from tests.tiny import tiny_backbone

SHOTS, READ, QUERIES = ROWS[:2], ROWS[2:6], [TEMPLATE.render(row) for row in ROWS[6:9]]


class Fixed:
    """Gives each input the probabilities that it is made with."""

    def __init__(self, probabilities):
        self._probabilities = probabilities

    def score(self, examples, progress=None):
        choices = [
            [ChoiceScore(2 * math.log(share), num_tokens=2, num_chars=1, num_bytes=1) for share in shares]
            for shares in (self._probabilities[example.input] for example in examples)
        ]
        return Scores(choices, [], Work())


def test_the_prior_is_the_mean_of_probabilities_over_the_rows():
    inputs = [TEMPLATE.render(row) for row in ROWS[:2]]
    query = QUERIES[0]
    model = Fixed({inputs[0].input: (0.9, 0.1), inputs[1].input: (0.5, 0.5), query.input: (0.6, 0.4)})
    (scores,) = PriorPredictor(model, inputs).score([query]).choices
    # prior (0.7, 0.3): 0.6 / 0.7 < 0.4 / 0.3, so that the second choice is the answer, which was the first one's
    assert [score.value() for score in scores] == pytest.approx([math.log(0.6 / 0.7), math.log(0.4 / 0.3)])
    assert predict(scores) == 1


def learn(backbone, **options):
    learner = icl.Icl((TEMPLATE,), tuple(SHOTS), IclOptions(**options), calibration_rows=tuple(READ))
    return icl.learn(backbone, TEMPLATE, learner, scoring(backbone))


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("options", [{}, {"ensemble": "mean"}])
def test_rows_stand_after_the_shots_as_queries_do(family, options):
    backbone = tiny_backbone(family)
    plain = learn(backbone, **options)
    calibrated = learn(backbone, calibrate=True, calibrate_by="batch", **options)
    icl.fit([calibrated], [QUERIES])
    found = calibrated.score(QUERIES)
    alone = [plain.score([TEMPLATE.render(row)]).choices[0] for row in READ]
    for scores, ranked in zip(plain.score(QUERIES).choices, found.choices, strict=True):
        for name in NORMALIZATIONS:
            prior = [sum(column) / len(READ) for column in zip(*(shares(row, name) for row in alone), strict=True)]
            expected = [math.log(p / q) for p, q in zip(shares(scores, name), prior, strict=True)]
            assert [choice.value(name) for choice in ranked] == pytest.approx(expected, abs=1e-4)
    num_prompts = 1 if not options else len(SHOTS)
    assert (len(found.lengths), len(found.once)) == (num_prompts * len(QUERIES), num_prompts * len(READ))


def shares(scores, name):
    values = [math.exp(score.value(name)) for score in scores]
    return [value / sum(values) for value in values]


def test_an_answer_hangs_on_no_other_query():
    backbone = tiny_backbone("gpt2")
    predictor = learn(backbone, calibrate=True, calibrate_by="batch")
    together = predictor.score(QUERIES).choices
    for query, scores in zip(QUERIES, together, strict=True):
        (alone,) = predictor.score([query]).choices
        assert [score.value() for score in alone] == pytest.approx([score.value() for score in scores], abs=1e-5)


def test_a_longer_row_than_all_queries_decides_how_many_shots_fit():
    backbone = tiny_backbone("gpt2")
    long = ROWS[2].__class__(90, {"text": " ".join(["the"] * 40), "label": 0}, 0)
    options = IclOptions(calibrate=True, calibrate_by="batch", fit_shots=True)
    numbers = []
    for rows in (READ, [*READ, long]):
        backbone.max_positions = 64
        learner = icl.Icl((TEMPLATE,), tuple(ROWS[:4]), options, calibration_rows=tuple(rows))
        predictor = icl.learn(backbone, TEMPLATE, learner, scoring(backbone))
        icl.fit([predictor], [QUERIES])
        numbers.append(predictor.num_shots)
    assert numbers[1] < numbers[0]
