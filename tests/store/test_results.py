import errno
import gc
import json
import random
import re
from pathlib import Path

import pandas as pd
import pytest

from peftbench.errors import RecordError
from peftbench.store import files, fit
from peftbench.store.files import replacing
from peftbench.store.record import (
    SCHEMA_VERSION,
    Cost,
    Files,
    Learned,
    ModelInfo,
    Record,
    TaskInfo,
    TemplateResult,
    identify,
)
from peftbench.store.results import Store, _of_any_version, _of_this_version
from peftbench.store.seal import sealed
from tests.store.older import without_files


def record(model: str = "m", created_at: str = "2026-01-01T00:00:00+00:00") -> Record:
    return Record(
        id=identify({"model": model}),
        created_at=created_at,
        identity={"model": model},
        model=ModelInfo(
            name="m",
            revision=None,
            fingerprint="f",
            family="t5",
            is_encoder_decoder=True,
            num_parameters=10,
            dtype="float32",
            device="cpu",
        ),
        task=TaskInfo(name="t", family="f", version=1, sha256="s", chance=0.5, metric="accuracy"),
        learned=Learned(learner="icl", num_shots=1, shot_ids=[3]),
        seed=0,
        end="eos",
        results=[TemplateResult(template=0, name="a", num_examples=4, num_correct={"token": 3, "none": 1})],
        costs=[Cost(name="disk_bytes", value=4, unit="bytes", kind="measured", convention="file size")],
        work={"input_tokens": 7},
        versions={"python": "3.11"},
    )


SCORES = pd.DataFrame({"template": [0, 0], "choice": [0, 1], "log_prob": [-1.0, -2.0]})


def test_what_was_written_is_read_back(tmp_path):
    store = Store(tmp_path)
    made = store.write(record(), SCORES)
    assert made.model_copy(update={"files": None}) == record()
    assert store.find(record().id) == made
    assert store.all() == [made]
    pd.testing.assert_frame_equal(store.read_scores(record().id), SCORES)


def test_accuracy_is_by_normalisation():
    result = record().results[0]
    assert (result.accuracy(), result.accuracy("none")) == (0.75, 0.25)


def test_identity_ignores_the_order_of_keys_and_sees_every_value():
    assert identify({"a": 1, "b": [2]}) == identify({"b": [2], "a": 1})
    assert identify({"a": 1, "b": [2]}) != identify({"a": 1, "b": [3]})


def test_all_gives_the_oldest_record_first(tmp_path):
    store = Store(tmp_path)
    late, early = record("a", "2026-01-02T00:00:00+00:00"), record("b")
    late, early = store.write(late, SCORES), store.write(early, SCORES)
    assert store.all() == [early, late]


