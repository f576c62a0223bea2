"""What fits into the time: each strategy with its cells, what it costs to run, and how long that takes."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peftbench.costs.clock import matmul_flops_per_second
from peftbench.decision.encoders import Encoder
from peftbench.decision.strategies import METHODS, Split, Strategy, cells, num_steps, strategies
from peftbench.errors import RunError
from peftbench.flow.forecast import Forecast, forecasts
from peftbench.flow.plan import Plan, plans, remarks
from peftbench.flow.rate import Rate, Seconds
from peftbench.flow.run import Outcome, finished
from peftbench.flow.trial import Trial, on, trials, weights
from peftbench.learners.progress import Watch, duration
from peftbench.models.backbone import Backbone
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.files import make_folder, replacing
from peftbench.store.record import Record, identify
from peftbench.store.results import Store

BUDGET = 20 * 60.0
"""Seconds, where nobody says how many: without searches for learning rates."""
MEASURED = ("learn_seconds", "score_seconds")
OF_ENCODERS = {"device", "allow_pickle"}
"""Fields of the model's cells that hold for an encoder's, too."""
LENIENCY = 1.1
"""How much longer than the budget what was chosen may last, once other cells have shown how fast things go."""


@dataclass(frozen=True)
class Step:
    """A strategy with what it takes to test it.

    Args:
        strategy: What is learned, and how.
        cells: One for each fold of each division.
        ids: Of their records.
        forecasts: What each cell takes.
        places: Of the cells without a record.
        seconds: What those take.
        is_chosen: Whether there is time for it.
    """

    strategy: Strategy
    cells: tuple[Cell, ...]
    ids: tuple[str, ...]
    forecasts: tuple[Forecast, ...]
    places: tuple[int, ...] = ()
    seconds: float = 0.0
    is_chosen: bool = False

    @property
    def to_run(self) -> list[Forecast]:
        """Forecasts of the cells without a record."""
        return [self.forecasts[place] for place in self.places]

    @property
    def is_calibrated(self) -> bool:
        """Whether it calibrates what the step before it scored."""
        icl = self.strategy.fields.get("icl")
        return icl is not None and icl.calibrate

    @property
    def flops(self) -> int:
        """FLOPs of learning and scoring."""
        return sum(forecast.flops for forecast in self.forecasts)


@dataclass(frozen=True)
class Pool:
    """Rows that are divided into folds.

    Args:
        labels: Of each row, in their order, the index of the right choice.
        classes: Names of the choices.
        num_training_rows: Of the smallest training part.
    """

    labels: tuple[int, ...]
    classes: tuple[str, ...]
    num_training_rows: int

    @classmethod
    def of(cls, parts: Sequence[Plan]) -> "Pool":
        """Put the folds of all divisions together."""
        tested = {row.id: row.label for plan in parts for row in plan.task.test}
        num_training_rows = min(len(plan.task.train) for plan in parts)
        return cls(tuple(tested[row] for row in sorted(tested)), parts[0].task.classes or (), num_training_rows)


class Schedule:
    """Steps in the order in which they are run, and the time that is left for them.

    Args:
        steps: All that could be run.
        budget: Seconds for all of it.
        pool: The rows.
        rate: How fast this machine is.
    """

    def __init__(self, steps: Sequence[Step], budget: float, pool: Pool, rate: Rate) -> None:
        self.steps, self.budget, self.pool = tuple(steps), budget, pool
        self._rate, self._started = rate, time.monotonic()

    @property
    def chosen(self) -> list[Step]:
        """Those that there is time for."""
        return [step for step in self.steps if step.is_chosen]

    @property
    def cells(self) -> list[Cell]:
        """The cells of what was chosen, step by step."""
        return [cell for step in self.chosen for cell in step.cells]

    @property
    def seconds(self) -> float:
        """Forecast of what was chosen."""
        return sum(step.seconds for step in self.chosen)

    @property
    def notes(self) -> tuple[str, ...]:
        """What somebody should know of how rows are tested."""
        first = self.steps[0].cells[0]
        assert first.fold is not None, "rows are tested by folds"
        rows, learned, folds = len(self.pool.labels), self.pool.num_training_rows, first.fold.of
        note = f"each row is answered by what was learned from the other {folds - 1} folds, {learned} rows or so"
        untried = "; ".join(step.strategy.name for step in self.steps if not step.is_chosen)
        note = f"{note}; learned from all {rows}, it should do no worse"
        return (note, f"not tried, for lack of time: {untried}") if untried else (note,)

    def has_time_for(self, step: Step) -> bool:
        """Tell whether a step can still be run, now that others have shown how fast things go."""
        return step.strategy.is_needed or self._spent() + self._left(step) <= LENIENCY * self.budget

    def finished(self, step: Step, forecast: Forecast, outcome: Outcome) -> None:
        """Note that a cell of a step is done: what it took says how fast things go."""
        # Of a calibrated cell, whose prompts were scored before, the record has the time that it takes by itself.
        if outcome.is_new and not step.is_calibrated:
            self._rate.learn(forecast, Seconds(*(_measured(outcome.record, name) for name in MEASURED)))

    def on_all_rows(self, step: Step) -> Cell:
        """Return a step's cell for all rows: what learned from a whole training part learns from the whole pool."""
        first = step.cells[0]
        is_whole = first.shots == self.pool.num_training_rows
        shots = len(self.pool.labels) if is_whole else first.shots
        return first.model_copy(update={"fold": None, "shots": shots})

    def stop_before(self, step: Step) -> list[Step]:
        """Take a step and what follows out of what was chosen, and return them."""
        later = self.chosen[self.chosen.index(step) :]
        self.steps = tuple(replace(other, is_chosen=other.is_chosen and other not in later) for other in self.steps)
        return later

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _left(self, step: Step) -> float:
        return self._rate.total(step.to_run).total


