"""The tasks' rows: drawn from the world once, committed beside the tasks' TOML files, and drawn again by a test."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from peftbench.lab.text.heldout import HELD_OUT, VALIDATION, Row
from peftbench.lab.text.train_tasks import TRAIN_TASKS
from peftbench.lab.world.world import HELD, World
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load

FOLDER = Path(__file__).parents[1] / "tasks"
NUM_TRAIN, NUM_TEST = 400, 300


def _maker(task: str) -> tuple[Callable[[World, random.Random, int], Row], int]:
    if task in TRAIN_TASKS:
        make, classes = TRAIN_TASKS[task]
        return (lambda world, rng, label: make(world, rng, label, HELD)), classes
    return {**HELD_OUT, **VALIDATION}[task]


def draw_rows(task: str, world: World) -> tuple[list[Row], list[Row]]:
    """Draw a task's train and test rows: no row twice, classes in turn, both in random order."""
    rng, (make, classes) = random.Random(f"rows/{task}"), _maker(task)
    rows: dict[str, Row] = {}
    while len(rows) < NUM_TRAIN + NUM_TEST:
        row = make(world, rng, len(rows) % classes)
        rows.setdefault(json.dumps([text for name, text in row.items() if name != "label"]), row)
    drawn = list(rows.values())
    test, train = drawn[:NUM_TEST], drawn[NUM_TEST:]
    rng.shuffle(test)
    rng.shuffle(train)
    return train, test


def write_rows(folder: Path = FOLDER) -> None:
    """Write train.parquet and test.parquet of all tasks."""
    import pyarrow
    from pyarrow import parquet

    world = World.generate()
    for task in (*HELD_OUT, *VALIDATION, *TRAIN_TASKS):
        (folder / task).mkdir(parents=True, exist_ok=True)
        for name, rows in zip(("train", "test"), draw_rows(task, world), strict=True):
            path = folder / task / f"{name}.parquet"
            parquet.write_table(pyarrow.Table.from_pylist(rows), path, compression="zstd", compression_level=22)


def write_labels(folder: Path = FOLDER) -> None:
    """Write labels.json: for each task's SHA-256 the labels of its test rows, as records of today hold them."""
    tasks = [load(TaskSpec(name=str(path))) for path in sorted(folder.glob("*.toml"))]
    table = {task.sha256: " ".join(str(row.label) for row in task.test) for task in tasks if task.has_fixed_counts}
    (folder / "labels.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_rows()
    write_labels()
