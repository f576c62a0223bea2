"""A trial's identity: what is in it, and that it stays what it was."""

import json
from pathlib import Path

import pytest

from peftbench.cli.run import expanded
from peftbench.flow import trial
from peftbench.flow.plan import plan, plans
from peftbench.spec.cell import Cell, IclOptions, TaskSpec
from peftbench.spec.recipe import find
from peftbench.store.results import Store
from tests.tiny import tiny_folder

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def test_every_field_of_a_cell_is_said_to_belong_to_its_identity_or_not():
    tables = [trial.ALWAYS, trial.WHEN_SET, trial.RESOLVED, trial.NOT_IDENTITY]
    assert sorted(name for table in tables for name in table) == sorted(Cell.model_fields)


@pytest.mark.parametrize(
    ("recipe", "study"), [("table1", ""), ("icl-sensitivity", "icl-sensitivity"), ("losses", "losses")]
)
def test_the_cells_of_a_recipe_have_the_ids_of_the_records_that_were_made_of_it_before(recipe, study):
    """A sample of each model's: what was measured before is found, and not run again."""
    known = {record.id for record in Store(REFERENCE / study).all()}
    cells = expanded(find(recipe))
    for model in {cell.model for cell in cells}:
        mine = [cell for cell in cells if cell.model == model]
        chosen = [*mine[:: max(1, len(mine) // 12)], mine[-1]]
        assert {made.id for made in trial.trials(plans(chosen))} <= known


def test_packed_weights_are_another_trial_and_weights_as_they_are_leave_no_trace():
    task = TaskSpec(name="lab-sense")
    plain, packed = (Cell(learner="icl", model="mini-gpt", task=task, load=load) for load in (None, "4bit"))
    whole = trial.trials([plan(plain)])[0]
    assert "load" not in whole.identity
    other = trial.on(whole.backbone, [plan(packed)])[0]
    assert other.identity == whole.identity | {"load": "4bit"}
    assert trial.weights(other.plan) != trial.weights(whole.plan)


def test_where_a_model_stands_is_no_part_of_its_identity():
    task = TaskSpec(name="lab-sense")
    plain, mapped = (Cell(learner="icl", model="mini-gpt", task=task, device_map=name) for name in (None, "auto"))
    whole = trial.trials([plan(plain)])[0]
    assert trial.on(whole.backbone, [plan(mapped)])[0].id == whole.id
    assert trial.weights(plan(mapped)) != trial.weights(plan(plain))


def identity(folder):
    """Return the identity of a cell on a model's folder."""
    rows = folder.parent / "rows.jsonl"
    rows.write_text('{"text": "a fine day", "label": "good"}\n{"text": "rain", "label": "bad"}\n')
    task = TaskSpec(name="mine", train=rows, test=rows, template="{{text}} ||| {{label}}", choices=("good", "bad"))
    (made,) = trial.trials([plan(Cell(learner="icl", model=str(folder), task=task, shots=2))])
    return made.identity


def mend_config(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 5.0}))


def mend_tokenizer(folder):
    """Swap the ids of two words."""
    path = folder / "tokenizer.json"
    table = json.loads(path.read_text())
    vocab = table["model"]["vocab"]
    (first, a), (second, b) = list(vocab.items())[-2:]
    vocab |= {first: b, second: a}
    path.write_text(json.dumps(table))


@pytest.mark.parametrize("mend", [mend_config, mend_tokenizer])
def test_f4_a_mended_config_or_tokenizer_makes_another_cell(mend, tmp_path):
    folder = tiny_folder("llama", tmp_path / "model")
    before = identity(folder)
    assert identity(folder) == before
    mend(folder)
    after = identity(folder)
    assert {name for name in after if after[name] != before[name]} == {"model_sha256"}


def test_f4_the_identity_of_an_embedded_model_has_no_hash_of_its_config():
    """Its folder's checksums cover all files: what was measured before keeps its id."""
    (made,) = trial.trials([plan(Cell(learner="icl", model="mini-gpt", task=TaskSpec(name="lab-hazard"), limit=2))])
    assert "model_sha256" not in made.identity
    assert made.backbone.model_sha256 is None


@pytest.mark.parametrize(("labels", "version"), [("gold", None), ("flipped", None), ("random", 2)])
def test_random_labels_are_told_with_the_version_of_their_draw(labels, version):
    cell = Cell(learner="icl", model="mini-gpt", task=TaskSpec(name="lab-hazard"), shots=2, limit=2)
    (made,) = trial.trials([plan(cell.model_copy(update={"icl": IclOptions(labels=labels)}))])
    assert made.identity.get("label_draw_version") == version