def scheduled(
    task: TaskSpec,
    settings: dict[str, Any],
    split: Split,
    budget: float | None,
    store: Store,
    watch: Watch,
    *,
    encoder: Encoder | None = None,
    force: bool = False,
) -> Schedule:
    """Plan all strategies from rows, forecast them, and choose what fits into the time.

    What was chosen once for the same question is chosen again: an interrupted run goes on with it.

    Args:
        task: The rows.
        settings: Fields of each cell, whatever the strategy: the model, how it is loaded, how answers are scored.
        split: How rows are tested.
        budget: Seconds; None for `BUDGET`, without searches for learning rates.
        store: Where records are, and what was chosen.
        watch: Is told of what is odd in the rows.
        encoder: Is compared with the model; None: nothing is.
        force: Whether what has a record is run again, and takes time.

    Raises:
        PeftbenchError: Faulty rows, no such model, or no time for what a decision needs.
    """
    first = plans([Cell(**settings, task=task, learner="icl", shots=0, **place) for place in split.places()])
    for remark in remarks(first):
        watch.say(remark)
    backbone = trials(first[:1], store.served)[0].backbone
    pool, rate = Pool.of(first), Rate(matmul_flops_per_second(backbone.device, backbone.dtype))
    steps_of_training = None if "num_steps" in backbone.settings(METHODS[0]) else num_steps(pool.num_training_rows)
    compared = strategies(pool.num_training_rows, steps_of_training, searches=budget is not None)
    if backbone.remote is not None:  # a server gives no weights to tune
        compared = [strategy for strategy in compared if strategy.fields["learner"] == "icl"]
    planned = [(strategy, cells(strategy, task, split, settings)) for strategy in compared]
    if encoder is not None and (encoder.is_asked_for or _has_classes(first[0])):
        planned = _with_encoder(encoder, planned, task, split, settings, pool.num_training_rows)
    steps = _steps(_trials(backbone, planned, encoder), planned, rate, None if force else store)
    budget = BUDGET if budget is None else budget
    name = identify({"cells": [record_id for step in steps for record_id in step.ids], "budget": budget})
    names = _remembered(store.root / "decisions" / f"{name}.json", steps, budget)
    return Schedule([replace(step, is_chosen=step.strategy.name in names) for step in steps], budget, pool, rate)


Planned = list[tuple[Strategy, list[Cell]]]


