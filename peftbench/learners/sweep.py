"""The learning rate by cross-validation on the shots alone: a small budget, the same for every method.

    lr_i = lr sqrt(10)^i,  i = -2 .. 2        lr* = argmax_i (accuracy on held-out shots), ties: least loss, then lr_i

Each rate is trained with on all folds of the shots but one, with all of its steps, and scored on that one under all
templates; the test rows are not even known here. Accuracy decides, since it is what is reported in the end: the loss of
held-out shots rises with sure mistakes long before accuracy falls, and would choose rates that learn too little. Few
shots tie often; then the least loss decides, the mean of -log softmax(log p / length) at the right choice (L_LN).
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from peftbench.adapters.saved import Start
from peftbench.errors import RunError
from peftbench.learners import tune
from peftbench.learners.tune import Examples, TrainingError, TunePredictor
from peftbench.methods.base import MethodConfig
from peftbench.models.backbone import Backbone
from peftbench.scoring.score import ChoiceScore, predict
from peftbench.scoring.work import Length, Pass
from peftbench.spec.cell import Scoring, Training
from peftbench.store.record import Sweep, Trial

NUM_RATES, NUM_FOLDS = 5, 2
FACTOR = math.sqrt(10)
BUDGET = f"{NUM_RATES} rates, {NUM_FOLDS} folds"


@dataclass
class Swept:
    """What a sweep found, and what it ran.

    Args:
        trials: One for each rate, ascending.
        num_steps: Optimiser steps of all trials; where one broke, up to that step.
        lengths: Lengths of the examples that were trained on, each with the times that it was seen.
        prepared: Lengths of the examples that the method ran before the first steps.
        passes: Shapes of the batches that were trained on, each with the times that it was run.
        held_out: Lengths of the held-out examples that were scored, each with the times that it was.
        scored: Forward passes that scored them, padding included. Scoring that broke is in neither of the two.
        num_held_out: Held-out shots times templates, the same for each rate.
    """

    trials: list[Trial] = field(default_factory=list)
    num_steps: int = 0
    lengths: Counter[Length] = field(default_factory=Counter)
    prepared: Counter[Length] = field(default_factory=Counter)
    passes: Counter[Pass] = field(default_factory=Counter)
    held_out: Counter[Length] = field(default_factory=Counter)
    scored: list[Pass] = field(default_factory=list)
    num_held_out: int = 0

    @property
    def lr(self) -> float:
        """The rate that was chosen.

        Raises:
            RunError: Training broke with every rate.
        """
        whole = [trial for trial in self.trials if trial.reason is None]
        if not whole:
            raise RunError(f"training broke with every rate of the sweep: {self.trials[0].reason}", hint="a lower lr")
        return min(whole, key=_rank).lr

    def note(self, trained: TunePredictor) -> None:
        """Write down what a training ran, whether it came to its end or not."""
        self.num_steps += len(trained.log)
        self.lengths += trained.lengths
        self.prepared += trained.prepared
        self.passes += trained.passes

    def part(self) -> Sweep:
        """Give what the record holds of it."""
        return Sweep(
            lr=self.lr,
            trials=self.trials,
            num_folds=NUM_FOLDS,
            num_steps=self.num_steps,
            num_held_out=self.num_held_out,
        )


def _rank(trial: Trial) -> tuple[float, float, float]:
    assert trial.accuracy is not None
    assert trial.loss is not None
    return -trial.accuracy, trial.loss, trial.lr


def rates(lr: float) -> list[float]:
    """Give the rates that are tried, ascending: half powers of ten around `lr`, to two digits."""
    return [float(f"{lr * FACTOR**step:.1e}") for step in range(-(NUM_RATES // 2), NUM_RATES // 2 + 1)]


def num_steps(training: Training) -> int:
    """Count the optimiser steps of a sweep in which no training breaks."""
    return NUM_RATES * NUM_FOLDS * training.num_steps


def sweep(
    backbone: Backbone,
    method: str,
    config: MethodConfig,
    examples: Examples,
    training: Training,
    scoring: Scoring,
    seed: int,
    progress: Callable[[str], None] | None = None,
    start: Start | None = None,
) -> Swept:
    """Train with each rate on each part of the shots; the backbone is left as it was loaded.

    Args:
        backbone: With nothing attached.
        method: Name in the registry.
        config: The method's settings.
        examples: The shots, at least two; nothing else is looked at.
        training: Its `lr` is the middle of the rates.
        scoring: Cut and end of answers.
        seed: Of each training.
        progress: Called after each step with what is being tried.
        start: A saved adapter that each training starts from.

    Raises:
        MethodError: As `tune.learn`.
        ModelError: As `tune.learn`.
    """
    swept = Swept(num_held_out=sum(map(len, examples)))
    for lr in rates(training.lr):
        tried = training.model_copy(update={"lr": lr})
        found: list[tuple[bool, float]] = []
        reason = None
        for number, (rest, held_out) in enumerate(folds(examples)):
            say = _saying(f"lr {lr:g}, fold {number + 1} of {NUM_FOLDS}", progress)
            try:
                predictor = tune.learn(backbone, method, config, rest, tried, scoring, seed, say, start)
                swept.note(predictor)
                queries = [example for templates in held_out for example in templates]
                scores = predictor.score(queries)
            except RunError as error:
                reason = error.message
                if isinstance(error, TrainingError):
                    swept.note(error.predictor)
                break
            finally:
                backbone.detach_all()
            labels = [query.label for query in queries]
            found += [_judged(*pair) for pair in zip(scores.choices, labels, strict=True)]
            swept.held_out.update(scores.lengths)
            swept.scored += scores.work.passes
        swept.trials.append(_trial(lr, found, reason))
    return swept


def folds(examples: Examples) -> Iterator[tuple[Examples, Examples]]:
    """Give (rest, held out) for each fold; folds are runs of the draw, so that a balanced draw has balanced folds."""
    borders = [len(examples) * fold // NUM_FOLDS for fold in range(NUM_FOLDS + 1)]
    for first, last in itertools.pairwise(borders):
        yield [*examples[:first], *examples[last:]], examples[first:last]


def _saying(text: str, progress: Callable[[str], None] | None) -> Callable[[int, float], None] | None:
    return None if progress is None else lambda _step, _loss: progress(text)


def _trial(lr: float, found: Sequence[tuple[bool, float]], reason: str | None) -> Trial:
    if reason is not None:
        return Trial(lr=lr, accuracy=None, loss=None, reason=reason)
    accuracy, loss = (math.fsum(each) / len(found) for each in zip(*found, strict=True))
    return Trial(lr=lr, accuracy=accuracy, loss=loss)


def _judged(choices: Sequence[ChoiceScore], label: int) -> tuple[bool, float]:
    """Say of an example whether it is right, and its -log softmax(log p / length) at the label, in nats."""
    logits = [choice.log_prob / choice.num_tokens for choice in choices]
    largest = max(logits)
    total = largest + math.log(math.fsum(math.exp(logit - largest) for logit in logits))
    return predict(choices) == label, total - logits[label]
