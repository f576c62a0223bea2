"""How often `decide` is right on rows: what it says from n labelled rows, against 500 further rows of the same task.

Run: python benchmarks/decide_study.py FOLDER [--tasks NAME,...] [--data DIR] [--publish]
FOLDER gets the records, and a line of FOLDER/draws.csv for each draw; stopped, the same command goes on. --publish runs
nothing, and writes the parts of which all draws are done, with their table, to results/reference/decide/. sst2 and
trec take --data (DIR/TASK/train.jsonl) and smollm2-135m: many core-hours; a draw of mini-gpt's takes minutes.

Settings, all fixed before any score was seen:

- Tasks: lab-hazard, a property of what a sentence is about, and lab-nli2, a relation of two sentences, both for
  mini-gpt, which was trained on neither; sst2 and trec for smollm2-135m. Classes are called as one of the task's
  templates calls them, there being no other wording: `decide` makes its plain template. trec goes without its class
  of abbreviations: 2 rows in 100, and five folds take five rows of each class.
- Rows: of the lab 3,000 new ones by the makers of its tasks; else the task's training rows. A text that is there twice
  counts once, white space and upper case aside, so that no row is tested by a copy.
- A draw: rows in the order of sha256(task, draw, attempt, row). The first 40, 80 and 160 are the labelled rows, the 500
  after the 160th are the further ones. Of the attempts 0, 1, ... the first counts that has 5 rows of each class
  among the first 40. Ten draws; they share rows, as a pool has no 10 x 660 of them.
- `decide`: its strategies without searches, all of them however long they take, 5 folds, 1 repeat, 10,000 queries.
- The truth: each of these strategies learns from all n rows, as --keep does, with seed 0, and answers the 500.

What is counted, for each number of rows of each task:

- covers: the interval of what was chosen has its accuracy on the 500 rows in it. That one has an error, too: with it
  allowed for, |accuracy - value| is at most sqrt(side^2 + (1.96 error)^2), side the interval's from the value towards
  the accuracy, error = sqrt(p (1 - p) / 500).
- agrees: the verdict is that which `decide` comes to by the 500 answers of all strategies; undecided: it is another
  one, and `either` or `neither`; unconfirmed: it is another one, and `tune` or `prompt`; wrong side: `tune` where on
  the 500 rows the best prompted strategy is ahead of the best tuned one, or `prompt` where it is behind.
- regret: the best accuracy on the 500 rows, of all strategies and of the label most frequent among the n, minus that
  of the pick; with `neither` the pick is that label. The best of many on 500 rows was lucky: regrets are too high.
"""

import argparse
import csv
import hashlib
import itertools
import json
import math
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from peftbench.decision import decide, schedule
from peftbench.decision.strategies import Split
from peftbench.flow import run as flow
from peftbench.lab.text.heldout import HELD_OUT
from peftbench.lab.world.world import World
from peftbench.learners.progress import SILENT
from peftbench.report.evidence import decide as evidence
from peftbench.report.evidence.selection import Z
from peftbench.report.notes.document import compose
from peftbench.spec.cell import TaskSpec
from peftbench.store.files import replacing
from peftbench.store.results import Store
from peftbench.tasks.load import load

SIZES, NUM_TEST, NUM_DRAWS, QUERIES = (40, 80, 160), 500, 10, 10_000
SPLIT = Split(folds=5, repeats=1)
LAB_ROWS = 3_000
NO_LIMIT = 1e9  # seconds: what is compared must not hang on how busy a machine is
VERDICTS = ("tune", "prompt", "either", "neither")
REFERENCE = Path(__file__).parents[1] / "results" / "reference" / "decide"
MARKS = ("<!-- table: made by benchmarks/decide_study.py --publish -->\n", "<!-- end of table -->")

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Subject:
    """A task of the study: its model, the columns that are read, and what its classes are called (None: left out)."""

    model: str
    text: tuple[str, ...]
    classes: tuple[str | None, ...]


SUBJECTS = {
    "lab-hazard": Subject("mini-gpt", ("text",), ("left", "right")),
    "lab-nli2": Subject("mini-gpt", ("premise", "hypothesis"), ("correct", "incorrect")),
    "sst2": Subject("smollm2-135m", ("sentence",), ("negative", "positive")),
    "trec": Subject("smollm2-135m", ("text",), (None, "thing", "description", "person", "place", "number")),
}


