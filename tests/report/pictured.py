"""A small report with everything that a page can show: two tasks, two models, intervals, a cache."""

import functools
import random

from peftbench.report.notes.document import compose
from tests.report.records import record

TASKS = ("nli", "coref")
VERSIONS = {"torch": "2.13.0", "python": "3.11.7"}


def _with_answers(made, share):
    generator = random.Random(f"{made.id}")
    results = []
    for one in made.results:
        right = "".join("01"[generator.random() < share] for _ in range(one.num_examples))
        results.append(one.model_copy(update={"right": right, "num_correct": {"token": right.count("1")}}))
    return made.model_copy(update={"results": results, "versions": VERSIONS})


def _cached(made):
    costs = {"cached_inference_flops_per_example": 60_000_000, "cache_flops": 10**9}
    more = [made.costs[0].model_copy(update={"name": name, "value": value}) for name, value in costs.items()]
    return made.model_copy(update={"costs": [*made.costs, *more]})


@functools.cache
def records():
    made = []
    for task in TASKS:
        data = {"task": task, "num_examples": 120, "correct": (0, 0, 0)}
        made += [_with_answers(record("ICL", model, shots=0, **data), 0.5) for model in ("mini-gpt", "mini-t0")]
        for seed in range(3):
            made += [
                _cached(_with_answers(record("ICL", shots=shots, seed=seed, **data), share))
                for shots, share in ((4, 0.55), (32, 0.65))
            ]
            tuned = record("ia3", "mini-t0", seed=seed, method_config={"init": "ones"}, training={"lr": 0.01}, **data)
            made.append(_with_answers(tuned, 0.75))
            made.append(_with_answers(record("lora", "mini-gpt", seed=seed, **data), 0.74))
    return made


@functools.cache
def document():
    return compose(records())