def test_all_damaged_records_are_named_at_once(tmp_path):
    store = Store(tmp_path)
    cut, emptied = sorted(store.location(store.write(record(name), SCORES).id) for name in ("a", "b"))
    whole = cut.read_text()
    cut.write_text(whole[: len(whole) // 2])
    emptied.write_text(json.dumps({"schema_version": 1, "id": 5}))
    with pytest.raises(RecordError, match=rf"{cut.stem}.*is damaged.*{emptied.stem}.*is damaged") as caught:
        store.all()
    assert "--force" in str(caught.value.hint)


def test_a_record_from_a_later_version_says_to_update(tmp_path):
    store = Store(tmp_path)
    path = store.location(store.write(record(), SCORES).id)
    table = json.loads(path.read_text()) | {"schema_version": SCHEMA_VERSION + 1}
    path.write_text(json.dumps(table))
    with pytest.raises(RecordError, match=f"schema version {SCHEMA_VERSION + 1}"):
        store.all()


def half_write(path, error):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_an_interrupted_write_leaves_nothing(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(KeyboardInterrupt):
        half_write(path, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"):
        half_write(path, OSError("disk"))
    assert path.read_text() == "old"


def test_a_results_folder_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / "results"
    path.write_text("")
    with pytest.raises(RecordError, match="cannot write results to") as caught:
        Store(path).check_writable()
    assert "--results" in str(caught.value.hint)


def resealed(path, change):
    """Change a record's table and seal it again, as if a program had written it so."""
    table = json.loads(path.read_text())
    del table["digest"]
    change(table)
    path.write_text(sealed(json.dumps(table, indent=2)))


def left_out(store, path):
    """Return what is said of the one record that is left out; another one is there and whole."""
    other = store.write(record("other"), SCORES)
    records, faults = store.readable()
    assert records == [other]
    (fault,) = faults
    assert f"'{path}'" in fault.message
    assert "\n" not in fault.message
    assert fault.hint
    return fault.message


@pytest.mark.parametrize("drop", ["line", "value"])
def test_f7_a_record_without_a_digest_is_left_out_from_version_2_on(tmp_path, drop):
    store = Store(tmp_path)
    path = store.location(store.write(record(), SCORES).id)
    table = json.loads(path.read_text())
    digest = table.pop("digest")
    path.write_text(json.dumps(table if drop == "line" else table | {"digest": None}, indent=2) + "\n")
    assert ("has no digest" if drop == "line" else "was edited") in left_out(store, path)
    path.write_text(json.dumps(table | {"schema_version": 1, "digest": digest}, indent=2))
    assert "was edited" in left_out(store, path)
    path.write_text(json.dumps(table | {"schema_version": 1}, indent=2))
    assert len(store.all()) == 2


def test_f7_a_copy_of_a_record_under_another_name_is_no_second_record(tmp_path):
    store = Store(tmp_path)
    path = store.location(store.write(record(), SCORES).id)
    copy = path.with_name(f"{path.stem} (copy).json")
    path.rename(copy)
    assert "is a copy of" in left_out(store, copy)


def test_f7_a_record_whose_id_is_not_the_hash_of_its_identity_is_left_out(tmp_path):
    store = Store(tmp_path)
    path = store.location(store.write(record(), SCORES).id)
    resealed(path, lambda table: table.update(identity={"model": "n"}))
    assert "its id is not the hash of its identity" in left_out(store, path)


def result(**fields):
    return lambda table: table["results"][0].update(fields)


def cost(value):
    return lambda table: table["costs"][0].update(value=value)


ODD = {
    "no results": (lambda table: table.update(results=[]), "results: "),
    "no examples": (result(num_examples=0), "results.0.num_examples: "),
    "no counts": (result(num_correct={}), "results.0: .*num_correct has no count by"),
    "more right than there are": (result(num_correct={"token": 5}), "results.0: .*more right answers than the 4"),
    "fewer than none": (result(num_correct={"token": -1}), "results.0.num_correct.token: "),
    "NaN": (cost(float("nan")), "costs.0.value.*: "),
    "infinite": (cost(float("inf")), "costs.0.value.*: "),
    "negative": (cost(-1), "costs.0.value.*: "),
    "beyond all computers": (cost(1e308), "costs.0.value.*: "),
}


@pytest.mark.parametrize("how", ODD)
def test_f8_an_odd_record_is_left_out_by_name_and_field(tmp_path, how):
    change, message = ODD[how]
    store = Store(tmp_path)
    path = store.location(store.write(record(), SCORES).id)
    resealed(path, change)
    assert re.search(f"is damaged: {message}", left_out(store, path))


def test_f7_scores_are_read_as_they_were_written_or_not_at_all(tmp_path):
    store = Store(tmp_path)
    without_files(store.location(store.write(record(), SCORES).id))
    path = store.scores / f"{record().id}.parquet"
    whole = path.read_bytes()
    damage = random.Random(0)
    num_refused = 0
    for _ in range(200):
        place = damage.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << damage.randrange(8)]) + whole[place + 1 :])
        try:
            pd.testing.assert_frame_equal(store.read_scores(record().id), SCORES)
        except (OSError, ValueError, KeyError, TypeError):
            num_refused += 1
    assert num_refused > 20
    pd.DataFrame(SCORES).to_parquet(path, index=False)  # as they were written before
    pd.testing.assert_frame_equal(store.read_scores(record().id), SCORES)


class Killed(BaseException):
    """Stands for the end of a process: nothing is caught or tidied away afterwards."""


def test_f5_what_is_finished_comes_to_its_place_though_its_writer_was_stopped(tmp_path, monkeypatch):
    """Whoever reads next brings it there; a folder that may not be written is read as it is."""
    store = Store(tmp_path)
    old = store.write(record(), SCORES, "old")
    new = old.model_copy(update={"created_at": "2027-01-01T00:00:00+00:00"})
    for num_moves in range(3):
        move, left = files.move, [None] * num_moves

        def stopping(source, target, move=move, left=left):
            if not left:
                raise Killed
            left.pop()
            move(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(files, "move", stopping)
            with pytest.raises(Killed):
                store.write(new, SCORES, "new")
            patch.setattr(files, "locked", unlockable)
            assert Store(tmp_path).find(old.id) == old
        assert [made.created_at for made in Store(tmp_path).all()] == [new.created_at]
        fit.check(store.prompts / f"{new.id}.json")
        assert (store.prompts / f"{new.id}.json").read_text() == "new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["prompts", "records", "scores"]
        store.write(old, SCORES, "old")


def unlockable(_):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_f5_of_two_writers_the_first_one_stays_with_all_that_is_its_own(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    one = record()
    other = one.model_copy(update={"created_at": "2027-01-01T00:00:00+00:00"})
    made = first.write(one, SCORES, "first", force=False)
    assert made.created_at == one.created_at
    assert second.write(other, SCORES, "second", force=False) == made
    assert (first.prompts / f"{one.id}.json").read_text() == "first"
    assert second.write(other, SCORES, "second").created_at == other.created_at
    assert (first.prompts / f"{one.id}.json").read_text() == "second"


def test_f17_what_cannot_be_written_is_found_before_anything_is_computed(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "looping").symlink_to(tmp_path / "looping")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "prompts").write_text("")
    for name in ("dangling", "looping", "taken"):
        with pytest.raises(RecordError, match="cannot write results to") as caught:
            Store(tmp_path / name).check_writable()
        assert "--results" in str(caught.value.hint)


def test_a_record_that_came_by_way_of_windows_is_read(tmp_path):
    store = Store(tmp_path)
    made = store.write(record(), SCORES)
    path = store.records / f"{made.id}.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert store.all() == [made]


def test_a_record_of_this_version_is_read_in_one_step_as_in_all():
    for made in (record(), record("other").model_copy(update={"files": Files(scores="0" * 64)})):
        text = sealed(made.model_dump_json(indent=2))
        assert _of_this_version(text) == made == _of_any_version(text, Path("x.json"), "")
        assert _of_this_version(text.replace('"seed": 0', '"seed": 1')) is None
        assert _of_this_version(sealed(text)) is None
        older = json.dumps(json.loads(made.model_dump_json()) | {"schema_version": 1}, indent=2)
        assert _of_this_version(sealed(older)) is None
        assert _of_any_version(sealed(older), Path("x.json"), "") == made


def test_a_listing_bears_records_that_go_away_and_leaves_the_collector_as_it_was(tmp_path, monkeypatch):
    store = Store(tmp_path)
    gone, made = (store.write(record(name), SCORES) for name in ("gone", "made"))
    names = list(store.records.glob("*.json"))
    store.location(gone.id).unlink()
    monkeypatch.setattr(type(tmp_path), "glob", lambda path, pattern: iter(names if path == store.records else []))
    assert gc.isenabled()
    assert store.readable() == ([made], [])
    assert gc.isenabled()
