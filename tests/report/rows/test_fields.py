import csv
import io

from peftbench.report.formats import columns, data, schema
from peftbench.report.notes.document import compose
from peftbench.report.rows import fields
from peftbench.report.rows.costs import KINDS
from peftbench.report.rows.table import build
from tests.report.pictured import document
from tests.report.records import record, under


def test_a_column_without_any_value_is_left_out():
    titles = [one.title for one in fields.summary(build([record()])[0])]
    assert "cached" not in titles
    assert "inference" in titles


def in_data(*, beside=()):
    """The names of a row's fields; beside a score of another metric stands accuracy."""
    return [field.name for field in fields.FIELDS if field.type and (not field.is_beside or field.name in beside)]


def test_json_and_its_schema_have_the_fields_of_the_list_and_no_other():
    plain = data.to_json(document())["tables"][0]["rows"][0]
    assert list(plain) == [*in_data(), "tasks", "costs"]
    assert "accuracy_median" not in plain["tasks"][0]
    row = data.to_json(compose([under("macro_f1", record())]))["tables"][0]["rows"][0]
    assert list(row) == [*in_data(beside=["accuracy_median"]), "tasks", "costs"]
    described = schema.json_schema("report")["$defs"]
    assert list(described["RowFields"]["properties"]) == list(row)
    abouts = {field.name: field.about for field in fields.FIELDS if field.about}
    assert {
        name: part["description"] for name, part in described["RowFields"]["properties"].items() if name in abouts
    } == abouts
    assert list(described["SpreadFields"]["properties"]) == list(row["tasks"][0])


def test_csv_has_the_fields_of_the_list_and_no_other():
    (header, *_) = csv.reader(io.StringIO(data.to_csv(document())))
    intervals = [name for name in in_data() if name.endswith("interval")]
    ends = {f"{name}_{end}" for name in intervals for end in ("low", "high")}
    costs = {f"{name}{of}" for name in KINDS for of in ("", "_kind")}
    # What is of the metric has its name.
    names = {name.replace("score_", "accuracy_") for name in (set(in_data()) - set(intervals)) | ends | costs}
    assert set(header) - {"task"} == names


def test_tables_of_text_and_pages_show_the_same_fields_where_both_do():
    (table,) = document().tables
    on_page = {field.name: [field.text(row) for row in table.rows] for field in fields.summary(table)}
    in_text = [field for field in fields.shown(table.rows) if field.heading]
    assert [" ".join(column.header) for column in columns.summary(table.rows)] == [
        " ".join(field.heading.lines) for field in in_text
    ]
    for field, column in zip(in_text, columns.summary(table.rows), strict=True):
        assert list(column.values) == on_page[field.name]


def test_a_median_stands_under_a_median_whatever_its_range():
    column = columns.Column(("x",), ("72.4", "9.1", "50.0"), ("1.5", "10.2", ""))
    assert column.texts == ("72.4  (1.5)", "9.1 (10.2)", "50.0")
