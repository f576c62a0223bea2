"""How many seconds forecast work will take: from the machine's rate of matmuls, then from what has been measured."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from peftbench.flow.forecast import Forecast

Work = Literal["learning", "scoring"]

# Fitted to CPU seconds on one core of 1.05e11 FLOPs/s (mini-gpt, mini-t0, smollm2-135m; (IA)^3, LoRA and all weights;
# batches of 1, 4 and 8 examples, 2 to 100 queries): within a third of each of them, of most within 15 %. A pass takes
# time whatever its tokens: for each layer, and for each parameter, which is read from memory.
SECONDS_PER_LAYER: dict[Work, float] = {"learning": 1.7e-3, "scoring": 0.6e-3}
SECONDS_PER_PARAMETER: dict[Work, float] = {"learning": 0.8e-9, "scoring": 0.4e-9}
# A training step also takes time for each tensor that is trained, and for each value in it.
SECONDS_PER_TENSOR, SECONDS_PER_TRAINED = 0.12e-3, 2.2e-9
# What is elementwise grows with the width, matmuls with its square: a model of this width runs at half the matmul rate.
WIDTH = 90
ASSUMED_FLOPS_PER_SECOND = 5e10
"""A core's, where a plan is too short for the machine's own to be measured."""
DECAY = 0.5
"""What the weight of a measurement is multiplied by when the next one comes."""


@dataclass(frozen=True)
class Seconds:
    """Seconds of learning and of scoring."""

    learning: float = 0.0
    scoring: float = 0.0

    @property
    def total(self) -> float:
        """Of both."""
        return self.learning + self.scoring

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.learning + other.learning, self.scoring + other.scoring)


@dataclass
class Rate:
    """Forecast -> seconds; it learns from what cells have taken.

    seconds = passes * (layers * a + parameters * b) + FLOPs / rate * (1 + WIDTH / d_model)

    That is corrected by measured / forecast of the same work and learner, or else of the same work, or else of any.

    Args:
        flops_per_second: Of a large square matmul on the device (`costs.clock.matmul_flops_per_second`).
    """

    flops_per_second: float = ASSUMED_FLOPS_PER_SECOND
    _sums: dict[tuple[str, ...], tuple[float, float]] = field(default_factory=dict)
    """Work and learner, work, or nothing -> seconds measured and forecast; the most recent ones weigh most."""

    def seconds(self, forecast: Forecast) -> Seconds:
        """Return the seconds that forecast work will take."""
        plain = self._plain(forecast)
        return Seconds(
            plain.learning * self._ratio("learning", forecast.learner),
            plain.scoring * self._ratio("scoring", forecast.learner),
        )

    def total(self, forecasts: Iterable[Forecast]) -> Seconds:
        """Add up the seconds that forecasts will take."""
        return sum(map(self.seconds, forecasts), Seconds())

    def learn(self, forecast: Forecast, seconds: Seconds) -> None:
        """Take in what forecast work has taken; 0 seconds where a kind of work was not measured."""
        plain = self._plain(forecast)
        self._add("learning", forecast.learner, seconds.learning, plain.learning)
        self._add("scoring", forecast.learner, seconds.scoring, plain.scoring)

    def _plain(self, forecast: Forecast) -> Seconds:
        """Return the seconds as nothing has been measured yet."""
        per_flop = (1 + WIDTH / max(1, forecast.d_model)) / self.flops_per_second
        run = 1 - forecast.num_frozen / max(1, forecast.num_layers)  # of the layers, in a step
        per_step = forecast.num_tensors * SECONDS_PER_TENSOR + forecast.num_trained * SECONDS_PER_TRAINED
        learning, scoring = (
            forecast.num_layers * SECONDS_PER_LAYER[work] + forecast.num_parameters * SECONDS_PER_PARAMETER[work]
            for work in ("learning", "scoring")
        )
        return Seconds(
            forecast.num_learn_passes * (run * learning + per_step) + forecast.learn_flops * per_flop,
            forecast.num_score_passes * scoring + forecast.score_flops * per_flop,
        )

    def _ratio(self, work: Work, learner: str) -> float:
        for key in ((work, learner), (work,), ()):
            if key in self._sums:
                measured, forecast = self._sums[key]
                return measured / forecast
        return 1.0

    def _add(self, work: Work, learner: str, measured: float, forecast: float) -> None:
        if measured <= 0 or forecast <= 0:
            return
        for key in ((work, learner), (work,), ()):
            of_measured, of_forecast = self._sums.get(key, (0.0, 0.0))
            self._sums[key] = (DECAY * of_measured + measured, DECAY * of_forecast + forecast)
