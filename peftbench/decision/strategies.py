"""The strategies that are compared, the cheapest information first."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from peftbench.spec.cell import Cell, Fold, IclOptions, TaskSpec

SHOTS = (16, 4)
"""Numbers of shots beside all that fit; the first stands for prompts where time suffices for one number only."""
METHODS = ("ia3", "lora")
"""What is tuned; the first stands for tuning where time suffices for one method only."""
PASSES, FEWEST_STEPS, BATCH_SIZE = 10, 60, 8
"""How often each row is trained on where a model brings no number of steps: what a person waits for."""


@dataclass(frozen=True)
class Strategy:
    """A way to learn from rows, as something to compare.

    Args:
        name: In words.
        fields: Of its cells, beside rows, fold, and what all of them share; a model, where it is another one.
        is_needed: Whether there is no decision without it.
    """

    name: str
    fields: dict[str, Any] = field(hash=False)
    is_needed: bool = False


@dataclass(frozen=True)
class Split:
    """How rows are divided: each fold is answered by what was learned from the others.

    Args:
        folds: Parts.
        repeats: Divisions; the seed of one decides its draws, too.
        group: Column of what belongs together; None where there is none.
    """

    folds: int = 5
    repeats: int = 1
    group: str | None = None

    def places(self, num_repeats: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield seed and fold of each part of each division, or of the first divisions."""
        for seed in range(self.repeats if num_repeats is None else num_repeats):
            for index in range(self.folds):
                yield {"seed": seed, "fold": Fold(index=index, of=self.folds, group=self.group)}


def strategies(num_rows: int, num_steps: int | None, *, searches: bool) -> list[Strategy]:
    """List the strategies for so many rows, in the order in which they are worth their time.

    Zero-shot, prompts and one method first, as there is no decision without them; then other numbers of shots, all
    that fit, and another method; then the first method on as many rows as the first prompts show, which is nothing to
    choose, but says where its learning curve and theirs cross; then searches for the learning rate.

    Args:
        num_rows: Rows of the smallest training part.
        num_steps: Of training; None leaves it to the model's own settings.
        searches: Whether learning rates are searched for, too, which takes ten times the training.
    """
    first, *others = [shots for shots in SHOTS if shots < num_rows] or [num_rows]
    training = {} if num_steps is None else {"num_steps": num_steps}
    tuned = [_tuned(method, num_rows, training, is_needed=method == METHODS[0]) for method in METHODS]
    swept = [_tuned(method, num_rows, training, sweep="lr") for method in METHODS if searches]
    everything = [num_rows] if num_rows > first else []
    fewer = [replace(_tuned(METHODS[0], first, training), name=f"{METHODS[0]}, {first} rows") for _ in everything]
    return [
        *_prompted(0, is_needed=True),
        *_prompted(first, is_needed=True),
        tuned[0],
        *(strategy for shots in others for strategy in _prompted(shots)),
        *tuned[1:],
        *(strategy for shots in everything for strategy in _prompted(shots, is_all=True)),
        *fewer,
        *swept,
    ]


def num_steps(num_rows: int) -> int:
    """Choose a number of training steps for a model that brings none: ten passes over the rows, or sixty steps."""
    return max(FEWEST_STEPS, math.ceil(PASSES * num_rows / BATCH_SIZE))


def cells(strategy: Strategy, task: TaskSpec, split: Split, shared: dict[str, Any]) -> list[Cell]:
    """Make the cells of a strategy: one for each fold of each division, the first where nothing is drawn."""
    num_repeats = None if strategy.fields["shots"] else 1
    fields = {**shared, **strategy.fields}
    return [Cell(task=task, **fields, **place) for place in split.places(num_repeats)]


def _prompted(shots: int, *, is_needed: bool = False, is_all: bool = False) -> Sequence[Strategy]:
    name = f"ICL, {shots} shots" if shots else "zero-shot"
    if is_all:
        name = f"ICL, up to {shots} shots"
    return [
        Strategy(
            f"{name}, calibrated" if is_calibrated else name,
            {
                "learner": "icl",
                "shots": shots,
                "icl": IclOptions(fit_shots=shots > 0, calibrate=is_calibrated),
                "draw": "balanced" if shots else "plain",
            },
            is_needed,
        )
        for is_calibrated in (False, True)
    ]


def _tuned(
    method: str, num_rows: int, training: dict[str, Any], *, is_needed: bool = False, sweep: str | None = None
) -> Strategy:
    fields = {"learner": "tune", "method": method, "shots": num_rows, "training": training, "sweep": sweep}
    return Strategy(f"{method}, its learning rate searched for" if sweep else method, fields, is_needed)
