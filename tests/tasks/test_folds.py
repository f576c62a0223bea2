"""Folds: nothing that is tested was learned from, each row is tested once, and what stands in the rows decides."""

import itertools
import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from peftbench.cli.app import main
from peftbench.errors import TaskError
from peftbench.flow.plan import plans
from peftbench.spec.cell import Cell, Fold, TaskSpec
from peftbench.tasks import folds
from peftbench.tasks.all_rows import AllRows
from peftbench.tasks.task import Row, Task
from peftbench.tasks.template import Template

TEMPLATE = "{{text}} ||| {{label}}"
NAMES = ("good", "bad", "so so")


def spec(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TaskSpec(name="mine", train=path, template=TEMPLATE, choices=NAMES)


def cells(task, num_folds, *, group=None, seeds=(0,), **facts):
    facts = {"learner": "icl", "shots": 2} | facts
    return [
        Cell(model="mini-gpt", task=task, seed=seed, fold=Fold(index=index, of=num_folds, group=group), **facts)
        for seed in seeds
        for index in range(num_folds)
    ]


def text_of(row):
    return row.fields["text"].strip().casefold()


def groups_of(row):
    return {row.fields["group"]} - {None, ""}


@st.composite
def tables(draw):
    """Rows with repeated texts, labels that contradict each other, and groups; each class can be split."""
    num_folds = draw(st.integers(2, 4))
    base = [{"text": f"row {i}", "label": NAMES[i % 3], "group": None} for i in range(3 * num_folds)]
    word = st.sampled_from(["row 0", "ROW 0 ", "  Row 1", "new", "New", "other", "third", "row 5\n"])
    more = st.fixed_dictionaries(
        {"text": word, "label": st.sampled_from(NAMES), "group": st.sampled_from([None, "", "a", "b", "c", 1])}
    )
    rows = draw(st.permutations(base + draw(st.lists(more, max_size=12))))
    return num_folds, [row | {"id": number} for number, row in enumerate(rows)], draw(st.integers(0, 2**32 - 2))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(tables(), st.booleans())
def test_no_row_of_a_fold_nor_its_text_nor_its_group_is_learned_from_and_each_is_tested_once(table, by_group):
    num_folds, rows, seed = table
    group = "group" if by_group else None
    with TemporaryDirectory() as folder:
        task = spec(Path(folder) / "rows.jsonl", rows)
        learners = ({}, {"shots": 0}, {"learner": "tune", "method": "ia3"}, {"draw": "balanced"})
        requested = [
            cell for facts in learners for cell in cells(task, num_folds, group=group, seeds=(seed, seed + 1), **facts)
        ]
        try:
            planned = plans(requested)
        except TaskError:
            if not by_group:
                raise
            reject()  # a class's rows may all hang together by their groups
    tested = Counter()
    for plan in planned:
        in_fold = [query.row for query in plan.queries[0]]
        learned = [*plan.shots, *plan.task.train]
        if plan.cell.learner == "tune":
            learned += [example.row for of_shot in plan.learner.examples for example in of_shot]
        assert {row.id for row in in_fold}.isdisjoint(row.id for row in learned)
        assert set(map(text_of, in_fold)).isdisjoint(map(text_of, learned))
        if by_group:
            apart = [set().union(*map(groups_of, side)) for side in (in_fold, learned)]
            assert apart[0].isdisjoint(apart[1])
        run = (plan.cell.learner, plan.cell.shots, plan.cell.draw, plan.cell.seed)
        tested.update((*run, row.id) for row in in_fold)
    runs = {run[:-1] for run in tested}
    assert len(runs) == len(learners) * 2
    assert tested == Counter((*run, row["id"]) for run in runs for row in rows)


def pool(labels, **columns):
    """A task of rows with these labels, and texts that differ unless they are said."""
    table = {"text": [f"row {number}" for number in range(len(labels))], "label": labels} | columns
    fields = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    template = Template("own", 0, "{{text}} ||| {{choice}}", ["a", "b", "c"], "label")
    rows = tuple(Row(number, row, row["label"]) for number, row in enumerate(fields))
    return Task("toy", "toy", "", 1, "accuracy", 0.5, (template,), rows, (), "", classes=NAMES, is_own=True)


def partition(task, num_folds=3, seed=0, group=None):
    """The contents of each fold."""
    parts = folds.split(folds.clustered(task, group), num_folds, seed)
    return [sorted(json.dumps(dict(row.fields), sort_keys=True) for row in part.test) for part in parts]


@pytest.mark.parametrize("numbers", [(20, 20, 20), (7, 8, 9), (5, 31, 17), (50, 5, 6)])
@pytest.mark.parametrize("num_folds", [2, 3, 5])
def test_folds_are_as_equal_as_can_be_in_size_and_in_each_label(numbers, num_folds):
    labels = [label for label, number in enumerate(numbers) for _ in range(number)]
    for seed in range(5):
        parts = folds.split(folds.clustered(pool(labels)), num_folds, seed)
        sizes = [len(part.test) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        for label in range(3):
            of_label = [sum(row.label == label for row in part.test) for part in parts]
            assert max(of_label) - min(of_label) <= 1
        assert [len(part.train) + len(part.test) for part in parts] == [len(labels)] * num_folds


def test_clusters_are_dealt_so_that_sizes_stay_near():
    # groups of 6, 5, 4, 3 and twelve rows alone: 30 rows, ten in each fold
    groups = ["a"] * 6 + ["b"] * 5 + ["c"] * 4 + ["d"] * 3 + [""] * 12
    parts = folds.split(folds.clustered(pool([0, 1] * 15, group=groups), "group"), 3, 0)
    assert [len(part.test) for part in parts] == [10, 10, 10]


def test_clusters_are_dealt_so_that_each_fold_has_its_labels():
    # by their sizes alone, both groups of label 1 would stand in the second fold
    labels, groups = [0] * 6 + [1] * 5 + [1] * 4 + [0] * 3, ["a"] * 6 + ["b"] * 5 + ["c"] * 4 + [""] * 3
    parts = folds.split(folds.clustered(pool(labels, group=groups), "group"), 2, 0)
    assert [Counter(row.label for row in part.test) for part in parts] == [{0: 6, 1: 4}, {0: 3, 1: 5}]


def test_what_stands_in_the_rows_decides_and_not_their_order_nor_their_columns():
    labels = [0, 1, 2] * 8
    task = pool(labels, group=["x", "y", "z", "u"] * 6)
    reverse = pool(labels[::-1], text=[row.fields["text"] for row in task.train[::-1]], group=["u", "z", "y", "x"] * 6)
    moved = [Row(row.id, dict(reversed(row.fields.items())), row.label) for row in reverse.train]
    other = replace(reverse, name="other", train=tuple(moved))
    assert partition(task, seed=3) == partition(other, seed=3)
    assert partition(task, 4, group="group") == partition(other, 4, group="group")


def test_each_seed_is_a_split_of_its_own():
    splits = {json.dumps(partition(pool([0, 1, 2] * 8), seed=seed)) for seed in range(20)}
    assert len(splits) == 20


def test_a_column_that_no_template_reads_hides_no_repeated_text():
    task = pool([0, 1, 2, 0, 1, 2], text=["Yes ", "b", "c", "d", "e", "yes"], id=range(6))
    assert folds.clustered(task).clusters == (0, 1, 2, 3, 4, 0)


def test_texts_and_groups_are_united_also_by_way_of_other_rows():
    task = pool([0] * 6, text=["a", "b", "A", "c", "d", "e"], group=["", "x", "x", None, float("nan"), ""])
    assert folds.clustered(task, "group").clusters == (0, 0, 0, 1, 2, 3)
    assert folds.clustered(task).clusters == (0, 1, 0, 2, 3, 4)


@pytest.mark.parametrize("seed", [0, 7])
def test_shots_of_a_fold_are_drawn_by_what_is_in_the_rows(seed, tmp_path):
    rows = [{"text": f"row {i}", "label": NAMES[i % 3], "group": None} for i in range(12)]
    first, second = spec(tmp_path / "a.jsonl", rows), spec(tmp_path / "b.jsonl", rows[::-1])
    for one, other in zip(*(plans(cells(task, 3, seeds=[seed])) for task in (first, second)), strict=True):
        assert [row.fields["text"] for row in one.shots] == [row.fields["text"] for row in other.shots]
    assert one.task.sha256 != other.task.sha256


def test_the_hash_and_chance_are_those_of_the_training_rows_whatever_test_rows_there_are(tmp_path):
    (first, *_), (plain, *_) = plans(cells(TaskSpec(name="lab-hazard"), 3)), plans([lab_cell()])
    assert len({plan.task.sha256 for plan in plans(cells(TaskSpec(name="lab-hazard"), 3, seeds=[0, 1]))}) == 1
    assert first.task.sha256 != plain.task.sha256
    assert not first.task.has_fixed_counts
    assert sum(len(part) for part in (first.task.train, first.task.test)) == len(plain.task.train)


def lab_cell():
    return Cell(learner="icl", model="mini-gpt", task=TaskSpec(name="lab-hazard"), shots=2)


# On the command line.

OWN = "--template '{{text}} ||| {{label}}' --choices good,bad"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"row {i},{'good' if i % 3 else 'bad'},{i // 2}\n" for i in range(12)]
    Path("rows.csv").write_text("text,label,customer\n" + "".join(rows))
    Path("few.csv").write_text("text,label,customer\n" + "".join(rows[:3]))
    tied = [f"row {i},{'good' if i % 3 else 'bad'},{i % 3}\n" for i in range(12)]
    Path("tied.csv").write_text("text,label,customer\n" + "".join(tied))


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("--train rows.csv --folds 1", "'--folds': Input should be greater than or equal to 2", "--help"),
        ("--train rows.csv --folds 13", "13 folds of 12 rows: a fold takes at least one", "--folds 4 is the most"),
        ("--train rows.csv --folds 5", "5 folds, and class 'bad' has 4 rows: each", "--folds 4 is the most"),
        ("--train few.csv --folds 2", "2 folds, and class 'bad' has 1 row: each", "two rows of each class"),
        (
            "--train tied.csv --folds 2 --group customer",
            "class 'bad' has 4 rows, which stand together as 1",
            "two rows of each class",
        ),
        ("--train rows.csv --folds 2 --group costumer", "--group 'costumer' is no column", "did you mean 'customer'?"),
        ("--train rows.csv --group customer", "there are no folds", "add --folds 5"),
        ("--train rows.csv --folds 2 --test few.csv", "beside --test: and its rows would not be used", "--test, or"),
        ("--train rows.csv --folds 2 --limit 3", "beside --limit: and it would leave some out", "--limit, or"),
        ("--shots-from rows.csv --folds 2", "beside --shots-from: and its rows are the shots", "--shots-from, or"),
        ("--train rows.csv --folds 4 --shots 10", "with 4 folds task 'rows' has 9 rows to learn from", "--shots 9 or"),
        ("--train rows.csv", "task 'own' has no test rows", "--folds 5 tests each row"),
    ],
)
@pytest.mark.parametrize("command", ["icl", "tune --method ia3"])
def test_folds_that_cannot_be_are_one_line(command, words, message, hint, files, capsys):
    shots = [] if "--shots" in words else ["--shots", "2"]
    assert main(shlex.split(f"{command} {words} {OWN}") + shots) == 2
    out, err = capsys.readouterr()
    error, empty, advice = err.splitlines()
    assert message in error
    assert not empty
    assert hint in advice
    assert not out
    assert not Path("results").exists()


