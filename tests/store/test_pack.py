import json
import subprocess
import sys

import pandas as pd
import pytest

from peftbench.errors import RecordError
from peftbench.store import fit
from peftbench.store.pack import pack
from peftbench.store.results import Store
from tests.report.stored import scores, stored
from tests.store.older import without_files
from tests.store.test_fit import written
from tests.store.test_results import record

RIGHT = {0: [1, 0, 1], 2: [0, 0, 1]}


def single(root):
    """Two records as single files."""
    return [stored(root, RIGHT, seed=0), stored(root, {0: [1, 1]}, seed=1)]


def pack_away(root):
    """Pack, and leave no single file."""
    pack(root)
    for path in [*root.glob("records/*"), *root.glob("scores/*")]:
        path.unlink()


def packed(root):
    """The same two, packed."""
    made = single(root)
    pack_away(root)
    return made


def test_a_packed_folder_is_read_as_the_folder_of_single_files(tmp_path):
    one, other = tmp_path / "single", tmp_path / "packed"
    made = single(one)
    assert packed(other) == made
    assert Store(other).all() == Store(one).all()
    for record_ in made:
        assert Store(other).find(record_.id) == record_
        assert (Store(one).is_packed(record_.id), Store(other).is_packed(record_.id)) == (False, True)
    assert Store(other).find("0" * 16) is None


def test_the_text_of_a_record_is_packed_as_it_was_written_and_its_digest_still_tells_an_edit(tmp_path):
    store = Store(tmp_path)
    store.write(record(), scores({0: [1]}))
    text = (store.records / f"{record().id}.json").read_text()
    pack(tmp_path)
    path = tmp_path / "records.parquet"
    assert pd.read_parquet(path)["record"].tolist() == [text]
    (store.records / f"{record().id}.json").unlink()
    pd.DataFrame({"id": [record().id], "record": [text.replace('"seed": 0', '"seed": 7')]}).to_parquet(path)
    with pytest.raises(RecordError, match=r"records\.parquet/[0-9a-f]+' was edited") as caught:
        Store(tmp_path).all()
    assert "--force" in caught.value.hint


def test_records_of_before_are_read_packed_as_well(tmp_path):
    """Version 1 had no digest."""
    store = Store(tmp_path)
    store.records.mkdir()
    table = record().model_dump(mode="json") | {"schema_version": 1}
    (store.records / f"{record().id}.json").write_text(json.dumps(table))
    assert Store(tmp_path).all() == [record()]
    pack(tmp_path)
    (store.records / f"{record().id}.json").unlink()
    assert Store(tmp_path).all() == [record()]


def test_a_single_file_stands_for_the_packed_record_of_its_id(tmp_path):
    made = packed(tmp_path)
    later = made[0].model_copy(update={"created_at": "2027-01-01T00:00:00+00:00"})
    later = Store(tmp_path).write(later, pd.DataFrame())
    assert Store(tmp_path).all() == [made[1], later]
    assert Store(tmp_path).location(later.id) == tmp_path / "records" / f"{later.id}.json"
    assert Store(tmp_path).location(made[1].id) == tmp_path / "records.parquet" / made[1].id


def test_the_same_content_gives_the_same_bytes_and_a_pack_grows_by_what_came_since(tmp_path):
    first, again, grown = (tmp_path / name for name in ("first", "again", "grown"))
    for root in (first, again):
        single(root)
        assert pack(root) == 2
    stored(grown, RIGHT, seed=0)
    pack_away(grown)
    stored(grown, {0: [1, 1]}, seed=1)
    pack(grown)
    for root in (again, grown):
        assert (root / "records.parquet").read_bytes() == (first / "records.parquet").read_bytes()


def test_a_damaged_pack_is_named_beside_the_single_files_that_are_whole(tmp_path):
    (made, _) = single(tmp_path)
    (tmp_path / "records.parquet").write_bytes(b"PAR1, and no more")
    records, faults = Store(tmp_path).readable()
    assert len(records) == 2
    assert [fault.message.partition(" is damaged")[0] for fault in faults] == [f"'{tmp_path}/records.parquet'"]
    assert Store(tmp_path).find(made.id) == made
    with pytest.raises(RecordError, match="is damaged"):
        Store(tmp_path).find("0" * 16)


def test_scores_of_rows_that_a_record_does_not_number_are_not_left_out(tmp_path):
    stored(tmp_path, {0: {1: 1, 3: 0}})
    with pytest.raises(RecordError, match="not numbered from 0"):
        pack(tmp_path)
    assert not (tmp_path / "records.parquet").exists()


def packer(*folders):
    command = [sys.executable, "-m", "peftbench.store.pack", *folders]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_folder_is_packed_from_the_command_line_and_one_without_records_refused(tmp_path):
    single(tmp_path)
    run = packer(tmp_path)
    assert (run.returncode, run.stdout) == (0, f"{tmp_path}: 2 records\n")
    run = packer(tmp_path / "records")
    assert run.returncode == 1
    assert run.stderr == (
        f"error: no records in '{tmp_path}/records'\n\nhint: name a results folder: what --results said\n"
    )
    assert not (tmp_path / "records" / "records.parquet").exists()
    assert packer().stderr == "usage: python -m peftbench.store.pack FOLDER...\n"


def test_what_was_not_written_with_its_record_is_not_left_out(tmp_path):
    """Packed scores are gone, and a packed record speaks for them: they are compared before."""
    (made, other) = single(tmp_path)
    path, beside = (tmp_path / "scores" / f"{record_.id}.parquet" for record_ in (made, other))
    path.write_bytes(beside.read_bytes())
    with pytest.raises(RecordError, match=rf"{made.id}\.parquet' are damaged: their SHA-256 is not") as caught:
        pack(tmp_path)
    assert "--force" in caught.value.hint
    assert not (tmp_path / "records.parquet").exists()
    without_files(tmp_path / "records" / f"{made.id}.json")  # which says nothing of them
    assert pack(tmp_path) == 2


def test_a_packed_record_still_knows_its_adapter(tmp_path):
    store, made = Store(tmp_path), written(tmp_path)
    (store.scores / f"{made.id}.parquet").unlink()
    pack(tmp_path)
    store.location(made.id).unlink()
    fit.check(store.adapters / made.id)
    (store.adapters / made.id / "usage.json").write_text("another")
    with pytest.raises(RecordError, match="not what record"):
        fit.check(store.adapters / made.id)
