"""The three losses of T-Few, and that of a student: pure functions of the answer tokens' log-probabilities.

All take `log_probs` (batch, choices, length) float, `mask` (batch, choices, length) bool, true at answer tokens, and
`label` (batch,) int64, the index of the right choice. Examples may differ in their number of choices: a choice without
any token is absent. All give a scalar, the mean over the batch, in nats. `form` is "paper" for the equations, "t-few"
for what the authors' code computes.

Paper: 2205.05638, section 3.2.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Form = Literal["paper", "t-few"]

# Where rounding gives a wrong token a probability of 1 or more, log(1 - p) stays finite.
MAX_LOG_PROB = -1e-6
T_FEW_EPSILON = 0.01


def lm_loss(log_probs: Tensor, mask: Tensor, label: Tensor, form: Form = "paper") -> Tensor:
    """Compute the language-modelling loss of the right choice y.

    L_LM = -1/T sum_t log p(y_t | x, y_<t)

    Differs: the equation averages over an example's tokens, then over examples; the authors' code pools the batch's
        tokens, so that long answers weigh more.
    """
    right = _at(log_probs, label).where(_at(mask, label), 0)
    lengths = _at(mask, label).sum(-1)
    if form == "t-few":
        return -right.sum() / lengths.sum()
    return -(right.sum(-1) / lengths).mean()


def unlikelihood_loss(log_probs: Tensor, mask: Tensor, label: Tensor, form: Form = "paper") -> Tensor:
    """Compute the unlikelihood loss of the N wrong choices y^(n), of T^(n) tokens each.

    L_UL = -sum_n sum_t log(1 - p(y^(n)_t | x, y^(n)_<t)) / sum_n T^(n)

    Differs: the authors' code adds 0.01 inside the logarithm, which bounds a token's loss at 4.6; pools the batch's
        tokens; and lets each token that is not a wrong one, padding too, add the constant -log(1.01) to the numerator:
        no gradient comes from it, but the value shows it. Ours counts a token as no more likely than 1 - 1e-6,
        and has no gradient from one that is; theirs keeps one.
    """
    wrong = mask & ~torch.nn.functional.one_hot(label, mask.shape[1]).bool().unsqueeze(-1)
    if form == "t-few":
        losses = -(1 - log_probs.exp() + T_FEW_EPSILON).log()
        return losses.where(wrong, -math.log(1 + T_FEW_EPSILON)).sum() / wrong.sum()
    losses = -(-log_probs.clamp(max=MAX_LOG_PROB).expm1()).log()
    return (losses.where(wrong, 0).sum((1, 2)) / wrong.sum((1, 2))).mean()


def length_norm_loss(log_probs: Tensor, mask: Tensor, label: Tensor) -> Tensor:
    """Compute the cross-entropy of rank classification over the length-normalised choices; both forms agree on it.

    beta(x, y) = 1/T sum_t log p(y_t | x, y_<t)
    L_LN = -log(exp beta(x, y) / (exp beta(x, y) + sum_n exp beta(x, y^(n))))
    """
    return torch.nn.functional.cross_entropy(_beta(log_probs, mask), label)


def distillation_loss(log_probs: Tensor, mask: Tensor, soft: Tensor, temperature: float) -> Tensor:
    """Compute how far rank classification is from soft labels, in place of the right choice.

    L = T^2 KL(q || p_T),  p_T = softmax(beta / T)

    Args:
        log_probs: As all losses.
        mask: Likewise; all examples have the same choices.
        soft: q (batch, choices) float, each row's sum 1: made at the same temperature.
        temperature: T, at least 1 where it softens.

    Paper: 1503.02531, section 2; 2001.07676, section 3.3.
    """
    log_p = torch.log_softmax(_beta(log_probs, mask) / temperature, -1)
    return temperature**2 * torch.nn.functional.kl_div(log_p, soft, reduction="batchmean")


def _beta(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Average each choice's log-probability over its tokens, (batch, choices); of an absent choice -inf."""
    beta = log_probs.where(mask, 0).sum(-1) / mask.sum(-1).clamp(min=1)
    return beta.masked_fill(~mask.any(-1), -torch.inf)


def _at(values: Tensor, label: Tensor) -> Tensor:
    """Pick the right choice of each example: (batch, choices, length) -> (batch, length)."""
    return values[torch.arange(len(label), device=label.device), label]
