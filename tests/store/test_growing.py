import errno
import json
import os

import pandas as pd
import pytest

from peftbench.errors import RecordError
from peftbench.store import files
from peftbench.store.growing import Output


def rows(*numbers):
    return [{"row": number, "prediction": "yes", "scores": {"yes": -0.1, "no": -2.0}} for number in numbers]


def begun(path, source, *chunks):
    """Write chunks and stop."""
    with Output(path, source) as output:
        for chunk in chunks:
            output.append(chunk)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_stopped_output_goes_on_to_the_bytes_of_an_uninterrupted_one(suffix, tmp_path):
    whole, stopped = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    output = Output(whole, "same")
    for chunk in (rows(1, 2), rows(3), rows(4)):
        output.append(chunk)
    output.finish()

    begun(stopped, "same", rows(1, 2))
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
    begun(path, "one", rows(1))
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
    begun(tmp_path / "a.jsonl", "one", rows(1))
    with pytest.raises(RecordError, match="part of other predictions"):
        Output(tmp_path / "a.jsonl", None)


def test_what_cannot_be_read_again_starts_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    begun(path, None, rows(1, 2))
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
    output.close()
    with Output(path, "same") as output:
        assert output.num_rows == 2


def test_a_file_that_is_there_an_unknown_kind_and_a_missing_folder_are_refused(tmp_path):
    (tmp_path / "there.csv").write_text("mine")
    for path, words in [
        (tmp_path / "there.csv", "there already"),
        (tmp_path / "a.xlsx", "cannot write predictions"),
        (tmp_path / "no" / "a.csv", "folder is not there"),
    ]:
        with pytest.raises(RecordError, match=words):
            Output(path, "same")


def test_f1_a_second_run_on_one_output_is_refused_and_the_first_one_is_not_disturbed(tmp_path):
    path = tmp_path / "a.jsonl"
    with Output(path, "same") as output:
        output.append(rows(1))
        with pytest.raises(RecordError, match=r"another run is writing '.*a\.jsonl'") as caught:
            Output(path, "same")
        output.append(rows(2))
        output.finish()
    assert "--output" in caught.value.hint
    assert [json.loads(line)["row"] for line in path.read_text().splitlines()] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_f1_a_part_that_is_shorter_than_what_was_written_is_not_filled_with_zeros(tmp_path):
    path = tmp_path / "a.jsonl"
    begun(path, "same", rows(1, 2))
    os.truncate(tmp_path / "a.jsonl.partial", 20)
    with pytest.raises(RecordError, match="was cut: it has 20 of the") as caught:
        Output(path, "same")
    assert "a.jsonl.partial.json" in caught.value.hint
    (tmp_path / "a.jsonl.partial").unlink()
    (tmp_path / "a.jsonl.partial.json").unlink()
    with Output(path, "same") as output:
        output.append(rows(1))
        os.truncate(tmp_path / "a.jsonl.partial", 0)
        with pytest.raises(RecordError, match="was cut"):
            output.append(rows(2))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_f1_a_file_that_came_up_meanwhile_is_not_replaced(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with Output(path, "same") as output:
        output.append(rows(1))
        path.write_text("another's")
        with pytest.raises(RecordError, match="came up while its rows were predicted") as caught:
            output.finish()
    assert path.read_text() == "another's"
    assert "1 rows are kept" in caught.value.hint
    path.unlink()
    with Output(path, "same") as output:
        assert output.num_rows == 1


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("method", ["place", "unlink"])
def test_f14_what_a_run_left_that_was_stopped_when_its_file_was_there_goes(tmp_path, monkeypatch, suffix, method):
    path = tmp_path / f"a.{suffix}"
    place = files.place

    def stop(*pair):
        if method == "unlink":
            place(*pair)
        raise KeyboardInterrupt

    with Output(path, "same") as output:
        output.append(rows(1))
        monkeypatch.setattr(files, "place", stop)
        with pytest.raises(KeyboardInterrupt):
            output.finish()
        monkeypatch.undo()
    if method == "place":
        with Output(path, "same") as output:
            assert output.num_rows == 1
            output.finish()
    with pytest.raises(RecordError, match="there already"):
        Output(path, "same")
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_an_output_to_which_nothing_was_written_leaves_nothing(tmp_path):
    with Output(tmp_path / "a.csv", "same"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.csv.partial", "a.csv.partial.json"])
def test_f7_a_part_is_not_continued_when_a_byte_of_it_or_of_what_is_said_of_it_is_another(tmp_path, name):
    path = tmp_path / "a.csv"
    begun(path, "same", rows(1, 2))
    whole = (tmp_path / name).read_bytes()
    for place in range(0, len(whole), 7):
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RecordError, match=r"was edited|part of other predictions|was cut"):
            Output(path, "same")
