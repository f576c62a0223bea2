import re
from pathlib import Path

import pytest

from peftbench import registry
from peftbench.errors import RecordError
from peftbench.report.rows.costs import KINDS
from peftbench.report.rows.fields import FIELDS
from peftbench.report.rows.frame import frame
from peftbench.report.rows.select import read
from peftbench.report.rows.table import build
from peftbench.store.record import identify
from peftbench.store.results import Store
from tests.report.records import record, under
from tests.report.stored import scores, stored


def test_a_row_for_each_record_and_template(tmp_path):
    stored(tmp_path, {0: [1, 0], 3: [1, 1]}, seed=2, used=24)
    table = frame(tmp_path)
    assert table["accuracy"].tolist() == [0.5, 1.0]
    assert table["template"].tolist() == [0, 3]
    assert set(table["shots"]) == {32}
    assert set(table["num_shots"]) == {24}
    assert set(table["seed"]) == {2}
    assert set(table["inference_flops_per_example"]) == {33 * 47_000_000}
    assert set(table["inference_flops_per_example_kind"]) == {"counted"}
    assert table["accuracy_char"].isna().all()


def test_the_metric_stands_beside_the_accuracy(tmp_path):
    records = {name: under(name, record(task=name, correct=(0,))) for name in registry.METRICS}
    for written in records.values():
        named = written.model_copy(update={"id": identify(written.identity)})
        Store(tmp_path).write(named, scores({0: [1]}))
    table = frame(tmp_path).set_index("metric")
    for name, written in records.items():
        assert table.loc[name, "score"] == written.results[0].value()
        assert table.loc[name, "accuracy"] == written.results[0].accuracy()
    assert table.loc["macro_f1", "score"] != table.loc["macro_f1", "accuracy"]


def test_its_medians_are_those_of_the_report(tmp_path):
    for seed in (0, 1, 2):
        stored(tmp_path, {0: [1, 0, seed % 2], 1: [1, 1, 0]}, seed=seed)
    (table,) = build([one.record for one in read([tmp_path])])
    (row,) = table.rows
    assert frame(tmp_path)["accuracy"].median() == row.score


def test_a_record_in_two_folders_counts_once(tmp_path):
    for name in ("a", "b"):
        stored(tmp_path / name, {0: [1, 0]})
    assert len(frame(tmp_path / "a", tmp_path / "b")) == 1


def test_its_columns_are_told_and_there_without_records_too(tmp_path):
    columns = frame(tmp_path).columns.tolist()
    documented = " ".join((frame.__doc__ or "").split())
    of_report = {field.name for field in FIELDS if field.of_record}
    assert {"method", "model", "shots", "num_trained_parameters"} < of_report
    own = [column for column in columns if column.partition("_kind")[0] not in {*of_report, *KINDS}]
    assert [column for column in own if column not in documented] == []
    page = (Path(__file__).parents[3] / "docs" / "records.md").read_text()
    assert [name for name in of_report if not re.search(rf"^\| `{name}` \|.*\| yes \|$", page, re.MULTILINE)] == []


def test_a_damaged_record_is_not_left_out_silently(tmp_path):
    made = stored(tmp_path, {0: [1, 0]})
    (tmp_path / "records" / f"{made.id}.json").write_text("{")
    with pytest.raises(RecordError, match="is damaged"):
        frame(tmp_path)


def test_orders_of_the_shots_are_told_apart(tmp_path):
    stored(tmp_path, {0: [1, 0]})
    stored(tmp_path, {0: [1, 1]}, icl={"order": 3})
    assert sorted(frame(tmp_path)["order"]) == [0, 3]
