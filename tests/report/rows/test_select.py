import json
import re

import pytest

from peftbench.errors import RecordError
from peftbench.report.rows.select import Selection, check_apart, choose, read, rows
from tests.report.stored import stored


@pytest.fixture
def folder(tmp_path):
    for seed in (0, 1):
        stored(tmp_path, {0: [1, 0]}, seed=seed)
        stored(tmp_path, {0: [1, 0]}, seed=seed, shots=2)
        for rank in (4, 8):
            stored(tmp_path, {0: [1, 0]}, "lora", "mini-t0", seed=seed, method_config={"rank": rank, "sites": [1, 2]})
    stored(tmp_path, {0: [1, 1]}, model="mini-t0", shots=0)
    return tmp_path


def refused(word, folder):
    with pytest.raises(RecordError) as caught:
        choose(word, read([folder]))
    return caught.value.message, caught.value.hint


def test_rows_are_spelled_as_method_model_shots_and_what_tells_them_apart(folder):
    assert list(rows(read([folder]))) == [
        "icl@mini-gpt:2",
        "icl@mini-gpt:32",
        "lora@mini-t0:32,rank=4",
        "lora@mini-t0:32,rank=8",
        "zero-shot@mini-t0",
    ]


@pytest.mark.parametrize(
    "word", ["icl@mini-gpt:32", "ICL@mini-gpt:32", "lora@mini-t0,rank=8", "lora@mini-t0:32,rank=4"]
)
def test_a_row_stands_for_all_its_records(word, folder):
    side = choose(word, read([folder]))
    assert [one.record.seed for one in side.stored] == [0, 1]
    assert not side.is_record


def test_a_row_may_be_named_without_what_it_does_not_need(folder):
    assert choose("zero-shot@mini-t0", read([folder])).title == "zero-shot on mini-t0"


def test_a_record_is_named_by_its_id_or_its_beginning(folder):
    record = read([folder])[0].record
    for word in (record.id, record.id[:8]):
        side = choose(word, read([folder]))
        assert [one.record for one in side.stored] == [record]
        assert side.is_record


def test_each_id_is_read_once_from_several_folders(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    stored(other, {0: [1, 0]}, seed=1)
    stored(other, {0: [1, 0]}, seed=2)
    side = choose("icl@mini-gpt:32", read([folder, other]))
    assert [(one.record.seed, one.store.root) for one in side.stored] == [(0, folder), (1, folder), (2, other)]


def test_a_name_for_several_rows_lists_them(folder):
    message, hint = refused("icl@mini-gpt", folder)
    assert message == "'icl@mini-gpt' stands for 2 rows"
    assert hint == "say which: icl@mini-gpt:2, icl@mini-gpt:32"


def test_unknown_names_list_what_there_is(folder):
    message, hint = refused("lora@mini-gpt:32", folder)
    assert message == "unknown row 'lora@mini-gpt:32'"
    assert hint.startswith("did you mean '")
    assert "known: icl@mini-gpt:2, icl@mini-gpt:32, lora" in hint
    assert refused("nothing", folder)[0] == "unknown record or row 'nothing'"
    assert "rank=8" in refused("lora@mini-t0,rank=16", folder)[1]


def test_the_beginning_of_several_ids_lists_them(folder):
    message, hint = refused("", folder)
    assert message == "9 records have an id that begins with ''"
    assert len(re.findall(r"[0-9a-f]{16}", hint)) == 4


def test_an_edited_record_is_told_by_its_hash(folder):
    record = choose("zero-shot@mini-t0", read([folder])).first
    path = folder / "records" / f"{record.id}.json"
    table = json.loads(path.read_text())
    table["identity"]["seed"] = 7
    # Records of version 1 have no digest.
    del table["digest"]
    path.write_text(json.dumps(table | {"schema_version": 1}))
    message, hint = refused("zero-shot@mini-t0", folder)
    assert message == f"record '{path}' was edited: its id is not the hash of its identity"
    assert "--force" in hint


def test_a_folder_without_records(tmp_path):
    with pytest.raises(RecordError, match="no records in"):
        read([tmp_path])


def test_a_record_is_not_compared_with_its_own_row(folder):
    row = choose("icl@mini-gpt:32", read([folder]))
    one = Selection("x", (), row.stored[:1], is_record=True)
    with pytest.raises(RecordError, match="have 1 records in common"):
        check_apart(row, one)


def test_settings_are_named_as_far_as_they_are_needed(tmp_path):
    for rank in (4, 8):
        stored(tmp_path, {0: [1, 0]}, "lora", "mini-t0", method_config={"rank": rank, "alpha": rank / 2})
    for options in ({}, {"labels": "flipped"}):
        stored(tmp_path, {0: [1, 0]}, icl=options)
    kept = read([tmp_path])
    assert [part.text for part in choose("lora@mini-t0,rank=8", kept).settings] == ["rank=8", "alpha=4"]
    assert [part.text for part in choose("icl@mini-gpt,labels=flipped", kept).settings] == ["labels=flipped"]
    assert choose("icl@mini-gpt", kept).settings == ()
