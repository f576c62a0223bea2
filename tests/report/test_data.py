import csv
import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from peftbench.report import data, schema
from peftbench.report.document import compose
from peftbench.report.reference import published
from tests.report.pictured import document
from tests.report.records import record

SCHEMA = Path(__file__).parent.parent.parent / "docs" / "report.schema.json"


def lines(document):
    return list(csv.DictReader(io.StringIO(data.to_csv(document))))


def test_csv_has_a_line_for_each_task_and_one_for_the_mean():
    found = lines(compose([record(task="a"), record(task="b")]))
    assert [line["task"] for line in found] == ["(mean)", "a", "b"]
    assert found[0]["inference_flops_per_example"] == str(33 * 47_000_000)
    assert found[0]["inference_flops_per_example_kind"] == "counted"
    assert found[1]["inference_flops_per_example"] == ""


def test_csv_of_one_task_has_its_costs_in_its_line():
    (line,) = lines(compose([record("ia3", "mini-t0", correct=(150,))]))
    assert (line["task"], line["training_flops"], line["training_flops_kind"]) == ("nli", "9100000000000", "estimated")
    assert (line["accuracy_median"], line["accuracy_iqr"]) == ("0.5", "")


def test_published_lines_say_so():
    sources = {line["source"] for line in lines(compose([record()], published("t-few")))}
    assert sources == {"records", "published"}


def test_json_is_plain_and_versioned():
    table = json.loads(json.dumps(data.to_json(compose([record()]))))
    assert table["schema_version"] == schema.SCHEMA_VERSION
    (row,) = table["tables"][0]["rows"]
    assert row["accuracy_median"] == 0.55
    assert row["tasks"][0]["num_templates"] == 2
    assert {cost["kind"] for cost in row["costs"]} == {"counted", "measured"}


@pytest.mark.parametrize("made", [document, lambda: compose([record()], published("t-few"))])
def test_another_reader_of_json_schema_finds_a_report_as_the_documented_schema_says(made):
    jsonschema = pytest.importorskip("jsonschema")
    documented = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(documented)
    report = json.loads(json.dumps(data.to_json(made()), allow_nan=False))
    jsonschema.validate(report, documented)
    report["tables"][0]["rows"][0]["acuracy"] = 0.5
    with pytest.raises(jsonschema.ValidationError, match="acuracy"):
        jsonschema.validate(report, documented)


@pytest.mark.parametrize("spoil", [lambda row: row.pop("chance"), lambda row: row.update(accuracy_median="0.5")])
def test_a_report_without_a_field_or_with_another_type_is_none(spoil):
    report = data.to_json(document())
    schema.check(json.dumps(report))
    spoil(report["tables"][0]["rows"][0])
    with pytest.raises(ValidationError):
        schema.check(json.dumps(report))


def test_intervals_are_in_both():
    report, found = data.to_json(document()), lines(document())
    low, high = report["tables"][0]["rows"][0]["accuracy_interval"]
    assert (found[0]["accuracy_interval_low"], found[0]["accuracy_interval_high"]) == (str(low), str(high))
    assert lines(compose([record()]))[0]["accuracy_interval_low"] == ""
