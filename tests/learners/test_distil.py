"""A student of PET's models against its equations and against transformers' own states."""

import math
from dataclasses import replace

import pytest
import torch

from peftbench.learners import distil, losses, pet
from peftbench.scoring.score import score
from tests.learners.test_pet import PATTERNS, PLAIN, SHOTS, of, scores_of
from tests.learners.toy import ROWS
from tests.tiny import tiny_backbone

UNLABELLED = tuple(ROWS[4:8])


def learner(method="full", rows=UNLABELLED, **settings):
    table = {"repetitions": 1, "distil": True, "distil_steps": 2, **settings}
    return replace(of(method, **table), unlabelled=rows)


def taught(pet_learner, family="bert"):
    backbone = tiny_backbone(family)
    return distil.learn(pet_learner, pet.learn(pet_learner, backbone, PLAIN), backbone)


def test_soft_labels_are_the_distribution_at_a_temperature():
    soft = distil.soft_label(scores_of(math.log(0.8), math.log(0.2)), 2)
    assert soft.probabilities == pytest.approx((2 / 3, 1 / 3))  # the roots of 4 : 1
    assert soft.temperature == 2


def test_the_loss_is_the_divergence_times_the_squared_temperature():
    z = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    log_probs, mask = z.log_softmax(-1).unsqueeze(-1), torch.ones(2, 2, 1, dtype=torch.bool)
    soft = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    expected = 0.0
    for logits, q in zip(z.tolist(), soft.tolist(), strict=True):
        total = sum(math.exp(value / 2) for value in logits)
        expected += 4 * sum(p * math.log(p * total / math.exp(v / 2)) for p, v in zip(q, logits, strict=True)) / 2
    assert losses.distillation_loss(log_probs, mask, soft, 2).item() == pytest.approx(expected, rel=1e-5)
    sure, label = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0])
    hard = losses.length_norm_loss(log_probs, mask, label)
    assert losses.distillation_loss(log_probs, mask, sure, 1).item() == pytest.approx(hard.item())


def test_a_student_starts_from_the_loaded_model_and_learns_what_the_teachers_say():
    one, backbone = learner(), tiny_backbone("bert")
    teachers = pet.learn(one, backbone, PLAIN)
    said = teachers.score(pet.render(PATTERNS[0], UNLABELLED)).choices
    q = torch.tensor([distil.soft_label(choices, 2).probabilities for choices in said])
    student = distil.learn(one, teachers, backbone)
    assert not any(member.values for member in teachers.members)
    assert len(student.predictor.log) == 2
    assert student.predictor.num_shots == len(SHOTS)
    assert student.labelling.choices == said

    torch.manual_seed(one.tuning.seed)  # the layer's start
    layer, plain = tiny_backbone("bert"), tiny_backbone("bert")
    layer.set_classes(2)
    texts = [example.input.replace("[[answer]]", "") for example in pet.render(PATTERNS[0], UNLABELLED)]
    logits = []
    for text in texts:
        ids = plain.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            state = plain.model.base_model(ids).last_hidden_state[0, 0]
            logits.append(layer.model.class_head(state[None])[0])
    p = (torch.stack(logits) / 2).log_softmax(-1)
    expected = 4 * (q * (q.log() - p)).sum(-1).mean()
    assert student.predictor.log[0]["loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert student.predictor.log[-1]["loss"] < student.predictor.log[0]["loss"]


def test_labels_of_the_rows_are_not_looked_at():
    rows = tuple(replace(row, label=1 - row.label) for row in UNLABELLED)
    queries, predictions = pet.render(PATTERNS[0], ROWS), []
    for shown in (UNLABELLED, rows):
        student = taught(learner("lora", rows=shown))
        predictions.append(score(student.predictor.backbone, queries, distil.scoring_of(PLAIN)).choices)
    assert predictions[0] == predictions[1]
