"""The drills by their names: each takes a number of tries and a seed, and returns its tally."""

from collections.abc import Callable

from tests.drills import flips, kills
from tests.drills.tally import Tally

DRILLS: dict[str, Callable[[int, int], Tally]] = {
    "kill a run": kills.run,
    "kill predictions": kills.predict,
    "flip what is read back": flips.flips,
}
TRIES = {"kill a run": 700, "kill predictions": 300, "flip what is read back": 1000}
"""Tries of `make drill`; of a drill that is not named here, 100."""
