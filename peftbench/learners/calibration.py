"""Calibration: the answers that a model leans to, whatever it is asked after these shots, are divided out.

    q = W p,   W = diag(p_prior)^-1

What it leans to is estimated from queries without content (contextual calibration), from training rows (batch
calibration), or from random words of such rows (domain-context calibration). No label has a part in it, and no test
query.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from peftbench.learners.predictor import Prompting, Round, Wrapped
from peftbench.scoring.ranking import NORMALIZATIONS, ChoiceScore
from peftbench.scoring.score import Scores
from peftbench.store.record import Normalization
from peftbench.tasks.task import Example
from peftbench.tasks.template import Template

NUM_ROWS = 128
"""Training rows that batch calibration reads, at most."""
NUM_TEXTS = 20
"""Texts of random words that domain-context calibration reads."""


class CalibratedPredictor(Wrapped):
    """Scores queries, and ranks choices by their probability against the one that they have without content.

    q = W p,   W = diag(p_cf)^-1,   p_cf = mean of p over the content-free texts
    p(c) = softmax_c(log p(y_c | x) / length(y_c))

    p is over the choices of an example, each taken as a whole: a choice of several tokens has the sum of their
    log-probabilities, divided by its length. So each length normalisation has its own p, its own p_cf and its own
    ranking. A content-free query is the row with each of its texts replaced, in the same template, after the same
    shots, with the row's own choices. Where each query has shots of its own, each has its own p_cf after them.

    Args:
        inner: Scores queries and content-free queries alike.
        template: Renders the content-free queries.
        texts: What stands in place of a row's texts.

    Paper: 2102.09690, section 4, equation 1, with b = 0.
    Differs: the paper averages over the empty text, too; a template without words of its own has nothing to show then,
        so that it is left out here unless it is asked for. The paper reads p from the first token of choices that are
        one token long; that is the same here with choices of one token.
    """

    def __init__(self, inner: Prompting, template: Template, texts: Sequence[str]) -> None:
        super().__init__(inner)
        self._template, self._texts = template, texts

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, and the content-free queries.

        Returns:
            What the inner predictor gives, with calibrated ranks. Where all rows share their shots and their choices,
            `once` has the content-free queries; else `lengths` has those of each example.
        """
        scores = self.inner.score(examples, progress)
        content_free = [self._content_free(example) for example in examples]
        distinct = self._distinct(content_free)
        priors = self.inner.score(list(distinct.values()))
        prior = dict(zip(distinct, priors.choices, strict=True))
        choices = [
            _calibrated(choice_scores, [prior[self._key(query)] for query in queries])
            for choice_scores, queries in zip(scores.choices, content_free, strict=True)
        ]
        lengths, once = [*scores.lengths, *priors.lengths], scores.once
        if self._is_once:
            lengths, once = scores.lengths, scores.once + tuple(priors.lengths)
        work, seconds = scores.work + priors.work, scores.seconds + priors.seconds
        return replace(scores, choices=choices, lengths=lengths, work=work, once=once, seconds=seconds)

    def rounds(self, examples: Sequence[Example]) -> list[Round]:
        """List what is scored of these examples: they, and those without content."""
        distinct = self._distinct(map(self._content_free, examples))
        num_alike = len(self._texts)
        without = [
            replace(part, is_once=self._is_once, num_alike=num_alike, reading=None)
            for part in self.inner.rounds(list(distinct.values()))
        ]
        return [*self.inner.rounds(examples), *without]

    def check_choices(self, examples: Sequence[Example]) -> None:
        """Check that the model can tell the choices apart, and that there is something to read without content."""
        self.inner.check_choices(examples)
        self._with_content_free(examples)

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots with which the longest query fits, with content or without."""
        return self.inner.num_fitting(self._with_content_free(examples))

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first `num_shots` shots."""
        self.inner.take(num_shots, self._with_content_free(examples))

    def _content_free(self, example: Example) -> list[Example]:
        assert example.row is not None, "an example that no template rendered"
        return [self._template.render(example.row, text) for text in self._texts]

    def _with_content_free(self, examples: Sequence[Example]) -> list[Example]:
        return [*examples, *self._distinct(map(self._content_free, examples)).values()]

    @property
    def _is_once(self) -> bool:
        """Whether there are as many content-free queries however many queries there are."""
        return self._template.fixed_choices is not None and not self.inner.is_chosen

    def _distinct(self, content_free: Iterable[Sequence[Example]]) -> dict[tuple[Any, ...], Example]:
        """Leave out content-free queries that are scored already: most rows look alike without content."""
        return {self._key(query): query for queries in content_free for query in queries}

    def _key(self, query: Example) -> tuple[Any, ...]:
        """Return what decides a content-free query's scores; the row, where shots are chosen for it."""
        return query.input, query.choices, id(query.row) if self.inner.is_chosen else None


