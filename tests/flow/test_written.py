"""A cell of a task whose answers are written, from its files to its record and its tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from peftbench import registry
from peftbench.cli.app import main
from peftbench.costs.kernels import kernel_flops
from peftbench.costs.of_generation import generation_flops
from peftbench.errors import MethodError, ModelError, PeftbenchError, TaskError
from peftbench.flow import text_task
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.flow.trial import on
from peftbench.models.load import load
from peftbench.report.rows import folds
from peftbench.report.rows.table import build
from peftbench.spec.cell import Cell, Fold, IclOptions, ScoringOptions, TaskSpec
from peftbench.store.growing import WRITTEN, Output
from peftbench.store.results import Store
from tests.row_files import write
from tests.tasks.test_text_rows import toml
from tests.tiny import tiny_folder

ROWS = [
    {"mr": "soup", "refs": ["warm soup", "it was warm"]},
    {"mr": "beds", "refs": ["hard beds"]},
    {"mr": "days", "refs": ["fine days", "fine"]},
    {"mr": "rain", "refs": ["bad", "bad rain", ""]},
]
FAST = {"num_steps": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for family in ("t5", "llama"):
        tiny_folder(family, root / family)
    return root


def cell(folders: Path, task: TaskSpec, family: str = "llama", **changes) -> Cell:
    if changes.get("method"):
        changes = {"training": FAST} | changes
    return Cell(model=str(folders / family), task=task, **{"learner": "icl", "shots": 0} | changes)


def record_of(asked: Cell, folder: Path):
    (outcome,) = run([asked], Store(folder))
    return outcome.record


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("learner", [{}, {"shots": 2}, {"learner": "tune", "method": "prompt_tuning", "shots": 3}])
def test_a_record_holds_what_was_written_and_what_it_was_worth(folders, tmp_path, family, learner):
    record = record_of(cell(folders, toml(tmp_path, ROWS), family, **learner), tmp_path / "results")
    (result,), scores = record.results, Store(tmp_path / "results").read_scores(record.id)
    assert scores["row_id"].tolist() == [0, 1, 2, 3]
    references = [row["refs"] for row in ROWS]
    value = registry.text_metric("token_f1").of(scores["output"].tolist(), references)
    assert result.value() == pytest.approx(value)
    assert scores["num_references"].tolist() == [2, 1, 2, 3]
    assert result.written.num_tokens == scores["num_tokens"].sum() == record.work["written_tokens"]
    assert result.written.num_empty == record.work["empty_outputs"] == (scores["output"] == "").sum()
    assert (record.metric, record.task.chance, result.num_correct) == ("token_f1", 0.0, {})
    assert record.identity["decoding"]["max_new_tokens"] == 8


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_flops_of_a_query_are_those_that_ran(folders, tmp_path, family):
    """Prompts of one length that write up to the limit share a batch without padding: as run is as counted."""
    spec = toml(tmp_path, ROWS, writing="{max_new_tokens = 5}")
    backbone = load(str(folders / family))
    backbone.tokenizer.eos_token = None
    (trial,) = on(backbone, [plan(cell(folders, spec, family, scoring=ScoringOptions(end="none")))])
    (predictor,) = trial.learner.prompts(backbone, trial.scoring, trial.plan.queries)
    queries = trial.plan.queries[0][:1] * 3
    ran = kernel_flops(lambda: predictor.generate(queries, trial.decoding))
    outputs = predictor.generate(queries, trial.decoding)
    assert {(part.context_tokens, part.num_tokens) for part in outputs} == {(outputs[0].context_tokens, 5)}
    of_query = generation_flops(
        backbone.sizes, outputs[0].context_tokens, 5, num_start=backbone.sizes.num_start_tokens or 1
    )
    assert ran == len(queries) * of_query


def test_costs_of_a_query_follow_from_the_tokens_written(folders, tmp_path):
    record = record_of(cell(folders, toml(tmp_path, ROWS), shots=2), tmp_path / "results")
    scores, sizes = Store(tmp_path / "results").read_scores(record.id), load(str(folders / "llama")).sizes
    lengths = list(zip(scores["num_context_tokens"], scores["num_tokens"], strict=True))
    of_rows = [generation_flops(sizes, int(context), int(written)) for context, written in lengths]
    assert record.cost("inference_flops_per_example", "counted").value == pytest.approx(np.mean(of_rows), abs=1)
    cached = record.cost("cached_inference_flops_per_example", "counted").value
    assert cached < record.cost("inference_flops_per_example", "counted").value
    assert record.cost("scoring_flops", "counted").value < sum(of_rows)  # the shots were run once


def test_a_step_learns_one_reference_drawn_of_several(folders, tmp_path):
    learner = plan(cell(folders, toml(tmp_path, ROWS), learner="tune", method="lora", shots=4)).learner
    assert sorted(tuple(part.target for part in of_shot) for of_shot in learner.examples) == sorted(
        tuple(text for text in row["refs"] if text) for row in ROWS
    )
    assert {len(part.choices) for of_shot in learner.examples for part in of_shot} == {1}
    assert (learner.training.lm_loss, learner.training.unlikelihood_loss, learner.training.length_norm_loss) == (
        1,
        0,
        0,
    )


def test_tuning_learns_where_an_answer_ends(folders, tmp_path):
    spec, backbone = toml(tmp_path, ROWS), load(str(folders / "llama"))
    tuned = cell(folders, spec, learner="tune", method="lora", shots=2)
    assert [trial.scoring.end for trial in on(backbone, [plan(tuned), plan(cell(folders, spec))])] == ["eos", "none"]
    backbone.tokenizer.eos_token = None
    assert on(backbone, [plan(tuned)])[0].scoring.end == "separator"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shots": 2, "icl": IclOptions(calibrate=True)}, "--calibrate divides"),
        ({"shots": 2, "icl": IclOptions(labels="random", ensemble="vote")}, "--labels random .*; --ensemble vote"),
        ({"shots": 2, "draw": "balanced"}, "--draw balanced"),
        ({"shots": 2, "learner": "tune", "method": "knn", "training": {}}, "--method knn chooses a class"),
        ({"shots": 2, "learner": "tune", "method": "pet", "training": {}}, "--method pet chooses a class"),
        ({"shots": 2, "learner": "tune", "method": "ia3", "training": {"unlikelihood_loss": 1}}, "unlikelihood_loss"),
        ({"shots": 2, "learner": "tune", "method": "ia3", "sweep": "lr"}, "--sweep"),
    ],
)
def test_what_goes_with_choices_is_refused_in_one_line(folders, tmp_path, changes, text):
    with pytest.raises((TaskError, MethodError), match=text) as fault:
        plan(cell(folders, toml(tmp_path, ROWS), **changes))
    assert "\n" not in fault.value.message
    assert fault.value.hint


def test_an_answer_needs_an_end_or_a_limit(folders, tmp_path):
    backbone = load(str(folders / "llama"))
    (trial,) = on(backbone, [plan(cell(folders, toml(tmp_path, ROWS, writing="")))])
    assert trial.decoding.max_new_tokens == text_task.MAX_NEW_TOKENS
    backbone.tokenizer.eos_token = None
    (trial,) = on(backbone, [plan(cell(folders, toml(tmp_path, ROWS, writing="")))])
    with pytest.raises(ModelError, match="has no end token, and task 'toy' does not say how long"):
        trial.check()


@pytest.mark.parametrize("changes", [{}, {"learner": "tune", "method": "prompt_tuning", "shots": 2}])
def test_an_answer_longer_than_the_positions_is_refused_before_anything_is_computed(folders, tmp_path, changes):
    backbone = load(str(folders / "llama"))
    backbone.max_positions = 40
    (trial,) = on(backbone, [plan(cell(folders, toml(tmp_path, ROWS, writing="{max_new_tokens = 35}"), **changes))])
    with pytest.raises(ModelError, match="an answer of up to 35 do not fit") as fault:
        trial.check()
    assert "max_new_tokens =" in fault.value.hint


def test_a_metric_of_all_rows_is_refused_for_a_part_of_them(folders, tmp_path):
    with pytest.raises(PeftbenchError, match="metric 'cider' is of all 4 test rows"):
        plan(cell(folders, toml(tmp_path, ROWS, metric='"cider"'), limit=2))


def test_folds_are_joined_and_the_metric_is_of_all_rows(folders, tmp_path):
    spec = toml(tmp_path, ROWS, data='{train = "rows.jsonl", test = ""}')
    cells = [cell(folders, spec, fold=Fold(index=index, of=2)) for index in range(2)]
    records = [outcome.record for outcome in run(cells, Store(tmp_path / "results"))]
    (joined,), _ = folds.join(records)
    (result,) = joined.results
    frames = [Store(tmp_path / "results").read_scores(record.id) for record in records]
    outputs = {row: text for frame in frames for row, text in zip(frame["row_id"], frame["output"], strict=True)}
    metric = registry.text_metric("token_f1")
    assert result.value() == pytest.approx(metric.of([outputs[row] for row in range(4)], [row["refs"] for row in ROWS]))
    statistics = metric.statistics_of([outputs[row] for row in range(4)], [row["refs"] for row in ROWS])
    assert result.written.statistics == statistics.tolist()


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("learner", [{"shots": 2}, {"learner": "tune", "method": "prefix_tuning", "shots": 3}])
def test_predict_writes_what_the_record_has_without_looking_for_references(folders, tmp_path, family, learner):
    asked = cell(folders, toml(tmp_path, ROWS), family, **learner)
    record, store = record_of(asked, tmp_path / "results"), Store(tmp_path / "results")
    path = store.adapters / record.id if "method" in learner else store.location(record.id)
    write(tmp_path / "new.jsonl", [{"mr": row["mr"]} for row in ROWS])
    use = ["--adapter" if "method" in learner else "--shots-from", str(path), "--input", str(tmp_path / "new.jsonl")]
    assert main(["predict", *use, "-q", "--output", str(tmp_path / "out.parquet")]) == 0
    out, scores = pd.read_parquet(tmp_path / "out.parquet"), store.read_scores(record.id)
    assert list(out) == list(WRITTEN)
    assert out["prediction"].tolist() == scores["output"].tolist()
    assert out["is_cut"].tolist() == scores["is_cut"].tolist()


def test_a_stopped_predict_of_texts_goes_on_and_names_rows_that_do_not_fit(folders, tmp_path, capsys, monkeypatch):
    record = record_of(cell(folders, toml(tmp_path, ROWS), shots=2), tmp_path / "results")
    write(tmp_path / "new.jsonl", [{"mr": "soup"}, {"mr": "beds " * 600}, {"mr": "days"}])
    path = Store(tmp_path / "results").location(record.id)
    words = ["predict", "--shots-from", str(path), "--input", str(tmp_path / "new.jsonl"), "--output"]
    monkeypatch.setattr("peftbench.flow.predict.CHUNK", 2)
    assert main([*words, str(tmp_path / "whole.csv")]) == 1
    assert "1 of 3 rows have no prediction: row 2: 2 shots and the longest query have" in capsys.readouterr().err
    append = Output.append

    def stopped(output, rows):
        append(output, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Output, "append", stopped)
        assert main([*words, str(tmp_path / "out.csv")]) == 130
    assert main([*words, str(tmp_path / "out.csv")]) == 1
    assert "2 of 3 rows are there already" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "out.csv").read_text().startswith("row,adapter,prediction,is_cut,error\n1,,")


def test_a_metric_has_tables_of_its_own_and_adapters_that_write_share_no_batch(folders, tmp_path, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    specs = [toml(one, ROWS), toml(other, ROWS, name='"other"', metric='"contains"')]
    cells = [cell(folders, spec, learner="tune", method="ia3", shots=2) for spec in specs]
    records = [outcome.record for outcome in run(cells, Store(tmp_path / "results"))]
    tables = build(records)
    assert [table.metric.title for table in tables] == ["contains", "token F1"]
    assert all(row.accuracy is None for table in tables for row in table.rows)
    adapter = tmp_path / "results" / "adapters" / records[0].id
    use = ["--adapter", str(adapter), "--adapter", f"again={adapter}"]
    assert main(["predict", *use, "--input", str(one / "rows.jsonl")]) == 2
    assert f"'{records[0].id}' writes its answers" in capsys.readouterr().err
    assert main(["report", "--results", str(tmp_path / "results"), "--format", "json"]) == 0
    assert {table["metric"]["name"] for table in json.loads(capsys.readouterr().out)["tables"]} == {
        "contains",
        "token_f1",
    }


def test_decide_is_between_chosen_answers_and_names_what_tests_written_ones(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toml(tmp_path, ROWS)
    assert main(["decide", "toy.toml", "--model", "mini-t0"]) == 2
    error, _, hint = capsys.readouterr().err.splitlines()
    assert "task 'toy' has answers that are written, and `decide` is between answers that are chosen" in error
    assert "`peftbench tune --task toy.toml`" in hint
    write(
        tmp_path / "free.csv", [{"question": f"where is inn {number}", "answer": "x" * number} for number in range(9)]
    )
    assert main(["decide", "free.csv", "--label", "answer"]) == 2
    assert 'a task\'s TOML that says answer = "text"' in capsys.readouterr().err
