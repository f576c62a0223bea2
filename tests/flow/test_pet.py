"""PET from a cell to its record, to what is saved of it, and to new rows."""

import shlex

import pytest

from peftbench.adapters import saved
from peftbench.cli.app import main
from peftbench.errors import MethodError, TaskError
from peftbench.flow import predict
from peftbench.flow.effort import flops
from peftbench.flow.forecast import forecasts
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.flow.trial import trials
from peftbench.learners import pet_folder
from peftbench.report.rows import options
from peftbench.report.rows.table import build
from peftbench.spec.cell import Cell, ScoringOptions, TaskSpec
from peftbench.store.results import Store
from peftbench.tasks.template import Template
from tests.flow.test_run import ROWS
from tests.row_files import write
from tests.tiny import tiny_folder

TASK = """
name = "mine"
family = "x"
description = "x"
data = {train = "rows.jsonl", test = "rows.jsonl"}
label = {names = ["good", "bad"]}
[[templates]]
name = "inside"
text = "it does [[answer]] follow. {{text}} ||| {{choice}}"
choices = ["true", "false"]
[[templates]]
name = "behind"
text = "{{text}} question: ||| {{choice}}"
choices = ["yes", "no"]
"""
TRAINING = {"num_steps": 2, "batch_size": 2, "lr": 0.01}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {family: str(tiny_folder(family, root / family)) for family in ("bert", "t5")}


@pytest.fixture
def cell(folders, tmp_path):
    write(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "mine.toml").write_text(TASK)
    task = TaskSpec(name=str(tmp_path / "mine.toml"))
    shared = {"learner": "tune", "method": "pet", "model": folders["bert"], "training": TRAINING}
    return Cell(**shared, task=task, shots=4, method_config={"repetitions": 2})


def changed(cell, **fields):
    return cell.model_copy(update=fields)


def counted(record):
    return {cost.name: cost.value for cost in record.costs if cost.kind == "counted"}


def parts_of(cell, tmp_path, settings):
    """Records of tuning by each pattern alone, and of asking the shots without training."""
    training = {**TRAINING, "lm_loss": 0.0, "unlikelihood_loss": 0.0, "warmup_ratio": 0.0}
    training |= {"optimizer": "adamw", "weight_decay": 0.01} if settings["method"] == "full" else {}
    own = {name: value for name, value in settings.items() if name == "rank"}
    plain = changed(cell, method=settings["method"], method_config=own, training=training)
    shared = {"model": cell.model, "task": cell.task, "learner": "icl", "shots": 0, "limit": 4}
    cells = [changed(plain, templates=(number,)) for number in (0, 1)]
    cells += [Cell(**shared, templates=(number,)) for number in (0, 1)]
    records = [outcome.record for outcome in run(cells, Store(tmp_path / "parts"))]
    return records[:2], records[2:]


