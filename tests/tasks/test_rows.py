import datetime
import json
import re

import pyarrow
import pytest
from pyarrow import parquet

from peftbench.errors import TaskError
from peftbench.spec import limits
from peftbench.tasks import rows

JSONL = {
    "digits": ('{"text": "a", "label": ' + "9" * 5000 + "}", "line 1: a whole number beyond"),
    "large number": ('{"text": 99999999999999999999999}', "row 1, text: a whole number beyond"),
    "depth": ('{"x": ' + "[" * 100_000 + "}", "line 1: tables and lists in each other, deeper than 16"),
    "depth of a shot": (
        '{"x": ' + "[" * 20 + "]" * 20 + "}",
        "row 1, x.*: tables and lists in each other, deeper than 16",
    ),
    "half a surrogate pair": (r'{"text": "a\ud800b"}', "row 1, text: a text that is no UTF-8"),
    "half a surrogate pair in a name": (r'{"te\ud800": "b"}', "row 1, a name: a text that is no UTF-8"),
    "half a surrogate pair in a list": (r'{"x": ["\ud800"]}', r"row 1, x\[0\]: a text that is no UTF-8"),
    "two values of one name": ('{"text": "a", "label": 0, "label": 1}', "line 1: two columns have one name: label"),
    "NaN": ('{"text": NaN}', "line 1: NaN is no JSON; null stands for what is missing"),
    "long text": (json.dumps({"text": "x" * (limits.MAX_CHARS + 1)}), "row 1, text: a text of 1,000,001 characters"),
    "long name": (json.dumps({"x" * 201: 1}), "row 1 has a column's name of more than 200 characters"),
    "many columns": (json.dumps(dict.fromkeys(map(str, range(1001)), 1)), "row 1 has 1,001 columns, and 1,000 are"),
}
COLUMNS = {
    "bytes": (pyarrow.array([b"x"]), "row 1, text: bytes, where text is needed"),
    "long times": (pyarrow.array([2**62], pyarrow.duration("s")), "not a readable parquet file"),
    "far dates": (pyarrow.array([2**31 - 1], pyarrow.date32()), "not a readable parquet file"),
}


def refused(path):
    with pytest.raises(TaskError) as caught:
        rows.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert caught.value.hint
    return str(caught.value)


def write_parquet(folder, table):
    path = folder / "rows.parquet"
    parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("name", JSONL)
def test_a_line_beyond_the_limits_is_refused_with_its_place(tmp_path, name):
    path = tmp_path / "rows.jsonl"
    content, message = JSONL[name]
    path.write_text(content)
    assert re.search(message, refused(path))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_parquet_that_no_row_can_hold_is_refused(tmp_path, name):
    column, message = COLUMNS[name]
    assert message in refused(write_parquet(tmp_path, pyarrow.table({"text": column})))


def test_two_columns_of_parquet_with_one_name_are_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], ["text", "text"])
    assert "two columns have one name: text" in refused(write_parquet(tmp_path, table))


def test_whatever_a_reader_raises_is_one_error(tmp_path, monkeypatch):
    def broken(path):
        raise NotImplementedError("no such type")
        yield

    path = tmp_path / "rows.parquet"
    monkeypatch.setitem(rows.READERS, ".parquet", broken)
    assert "not a readable parquet file: no such type" in refused(path)


def test_a_footer_that_is_none_is_refused_when_rows_are_counted(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(TaskError, match="not a readable parquet file"):
        rows.count(path)


def test_a_fault_of_the_reader_is_not_taken_for_one_of_the_caller(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,0\n")
    stream = rows.stream(path)
    with pytest.raises(ZeroDivisionError):
        next(1 // 0 for _ in stream)


def test_what_a_row_may_hold_comes_through_as_it_is(tmp_path):
    row = {"text": "ä 🎈", "id": 2**63, "table": {"a": [1, 2.5, None, True]}, "day": datetime.date(2020, 1, 1)}
    assert rows.read(write_parquet(tmp_path, pyarrow.Table.from_pylist([{"day": row["day"]}]))) == [{"day": row["day"]}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({name: value for name, value in row.items() if name != "day"}))
    assert rows.read(path) == [{name: value for name, value in row.items() if name != "day"}]


def test_tabs_part_fields_and_quotes_hold_them_together(tmp_path):
    path = tmp_path / "rows.TSV"
    path.write_text('\ufefftext\tlabel\na, b\t1\n"tab\there, ""x"""\t0\n')
    assert rows.read(path) == [{"text": "a, b", "label": "1"}, {"text": 'tab\there, "x"', "label": "0"}]
    assert rows.count(path) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [("text\tlabel\na\n", "line 2 does not have 2 fields"), ('text\tlabel\n"a" b\t1\n', "not a readable tsv file")],
)
def test_a_tsv_whose_fields_do_not_fit_is_refused(tmp_path, content, message):
    path = tmp_path / "rows.tsv"
    path.write_text(content)
    assert message in refused(path)
