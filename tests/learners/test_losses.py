"""The losses against arithmetic written out: two examples, two and three choices, answers of one to three tokens."""

import math

import pytest
import torch

from peftbench.learners.losses import length_norm_loss, lm_loss, unlikelihood_loss

# Probabilities of the answer tokens; the second choice is right in the first example, the first in the second.
FIRST = [[0.5, 0.2], [0.9, 0.4, 0.25], []]
SECOND = [[0.3], [0.1], [0.6, 0.7]]
LABEL = torch.tensor([1, 0])


def cube(*examples):
    log_probs = torch.zeros(len(examples), 3, 3)
    mask = torch.zeros(len(examples), 3, 3, dtype=torch.bool)
    for example, choices in enumerate(examples):
        for choice, tokens in enumerate(choices):
            mask[example, choice, : len(tokens)] = True
            log_probs[example, choice, : len(tokens)] = torch.tensor([math.log(p) for p in tokens])
    return log_probs, mask


def test_lm_loss_averages_tokens_then_examples():
    first = -(math.log(0.9) + math.log(0.4) + math.log(0.25)) / 3
    second = -math.log(0.3)
    assert lm_loss(*cube(FIRST, SECOND), LABEL) == pytest.approx((first + second) / 2)


def test_lm_loss_pools_tokens_in_the_authors_form():
    tokens = [0.9, 0.4, 0.25, 0.3]
    expected = -sum(map(math.log, tokens)) / 4
    assert lm_loss(*cube(FIRST, SECOND), LABEL, "t-few") == pytest.approx(expected)


def test_unlikelihood_loss_averages_wrong_tokens_then_examples():
    first = -(math.log(1 - 0.5) + math.log(1 - 0.2)) / 2
    second = -(math.log(1 - 0.1) + math.log(1 - 0.6) + math.log(1 - 0.7)) / 3
    assert unlikelihood_loss(*cube(FIRST, SECOND), LABEL) == pytest.approx((first + second) / 2)


def test_unlikelihood_loss_adds_a_hundredth_and_counts_padding_in_the_authors_form():
    wrong = [0.5, 0.2, 0.1, 0.6, 0.7]
    num_others = 2 * 3 * 3 - len(wrong)
    expected = -(sum(math.log(1 - p + 0.01) for p in wrong) + num_others * math.log(1 + 0.01)) / len(wrong)
    assert unlikelihood_loss(*cube(FIRST, SECOND), LABEL, "t-few") == pytest.approx(expected, rel=1e-5)


def test_length_norm_loss_is_the_cross_entropy_of_geometric_means():
    first = [(0.5 * 0.2) ** (1 / 2), (0.9 * 0.4 * 0.25) ** (1 / 3)]
    second = [0.3, 0.1, (0.6 * 0.7) ** (1 / 2)]
    expected = (-math.log(first[1] / sum(first)) - math.log(second[0] / sum(second))) / 2
    assert length_norm_loss(*cube(FIRST, SECOND), LABEL) == pytest.approx(expected)


@pytest.mark.parametrize("loss", [lm_loss, unlikelihood_loss, length_norm_loss])
def test_an_absent_choice_and_padding_change_nothing(loss):
    log_probs, mask = cube(FIRST)
    wide = torch.full((1, 5, 7), -3.0), torch.zeros(1, 5, 7, dtype=torch.bool)
    wide[0][:, :3, :3], wide[1][:, :3, :3] = log_probs, mask
    assert loss(*wide, LABEL[:1]) == pytest.approx(loss(log_probs, mask, LABEL[:1]))


@pytest.mark.parametrize("form", ["paper", "t-few"])
@pytest.mark.parametrize("certain", [0.0, 2e-6])  # rounding can put a log-probability above 0
def test_a_wrong_token_that_is_certain_gives_a_finite_loss_and_gradient(form, certain):
    log_probs = torch.full((1, 2, 1), certain, requires_grad=True)
    loss = unlikelihood_loss(log_probs, torch.ones(1, 2, 1, dtype=torch.bool), torch.tensor([0]), form)
    loss.backward()
    assert 4 < loss < 20
    assert log_probs.grad.isfinite().all()


def test_gradients_push_the_right_choice_up_and_the_wrong_ones_down():
    log_probs, mask = cube(FIRST, SECOND)
    log_probs.requires_grad_(True)
    sum(loss(log_probs, mask, LABEL) for loss in (lm_loss, unlikelihood_loss, length_norm_loss)).backward()
    right = torch.nn.functional.one_hot(LABEL, 3).bool()[..., None] & mask
    assert (log_probs.grad[right] < 0).all()
    assert (log_probs.grad[mask & ~right] > 0).all()
    assert (log_probs.grad[~mask] == 0).all()
