"""A training step of top layers, with the layers below run in each step, and once for each example.

Run: python benchmarks/frozen.py [--quick] [MODEL ...]      models: smollm2-135m, mini-t0 and others of `--model`.

32 examples of 8 to 40 words with two choices, 8 in a step, three losses; the top layer is trained. The first four steps
draw each example once, the others none that is new. CPU seconds of one thread, each in one process, by turns.
"""

import itertools
import os
import time
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

NUM_FIRST, NUM_STEPS, BATCH_SIZE = 4, 12, 8
DEFAULT, QUICK = ("smollm2-135m", "mini-t0"), ("mini-t0",)


def learn(backbone: Any) -> tuple[list[float], int]:
    """Train, and return CPU seconds of each step and the bytes of states at the end."""
    from benchmarks.tune import CASES, rows
    from peftbench import registry
    from peftbench.learners import tune
    from peftbench.scoring.frozen import FrozenLayers
    from peftbench.spec.cell import Scoring, Training
    from tests.scoring.prompts import example

    config = registry.method("top_layers").Config()
    training = Training(num_steps=NUM_STEPS, batch_size=BATCH_SIZE)
    examples = [[example(text, choices, label)] for text, choices, label in rows(CASES["smollm2"])]
    scoring = Scoring(end="eos" if backbone.is_encoder_decoder else "none")
    moments, made = [time.process_time()], []
    real = FrozenLayers.__init__

    def remember(layers: FrozenLayers, *args: Any) -> None:
        real(layers, *args)
        made.append(layers)
        moments[0] = time.process_time()

    with mock.patch.object(FrozenLayers, "__init__", remember):
        tuning = tune.Tuning("top_layers", config, training, examples)
        tune.learn(tuning, backbone, scoring, lambda _step, _loss: moments.append(time.process_time()))
    backbone.detach_all()
    states = [tensor for of_example in made[0]._states.values() for tensor in of_example]
    return [after - before for before, after in itertools.pairwise(moments)], sum(t.nbytes for t in states)


def measure(backbone: Any) -> dict[str, tuple[list[float], int]]:
    """Train without and with states that are kept; what is measured is the second time of each."""
    from peftbench.scoring import frozen

    results = {}
    for _ in range(2):
        with mock.patch.object(frozen, "layers", return_value=[]):
            results["before"] = learn(backbone)
        results["now"] = learn(backbone)
    return results


def milliseconds(values: list[float]) -> float:
    """Average seconds, in milliseconds."""
    return 1000 * sum(values) / len(values)


def main() -> None:
    """Print a line for each model."""
    from benchmarks.chosen import chosen
    from peftbench.models.load import load

    for name in chosen(DEFAULT, QUICK):
        results = measure(load(name, device="cpu"))
        for case, (seconds, num_bytes) in results.items():
            first, later = milliseconds(seconds[:NUM_FIRST]), milliseconds(seconds[NUM_FIRST:])
            print(f"{name} {case}: first steps {first:.1f} ms, later {later:.1f} ms, states {num_bytes / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
