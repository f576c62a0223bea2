"""Shared-prefix scoring against one full row per (prompt, choice), which is how other harnesses score ICL.

Run: python benchmarks/icl_scoring.py [MODEL] [TASK]      One process runs both; quote the ratio.
"""

import sys
import time

from peftbench.learners import icl
from peftbench.models.load import load
from peftbench.recipe import IclOptions, Scoring, TaskSpec
from peftbench.tasks.load import load as load_task
from peftbench.tasks.shots import draw

NUM_QUERIES, REPEATS = 40, 3


def main(model: str = "mini-gpt", task_name: str = "lab-hazard") -> None:
    """Print seconds and tokens of both paths for some numbers of shots, and how far their scores are apart."""
    backbone, task = load(model), load_task(TaskSpec(name=task_name))
    print(f"{model} on {task_name}, {NUM_QUERIES} queries, best of {REPEATS}")
    print(
        f"{'shots':>5} {'shared s':>9} {'plain s':>9} {'ratio':>6} {'shared tokens':>13}"
        f" {'plain tokens':>12} {'max |diff|':>10}"
    )
    for shots in (0, 4, 16, 32):
        examples = [task.templates[0].render(row) for row in task.test[:NUM_QUERIES]]
        seconds, scores = {}, {}
        for cache in (True, False):
            scoring = Scoring(end="none", cache=cache)
            predictor = icl.learn(backbone, task.templates[0], draw(task, shots, 0), IclOptions(), scoring)
            times = []
            for _ in range(REPEATS if cache else 1):
                started = time.perf_counter()
                scores[cache] = predictor.score(examples)
                times.append(time.perf_counter() - started)
            seconds[cache] = min(times)
        pairs = zip(scores[True].choices, scores[False].choices, strict=True)
        apart = max(abs(a.log_prob - b.log_prob) for one, other in pairs for a, b in zip(one, other, strict=True))
        tokens = [sum(vars(scores[cache].work).values()) for cache in (True, False)]
        print(
            f"{shots:>5} {seconds[True]:>9.3f} {seconds[False]:>9.3f} {seconds[False] / seconds[True]:>6.1f}"
            f" {tokens[0]:>13,} {tokens[1]:>12,} {apart:>10.1e}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