class PriorPredictor(Wrapped):
    """Scores queries, and ranks choices by their probability against the mean of the same choices' over other inputs.

    p_prior(c) = 1/M sum_j p(c | x_j),   q(c) = p(c) / p_prior(c)

    p is that of `CalibratedPredictor`. The inputs x_j stand after the same shots as a query does, once for all queries:
    a query's answer hangs on no other query.

    Batch calibration: x_j are M = 128 training rows, or as many as are left. A shot is none of them: where the prompt
    shows an input with its answer, the model repeats the answer, and that tells nothing of what it leans to.
    Domain-context calibration: x_j are M = 20 texts of random words of such rows (`tasks.random_text`).

    Args:
        inner: Scores queries and these inputs alike.
        inputs: With the choices that all queries share, in their order.

    Paper: 2309.17249, section 4 (batch calibration, without the strength that is learned from labels); 2305.19148,
        domain-context calibration, with M = 20 as in the authors' code.
    Differs: both papers take the inputs of the test set. Here they are training rows, so that rows which come later are
        answered as they would have been among others, and no number hangs on which rows were tested together. The
        authors of domain-context calibration put random words in lower case and end them with a full stop.
    """

    def __init__(self, inner: Prompting, inputs: Sequence[Example]) -> None:
        super().__init__(inner)
        self._inputs = list(inputs)

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, and the inputs of the estimate.

        Returns:
            What the inner predictor gives, with calibrated ranks; `once` has the inputs.
        """
        scores, priors = self.inner.score(examples, progress), self.inner.score(self._inputs)
        choices = [_calibrated(of_example, priors.choices) for of_example in scores.choices]
        once, seconds = scores.once + tuple(priors.lengths), scores.seconds + priors.seconds
        return replace(scores, choices=choices, work=scores.work + priors.work, once=once, seconds=seconds)

    def rounds(self, examples: Sequence[Example]) -> list[Round]:
        """List what is scored of these examples: they, and the inputs of the estimate."""
        without = [replace(part, is_once=True) for part in self.inner.rounds(self._inputs)]
        return [*self.inner.rounds(examples), *without]

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots with which the longest query fits, and the longest input of the estimate."""
        return self.inner.num_fitting([*examples, *self._inputs])

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first `num_shots` shots."""
        self.inner.take(num_shots, [*examples, *self._inputs])


def _calibrated(scores: Sequence[ChoiceScore], without: Sequence[Sequence[ChoiceScore]]) -> list[ChoiceScore]:
    ranked = {name: _ranks(scores, without, name) for name in NORMALIZATIONS}
    return [
        replace(score, ranked={name: values[choice] for name, values in ranked.items()})
        for choice, score in enumerate(scores)
    ]


def _ranks(
    scores: Sequence[ChoiceScore], without: Sequence[Sequence[ChoiceScore]], normalization: Normalization
) -> list[float]:
    """Compute log p - log p_cf of each choice."""
    prior = _log_probabilities(without, normalization).logsumexp(0) - math.log(len(without))
    ranks: list[float] = (_log_probabilities([scores], normalization)[0] - prior).tolist()
    return ranks


def _log_probabilities(prompts: Sequence[Sequence[ChoiceScore]], normalization: Normalization) -> Tensor:
    """Compute log p over the choices of each prompt, (prompts, choices) float64."""
    values = [[score.value(normalization) for score in scores] for scores in prompts]
    return torch.tensor(values, dtype=torch.float64).log_softmax(1)
