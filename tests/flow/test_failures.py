"""A cell that fails is written down and stops no other; the same command tries it again."""

import json

import pytest

from peftbench.cli.app import main
from peftbench.errors import ModelError, RecordError, RunError
from peftbench.flow import run as flow
from peftbench.flow.failures import CellsFailed
from peftbench.flow.run import run
from peftbench.store.results import Store
from tests.drills import results

RECIPE = (
    'name = "two"\ndescription = "two"\n[[run]]\nlearner = "icl"\nmodel = "mini-gpt"\ntask = "lab-hazard"\n'
    "shots = [0, 1]\nseeds = [0, 1]\nlimit = 2\ntemplates = [0]\n"
)


def breaking(monkeypatch, error, breaks):
    """Let the cells that `breaks` picks raise where they learn."""
    learn = flow.Trial.learn

    def broken(trial, watch):
        if breaks(trial.cell):
            raise error
        return learn(trial, watch)

    monkeypatch.setattr(flow.Trial, "learn", broken)


@pytest.fixture
def cells(tmp_path):
    prompt = results.cells(tmp_path)["prompt"]
    return [prompt.model_copy(update={"seed": seed}) for seed in range(3)]


@pytest.mark.parametrize("error", [ZeroDivisionError("by\n0"), RunError("too large", hint="a smaller one")])
def test_the_others_are_run_and_the_last_step_raises(cells, tmp_path, monkeypatch, error):
    store = Store(tmp_path / "results")
    with monkeypatch.context() as patch:
        breaking(patch, error, lambda cell: cell.seed == 1)
        outcomes = run(cells, store)
        assert [next(outcomes).record.seed for _ in range(2)] == [0, 2]
        with pytest.raises(CellsFailed) as failed:
            next(outcomes)
    (failure,) = failed.value.failures
    assert failed.value.exit_code == 1
    assert "\n" not in failed.value.message
    assert failed.value.hint.startswith(error.hint if isinstance(error, RunError) else "traceback: ")
    path = store.root / "failures" / f"{failure.id}.json"
    assert str(path) in failed.value.hint
    written = json.loads(path.read_text())
    assert f"{type(error).__name__}: " in written["traceback"]
    assert "in broken" in written["traceback"]
    assert written["message"] == failure.message
    again = list(run(cells, store))
    assert [outcome.is_new for outcome in again] == [False, True, False]
    assert again[1].record.id == failure.id
    assert not path.parent.exists()


def test_the_next_failure_takes_the_place_of_the_one_before(cells, tmp_path, monkeypatch):
    store = Store(tmp_path / "results")
    for text in ("first", "second"):
        with monkeypatch.context() as patch:
            breaking(patch, ValueError(text), lambda cell: True)
            with pytest.raises(CellsFailed, match="3 cells failed: ") as failed:
                list(run(cells, store))
    written = [json.loads(path.read_text()) for path in (store.root / "failures").iterdir()]
    assert {table["message"] for table in written} == {"ValueError: second"}
    assert {table["id"] for table in written} == {failure.id for failure in failed.value.failures}
    assert store.all() == []


def test_what_concerns_all_cells_ends_the_run_at_once(cells, tmp_path, monkeypatch):
    store = Store(tmp_path / "results")
    with monkeypatch.context() as patch:
        breaking(patch, RecordError("the disk is full"), lambda cell: True)
        with pytest.raises(RecordError, match="disk is full"):
            list(run(cells, store))
    missing = cells[2].model_copy(update={"model": str(tmp_path / "none")})
    with pytest.raises(ModelError, match="none"):
        list(run([*cells[:2], missing], store))
    assert not (store.root / "failures").exists()
    assert len(store.all()) == 2


def test_the_command_shows_what_is_there_and_ends_with_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(RECIPE)
    with monkeypatch.context() as patch:
        breaking(patch, ValueError("no such luck"), lambda cell: cell.shots and cell.seed == 1)
        assert main(["run", "two.toml", "--format", "json"]) == 1
    out, err = capsys.readouterr()
    assert len(json.loads(out)["tables"]) == 1
    (path,) = (tmp_path / "results" / "failures").iterdir()
    assert "error: lab-hazard: icl on mini-gpt, 1 shots, seed 1: ValueError: no such luck" in err
    assert err.count(f"results/failures/{path.name}") == 2
    assert "Traceback" not in err
    assert main(["run", "two.toml"]) == 0