def _with_encoder(
    encoder: Encoder, planned: Planned, task: TaskSpec, split: Split, settings: dict[str, Any], num_rows: int
) -> Planned:
    """Add an encoder's strategies: the quick ones behind what a decision needs, which runs first, SetFit at the end."""
    shared: dict[str, Any] = {name: value for name, value in settings.items() if name in OF_ENCODERS}
    quick, slow = (
        [(strategy, cells(strategy, task, split, shared)) for strategy in part]
        for part in (encoder.quick(num_rows, num_steps(num_rows)), encoder.slow(num_rows))
    )
    needed = [pair for pair in planned if pair[0].is_needed]
    return [*needed, *quick, *planned[len(needed) :], *slow]


def _has_classes(plan: Plan) -> bool:
    """Tell whether all rows have the same choices, as classifiers of embeddings want them."""
    return all(template.fixed_choices is not None for template in plan.templates)


def _steps(
    planned: Iterator[Trial], compared: Sequence[tuple[Strategy, list[Cell]]], rate: Rate, store: Store | None
) -> list[Step]:
    """Plan the cells of each strategy, and forecast them; what has a record in the store takes no time.

    Nothing of a step holds on to the model, so that it is not in memory twice once the steps are run.
    """
    steps: list[Step] = []
    for strategy, of_strategy in compared:
        of_step = tuple(itertools.islice(planned, len(of_strategy)))
        places = tuple(place for place, trial in enumerate(of_step) if not (store and finished(trial, store)))
        ids = tuple(trial.id for trial in of_step)
        step = Step(strategy, tuple(of_strategy), ids, tuple(forecasts(of_step)), places)
        if step.is_calibrated:
            pairs = zip(steps[-1].forecasts, step.forecasts, strict=True)
            step = replace(step, forecasts=tuple(_beyond(*pair) for pair in pairs))
        steps.append(replace(step, seconds=rate.total(step.to_run).total))
    return steps


def _trials(backbone: Backbone, compared: Planned, encoder: Encoder | None) -> Iterator[Trial]:
    """Resolve the cells of all strategies on the model that is loaded, those of an encoder on that."""
    name = None if encoder is None else encoder.name
    for _, alike in itertools.groupby(plans([cell for _, of_strategy in compared for cell in of_strategy]), weights):
        of_model = list(alike)
        yield from trials(of_model) if of_model[0].cell.model == name else on(backbone, of_model)


def _beyond(plain: Forecast, calibrated: Forecast) -> Forecast:
    """Return what calibrating takes where the same prompts were scored without it: their scores are taken."""
    return replace(
        calibrated,
        score_flops=calibrated.score_flops - plain.score_flops,
        num_score_passes=calibrated.num_score_passes - plain.num_score_passes,
    )


def _remembered(path: Path, steps: Sequence[Step], budget: float) -> list[str]:
    """Read what was chosen for the same question, or choose, and write it down."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["strategies"]
        if {step.strategy.name for step in steps} >= set(names):
            return list(names)
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: chosen anew
        pass
    names = [step.strategy.name for step in _fitting(steps, budget)]
    make_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"budget_seconds": budget, "strategies": names}, indent=2), encoding="utf-8")
    return names


def _fitting(steps: Sequence[Step], budget: float) -> list[Step]:
    """Choose what a decision needs, and then in their order the steps that there is time for.

    Raises:
        RunError: There is no time for what a decision needs.
    """
    needed = [step for step in steps if step.strategy.is_needed]
    least = sum(step.seconds for step in needed)
    if least > budget:
        names = "; ".join(step.strategy.name for step in needed)
        raise RunError(
            f"{duration(budget)} are too short: {names} take {duration(least)} here",
            hint=f"--budget {max(1, round(1.2 * least / 60 + 0.5))}m, fewer --folds, or a smaller --model",
        )
    chosen, left = list(needed), budget - least
    for step in steps:
        if not step.strategy.is_needed and step.seconds <= left:
            chosen.append(step)
            left -= step.seconds
    return sorted(chosen, key=steps.index)


def _measured(record: Record, name: str) -> float:
    cost = record.cost(name, "measured")
    return 0.0 if cost is None or cost.value is None else float(cost.value)
