import json

import pandas as pd
import pytest

from peftbench.errors import RecordError
from peftbench.store.files import replacing
from peftbench.store.record import SCHEMA_VERSION, Cost, Learned, ModelInfo, Record, TaskInfo, TemplateResult, identify
from peftbench.store.results import Store


def record(record_id: str = "0" * 16, created_at: str = "2026-01-01T00:00:00+00:00") -> Record:
    return Record(
        id=record_id,
        created_at=created_at,
        identity={"model": "m"},
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
    store.write(record(), SCORES)
    assert store.find("0" * 16) == record()
    assert store.all() == [record()]
    pd.testing.assert_frame_equal(store.read_scores("0" * 16), SCORES)


def test_accuracy_is_by_normalisation():
    result = record().results[0]
    assert (result.accuracy(), result.accuracy("none")) == (0.75, 0.25)


def test_identity_ignores_the_order_of_keys_and_sees_every_value():
    assert identify({"a": 1, "b": [2]}) == identify({"b": [2], "a": 1})
    assert identify({"a": 1, "b": [2]}) != identify({"a": 1, "b": [3]})


def test_all_gives_the_oldest_record_first(tmp_path):
    store = Store(tmp_path)
    late, early = record("a" * 16, "2026-01-02T00:00:00+00:00"), record("b" * 16)
    store.write(late, SCORES)
    store.write(early, SCORES)
    assert store.all() == [early, late]


def test_all_damaged_records_are_named_at_once(tmp_path):
    store = Store(tmp_path)
    for name in ("a", "b"):
        store.write(record(name * 16), SCORES)
    whole = (store.records / f"{'a' * 16}.json").read_text()
    (store.records / f"{'a' * 16}.json").write_text(whole[: len(whole) // 2])
    (store.records / f"{'b' * 16}.json").write_text(json.dumps({"schema_version": 1, "id": 5}))
    with pytest.raises(RecordError, match=r"aaaa.*is damaged.*bbbb.*is damaged") as caught:
        store.all()
    assert "--force" in str(caught.value.hint)


def test_a_record_from_a_later_version_says_to_update(tmp_path):
    store = Store(tmp_path)
    path = store.write(record(), SCORES)
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