@pytest.mark.parametrize(
    "settings",
    [{"method": "full", "repetitions": 1}, {"method": "lora", "rank": 3, "combine": "weighted", "repetitions": 2}],
)
def test_a_record_is_of_all_models(settings, cell, tmp_path):
    one, times = changed(cell, method_config=settings), settings["repetitions"]
    (trial,) = trials([plan(one)])
    (foreseen,) = forecasts([trial])
    store = Store(tmp_path / "results")
    (outcome,) = run([one], store)
    record, found = outcome.record, counted(outcome.record)
    parts, asked = parts_of(cell, tmp_path, settings)
    weighing = asked if "combine" in settings else []
    for name, of_shots in (("learning_flops", "scoring_flops"), ("training_flops", "inference_flops_per_example")):
        number = 4 if of_shots == "inference_flops_per_example" else 1
        expected = times * sum(counted(part)[name] for part in parts)
        expected += number * sum(counted(part)[of_shots] for part in weighing)
        # Repetitions draw other batches, whose rows are not as long.
        assert found[name] == pytest.approx(expected, rel=0.05 if times > 1 else 0), name
    for name in ("inference_flops_per_example", "scoring_flops"):
        assert found[name] == pytest.approx(times * sum(counted(part)[name] for part in parts), abs=times)
    assert (foreseen.learn_flops, foreseen.score_flops) == (found["learning_flops"], found["scoring_flops"])
    folder = store.adapters / record.id
    disk = record.cost("disk_bytes", "measured").value
    assert disk == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    tensors = 2 * times * parts[0].cost("tensor_bytes", "measured").value
    assert disk > record.cost("tensor_bytes", "measured").value == tensors
    assert record.learned.num_trained_parameters == 2 * times * parts[0].learned.num_trained_parameters
    assert record.learned.num_saved_parameters == 2 * times * parts[0].learned.num_saved_parameters
    (result,) = record.results
    assert (result.name, result.num_examples) == ("2 patterns", len(ROWS))
    settled = {name: value for name, value in settings.items() if value != "full"}
    assert {"combine": "uniform", **settled}.items() <= record.identity["method_config"].items()
    assert [losses for name, losses in record.identity["training"].items() if name.endswith("_loss")] == [0, 0, 1]
    typed = options.typed(options.of_record(record))
    assert ("method=lora" in typed) == (settings["method"] == "lora")
    (row,) = build([record])[0].rows
    assert (row.method, row.is_tuned) == ("pet", True)
    assert ("method=lora" in [setting.text for setting in row.settings]) == (settings["method"] == "lora")
    (again,) = run([one], store)
    assert not again.is_new


def test_new_rows_are_answered_alike(cell, tmp_path):
    store = Store(tmp_path / "results")
    (outcome,) = run([cell], store)
    folder = store.adapters / outcome.record.id
    usage = predict.open_usage(folder)
    assert [wording.name for wording in usage.templates] == ["inside", "behind"]
    predictor = predict.load({"": folder}, [usage], 1, "adapter")
    predictions = [part for chunk in predictor.predict([{"text": row["text"]} for row in ROWS]) for part in chunk]
    scores = store.read_scores(outcome.record.id)
    for row, prediction in enumerate(predictions):
        expected = list(scores[scores.row_id == row].sort_values("choice").log_prob)
        assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-6)
        assert prediction.answer in ("good", "bad")
    with pytest.raises(MethodError, match="several models of PET, which answer by themselves"):
        predict.load({"a": folder, "b": folder}, [usage, usage], None, "adapter")
    with pytest.raises(MethodError, match=r"it has no adapter\.json") as caught:
        saved.read(folder)
    assert str(folder / "model-0") in caught.value.hint
    part = folder / "model-1" / "adapter.json"
    (folder / "model-0" / "adapter.json").write_text(part.read_text())
    (folder / "model-0" / "adapter.safetensors").write_bytes((part.parent / "adapter.safetensors").read_bytes())
    with pytest.raises(MethodError, match=r"is not the model that pet\.json names"):
        predict.load({"": folder}, [usage], None, "adapter")
    (folder / pet_folder.CARD).write_text('{"models": 3}')
    with pytest.raises(MethodError, match="has no digest"):
        predict.load({"": folder}, [usage], None, "adapter")


STUDENT = {"repetitions": 1, "combine": "weighted", "distil": True, "distil_steps": 3}


