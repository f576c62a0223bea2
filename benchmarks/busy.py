"""What one other busy process costs: scoring and training alone and beside it, with threads waiting either way.

Run: python benchmarks/busy.py [--quick] [JOB ...]      jobs: icl, lora, mini.

A thread of OpenMP's that has nothing to do can go on asking for work ("awake"), sleep at once ("asleep"), or ask for
some microseconds and then sleep, as `import peftbench` sets it ("ours"). Where cores are shared, threads that stay
awake take time from those that have work. Each job runs in a process of its own. With one of N cores taken away, a job
on N threads can be slowed down by N / (N - 1), on two cores by 2: what is above is what waiting costs.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.chosen import chosen
from benchmarks.icl import Case, checkpoint, prompts

POLICIES: dict[str, dict[str, str]] = {
    "awake": {"OMP_WAIT_POLICY": "active"},
    "asleep": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "ours": {},
}
JOBS = {"icl": "scoring, GPT-2 small", "lora": "LoRA step, GPT-2 small", "mini": "LoRA step, mini-gpt"}
QUICK = ("mini",)
NUM_STEPS = 4


def scoring(folder: str) -> None:
    from peftbench.models.load import load
    from peftbench.scoring.score import score
    from peftbench.spec.cell import Scoring
    from tests.scoring.prompts import example

    backbone = load(folder, device="cpu")
    queries = [example(text, choices) for text, choices in prompts(Case("gpt2", 4, 2, 48, 0), 48)]
    score(backbone, queries[:4], Scoring(end="none"))
    started = time.perf_counter()
    score(backbone, queries, Scoring(end="none"))
    print(time.perf_counter() - started)


def training(model: str) -> None:
    from peftbench import registry
    from peftbench.learners import tune
    from peftbench.models.load import load
    from peftbench.spec.cell import Scoring, Training
    from tests.scoring.prompts import example

    backbone = load(model, device="cpu")
    rows = [
        [example(text, choices, number % 2)] for number, (text, choices) in enumerate(prompts(Case("", 0, 2, 8, 0), 8))
    ]
    moments: list[float] = []
    settings = Training(num_steps=NUM_STEPS + 1, batch_size=8)
    tuning = tune.Tuning("lora", registry.method("lora").Config(), settings, rows)
    tune.learn(tuning, backbone, Scoring(end="none"), lambda _step, _loss: moments.append(time.perf_counter()))
    print((moments[-1] - moments[0]) / NUM_STEPS)  # the first step warms up


def seconds(job: str, model: str, policy: str) -> float:
    settings = {name for settings in POLICIES.values() for name in settings}
    environment = {name: value for name, value in os.environ.items() if name not in settings} | POLICIES[policy]
    words = [sys.executable, "-m", "benchmarks.busy", "--child", job, model]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@contextmanager
def busy() -> Iterator[None]:
    """Keep one process at work."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    if "--child" in sys.argv:
        job, model = sys.argv[-2:]
        scoring(model) if job == "icl" else training(model)
        return
    print("| job | waiting | alone, s | beside one busy process, s | ratio |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as root:
        checkpoint("gpt2", Path(root))
        for job in chosen(JOBS, QUICK):
            for policy in POLICIES:
                model = "mini-gpt" if job == "mini" else root
                alone = seconds(job, model, policy)
                with busy():
                    beside = seconds(job, model, policy)
                print(f"| {JOBS[job]} | {policy} | {alone:.2f} | {beside:.2f} | {beside / alone:.1f} |", flush=True)


if __name__ == "__main__":
    main()
