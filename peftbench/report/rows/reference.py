"""Rows of published tables, shown beside one's own and marked as published."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import RecordError
from peftbench.registry import known
from peftbench.report.rows.metric import ACCURACY
from peftbench.report.rows.table import Row, Spread, Table, Task
from peftbench.report.rows.units import Range
from peftbench.store.record import Cost

FOLDER = Path(__file__).parent / "published"
BY_RULE = (
    "published values are as printed: FLOPs and disk by the paper's rule, 103 tokens a query, 98 a shot",
    "published: the 6.7B and 13B rows leave the query's 103 tokens out (5.5e13, 1.1e14 with them); "
    "the T5+LM row is computed for concatenated shots, while 41 one-shot prompts were run (9.1e13)",
    "published: T0's 66.9 is not the mean of its own per-task row, which is 62.5; "
    "T0 and GPT-3 were copied from other papers with other pipelines",
    "published: '4.2 MB' is MiB of a pickled file; the 1,081,344 float32 values are 4.33 MB",
)
OF_RAFT = (
    "published: macro F1 on RAFT's test rows, whose labels nobody shows; the paper's table calls it accuracy; neither "
    "an accuracy nor a score of folds compares with it",
    "published: chance is by the classes of the 50 labelled rows; of the test rows' nobody knows them",
    "published: 49.3 on systematic_review_inclusion is what always answering 'not included' scores",
)
OF_GLUE = (
    "published: GLUE's validation sets, trained on all training rows with a classification head, which is not among "
    "LoRA's trained parameters; LoRA's are medians of 5 runs, those of full tuning are copied from the models' papers",
    "published: LoRA's runs on MRPC and RTE start from its adapter of MNLI; the mean over the three tasks is ours",
)


@dataclass(frozen=True)
class Printed:
    """A table of a paper.

    Args:
        file: Its rows; those of each task are in FILE-tasks.
        title: What stands above it.
        notes: What must not be read into it.
        metric: What its scores are.
    """

    file: str
    title: str
    notes: tuple[str, ...]
    metric: str = ACCURACY


TABLES = {
    "t-few": (
        Printed(
            "t-few",
            "Published: arXiv 2205.05638, Table 1 (per task: Table 9). Other models and tasks than above.",
            BY_RULE,
        ),
    ),
    "raft": (
        Printed("raft", "Published, macro F1: arXiv 2205.05638, Tables 2 and 11 (RAFT).", OF_RAFT, "macro_f1"),
        Printed("raft-means", "Published, macro F1: others on RAFT's leaderboard, means alone.", OF_RAFT, "macro_f1"),
    ),
    "lora": (
        Printed("lora-glue", "Published: arXiv 2106.09685, Table 2 (GLUE), tasks of accuracy that are here.", OF_GLUE),
        Printed("lora-cola", "Published, Matthews correlation: the same table, CoLA.", OF_GLUE, "matthews"),
    ),
}
COSTS = {"inference_flops_per_example": "FLOPs", "training_flops": "FLOPs", "disk_bytes": "bytes"}


def published(name: str) -> tuple[Table, ...]:
    """Read the tables of a paper.

    Args:
        name: "t-few", "raft" or "lora".

    Raises:
        RecordError: No such table.

    Paper: 2205.05638, Tables 1, 2, 9 and 11; 2106.09685, Table 2.
    """
    return tuple(map(_table, TABLES[known(name, TABLES, "reference", RecordError)]))


def _table(printed: Printed) -> Table:
    spreads: dict[tuple[str, str], dict[Task, Spread]] = {}
    is_accuracy = printed.metric == ACCURACY
    for line in _read(f"{printed.file}-tasks"):
        task = Task(line["task"], float(line["chance"]), int(line["num_examples"]), sha256="", metric=printed.metric)
        median = float(line["score_median"])
        iqr = float(line["score_iqr"]) if line["score_iqr"] else None
        row = spreads.setdefault((line["method"], line["model"]), {})
        accuracy = median if is_accuracy else None
        row[task] = Spread(median, iqr, num_seeds=0, num_templates=0, accuracy=accuracy)
    lines = list(_read(printed.file))
    rows = tuple(_row(line, spreads[line["method"], line["model"]], is_accuracy=is_accuracy) for line in lines)
    return Table(tuple(rows[0].spreads), rows, printed.title, printed.notes)


def _row(line: dict[str, str], spreads: dict[Task, Spread], *, is_accuracy: bool) -> Row:
    score = float(line["score"])
    return Row(
        method=line["method"],
        model=line["model"],
        shots=_shots(line["shots"]),
        used_shots=_shots(line["shots"]),
        num_parameters=_count(line["num_parameters"]),
        num_trained_parameters=_count(line.get("num_trained_parameters", "")),
        score=score,
        iqr=None,
        accuracy=score if is_accuracy else None,
        chance=sum(task.chance for task in spreads) / len(spreads),
        costs={name: _cost(name, line[name]) for name in COSTS if line[name]},
        spreads=spreads,
        published=True,
    )


def _count(text: str) -> int | None:
    return int(float(text)) if text else None


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
