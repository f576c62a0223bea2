"""What is forecast before a trial runs, against what its finished record counted."""

import json

import pytest

from peftbench import registry
from peftbench.costs.kernels import kernel_flops
from peftbench.flow import forecast as forecasting
from peftbench.flow.forecast import forecast, forecasts
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.flow.trial import trials
from peftbench.learners.progress import SILENT
from peftbench.spec.cell import Cell, IclOptions, ScoringOptions, TaskSpec
from peftbench.store.results import Store
from tests.chats import TEMPLATES, chat_folder
from tests.flow.test_run import ROWS, TEMPLATE
from tests.tiny import FAMILIES, tiny_folder

PRUNES = {"adalora"}
"""How many matmuls are left of it, training decides: its scoring is forecast as if none were cut."""
LONG = {"text": "the rain fell on the plain all day and night of the week", "label": "bad"}
TRAINING = {"num_steps": 3, "batch_size": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")

    def of(family):
        return str(root / family if (root / family).exists() else tiny_folder(family, root / family))

    return of


@pytest.fixture
def task(tmp_path):
    rows = [row | {"label": "very bad" if row["label"] == "bad" else "good"} for row in [*ROWS, LONG]]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TaskSpec(name="mine", train=path, test=path, template=TEMPLATE, choices=("good", "very bad"))


@pytest.fixture
def icl(folder, task):
    return Cell(learner="icl", model=folder("llama"), task=task, shots=3)


@pytest.fixture
def tune(folder, task):
    return Cell(learner="tune", model=folder("llama"), task=task, shots=4, method="ia3", training=TRAINING)


def only(cell):
    (trial,) = trials([plan(cell)])
    trial.check()
    return trial


def of_record(cell, root):
    """What the record says of learning and scoring; nothing is learned in context."""
    (outcome,) = run([cell], Store(root))
    costs = {cost.name: cost.value for cost in outcome.record.costs if cost.kind == "counted"}
    return costs.get("learning_flops", 0), costs["scoring_flops"]


def assert_exact(cell, root):
    foreseen = forecast(only(cell))
    assert (foreseen.learn_flops, foreseen.score_flops) == of_record(cell, root)
    return foreseen


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_forecast_to_the_last_flop(family, icl, tune, folder, tmp_path):
    for cell in (icl, icl.model_copy(update={"shots": 0}), tune):
        assert_exact(cell.model_copy(update={"model": folder(family)}), tmp_path)


@pytest.mark.parametrize("method", registry.METHODS)
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_each_method_is_forecast_to_the_last_flop(method, family, tune, folder, tmp_path):
    cell = tune.model_copy(update={"method": method, "model": folder(family)})
    foreseen, (learning, scoring) = forecast(only(cell)), of_record(cell, tmp_path)
    assert foreseen.learn_flops == learning
    assert foreseen.score_flops == pytest.approx(scoring, rel=0.1 if method in PRUNES else 0)


@pytest.mark.parametrize("family", ["t5", "llama"])
@pytest.mark.parametrize(
    "fields",
    [
        {"ensemble": "mean"},
        {"ensemble": "vote", "calibrate": True},
        {"calibrate": True, "content_free": ("", "N/A")},
        {"order": 2, "labels": "flipped"},
    ],
)
def test_options_of_prompts(fields, family, icl, folder, tmp_path):
    assert_exact(icl.model_copy(update={"icl": IclOptions(**fields), "model": folder(family)}), tmp_path)


@pytest.mark.parametrize("scoring", [{"cache": False}, {"end": "separator"}, {"end": "eos", "max_input_tokens": 5}])
def test_options_of_scoring(scoring, icl, tune, tmp_path):
    for cell in (icl, tune):
        assert_exact(cell.model_copy(update={"scoring": ScoringOptions(**scoring)}), tmp_path)


@pytest.mark.parametrize("family", ["t5", "llama"])
@pytest.mark.parametrize(
    "fields",
    [
        {"sweep": "lr"},
        {"sweep": "lr", "method": "fishmask"},
        {"method": "prompt_tuning", "method_config": {"num_prompts": 2, "num_virtual_tokens": 3}},
        {"training": TRAINING | {"unlikelihood_loss": 0, "length_norm_loss": 0}},
        {"training": TRAINING | {"num_steps": 0}},
    ],
)
def test_options_of_tuning(fields, family, tune, folder, tmp_path):
    assert_exact(tune.model_copy(update={**fields, "model": folder(family)}), tmp_path)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_turns_of_a_conversation(kind, icl, tmp_path):
    folder = chat_folder(kind, tmp_path / "chat")
    assert_exact(icl.model_copy(update={"model": str(folder), "scoring": ScoringOptions(chat=True)}), tmp_path)


def test_shots_that_fill_the_model(icl, tmp_path):
    folder = tiny_folder("llama", tmp_path / "short", max_position_embeddings=60)
    cell = icl.model_copy(update={"model": str(folder), "shots": 6, "icl": IclOptions(fit_shots=True)})
    assert_exact(cell, tmp_path)


def test_a_prefix_is_made_by_one_pass_and_then_read(icl, tmp_path):
    cell = icl.model_copy(update={"icl": IclOptions(as_prefix=True)})
    foreseen, (_, scoring) = forecast(only(cell)), of_record(cell, tmp_path)
    assert foreseen.score_flops == scoring
    trial = only(cell)
    assert foreseen.learn_flops == kernel_flops(lambda: trial.learn(SILENT))
    assert foreseen.num_learn_passes == 1


def test_a_method_of_the_peft_library_runs_the_gradient_through_all_layers(tune):
    pytest.importorskip("peft")
    of_peft = forecast(only(tune.model_copy(update={"method": "peft:LORA"})))
    ours = forecast(only(tune.model_copy(update={"method": "lora"})))
    assert of_peft.learn_flops == pytest.approx(ours.learn_flops, rel=0.35)


def test_many_queries_and_steps_are_forecast_from_some(tune, icl, monkeypatch):
    exact = forecasts([only(icl), only(tune)])
    monkeypatch.setattr(forecasting, "MOST_TEXTS", 8)
    monkeypatch.setattr(forecasting, "MOST_STEPS", 2)
    near = forecasts([only(icl), only(tune)])
    assert near != exact
    for some, whole in zip(near, exact, strict=True):
        assert some.score_flops == pytest.approx(whole.score_flops, rel=0.1)
        assert some.learn_flops == pytest.approx(whole.learn_flops, rel=0.1)
        assert some.num_learn_passes == whole.num_learn_passes