def test_folds_of_a_mixture_are_refused(files, capsys):
    assert main(["tune", "--method", "ia3", "--task", "lab-train", "--folds", "2"]) == 2
    assert "folds go with one task" in capsys.readouterr().err


def test_the_same_file_as_train_and_test_is_told_of_folds(files, capsys):
    words = f"icl --shots 2 --train rows.csv --test rows.csv --strict {OWN}"
    assert main(shlex.split(words)) == 2
    assert "`--folds 5` in place of --test" in capsys.readouterr().err
    Path("more.csv").write_text(Path("rows.csv").read_text() + "another,good,8\n")
    assert main(shlex.split(words.replace("--test rows.csv", "--test more.csv"))) == 2
    assert "folds" not in capsys.readouterr().err


def test_repeated_texts_are_counted_before_anything_is_computed(tmp_path):
    from peftbench.flow.plan import remarks

    rows = [{"text": f"row {i // 2}", "label": NAMES[i // 2 % 3], "group": i // 4} for i in range(24)]
    task = spec(tmp_path / "rows.jsonl", [*rows, {"text": "alone", "label": "bad", "group": 9}])
    (line,) = remarks(plans(cells(task, 2, seeds=(0, 1))))
    assert line.startswith("mine: 24 of 25 rows have the text of another one: they stand in one fold")
    assert remarks(plans(cells(task, 2, group="group"))) == []


def test_a_recipes_run_has_a_cell_for_each_fold():
    from peftbench.spec.recipe import Run
    from peftbench.spec.recipe import cells as expand

    run = Run(learner="icl", model="m", task="t", shots=[2, 4], seeds=[0, 1], folds=3, group="customer")
    expanded = [
        (cell.shots, cell.seed, cell.fold.index) for cell in expand(run, [TaskSpec(name="t")], AllRows().number)
    ]
    assert expanded == list(itertools.product((2, 4), (0, 1), (0, 1, 2)))
    with pytest.raises(ValueError, match="there are no folds"):
        Run(learner="icl", model="m", task="t", group="customer")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"limit": 3}, "limit would leave some out"),
        ({"draw": "file"}, "draw = file says"),
        ({"task": TaskSpec(name="t", test="x.csv")}, "would not be used"),
        ({"fold": {"index": 2, "of": 2}}, "counted from 0"),
    ],
)
def test_a_cell_that_contradicts_its_fold_is_refused(facts, message):
    with pytest.raises(ValueError, match=message):
        Cell(**{"learner": "icl", "model": "m", "task": TaskSpec(name="t"), "fold": {"index": 0, "of": 2}} | facts)
