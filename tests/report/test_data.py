import csv
import io
import json

from peftbench.report import data
from peftbench.report.document import compose
from peftbench.report.reference import published
from tests.report.records import record


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
    assert table["schema_version"] == data.SCHEMA_VERSION
    (row,) = table["tables"][0]["rows"]
    assert row["accuracy_median"] == 0.55
    assert row["tasks"][0]["num_templates"] == 2
    assert {cost["kind"] for cost in row["costs"]} == {"counted", "measured"}
