"""Stopping when it has learnt: training ends where its loss has not fallen for a while."""

import math

WINDOW = 20
"""Steps over whose mean the loss is smoothed: a few batches of few shots, drawn with their templates, scatter."""
PATIENCE = 100
"""Steps within which the smoothed loss must reach a new low."""
RELATIVE, ABSOLUTE = 0.01, 1e-3
"""By how much it must fall, of its low so far or in nats, whichever is more: below a thousandth nothing is left."""


class Plateau:
    """Watches the loss of each step, and says when it falls no more.

    s_t = mean(loss_{t-19} .. loss_t);  a low is an s_t < min(0.99 low, low - 0.001);  stop 100 steps after the last low

    Warm-up, in which the rate is too small to learn by, does not count, so that the least number of steps is the
    warm-up's, and 120.

    Args:
        num_warmup: Steps of warm-up.
    """

    def __init__(self, num_warmup: int) -> None:
        self._num_skipped = num_warmup
        self._recent: list[float] = []
        self._low, self._num_since = math.inf, 0

    def is_reached(self, loss: float) -> bool:
        """Take in the loss of the step that was just run, and return whether training has come to its end."""
        if self._num_skipped:
            self._num_skipped -= 1
            return False
        self._recent = [*self._recent, loss][-WINDOW:]
        if len(self._recent) < WINDOW:
            return False
        smoothed = math.fsum(self._recent) / WINDOW
        self._num_since += 1
        if smoothed < min((1 - RELATIVE) * self._low, self._low - ABSOLUTE):
            self._low, self._num_since = smoothed, 0
        return self._num_since >= PATIENCE
