"""Two versions of the package on one results folder: an older one leaves a later one's records as they are."""

import json

import pytest

from peftbench.errors import RecordError
from peftbench.flow.run import run
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.local import FINISHED
from peftbench.store.pack import pack
from peftbench.store.record import SCHEMA_VERSION
from peftbench.store.results import Store
from peftbench.store.seal import sealed
from tests.store.test_results import SCORES, record
from tests.tiny import tiny_folder


def make_later(path):
    """Rewrite a record as a later version might: with fields of its own, in places of its own."""
    table = json.loads(path.read_text())
    del table["digest"]
    table |= {"schema_version": SCHEMA_VERSION + 1, "outcome": table.pop("results")}
    path.write_text(sealed(json.dumps(table, indent=2)))
    return path.read_bytes()


def test_a_later_record_is_one_line_and_the_others_are_used(tmp_path):
    store = Store(tmp_path)
    made, later = (store.write(record(name), SCORES) for name in ("made", "later"))
    content = make_later(store.location(later.id))
    records, (fault,) = store.readable()
    assert records == [made]
    assert f"has schema version {SCHEMA_VERSION + 1}; this peftbench reads up to" in fault.message
    assert "update peftbench" in fault.hint
    with pytest.raises(RecordError, match="has schema version"):
        store.write(record("later"), SCORES, force=False)
    with pytest.raises(RecordError, match="has schema version"):
        pack(tmp_path)
    assert store.location(later.id).read_bytes() == content
    assert (tmp_path / "scores" / f"{later.id}.parquet").exists()


def test_a_run_keeps_what_it_finished_and_a_later_record_of_a_cell_is_neither_run_again_nor_replaced(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a fine day", "label": "good"}\n{"text": "rain", "label": "bad"}\n')
    task = TaskSpec(name="mine", train=rows, test=rows, template="{{text}} ||| {{label}}", choices=("good", "bad"))
    model = str(tiny_folder("llama", tmp_path / "model"))
    cells = [Cell(learner="icl", model=model, task=task, shots=2, seed=seed) for seed in (0, 1)]
    store = Store(tmp_path / "results")
    first, second = (outcome.record for outcome in run(cells, store))
    content = make_later(store.location(second.id))
    with pytest.raises(RecordError, match="has schema version") as caught:
        list(run(cells, store))
    assert "update peftbench, or name another folder with --results" in caught.value.hint
    assert store.location(second.id).read_bytes() == content
    (again,) = run(cells[:1], store)
    assert (again.is_new, again.record) == (False, first)


def test_what_a_later_version_has_finished_comes_to_its_place_whole(tmp_path):
    made = Store(tmp_path / "other").write(record(), SCORES)
    (tmp_path / "other").rename(tmp_path / f"{FINISHED}{made.id}")
    (tmp_path / f"{FINISHED}{made.id}" / "gradients").mkdir()
    (tmp_path / f"{FINISHED}{made.id}" / "gradients" / "x").write_text("of a kind that is not known here")
    assert Store(tmp_path).find(made.id) == made
    assert (tmp_path / "gradients" / "x").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gradients", "records", "scores"]
