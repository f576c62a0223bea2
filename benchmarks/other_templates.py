"""How many of other projects' templates are read, and why the others are not.

    python benchmarks/other_templates.py PROMPTSOURCE LM_EVAL [DATA]

PROMPTSOURCE and LM_EVAL are checkouts of bigscience-workshop/promptsource and EleutherAI/lm-evaluation-harness: their
templates and tasks folders are looked for inside. DATA is a folder of real rows in files of the names below: each
template is then rendered for the first rows.
"""

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from peftbench.errors import PeftbenchError, TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.formats import lm_eval, read, yaml_file
from peftbench.tasks.load import load
from peftbench.tasks.wording import template_of

NUM_ROWS = 60
Rows = list[dict[str, Any]]
Change = Callable[[dict[str, Any]], dict[str, Any]]


def renamed(**names: str) -> Change:
    """Rename columns: new = old."""
    old = {before: after for after, before in names.items()}
    return lambda row: {old.get(name, name): value for name, value in row.items()}


def unchanged(row: dict[str, Any]) -> dict[str, Any]:
    return row


def hellaswag(row: dict[str, Any]) -> dict[str, Any]:
    """Give the columns that the hub's rows have beside `ctx`."""
    label, _, text = row["ctx"].partition(": ")
    return row | {"activity_label": label, "ctx": text, "ctx_a": text, "ctx_b": "", "label": str(row["label"])}


def without_label(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "label"}


def of_hub(folder: Path) -> Change:
    """Number Banking77's classes as on the hub: by name, whatever the case."""
    names = sorted(json.loads((folder / "banking77" / "names.json").read_text()), key=str.casefold)
    return lambda row: row | {"label": names.index(row["label"])}


# Data set of promptsource, file of rows, and what makes its columns those of the hub.
DATA_SETS: dict[str, tuple[str, Change]] = {
    "super_glue/rte": ("rte/validation.jsonl", unchanged),
    "super_glue/cb": ("cb/validation.jsonl", unchanged),
    "super_glue/copa": ("copa/validation.jsonl", unchanged),
    "super_glue/wic": ("wic/validation.jsonl", unchanged),
    "super_glue/wsc.fixed": ("wsc/validation.jsonl", unchanged),
    "super_glue/boolq": ("boolq/validation.jsonl", unchanged),
    "anli": ("anli/r1_dev.jsonl", unchanged),
    "hellaswag": ("hellaswag/validation_sample.jsonl", hellaswag),
    "winogrande/winogrande_xl": ("winogrande/test.jsonl", without_label),
    "glue/sst2": ("sst2/validation.jsonl", renamed(sentence="text")),
    "ag_news": ("agnews/test.jsonl", unchanged),
    "trec": ("trec/test.jsonl", renamed(coarse_label="label", fine_label="fine")),
    "rotten_tomatoes": ("mr/test.jsonl", unchanged),
    "glue/cola": ("cola/validation_in_domain.jsonl", renamed(sentence="text")),
    "banking77": ("banking77/test.jsonl", unchanged),
}


def reason(message: str) -> str:
    """Write a fault without its names and numbers."""
    text = re.sub(
        r"'[^']*'|\"[^\"]*\"|\(.*?\)", "", message.split(": ", 1)[-1] if message.startswith("task ") else message
    )
    return re.sub(r"\s+", " ", re.sub(r"\d[\d,]*", "N", text)).strip()[:90]


def promptsource_counts(folder: Path) -> None:
    counts, reasons = Counter[str](), Counter[str]()
    for path in sorted(folder.rglob("templates.yaml")):
        counts["files"] += 1
        table = yaml_file.read(path)
        counts["templates"] += len(table["templates"])
        ranked = [entry for entry in table["templates"].values() if entry["answer_choices"] is not None]
        counts["ranked"] += len(ranked)
        try:
            file = read.read(path)
        except TaskError as error:
            counts["files without a usable template"] += 1
            reasons[f"file: {reason(error.message)}"] += len(ranked)
            continue
        counts["ranked, of the data set's own task"] += len(file.templates)
        for index, wording in enumerate(file.templates):
            try:
                template = template_of(wording, index, file.label.field)
                counts["of those compiled"] += 1
                counts["no column"] += not template.reads_rows
            except TaskError as error:
                reasons[reason(error.message.replace(wording.name, ""))] += 1
    show("promptsource", counts, reasons)