@dataclass(frozen=True)
class Line:
    """A draw: what `decide` said, and what came out on the further rows; accuracies are shares.

    `chosen` is the best strategy by the n rows, whose `value` and interval are judged; `accuracy` is its own on the
    further rows, `best` that of the best strategy there, `majority` that of the label most frequent among the n.
    `lead` is there the best tuned strategy's over the best prompted one.
    """

    task: str
    model: str
    num_rows: int
    draw: int
    attempt: int
    verdict: str
    chosen: str
    value: float
    low: float
    high: float
    num_test: int
    true_verdict: str
    accuracy: float
    best: float
    majority: float
    lead: float

    @property
    def covers(self) -> bool:
        return self.low - 1e-9 <= self.accuracy <= self.high + 1e-9

    @property
    def covers_with_error(self) -> bool:
        side = self.high - self.value if self.accuracy > self.value else self.value - self.low
        error = math.sqrt(self.accuracy * (1 - self.accuracy) / self.num_test)
        return abs(self.accuracy - self.value) <= math.hypot(side, Z * error) + 1e-9

    @property
    def agrees(self) -> bool:
        return self.verdict == self.true_verdict

    @property
    def is_undecided(self) -> bool:
        return not self.agrees and self.verdict in ("either", "neither")

    @property
    def is_unconfirmed(self) -> bool:
        return not self.agrees and not self.is_undecided

    @property
    def is_on_wrong_side(self) -> bool:
        return (self.verdict == "tune" and self.lead < 0) or (self.verdict == "prompt" and self.lead > 0)

    @property
    def regret(self) -> float:
        pick = self.majority if self.verdict == "neither" else self.accuracy
        return max(self.best, self.majority) - pick


def pool(task: str, data: Path | None) -> Rows:
    """Return a task's rows with the names of their classes, each text once."""
    subject = SUBJECTS[task]
    if task in HELD_OUT:
        (make, num_classes), world, rng = HELD_OUT[task], World.generate(), random.Random(f"decide/{task}")
        made = [make(world, rng, place % num_classes) for place in range(LAB_ROWS)]
        labelled = [(row, int(str(row["label"]))) for row in made]
    else:
        labelled = [(dict(row.fields), row.label) for row in load(TaskSpec(name=task, data=data)).train]
    unique: dict[str, dict[str, str]] = {}
    for row, label in labelled:
        name = subject.classes[label]
        if name is not None:
            texts = [" ".join(str(row[column]).split()) for column in subject.text]
            columns = zip((*subject.text, "label"), (*texts, name), strict=True)
            unique.setdefault("\0".join(texts).casefold(), dict(columns))
    return list(unique.values())


def drawn(rows: Rows, task: str, draw: int, least: int) -> tuple[Rows, int]:
    """Order rows for a draw: the first attempt that has a row of each class for each fold among the first `least`."""
    classes = {row["label"] for row in rows}
    for attempt in itertools.count():
        ordered = sorted(rows, key=lambda row: _digest(row, task, draw, attempt))
        counts = Counter(row["label"] for row in ordered[:least])
        if all(counts[name] >= SPLIT.folds for name in classes):
            return ordered, attempt
        assert attempt < 1_000, f"no {least} rows have {SPLIT.folds} of each class"
    raise AssertionError


def _digest(row: dict[str, str], *place: object) -> bytes:
    return hashlib.sha256("\0".join((*map(str, place), json.dumps(row, sort_keys=True))).encode()).digest()


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def judged(train: Path, test: Path, model: str, store: Store) -> dict[str, Any]:
    """Let `decide` say what it says of the labelled rows, and test all its strategies on the further ones."""
    task, _ = decide.read(train)
    with mock.patch.object(schedule, "BUDGET", NO_LIMIT):
        planned = schedule.scheduled(task, {"model": model, "device": "cpu"}, SPLIT, None, store, SILENT)
        decision = decide.answer(planned, decide.carry_out(planned, store), QUERIES)
    further = task.model_copy(update={"test": test})
    cells = [planned.on_all_rows(step).model_copy(update={"task": further}) for step in planned.chosen]
    records = [outcome.record for outcome in flow.run(cells, store)]
    (table,) = compose(records).tables
    with test.open(encoding="utf-8", newline="") as file:
        labels = [planned.pool.classes.index(row["label"]) for row in csv.DictReader(file)]
    truth = evidence.decide(table, QUERIES, labels)
    accuracies = {record.id: candidate.accuracy for candidate in truth.candidates for record in candidate.row.records}
    chosen = decision.pick or decision.best
    folds = {fold for record in chosen.row.records for fold in record.ids}
    place = next(place for place, step in enumerate(planned.chosen) if folds & set(step.ids))
    assert decision.majority is not None
    assert truth.lead is not None
    return {
        "verdict": decision.verdict,
        "chosen": planned.chosen[place].strategy.name,
        "value": chosen.estimate.value,
        "low": chosen.estimate.interval[0],
        "high": chosen.estimate.interval[1],
        "num_test": len(labels),
        "true_verdict": truth.verdict,
        "accuracy": accuracies[records[place].id],
        "best": max(accuracies.values()),
        "majority": labels.count(decision.majority.label) / len(labels),
        "lead": truth.lead.value,
    }


