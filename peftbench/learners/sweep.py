"""The learning rate by cross-validation on the shots alone: a small budget, the same for every method.

    lr_i = lr sqrt(10)^i,  i = -2 .. 2        lr* = argmax_i (accuracy on held-out shots), ties: least loss, then lr_i

Each rate is trained with on all folds of the shots but one, with all of its steps, and scored on that one under all
templates; the test rows are not even known here. Accuracy decides, since it is what is reported in the end: the loss of
held-out shots rises with sure mistakes long before accuracy falls, and would choose rates that learn too little. Few
shots tie often; then the least loss decides, the mean of -log softmax(log p / length) at the right choice (L_LN).
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from peftbench.errors import RunError
from peftbench.learners import tune
from peftbench.learners.tune import Examples, TrainingError, TunePredictor, Tuning
from peftbench.models.backbone import Backbone
from peftbench.scoring.ranking import ChoiceScore, log_sum_exp, predict
from peftbench.scoring.work import SweepWork
from peftbench.spec.cell import Scoring, Training
from peftbench.store.record import Sweep, SweepPoint

NUM_RATES, NUM_FOLDS = 5, 2
FACTOR = math.sqrt(10)
BUDGET = f"{NUM_RATES} rates, {NUM_FOLDS} folds"


@dataclass
class Swept:
    """What a sweep found, and what it ran.

    Args:
        trials: One for each rate, ascending.
        num_steps: Optimiser steps of all trials; where one broke, up to that step.
        work: What all trials ran.
        num_held_out: Held-out shots times templates, the same for each rate.
    """

    trials: list[SweepPoint] = field(default_factory=list)
    num_steps: int = 0
    work: SweepWork = field(default_factory=SweepWork)
    num_held_out: int = 0

    @property
    def lr(self) -> float:
        """The rate that was chosen.

        Raises:
            RunError: Training broke with every rate.
        """
        whole = [point for point in self.trials if point.reason is None]
        if not whole:
            raise RunError(f"training broke with every rate of the sweep: {self.trials[0].reason}", hint="a lower lr")
        return min(whole, key=_rank).lr

    def add(self, predictor: TunePredictor) -> None:
        """Count what a training ran, whether it came to its end or not."""
        self.num_steps += len(predictor.log)
        self.work.training += predictor.work

    def part(self) -> Sweep:
        """Return what the record holds of it."""
        return Sweep(
            lr=self.lr,
            trials=self.trials,
            num_folds=NUM_FOLDS,
            num_steps=self.num_steps,
            num_held_out=self.num_held_out,
        )


def _rank(point: SweepPoint) -> tuple[float, float, float]:
    assert point.accuracy is not None
    assert point.loss is not None
    return -point.accuracy, point.loss, point.lr


def rates(lr: float) -> list[float]:
    """List the rates that are tried, ascending: half powers of ten around `lr`, to two digits."""
    return [float(f"{lr * FACTOR**step:.1e}") for step in range(-(NUM_RATES // 2), NUM_RATES // 2 + 1)]


def num_steps(training: Training) -> int:
    """Count the optimiser steps of a sweep in which no training breaks."""
    return NUM_RATES * NUM_FOLDS * training.num_steps


def sweep(tuning: Tuning, backbone: Backbone, scoring: Scoring, progress: Callable[[str], None] | None = None) -> Swept:
    """Train with each rate on each part of the shots; the backbone is left as it was loaded.

    Args:
        tuning: Its learning rate is the middle of the rates; at least two shots, and nothing else is looked at.
        backbone: With nothing attached.
        scoring: Cut and end of answers.
        progress: Called after each step with the rate and the fold.

    Raises:
        MethodError: As `tune.learn`.
        ModelError: As `tune.learn`.
    """
    swept = Swept(num_held_out=sum(map(len, tuning.examples)))
    for lr in rates(tuning.training.lr):
        swept.trials.append(_point(tuning.at(lr), backbone, scoring, swept, progress))
    return swept


def _point(
    tuning: Tuning, backbone: Backbone, scoring: Scoring, swept: Swept, progress: Callable[[str], None] | None
) -> SweepPoint:
    """Train with one rate on all folds but one, in turn, and score that one."""
    lr, judged = tuning.training.lr, []
    for number, (rest, held_out) in enumerate(folds(tuning.examples), 1):
        report = _reporting(f"lr {lr:g}, fold {number} of {NUM_FOLDS}", progress)
        queries = [example for of_shot in held_out for example in of_shot]
        try:
            predictor = tune.learn(replace(tuning, examples=rest), backbone, scoring, report)
            swept.add(predictor)
            scores = predictor.score(queries)
        except RunError as error:
            if isinstance(error, TrainingError):
                swept.add(error.predictor)
            return SweepPoint(lr=lr, accuracy=None, loss=None, reason=error.message)
        finally:
            backbone.detach_all()
        judged += [_judged(*pair) for pair in zip(scores.choices, [query.label for query in queries], strict=True)]
        swept.work.held_out.update(scores.lengths)
        swept.work.passes += scores.work.passes
    num_right, loss = (math.fsum(values) for values in zip(*judged, strict=True))
    return SweepPoint(lr=lr, accuracy=num_right / len(judged), loss=loss / len(judged))


def folds(examples: Examples) -> Iterator[tuple[Examples, Examples]]:
    """Split into (rest, held out) for each fold; folds are runs of the draw: of a balanced one they are balanced."""
    borders = [len(examples) * fold // NUM_FOLDS for fold in range(NUM_FOLDS + 1)]
    for first, last in itertools.pairwise(borders):
        yield [*examples[:first], *examples[last:]], examples[first:last]


def _reporting(text: str, progress: Callable[[str], None] | None) -> Callable[[int, float], None] | None:
    return None if progress is None else lambda _step, _loss: progress(text)


def _judged(choices: Sequence[ChoiceScore], label: int) -> tuple[bool, float]:
    """Return whether an example is right, and its -log softmax(log p / length) at the label, in nats."""
    logits = [choice.log_prob / choice.num_tokens for choice in choices]
    return predict(choices) == label, log_sum_exp(logits) - logits[label]
