"""A timetable: how many cells are done, and how long those take that remain."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from peftbench.costs.clock import matmul_flops_per_second
from peftbench.flow.forecast import Forecast, forecasts
from peftbench.flow.rate import Rate, Seconds
from peftbench.flow.trial import Trial
from peftbench.learners import sweep
from peftbench.learners.classify import Classifying
from peftbench.learners.pet import Pet
from peftbench.learners.progress import Advance, Remaining, Watch, duration
from peftbench.learners.tune import Tuning
from peftbench.store.record import Record

MEASURED_FLOPS = 2e11
"""From so much work on, the machine's rate of matmuls is measured."""
LONG_SECONDS = 600.0
"""A plan that takes longer is remarked on."""
LARGE_SHARE, MANY_QUERIES = 0.25, 20
"""Less of what takes a smaller share of the time, or of fewer queries, shortens no plan."""
HALF_SIZE = 512
"""Rows of the matmul that measures a CPU's rate in half precision, which may be very low."""


class Timetable:
    """The cells of a run: those that are done, and what the others will take.

    Args:
        num_cells: All cells.
        watch: Is told of each stage, and of what remains.
        clock: Returns seconds since some time.
    """

    def __init__(self, num_cells: int, watch: Watch, clock: Callable[[], float] = time.perf_counter) -> None:
        self._watch, self._clock, self._began = watch, clock, clock()
        self._num_cells, self._num_entered, self._num_done = num_cells, 0, 0
        self._rates: dict[tuple[torch.device, torch.dtype], Rate] = {}
        self._forecasts: list[tuple[Trial, Forecast]] = []
        """Of the trials that remain."""
        self._running: CellWatch | None = None
        self._later = 0.0

    def enter(self, to_try: Sequence[tuple[Trial, Record | None]]) -> list[str]:
        """Enter the trials on one model, each with its record where it has one.

        Returns:
            A remark where those without a record take long.
        """
        self._end()
        trials = [trial for trial, record in to_try if record is None]
        self._num_entered += len(to_try)
        self._num_done += len(to_try) - len(trials)
        self._forecasts = list(zip(trials, forecasts(trials), strict=True))
        if not trials:
            return []
        seconds = self._rate(trials[0]).total(self._remaining)
        return [_remark(trials, seconds)] if seconds.total > LONG_SECONDS else []

    def cell(self, trial: Trial) -> "CellWatch":
        """Begin a trial without a record; the one before it has come to its end."""
        self._end()
        rate, forecast = self._rate(trial), self._taken(trial)
        self._later = rate.total(self._remaining).total
        self._running = CellWatch(trial, forecast, rate, self._watch, self._clock, self._show)
        return self._running

    def skip(self, trial: Trial) -> None:
        """Take out a trial of which another process has made the record by now."""
        self._end()
        self._taken(trial)
        self._num_done += 1

    @property
    def _remaining(self) -> list[Forecast]:
        return [forecast for _, forecast in self._forecasts]

    def _taken(self, trial: Trial) -> Forecast:
        place = next(place for place, (entered, _) in enumerate(self._forecasts) if entered is trial)
        return self._forecasts.pop(place)[1]

    def _end(self) -> None:
        if self._running is not None:
            self._running.end()
            self._num_done += 1
            self._running = None

    def _rate(self, trial: Trial) -> Rate:
        """Return the rate of a model's device; where there is much to do, the matmul's is measured."""
        device, dtype = trial.backbone.device, trial.backbone.dtype
        if (device, dtype) not in self._rates:
            rate = Rate()
            if sum(forecast.flops for forecast in self._remaining) > MEASURED_FLOPS:
                is_slow = device.type == "cpu" and dtype != torch.float32
                size = {"size": HALF_SIZE} if is_slow else {}
                rate = Rate(matmul_flops_per_second(device, dtype, **size))
            self._rates[device, dtype] = rate
        return self._rates[device, dtype]

    def _show(self, seconds: float) -> None:
        """Tell the watch what remains, the running cell taking so many more seconds."""
        left, spent = seconds + self._later, self._clock() - self._began
        self._watch.remain(
            Remaining(
                num_done=self._num_done,
                num_cells=self._num_cells,
                num_known=self._num_entered,
                seconds=left,
                share=spent / (spent + left) if left else 1.0,
            )
        )


