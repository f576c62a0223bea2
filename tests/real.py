"""Rows of real data sets, which are nobody's to pass on: tests that use them are marked `real_data`."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "PEFTBENCH_TEST_DATA"
Fields = dict[str, Any]


def data() -> Path | None:
    """Return the folder that the variable names (none where it is empty), else shared/data beside a parent of ours."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE]) if os.environ[VARIABLE] else None
    beside = (parent / "shared" / "data" for parent in Path(__file__).resolve().parents[2:])
    return next((path for path in beside if (path / "real").is_dir()), None)


def folder() -> Path:
    """Return the folder of real rows."""
    path = data()
    assert path is not None, "a test that reads real rows is marked real_data"
    return path / "real"


def read(name: str) -> list[Fields]:
    with (folder() / name).open(encoding="utf-8") as lines:  # splitlines cuts at marks inside of texts, too
        return [json.loads(line) for line in lines]


def renamed(**names: str) -> Callable[[Fields], Fields]:
    """Make a function that adds columns under the hub's names: hub's = name in these files."""
    return lambda row: row | {hub: row[name] for hub, name in names.items()}


def news(row: Fields) -> Fields:
    return row | {"text": f"{row['title']} {row['text']}"}


def ending(row: Fields) -> Fields:
    if "activity_label" in row:  # of the draws; the validation sample has the activity in the context
        return row
    activity, _, context = row["ctx"].partition(": ")
    return row | {"activity_label": activity, "ctx": context, "label": str(row["label"])}


SOURCES: dict[str, tuple[str, str, Callable[[Fields], Fields]]] = {
    "sst2": ("sst2/train.jsonl", "sst2/validation.jsonl", renamed(sentence="text")),
    "mr": ("mr/train.jsonl", "mr/test.jsonl", renamed()),
    "ag_news": ("agnews/train.jsonl", "agnews/test.jsonl", news),
    "trec": ("trec/train.jsonl", "trec/test.jsonl", renamed(coarse_label="label")),
    "rte": ("rte/train.jsonl", "rte/validation.jsonl", renamed()),
    "cb": ("cb/train.jsonl", "cb/validation.jsonl", renamed()),
    "copa": ("copa/train.jsonl", "copa/validation.jsonl", renamed()),
    "wic": ("wic/train.jsonl", "wic/validation.jsonl", renamed()),
    "wsc": ("tfew_shots/wsc/0.jsonl", "wsc/validation.jsonl", renamed()),
    "boolq": ("boolq/train.jsonl", "boolq/validation.jsonl", renamed()),
    "winogrande": ("winogrande/train.jsonl", "winogrande/test.jsonl", renamed()),
    "anli-r1": ("tfew_shots/anli-r1/0.jsonl", "anli/r1_dev.jsonl", renamed()),
    "anli-r2": ("tfew_shots/anli-r2/0.jsonl", "anli/r2_dev.jsonl", renamed()),
    "anli-r3": ("tfew_shots/anli-r3/0.jsonl", "anli/r3_dev.jsonl", renamed()),
    "hellaswag": ("tfew_shots/h-swag/0.jsonl", "hellaswag/validation_sample.jsonl", ending),
    "cola": ("cola/train.jsonl", "cola/validation_in_domain.jsonl", renamed(sentence="text")),
    "banking77": ("banking77/train.jsonl", "banking77/test.jsonl", renamed()),
}
"""Task -> training file, test file, and what makes the hub's columns of theirs."""


def write(task: str, data: Path, *, every: int = 1) -> Path:
    """Write data/TASK/train.jsonl and test.jsonl, every n-th row of them, and return `data`."""
    train, test, columns = SOURCES[task]
    (data / task).mkdir(parents=True)
    for split, name in (("train", train), ("test", test)):
        table = [columns(row) for row in read(name)[::every]]
        lines = [json.dumps(row) + "\n" for row in table]
        (data / task / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return data
