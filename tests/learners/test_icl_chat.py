"""In-context learning in turns, against `score` with the shots as turns: options mean what they mean in plain text."""

import math

import pytest

from peftbench.errors import ModelError
from peftbench.learners import icl
from peftbench.scoring.encoding import encode, layout_of, num_positions, num_tokens
from peftbench.scoring.layout import Shot
from peftbench.scoring.score import score
from peftbench.spec.cell import IclOptions, Scoring
from tests.chats import TEMPLATES, chat_backbone
from tests.learners.toy import ROWS, TEMPLATE

QUERIES = [TEMPLATE.render(row) for row in ROWS[6:]]
CHAT = Scoring(end="eos", chat=True)


def learn(backbone, num_shots=3, scoring=CHAT, **options):
    return icl.learn(backbone, TEMPLATE, icl.Icl((TEMPLATE,), tuple(ROWS[:num_shots]), IclOptions(**options)), scoring)


def pairs(num_shots):
    shots = [TEMPLATE.render(row) for row in ROWS[:num_shots]]
    return [Shot(shot.input, shot.target) for shot in shots]


def sums(scores):
    return [choice.log_prob for choices in scores.choices for choice in choices]


@pytest.fixture(scope="module", params=TEMPLATES)
def backbone(request):
    return chat_backbone(request.param)


def test_shots_are_turns_before_the_query(backbone):
    predictor = learn(backbone)
    found = predictor.score(QUERIES)
    assert sums(found) == pytest.approx(sums(score(backbone, QUERIES, CHAT, pairs(3))), abs=1e-5)
    before, without = predictor.before[0], layout_of(backbone, CHAT).before
    assert predictor.shot_bytes == len(before) - len(without) > 0
    assert predictor.shot_tokens == num_tokens(backbone, before) - num_tokens(backbone, without)
    assert learn(backbone, 0).shot_tokens == learn(backbone, 0).shot_bytes == 0


def test_an_ensemble_has_a_conversation_for_each_shot(backbone):
    single = [sums(score(backbone, QUERIES, CHAT, [pair])) for pair in pairs(3)]
    expected = [math.log(sum(map(math.exp, values)) / 3) for values in zip(*single, strict=True)]
    predictor = learn(backbone, ensemble="mean")
    assert sums(predictor.score(QUERIES)) == pytest.approx(expected, abs=1e-4)
    assert predictor.before == tuple(layout_of(backbone, CHAT, [pair]).before for pair in pairs(3))


def test_calibration_divides_by_a_conversation_without_content(backbone):
    found = learn(backbone, calibrate=True, content_free=("N/A",)).score(QUERIES)
    empty = [TEMPLATE.render(ROWS[6], "N/A")]
    prior = [choice.log_prob for choice in score(backbone, empty, CHAT, pairs(3)).choices[0]]
    for choices in found.choices:
        ranked = [choice.ranked["none"] for choice in choices]
        logits = [choice.log_prob - without for choice, without in zip(choices, prior, strict=True)]
        assert ranked[0] - ranked[1] == pytest.approx(logits[0] - logits[1], abs=1e-4)


def test_as_many_turns_are_taken_as_fit(backbone):
    longest = max(num_positions(backbone, tokens) for tokens in encode(backbone, QUERIES, CHAT, pairs(2)))
    limit, backbone.max_positions = backbone.max_positions, longest
    try:
        predictor = learn(backbone, 3, fit_shots=True)
        icl.fit([predictor], [QUERIES])
        assert predictor.num_shots == 2
        with pytest.raises(ModelError, match="3 shots and the longest query"):
            icl.fit([learn(backbone, 3)], [QUERIES])
    finally:
        backbone.max_positions = limit
