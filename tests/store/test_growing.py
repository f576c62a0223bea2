import errno
import json
import os

import pandas as pd
import pytest

from peftbench.errors import RecordError
from peftbench.store.growing import Output


def rows(*numbers):
    return [{"row": number, "prediction": "yes", "scores": {"yes": -0.1, "no": -2.0}} for number in numbers]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_stopped_output_goes_on_to_the_bytes_of_an_uninterrupted_one(suffix, tmp_path):
    whole, stopped = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    output = Output(whole, "same")
    for chunk in (rows(1, 2), rows(3), rows(4)):
        output.append(chunk)
    output.finish()

    Output(stopped, "same").append(rows(1, 2))
    with (tmp_path / f"b.{suffix}.partial").open("a") as file:
        file.write('{"row": 3, "predi' * 99)  # killed while it wrote
    output = Output(stopped, "same")
    assert output.num_rows == 2
    for chunk in (rows(3), rows(4)):
        output.append(chunk)
    output.finish()
    assert stopped.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, stopped.name}


def test_a_part_of_something_else_is_neither_continued_nor_overwritten(tmp_path):
    path = tmp_path / "a.jsonl"
    Output(path, "one").append(rows(1))
    before = (tmp_path / "a.jsonl.partial").read_bytes()
    with pytest.raises(RecordError, match="part of other predictions"):
        Output(path, "another")
    assert (tmp_path / "a.jsonl.partial").read_bytes() == before


def test_parquet_holds_the_rows_with_a_score_for_each_choice(tmp_path):
    output = Output(tmp_path / "a.parquet", "same")
    output.append([*rows(1), {"row": 2, "adapter": "x", "error": "why"}])
    output.finish()
    first, second = pd.read_parquet(tmp_path / "a.parquet").to_dict("records")
    assert (first["row"], first["prediction"], first["scores"]) == (1, "yes", [("yes", -0.1), ("no", -2.0)])
    assert (second["row"], second["adapter"], second["error"], second["scores"]) == (2, "x", "why", None)


def test_a_disk_that_is_full_at_the_end_keeps_the_rows_too(tmp_path, monkeypatch):
    output = Output(tmp_path / "a.parquet", "same")
    output.append(rows(1, 2))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("peftbench.store.growing._parquet", full)
    with pytest.raises(RecordError, match=r"a\.parquet': No space left"):
        output.finish()
    monkeypatch.undo()
    output = Output(tmp_path / "a.parquet", "same")
    assert output.num_rows == 2
    output.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_what_cannot_be_read_again_overwrites_no_part_of_what_can(tmp_path):
    Output(tmp_path / "a.jsonl", "one").append(rows(1))
    with pytest.raises(RecordError, match="part of other predictions"):
        Output(tmp_path / "a.jsonl", None)


def test_what_cannot_be_read_again_starts_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    Output(path, None).append(rows(1, 2))
    output = Output(path, None)
    assert output.num_rows == 0
    output.append(rows(1))
    output.finish()
    assert [json.loads(line)["row"] for line in path.read_text().splitlines()] == [1]


def test_a_full_disk_keeps_the_rows_before(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    output = Output(path, "same")
    output.append(rows(1, 2))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left") as caught:
        output.append(rows(3))
    assert "2 rows are kept" in caught.value.hint
    monkeypatch.undo()
    assert Output(path, "same").num_rows == 2


def test_a_file_that_is_there_an_unknown_kind_and_a_missing_folder_are_refused(tmp_path):
    (tmp_path / "there.csv").write_text("mine")
    for path, words in [
        (tmp_path / "there.csv", "there already"),
        (tmp_path / "a.xlsx", "cannot write predictions"),
        (tmp_path / "no" / "a.csv", "folder is not there"),
    ]:
        with pytest.raises(RecordError, match=words):
            Output(path, "same")
