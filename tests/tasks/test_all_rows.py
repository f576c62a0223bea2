"""`shots = "all"` stands for as many rows as a cell can learn from."""

import json

import pytest

from peftbench.cli.app import main
from peftbench.cli.run import expanded
from peftbench.errors import RecipeError
from peftbench.flow.plan import plans
from peftbench.spec.cell import Cell, Fold, IclOptions, TaskSpec
from peftbench.tasks.all_rows import AllRows
from peftbench.tasks.folds import clustered, split
from peftbench.tasks.load import load

TEMPLATE = "{{text}} It is ||| {{label}}"
# Of three classes, and "alike" twice: one cluster of two rows, which no fold parts.
ROWS = [{"text": f"text {row}", "label": "abc"[row % 3]} for row in range(17)] + 2 * [{"text": "alike", "label": "a"}]


@pytest.fixture
def task(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return TaskSpec(name="rows", train=tmp_path / "rows.jsonl", template=TEMPLATE, choices=("a", "b", "c"))


def test_a_number_is_itself_and_reads_nothing():
    assert AllRows().number(7, TaskSpec(name="there is no such task"), None, 0) == 7


def test_all_are_the_training_rows_or_the_pool():
    rows = AllRows()
    spec = TaskSpec(name="lab-hazard")
    assert rows.number("all", spec, None, 3) == len(load(spec).train)
    assert rows.number("all", spec, None, 3, 16) == 16


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_folds_of_a_split_have_as_many_shots_and_one_row_more_is_too_many(task, seed):
    folds, rows = [Fold(index=index, of=4) for index in range(4)], AllRows()
    (number,) = {rows.number("all", task, fold, seed) for fold in folds}
    assert number == min(len(part.train) for part in split(clustered(load(task, as_pool=True)), 4, seed))
    made = plans([Cell(learner="icl", model="m", task=task, shots=number, seed=seed, fold=fold) for fold in folds])
    assert {len(of_fold.shots) for of_fold in made} == {number}


def test_it_is_typed_and_written_in_recipes(task, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "all.toml"
    run = '[[run]]\nlearner = "icl"\nmodel = "mini-gpt"\ntask = "lab-hazard"\nshots = [2, "all"]\n'
    recipe.write_text(f'name = "all"\ndescription = "few shots, and all"\n{run}')
    assert [cell.shots for cell in expanded(recipe)] == [2, len(load(TaskSpec(name="lab-hazard")).train)]
    words = ["icl", "--train", "rows.jsonl", "--template", TEMPLATE, "--choices", "a,b,c", "--folds", "4", "--shots"]
    assert main([*words, "all", "--model", "mini-gpt"]) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "results" / "records").glob("*.json")]
    assert {record["identity"]["shots"] for record in records} == {
        AllRows().number("all", task, Fold(index=0, of=4), 0)
    }
    capsys.readouterr()
    for shots, text in (("some", "--shots 'some' is no number"), ("-1", "--shots '-1' is no"), ("9" * 9, "shots: ")):
        assert main([*words, shots]) == 2
        assert text in capsys.readouterr().err
    recipe.write_text(f'name = "all"\ndescription = "some"\n{run.replace("all", "some")}')
    with pytest.raises(RecipeError, match="shots"):
        expanded(recipe)


def test_all_of_a_pool_is_the_pool():
    options = IclOptions(select="bm25", pool=8)
    assert not options.faults(AllRows().number("all", TaskSpec(name="lab-hazard"), None, 0, options.pool))
