"""Rows of published tables, shown beside one's own and marked as published."""

import csv
from collections.abc import Iterator
from pathlib import Path

from peftbench.errors import RecordError
from peftbench.registry import known
from peftbench.report.rows.table import Row, Spread, Table, Task
from peftbench.report.rows.units import Range
from peftbench.store.record import Cost

FOLDER = Path(__file__).parent / "published"
TABLES = {
    "t-few": (
        "Published: arXiv 2205.05638, Table 1 (per task: Table 9). Other models and tasks than above.",
        (
            "published values are as printed: FLOPs and disk by the paper's rule, 103 tokens a query, 98 a shot",
            "published: the 6.7B and 13B rows leave the query's 103 tokens out (5.5e13, 1.1e14 with them); "
            "the T5+LM row is computed for concatenated shots, while 41 one-shot prompts were run (9.1e13)",
            "published: T0's 66.9 is not the mean of its own per-task row, which is 62.5; "
            "T0 and GPT-3 were copied from other papers with other pipelines",
            "published: '4.2 MB' is MiB of a pickled file; the 1,081,344 float32 values are 4.33 MB",
        ),
    ),
}
COSTS = {"inference_flops_per_example": "FLOPs", "training_flops": "FLOPs", "disk_bytes": "bytes"}


def published(name: str) -> Table:
    """Read a published table.

    Args:
        name: "t-few".

    Raises:
        RecordError: No such table.

    Paper: 2205.05638, Tables 1 and 9.
    """
    title, notes = TABLES[known(name, TABLES, "reference", RecordError)]
    lines = list(_read(f"{name}-tasks"))
    spreads: dict[tuple[str, str], dict[Task, Spread]] = {}
    for line in lines:
        task = Task(line["task"], float(line["chance"]), int(line["num_examples"]), sha256="")
        median = float(line["accuracy_median"])
        iqr = float(line["accuracy_iqr"]) if line["accuracy_iqr"] else None
        row = spreads.setdefault((line["method"], line["model"]), {})
        row[task] = Spread(median, iqr, num_seeds=0, num_templates=0, accuracy=median)
    rows = tuple(_row(line, spreads[line["method"], line["model"]]) for line in _read(name))
    return Table(tuple(rows[0].spreads), rows, title, notes)


def _row(line: dict[str, str], spreads: dict[Task, Spread]) -> Row:
    return Row(
        method=line["method"],
        model=line["model"],
        shots=_shots(line["shots"]),
        used_shots=_shots(line["shots"]),
        num_parameters=int(float(line["num_parameters"])),
        score=float(line["accuracy"]),
        iqr=None,
        accuracy=float(line["accuracy"]),
        chance=sum(task.chance for task in spreads) / len(spreads),
        costs={name: _cost(name, line[name]) for name in COSTS},
        spreads=spreads,
        published=True,
    )


def _shots(text: str) -> Range:
    """Read 32, or 20-70 where tasks have several numbers."""
    low, _, high = text.partition("-")
    return Range(int(low), int(high or low))


def _cost(name: str, text: str) -> Cost:
    convention = "published, as printed; by the paper's rule"
    return Cost(name=name, value=round(float(text)), unit=COSTS[name], kind="estimated", convention=convention)


def _read(name: str) -> Iterator[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