class CellWatch:
    """Listens to the two kinds of work of a cell that runs, and passes on what it hears.

    Args:
        trial: The cell.
        forecast: Its forecast.
        rate: Its seconds; learns from them in the end.
        watch: Is told of each stage.
        clock: Returns seconds since some time.
        show: Takes the seconds that remain of the cell.
    """

    def __init__(
        self,
        trial: Trial,
        forecast: Forecast,
        rate: Rate,
        watch: Watch,
        clock: Callable[[], float],
        show: Callable[[float], None],
    ) -> None:
        self._forecast, self._rate, self._show = forecast, rate, show
        expected = rate.seconds(forecast)
        self.learning = Part(watch, clock, expected.learning, _num_steps(trial), self._advanced)
        self.scoring = Part(watch, clock, expected.scoring, sum(map(len, trial.plan.queries)), self._advanced)

    def end(self) -> None:
        """Let the rate learn from what the cell took."""
        self._rate.learn(self._forecast, Seconds(self.learning.spent, self.scoring.spent))

    def _advanced(self) -> None:
        self._show(self.learning.left + self.scoring.left)


class Part:
    """A watch over one kind of work of a cell, in one stage or several, which knows how long it still takes.

    Args:
        watch: Is told of each stage.
        clock: Returns seconds since some time.
        expected: Seconds that it was expected to take.
        num_units: Steps or queries, of all stages.
        advanced: Called at each advance.
    """

    def __init__(
        self, watch: Watch, clock: Callable[[], float], expected: float, num_units: int, advanced: Callable[[], None]
    ) -> None:
        self._watch, self._clock, self._expected, self._advanced = watch, clock, expected, advanced
        self._num_units, self._num_done = max(1, num_units), 0
        self.spent = 0.0

    @property
    def left(self) -> float:
        """Seconds that remain, by the pace so far as far as it has come, and as expected for the rest.

        left = (1 - done) ((1 - done) expected + done spent / done)
        """
        rest = 1 - min(1.0, self._num_done / self._num_units)
        return rest * (rest * self._expected + self.spent)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Open a stage of the watch."""
        before, began = self.spent, self._clock()
        with self._watch.stage(title, total) as inner:
            self._advanced()

            def advance(steps: int, remark: str) -> None:
                self._num_done += steps
                self.spent = before + self._clock() - began
                self._advanced()
                inner(steps, remark)

            yield advance
        self.spent = before + self._clock() - began

    def say(self, text: str) -> None:
        """Pass it on."""
        self._watch.say(text)

    def remain(self, remaining: Remaining) -> None:
        """Pass it on."""
        self._watch.remain(remaining)


def _num_steps(trial: Trial) -> int:
    learner = trial.learner
    if isinstance(learner, Pet):
        of_student = learner.config.distil_steps if learner.config.distil else 0
        return learner.num_models * learner.tuning.training.num_steps + of_student
    if not isinstance(learner, Tuning):
        return 0
    return learner.training.num_steps + (sweep.num_steps(learner.training) if learner.sweep else 0)


def _shortening(trial: Trial) -> str:
    """Name the setting by which learning takes less: a classifier that learns for long trains a sentence model."""
    return "num_iterations" if isinstance(trial.learner, Classifying) else "num_steps"


def _remark(trials: Sequence[Trial], seconds: Seconds) -> str:
    """Say how long trials on one model take, and what would shorten it."""
    num_queries = max(len(queries) for trial in trials for queries in trial.plan.queries)
    shorter = {
        "fewer seeds": len({trial.cell.seed for trial in trials}) > 1,
        "--limit N": seconds.scoring > LARGE_SHARE * seconds.total and num_queries > MANY_QUERIES,
        f"--set {_shortening(trials[0])}=N": seconds.learning > LARGE_SHARE * seconds.total,
    }
    options = " or ".join(option for option, applies in shorter.items() if applies)
    cells = f"{len(trials)} cells" if len(trials) > 1 else "the cell"
    takes = f"{cells} on {trials[0].backbone.name} will take about {duration(seconds.total)}"
    resumed = "what is interrupted goes on after the last finished cell"
    return f"{takes}; {resumed}" + (f"; {options} would shorten it" if options else "")
