"""PET against its equations, against transformers' own model, and against tuning by one pattern."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from peftbench import registry
from peftbench.errors import MethodError, TaskError
from peftbench.learners import pet, tune
from peftbench.learners.pet import Config, Pet
from peftbench.scoring.ranking import ChoiceScore, mean_score, predict
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring, Training
from peftbench.tasks.template import Template
from tests.learners.toy import ROWS
from tests.scoring.test_cloze import MASK, logits_at_mask, token_of
from tests.tiny import ENCODERS, tiny_backbone

PLAIN = Scoring(end="none")
WORDS = ["no", "yes"]
PATTERNS = (
    Template("inside", 0, "the answer [[answer]] does follow {{text}} ||| {{choice}}", WORDS, "label"),
    Template("behind", 3, "{{text}} true or false? ||| {{choice}}", ["that", "yes"], "label"),
)
SHOTS = ROWS[:4]
TRAINING = {"num_steps": 3, "batch_size": 4, "lr": 0.01, "scale_parameter": False}


def of(method="full", patterns=PATTERNS, training=(), **settings):
    """PET of the toy task's first rows."""
    examples = list(map(list, zip(*(pet.render(pattern, SHOTS) for pattern in patterns), strict=True)))
    training = Training(**pet.LOSSES | TRAINING | dict(training))
    tuning = tune.Tuning(method, registry.method(method).Config(), training, examples)
    return Pet(Config(method=method, **settings), tuning, patterns)


def scores_of(*values):
    return [ChoiceScore(value, num_tokens=1, num_chars=2, num_bytes=3) for value in values]


def test_the_mean_is_of_scores_and_then_one_distribution():
    members = [scores_of(-1, -3), scores_of(-2, -2)]
    uniform, weighted = mean_score(members, [1, 1]), mean_score(members, [0.75, 0.25])
    assert [choice.log_prob for choice in uniform] == pytest.approx(
        [-math.log1p(math.exp(-1)), -math.log1p(math.exp(1))]
    )
    assert [choice.log_prob for choice in weighted] == pytest.approx(
        [-math.log1p(math.exp(-1.5)), -math.log1p(math.exp(1.5))]
    )
    assert {choice.value(name) for choice in uniform[:1] for name in ("token", "char", "byte", "none")} == {
        uniform[0].log_prob
    }
    long = [ChoiceScore(-6, num_tokens=2, num_chars=9, num_bytes=9), ChoiceScore(-4, 1, 1, 1)]
    assert predict(mean_score([long], [1])) == 0  # -3 a token


def test_the_mean_of_log_probabilities_is_that_of_raw_logits():
    torch.manual_seed(0)
    logits, weights, words = 5 * torch.randn(3, 50), [1.0, 0.5, 0.25], [4, 7, 9]
    members = [scores_of(*of_model.log_softmax(0)[words].tolist()) for of_model in logits]
    raw = (torch.tensor(weights)[:, None] * logits[:, words]).sum(0) / sum(weights)
    assert [choice.log_prob for choice in mean_score(members, weights)] == pytest.approx(
        raw.log_softmax(0).tolist(), abs=1e-5
    )


@pytest.mark.parametrize("family", ENCODERS)
def test_the_loss_is_cross_entropy_over_the_label_words_logits(family):
    backbone = tiny_backbone(family)
    expected = []
    for pattern in PATTERNS:
        words = [token_of(backbone, word) for word in pattern.choices]
        texts = [example.input.replace("[[answer]]", MASK) for example in pet.render(pattern, SHOTS)]
        texts = [text if MASK in text else f"{text} {MASK}" for text in texts]
        logits = torch.stack([logits_at_mask(backbone, text)[words] for text in texts])
        expected.append(cross_entropy(logits, torch.tensor([row.label for row in SHOTS])).item())
    learned = pet.learn(of(repetitions=1, training={"num_steps": 1}), backbone, PLAIN)
    assert [trained.log[0]["loss"] for trained in learned.trained] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["full", "lora", "p_tuning"])
def test_one_pattern_and_one_repetition_is_tuning_by_that_loss(method):
    backbone, plain = tiny_backbone("bert"), tiny_backbone("bert")
    pattern = PATTERNS[1]
    learned = pet.learn(of(method, (pattern,), repetitions=1), backbone, PLAIN)
    table = {**TRAINING, "lm_loss": 0, "unlikelihood_loss": 0}
    examples = [[example] for example in pet.render(pattern, SHOTS)]
    tuning = tune.Tuning(method, registry.method(method).Config(), Training(**table), examples)
    reference = tune.learn(tuning, plain, PLAIN)
    assert learned.trained[0].log == reference.log
    queries = pet.render(pattern, ROWS)
    expected = [torch.tensor([choice.log_prob for choice in choices]) for choices in reference.score(queries).choices]
    found = [[choice.log_prob for choice in choices] for choices in learned.score(queries).choices]
    assert torch.allclose(torch.tensor(found), torch.stack(expected).log_softmax(-1), atol=1e-6)
    assert not backbone.inserted  # as it was loaded


def test_all_models_answer_a_row_whatever_the_pattern_that_it_comes_in():
    backbone = tiny_backbone("bert")
    learned = pet.learn(of("lora", repetitions=2, combine="weighted"), backbone, PLAIN)
    assert [member.pattern.index for member in learned.members] == [0, 0, 3, 3]
    before = [score(tiny_backbone("bert"), pet.render(pattern, SHOTS), PLAIN).choices for pattern in PATTERNS]
    right = [sum(predict(c) == row.label for c, row in zip(choices, SHOTS, strict=True)) / 4 for choices in before]
    assert right == [0.5, 0]  # so that the weights differ
    assert [member.weight for member in learned.members] == [right[0]] * 2 + [right[1]] * 2
    assert learned.weighing.lengths.total() == 8
    assert len({trained.log[-1]["loss"] for trained in learned.trained}) == 4
    inside, behind = (learned.score(pet.render(pattern, ROWS)) for pattern in PATTERNS)
    assert inside.choices == behind.choices
    assert len(inside.lengths) == 4 * len(ROWS)
    alone = []
    for member in learned.members:
        member.attach(backbone)
        alone.append(score(backbone, pet.render(member.pattern, ROWS), PLAIN).choices)
        backbone.detach_all()
    weights = [member.weight for member in learned.members]
    assert inside.choices == [mean_score(choices, weights) for choices in zip(*alone, strict=True)]


def test_where_no_pattern_is_right_before_training_weights_are_equal(monkeypatch):
    monkeypatch.setattr(pet, "predict", lambda choices: -1)
    learned = pet.learn(of("lora", repetitions=1, combine="weighted"), tiny_backbone("bert"), PLAIN)
    assert [member.weight for member in learned.members] == [1, 1]


def test_what_writes_its_answers_has_no_masks():
    for family in ("t5", "gpt2"):
        backbone = tiny_backbone(family)
        with pytest.raises(MethodError, match=f"fill masks, and '{backbone.name}' writes") as caught:
            of().check(backbone, PLAIN, pet.render(PATTERNS[0], ROWS))
        assert "DeBERTa" in caught.value.hint


def test_a_pattern_that_makes_nothing_of_a_row_is_refused():
    picky = Template("picky", 1, "{{text}} ||| {{choice}}", WORDS, "label")
    picky.reads = lambda row: row.id != 5
    pet.render(picky, SHOTS)
    with pytest.raises(TaskError, match="'picky' makes nothing of row 6"):
        of(patterns=(PATTERNS[0], picky)).check(tiny_backbone("bert"), PLAIN, pet.render(PATTERNS[0], ROWS))
