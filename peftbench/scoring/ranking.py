"""Rank classification: choices by their log-probabilities, normalised by length, joined over members, or voted on."""

import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from peftbench.store.record import Normalization

NORMALIZATIONS: tuple[Normalization, ...] = ("token", "char", "byte", "none")


@dataclass(frozen=True)
class ChoiceScore:
    """A choice's log-probability, and the lengths by which it can be normalised.

    Args:
        log_prob: Sum over the answer's tokens, its end included where that is scored, in nats.
        num_tokens: Tokens summed over.
        num_chars: Characters of the choice's text, without its end.
        num_bytes: UTF-8 bytes of the choice's text.
        ranked: By normalisation, what the choice is ranked by, where that is not log_prob by length: a calibrated
            log-probability, or votes.
    """

    log_prob: float
    num_tokens: int
    num_chars: int
    num_bytes: int
    ranked: Mapping[Normalization, float] | None = None

    def value(self, normalization: Normalization = "token") -> float:
        """Return what the choice is ranked by."""
        if self.ranked is not None:
            return self.ranked[normalization]
        lengths = {"token": self.num_tokens, "char": self.num_chars, "byte": self.num_bytes, "none": 1}
        return self.log_prob / lengths[normalization]


def predict(scores: Sequence[ChoiceScore], normalization: Normalization = "token") -> int:
    """Return the index of the choice with the highest length-normalised log-probability; of equals the first.

    argmax_c  log p(y_c | x) / length(y_c)

    Paper: 2205.05638, section 3.1 (tokens).
    """
    values = normalized(scores, normalization)
    return values.index(max(values))


def normalized(scores: Sequence[ChoiceScore], normalization: Normalization = "token") -> list[float]:
    """Return what each choice is ranked by: its log-probability by its length, unless it says otherwise."""
    return [score.value(normalization) for score in scores]


def mean(members: Sequence[Sequence[ChoiceScore]]) -> list[ChoiceScore]:
    """Average each choice's probability over members; its lengths are the same in all of them.

    p(y | x) = 1/k sum_j p_j(y | x)
    """
    log_probs = [[score.log_prob for score in scores] for scores in members]  # (members, choices)
    means = [log_sum_exp(values) - math.log(len(members)) for values in zip(*log_probs, strict=True)]
    return [replace(score, log_prob=value, ranked=None) for score, value in zip(members[0], means, strict=True)]


def mean_score(members: Sequence[Sequence[ChoiceScore]], weights: Sequence[float]) -> list[ChoiceScore]:
    """Average what members rank choices by, and make one distribution of it; each choice is of length 1 then.

    s(y) = sum_j w_j s_j(y) / sum_j w_j        log p(y) = s(y) - log sum_y' exp s(y')

    s_j is the log-probability per token. Of an answer of one token that is a mask's logit less what all choices have in
    common, which p does not depend on: the mean of log-probabilities is the mean of logits.

    Args:
        members: Scores of the same choices.
        weights: w_j of each, of which at least one is above 0.
    """
    values = [normalized(scores) for scores in members]  # (members, choices)
    total = math.fsum(weights)
    means = [math.fsum(map(operator.mul, weights, of_choice)) / total for of_choice in zip(*values, strict=True)]
    common = log_sum_exp(means)
    return [ChoiceScore(value - common, num_tokens=1, num_chars=1, num_bytes=1) for value in means]


def vote(members: Sequence[Sequence[ChoiceScore]]) -> list[ChoiceScore]:
    """Count the members that rank a choice first, by each normalisation; log_prob is that of the mean.

    Votes rank the choices, and of equally many the first choice wins, as `predict` has it.
    """
    votes = {name: Counter(predict(scores, name) for scores in members) for name in NORMALIZATIONS}
    return [
        replace(score, ranked={name: float(votes[name][choice]) for name in NORMALIZATIONS})
        for choice, score in enumerate(mean(members))
    ]


def log_sum_exp(values: Sequence[float]) -> float:
    """Compute log sum exp without overflow."""
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
