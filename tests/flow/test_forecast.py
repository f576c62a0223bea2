"""What is forecast before a trial runs, against what its finished record counted."""

import json
from collections import Counter

import pytest

from peftbench import registry
from peftbench.costs import count
from peftbench.costs.kernels import kernel_flops
from peftbench.flow import forecast as forecasting
from peftbench.flow.forecast import forecast, forecasts
from peftbench.flow.outcome import to_record
from peftbench.flow.plan import plan
from peftbench.flow.run import _evaluate
from peftbench.flow.trial import Trial
from peftbench.learners.progress import SILENT
from peftbench.models.load import load
from peftbench.spec.cell import Cell, IclOptions, ScoringOptions, TaskSpec
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


@pytest.fixture(scope="module")
def trial_of():
    """Make the trial of a cell; a model is loaded once."""
    backbones = {}

    def make(cell):
        one, scoring = plan(cell), cell.scoring
        backbone = backbones.get(cell.model) or backbones.setdefault(cell.model, load(cell.model, device="cpu"))
        return Trial(one, backbone, scoring.resolved(is_encoder_decoder=backbone.is_encoder_decoder), one.learner)

    return make


def counted(trial):
    """What the record of a trial says of learning and scoring; nothing is learned in context."""
    try:
        learned = trial.learn(SILENT)
        record = to_record(trial, learned, list(_evaluate(trial, learned, SILENT)), None)
    finally:
        trial.backbone.detach_all()
    costs = {cost.name: cost.value for cost in record.costs if cost.kind == "counted"}
    return costs.get("learning_flops", 0), costs["scoring_flops"]


def assert_exact(trial):
    foreseen = forecast(trial)
    assert (foreseen.learn_flops, foreseen.score_flops) == counted(trial)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_forecast_to_the_last_flop(family, icl, tune, folder, trial_of):
    for cell in (icl, tune):
        assert_exact(trial_of(cell.model_copy(update={"model": folder(family)})))


@pytest.mark.parametrize("method", registry.METHODS)
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_each_method_is_forecast_to_the_last_flop(method, family, tune, folder, trial_of):
    trial = trial_of(tune.model_copy(update={"method": method, "model": folder(family)}))
    foreseen, (learning, scoring) = forecast(trial), counted(trial)
    assert foreseen.learn_flops == learning
    assert foreseen.score_flops == pytest.approx(scoring, rel=0.1 if method in PRUNES else 0)


@pytest.mark.parametrize("family", ["t5", "llama"])
@pytest.mark.parametrize(
    "fields",
    [
        {"ensemble": "mean"},
        {"ensemble": "vote", "calibrate": True},
        {"calibrate": True, "content_free": ("", "N/A")},
        {"calibrate": True, "calibrate_by": "domain", "ensemble": "vote"},
        {"calibrate": True, "calibrate_by": "batch"},
        {"order": 2, "labels": "flipped"},
    ],
)
def test_options_of_prompts(fields, family, icl, folder, trial_of):
    assert_exact(trial_of(icl.model_copy(update={"icl": IclOptions(**fields), "model": folder(family)})))


@pytest.mark.parametrize("fields", [{"block_shots": 2, "order": 1}, {"block_shots": 1, "calibrate": True}])
def test_blocks_of_shots(fields, icl, trial_of):
    assert_exact(trial_of(icl.model_copy(update={"icl": IclOptions(attention="block", **fields)})))


@pytest.mark.parametrize("scoring", [{"cache": False}, {"end": "separator"}, {"end": "eos", "max_input_tokens": 5}])
def test_options_of_scoring(scoring, icl, tune, trial_of):
    for cell in (icl, tune):
        assert_exact(trial_of(cell.model_copy(update={"scoring": ScoringOptions(**scoring)})))


@pytest.mark.parametrize("family", ["t5", "llama"])
@pytest.mark.parametrize(
    "fields",
    [
        {"sweep": "lr", "method": "fishmask", "training": TRAINING | {"num_steps": 1}},
        {"method": "prompt_tuning", "method_config": {"num_prompts": 2, "num_virtual_tokens": 3}},
        {"training": TRAINING | {"unlikelihood_loss": 0, "length_norm_loss": 0}},
        {"training": TRAINING | {"num_steps": 0}},
        {"training": TRAINING | {"activation_checkpointing": True, "accumulate": 2}},
        {"sweep": "lr", "method": "bottleneck", "method_config": {"drop_layers": 1}},
    ],
)
def test_options_of_tuning(fields, family, tune, folder, trial_of):
    assert_exact(trial_of(tune.model_copy(update={**fields, "model": folder(family)})))


@pytest.mark.parametrize("kind", TEMPLATES)
def test_turns_of_a_conversation(kind, icl, trial_of, tmp_path):
    folder = chat_folder(kind, tmp_path / "chat")
    assert_exact(trial_of(icl.model_copy(update={"model": str(folder), "scoring": ScoringOptions(chat=True)})))


def test_shots_that_fill_the_model(icl, trial_of, tmp_path):
    folder = tiny_folder("llama", tmp_path / "short", max_position_embeddings=60)
    cell = icl.model_copy(update={"model": str(folder), "shots": 6, "icl": IclOptions(fit_shots=True)})
    assert_exact(trial_of(cell))


def test_a_prefix_is_made_by_one_pass_and_then_read(icl, trial_of):
    trial = trial_of(icl.model_copy(update={"icl": IclOptions(as_prefix=True)}))
    foreseen, learned = forecast(trial), []
    assert foreseen.learn_flops == kernel_flops(lambda: learned.append(trial.learn(SILENT)))
    (evaluation,) = _evaluate(trial, learned[0], SILENT)
    assert foreseen.score_flops == count.passes_flops(trial.backbone.sizes, Counter(evaluation.scores.work.passes))


def test_a_method_of_the_peft_library_runs_the_gradient_through_all_layers(tune, trial_of):
    pytest.importorskip("peft")
    of_peft = forecast(trial_of(tune.model_copy(update={"method": "peft:LORA"})))
    ours = forecast(trial_of(tune.model_copy(update={"method": "lora"})))
    assert of_peft.learn_flops == pytest.approx(ours.learn_flops, rel=0.35)


def test_many_queries_and_steps_are_forecast_from_some(tune, icl, trial_of, monkeypatch):
    exact = forecasts([trial_of(icl), trial_of(tune)])
    monkeypatch.setattr(forecasting, "MOST_TEXTS", 8)
    monkeypatch.setattr(forecasting, "MOST_STEPS", 2)
    near = forecasts([trial_of(icl), trial_of(tune)])
    assert near != exact
    for some, whole in zip(near, exact, strict=True):
        assert some.score_flops == pytest.approx(whole.score_flops, rel=0.1)
        assert some.learn_flops == pytest.approx(whole.learn_flops, rel=0.1)
        assert some.num_learn_passes == whole.num_learn_passes