def read(path: Path) -> list[Line]:
    """Read the lines of a file; of none, none."""
    if not path.exists():
        return []
    kinds = {field.name: field.type for field in fields(Line)}
    with path.open(encoding="utf-8", newline="") as file:
        return [Line(**{name: kinds[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def write(path: Path, lines: Sequence[Line]) -> None:
    """Write lines in the order of tasks, rows and draws, numbers to six digits."""
    ordered = sorted(lines, key=lambda line: (list(SUBJECTS).index(line.task), line.num_rows, line.draw))
    rows = [{k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(line).items()} for line in ordered]
    write_rows(path, [field.name for field in fields(Line)], rows)


def carry_out(
    folder: Path,
    tasks: Sequence[str],
    data: Path | None,
    *,
    sizes: Sequence[int] = SIZES,
    num_test: int = NUM_TEST,
    num_draws: int = NUM_DRAWS,
) -> list[Line]:
    """Run the draws that have no line yet, those with few rows first."""
    path = folder / "draws.csv"
    pools = {task: pool(task, data) for task in tasks}
    for num_rows, task, draw in itertools.product(sizes, tasks, range(num_draws)):
        lines, subject = read(path), SUBJECTS[task]
        if (task, num_rows, draw) in {(line.task, line.num_rows, line.draw) for line in lines}:
            continue
        ordered, attempt = drawn(pools[task], task, draw, min(sizes))
        further = ordered[max(sizes) : max(sizes) + num_test]
        assert len(further) == num_test, f"{task} has {len(ordered)} rows, and {max(sizes) + num_test} are needed"
        columns, place = (*subject.text, "label"), folder / "rows"
        train = write_rows(place / f"{task}-{draw}-{num_rows}.csv", columns, ordered[:num_rows])
        test = write_rows(place / f"{task}-{draw}-further.csv", columns, further)
        judgement = judged(train, test, subject.model, Store(folder / "results" / task))
        line = Line(task, Path(subject.model).name, num_rows, draw, attempt, **judgement)
        write(path, [*lines, line])
        print(json.dumps(asdict(line)), flush=True)
    return read(path)


def finished(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of the parts (a task with so many rows) of which all draws are done."""
    done = Counter((line.task, line.num_rows) for line in lines)
    return [line for line in lines if done[line.task, line.num_rows] == NUM_DRAWS]


def unfinished(lines: Sequence[Line]) -> str:
    """Write how many draws of the parts that are not in the table are done."""
    done = Counter((line.task, line.num_rows) for line in lines)
    by_task = {task: [done[task, num_rows] for num_rows in SIZES] for task in SUBJECTS}
    listed = "; ".join(f"{task} {numbers}" for task, numbers in by_task.items() if min(numbers) < NUM_DRAWS)
    return f"Draws done of {NUM_DRAWS}, with {SIZES} rows, parts with fewer left out: {listed}.\n" if listed else ""


def table(lines: Sequence[Line]) -> str:
    """Write a table of Markdown: a line for each part, then one for each number of rows, and one for all."""
    if not lines:
        return ""
    titles = (
        "task", "model", "rows", "draws", "covers", "with its error", "width", "value - true",
        "tune / prompt / either / neither", "by the 500", "agrees", "undecided", "unconfirmed", "wrong side", "regret",
        "largest",
    )  # fmt: skip
    text = f"| {' | '.join(titles)} |\n|:---|:---|{'---:|' * (len(titles) - 2)}\n"
    for (task, model, num_rows), part in _groups(lines, lambda line: (line.task, line.model, line.num_rows)):
        text += _row(task, model, num_rows, part)
    for num_rows, part in _groups(sorted(lines, key=lambda line: line.num_rows), lambda line: line.num_rows):
        text += _row("**all**", "", num_rows, part)
    return text + _row("**all**", "", "", lines)


def _groups(lines, key):
    return [(value, list(part)) for value, part in itertools.groupby(lines, key)]


def _row(task, model, num_rows, part: Sequence[Line]) -> str:
    def number(name: str) -> int:
        return sum(getattr(line, name) for line in part)

    def points(values: Iterable[float]) -> str:
        return f"{100 * sum(values) / len(part):.1f}"

    cells = (
        task, model, num_rows, len(part), number("covers"), number("covers_with_error"),
        points(line.high - line.low for line in part), points(line.value - line.accuracy for line in part),
        _tally(line.verdict for line in part), _tally(line.true_verdict for line in part),
        number("agrees"), number("is_undecided"), number("is_unconfirmed"), number("is_on_wrong_side"),
        points(line.regret for line in part), f"{100 * max(line.regret for line in part):.1f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |\n"


def _tally(verdicts: Iterable[str]) -> str:
    counts = Counter(verdicts)
    return " / ".join(str(counts[verdict]) for verdict in VERDICTS)


def publish(lines: Sequence[Line], folder: Path) -> None:
    """Write the finished parts to a folder, and their table into its README."""
    write(folder / "draws.csv", finished(lines))
    path = folder / "README.md"
    head, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    parts = (table(read(folder / "draws.csv")), unfinished(lines))
    made = "\n".join(part for part in parts if part)
    path.write_text(f"{head}{MARKS[0]}{made}{MARKS[1]}{rest.partition(MARKS[1])[2]}", encoding="utf-8")


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="records and lines of the draws")
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=["lab-hazard", "lab-nli2"])
    parser.add_argument("--data", type=Path, help="folder of real tasks' rows")
    parser.add_argument("--publish", action="store_true", help=f"write what is finished to {REFERENCE}")
    options = parser.parse_args(words)
    if options.publish:
        publish(read(options.folder / "draws.csv"), REFERENCE)
    else:
        print(table(carry_out(options.folder, options.tasks, options.data)))


if __name__ == "__main__":
    main(sys.argv[1:])