def test_a_student_is_one_model_and_all_that_taught_it_is_counted(cell, tmp_path):
    one = changed(cell, method_config=STUDENT)
    (trial,) = trials([plan(one)])
    (foreseen,) = forecasts([trial])
    assert len(trial.learner.unlabelled) == 2  # of six rows, four are shots
    store = Store(tmp_path / "results")
    student, models = (
        outcome.record
        for outcome in run([one, changed(cell, method_config={"repetitions": 1, "combine": "weighted"})], store)
    )
    found, of_models = counted(student), counted(models)
    assert (foreseen.learn_flops, foreseen.score_flops) == (found["learning_flops"], found["scoring_flops"])
    training = {**TRAINING, "num_steps": 3, "optimizer": "adamw", "weight_decay": 0.01, "warmup_ratio": 0.0}
    plain = changed(cell, method="full", method_config={}, templates=(0,), shots=2, training=training)
    (alone,) = (
        part.record for part in run([changed(plain, scoring=ScoringOptions(answer="head"))], Store(tmp_path / "x"))
    )
    head = counted(alone)
    assert found["inference_flops_per_example"] == head["inference_flops_per_example"]
    labelling = 2 * of_models["inference_flops_per_example"]
    expected = of_models["training_flops"] + labelling + head["training_flops"]
    assert found["training_flops"] == pytest.approx(expected, rel=0.05)  # of rows of other lengths
    assert student.learned.num_saved_parameters == alone.learned.num_saved_parameters
    assert student.learned.num_head_parameters == alone.learned.num_head_parameters == 2 * 16 + 2
    assert student.cost("tensor_bytes", "measured").value == alone.cost("tensor_bytes", "measured").value
    assert student.results[0].num_shots == student.learned.num_shots == 4
    assert student.work["unlabelled_rows"] == 2
    folder = store.adapters / student.id
    predictor = predict.load({"": folder}, [predict.open_usage(folder)], None, "adapter")
    predictions = [part for chunk in predictor.predict([{"text": row["text"]} for row in ROWS]) for part in chunk]
    scores = store.read_scores(student.id)
    for row, prediction in enumerate(predictions):
        expected = list(scores[scores.row_id == row].sort_values("choice").log_prob)
        assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "error", "fault"),
    [
        ({"sweep": "lr"}, MethodError, "--sweep chooses the rate of one training"),
        ({"scoring": ScoringOptions(answer="head")}, MethodError, "--answer head has no mask"),
        ({"method_config": {"repetition": 1}}, MethodError, "unknown setting of pet with full 'repetition'"),
        ({"method_config": {"repetitions": 0}}, MethodError, "greater than or equal to 1"),
        ({"method_config": {"method": "knn"}}, MethodError, "unknown method 'knn'"),
        ({"method_config": {"temperature": 3.0}}, MethodError, "temperature: it goes with distil, which is off"),
        ({"method_config": {"distil": True}, "shots": 6}, TaskError, "no shots, and all 6 are shots"),
    ],
)
def test_what_does_not_go_with_it_is_refused(fields, error, fault, cell):
    with pytest.raises(error, match=fault):
        plan(changed(cell, **fields))


def test_a_mixture_has_templates_of_several_tasks(cell, monkeypatch):
    monkeypatch.setattr(Template, "task", "another")
    with pytest.raises(TaskError, match="--task is a mixture of several"):
        plan(cell)


def test_as_it_is_typed(cell, folders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["tune", "--method", "pet", "--task", str(tmp_path / "mine.toml"), "--shots", "4", "--model"]
    sets = [part for name, value in {"repetitions": 1, **TRAINING}.items() for part in ("--set", f"{name}={value}")]
    assert main([*words, folders["bert"], *sets]) == 0
    _, err = capsys.readouterr()
    assert "pet on" in err
    assert "adapter: results/adapters/" in err
    (record,) = (record for record in Store("results").all() if record.learned.method)
    again = options.again([record]).removeprefix("peftbench ").replace("PATH", str(tmp_path))
    assert main(shlex.split(again)) == 0
    assert "there already" in capsys.readouterr().err
    assert main([*words, folders["t5"], "--templates", "1", *sets]) == 2
    assert "--method pet trains models that fill masks" in capsys.readouterr().err


def test_its_effort_is_that_of_all_trainings(cell):
    single = flops(changed(cell, method="full", method_config={}, templates=(0,)))
    assert flops(changed(cell, templates=(0, 1))) == 4 * single
