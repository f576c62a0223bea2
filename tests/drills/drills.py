"""The drills by their names: each takes a number of tries and a seed, and returns its tally."""

from collections.abc import Callable

from tests.drills import flips, folders, inputs, kills, yamls
from tests.drills.tally import Tally

DRILLS: dict[str, Callable[[int, int], Tally]] = {
    "kill a run": kills.run,
    "kill one of several jobs": kills.jobs,
    "kill predictions": kills.predict,
    "fill the disk": kills.fill,
    "flip what is read back": flips.flips,
    "hostile model folders": folders.models,
    "hostile adapters": folders.adapters,
    "hostile checkpoints": folders.checkpoints,
    "rows": inputs.files,
    "templates": inputs.templates,
    "TOML": inputs.tomls,
    "YAML": yamls.yamls,
    "command lines": inputs.commands,
    "command lines that run": inputs.running,
}
TRIES = {
    "kill a run": 700,
    "kill one of several jobs": 300,
    "kill predictions": 300,
    "fill the disk": 300,
    "flip what is read back": 1000,
    "hostile model folders": 200,
    "hostile adapters": 70,
    "hostile checkpoints": 30,
    "rows": 9000,
    "templates": 5000,
    "TOML": 5000,
    "YAML": 5000,
    "command lines": 1000,
    "command lines that run": 300,
}
"""Tries of `make drill`; of a drill that is not named here, 100."""