def lm_eval_counts(folder: Path) -> None:
    counts, reasons, families = Counter[str](), Counter[str](), set[str]()
    for path in sorted(folder.rglob("*.yaml")):
        counts["files"] += 1
        try:
            file = read.read(path)
            (wording,) = file.templates
            template_of(wording, 0, file.label.field)
        except PeftbenchError as error:
            if not is_multiple_choice(path):
                continue
            counts["multiple_choice, not read"] += 1
            for part in error.message.split(": ", 1)[-1].split("; "):
                reasons[reason(part)] += 1
            continue
        counts["read"] += 1
        counts["read, with rows for shots"] += bool(file.data.train)
        counts["read, with an empty input"] += not wording.text.strip()
        families.add(path.relative_to(folder).parts[0])
    counts["families with one that is read"] = len(families)
    show("lm-evaluation-harness", counts, reasons)


def is_multiple_choice(path: Path) -> bool:
    """Whether a file is one task that would be ranked, whatever else is in it."""
    try:
        table = lm_eval.merged_fields(path, yaml_file.read(path))
    except PeftbenchError:
        return False
    is_task = isinstance(table.get("task"), str) and "class" not in table
    return is_task and table.get("output_type") == "multiple_choice"


def show(title: str, counts: Counter[str], reasons: Counter[str]) -> None:
    print(f"\n{title}")
    for name, count in counts.items():
        print(f"{count:8,}  {name}")
    print("  not read, by reason:")
    for name, count in reasons.most_common(25):
        print(f"{count:8,}  {name}")


def rendered(folder: Path, data: Path) -> Iterator[tuple[str, int, int, int, dict[int, str], str]]:
    """Yield data set, ranked templates, those that fit, those that fit part of the rows, and what is left out."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, (source, change) in DATA_SETS.items():
            lines = (data / source).read_text().rstrip("\n").split("\n")
            change = of_hub(data) if name == "banking77" else change
            table = [change(json.loads(line)) for line in lines][:: max(1, len(lines) // NUM_ROWS)][:NUM_ROWS]
            rows = Path(scratch) / "rows.jsonl"
            rows.write_text("".join(json.dumps(row) + "\n" for row in table))
            path = folder / name / "templates.yaml"
            try:
                task = load(TaskSpec(name=str(path), train=rows, test=rows))
            except TaskError as error:
                yield name, 0, 0, 0, {}, error.message[:300]
                continue
            part = sum(not all(map(template.reads, task.test)) for template in task.templates)
            for template in task.templates:
                for row in task.test:
                    if template.reads(row):
                        template.render(row)
            num = len(task.templates) + len(task.left_out)
            yield name, num, len(task.templates) - part, part, dict(task.left_out), task.templates[0].label


def main() -> None:
    promptsource, harness = Path(sys.argv[1]), Path(sys.argv[2])
    promptsource = next(path for path in (promptsource / "promptsource" / "templates", promptsource) if path.is_dir())
    harness = next(path for path in (harness / "lm_eval" / "tasks", harness) if path.is_dir())
    if len(sys.argv) > 3:
        totals = Counter[str]()
        print(f"{'data set':26} {'ranked':>6} {'every row':>9} {'some rows':>9} {'left out':>8}  label")
        for name, num, whole, part, left_out, label in rendered(promptsource, Path(sys.argv[3])):
            print(f"{name:26} {num:6} {whole:9} {part:9} {len(left_out):8}  {label}")
            for number, why in left_out.items():
                print(f"{'':28} {number}: {why[:150]}")
            totals.update(ranked=num, whole=whole, part=part, left_out=len(left_out))
        print(f"{'':26} {totals['ranked']:6} {totals['whole']:9} {totals['part']:9} {totals['left_out']:8}")
    promptsource_counts(promptsource)
    lm_eval_counts(harness)


if __name__ == "__main__":
    main()
