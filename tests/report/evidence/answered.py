"""Tables of one task whose rows answer as is said, at prices that are said."""

import numpy as np

from peftbench.report.rows.table import build
from tests.report.evidence.simulated import right
from tests.report.records import record

PRICES = {
    "zero-shot": {"inference_flops_per_example": 10, "training_flops": 0},
    "ICL": {
        "inference_flops_per_example": 1_000,
        "training_flops": 0,
        "cached_inference_flops_per_example": 20,
        "cache_flops": 500,
    },
    "ia3": {"inference_flops_per_example": 10, "training_flops": 50_000},
}


def answered(method, answers, *, shots=16, seed=0, clusters=None, labels=None, prices=None, **facts):
    """A record of answers, (rows,) of 0 and 1."""
    name = "zero-shot" if method == "ICL" and not shots else method
    made = record(method, shots=shots, seed=seed, num_examples=len(answers), correct=(0,), **facts)
    text = "".join("01"[int(digit)] for digit in answers)
    told = {"right": text, "num_correct": {"token": text.count("1")}}
    if labels is not None:
        told["num_labelled"] = np.bincount(labels).tolist()
    values = prices or PRICES.get(name, PRICES["ia3"])
    costs = [made.costs[0].model_copy(update={"name": name, "value": value}) for name, value in values.items()]
    task = made.task.model_copy(update={"clusters": clusters})
    return made.model_copy(update={"results": [made.results[0].model_copy(update=told)], "costs": costs, "task": task})


def table(*records):
    """The only table of some records."""
    (built,) = build(records)
    return built


def shares(tuned, prompted, num_rows=80, labels=None, stream=0):
    """A table of a tuned and two prompted rows of about such accuracies, zero-shot right by half."""
    answers = right([tuned, prompted, 0.5], num_rows, np.random.default_rng(stream))
    return table(
        answered("ia3", answers[0], labels=labels),
        answered("ICL", answers[1], labels=labels),
        answered("ICL", answers[2], shots=0, labels=labels),
    )


def curved(fewer=0.6, num_rows=80):
    """A table of prompts and of tuning on 4 and on 16 rows, whose curves cross."""
    answers = right([0.7, 0.75, fewer, 0.9], num_rows, np.random.default_rng(1))
    sides = [("ICL", 4), ("ICL", 16), ("ia3", 4), ("ia3", 16)]
    return table(*(answered(method, row, shots=shots) for (method, shots), row in zip(sides, answers, strict=True)))


NAMES = ("complaint", "billing")


def cases():
    """Tables whose verdicts are plain, with the labels of their rows."""
    half, most = [0, 1] * 40, [int(place % 5 > 2) for place in range(80)]
    return {
        "tune": (shares(0.95, 0.7), half),
        "prompt": (shares(0.65, 0.95), half),
        "either": (shares(0.8, 0.78), half),
        "neither": (shares(0.55, 0.55), most),
        "one side": (table(answered("ICL", [1] * 70 + [0] * 10), answered("ICL", [1, 0] * 40, shots=0)), half),
    }
