import json

import pytest

from peftbench.errors import RecordError
from peftbench.report.evidence.pairs import pair
from peftbench.report.rows.select import choose, read
from peftbench.scoring.ranking import ChoiceScore, predict
from peftbench.store.pack import pack
from peftbench.store.results import Store
from tests.report.stored import scores, stored
from tests.store.older import without_files

A, B, ZERO = "icl@mini-gpt:32", "ia3@mini-t0:32", "zero-shot@mini-t0"


def paired(folder, a=A, b=B):
    kept = read([folder])
    return pair(choose(a, kept), choose(b, kept))


def refused(folder, a=A, b=B):
    with pytest.raises(RecordError) as caught:
        paired(folder, a, b)
    return caught.value.message, caught.value.hint


def test_answers_are_ranked_as_the_scorer_ranks_them(tmp_path):
    right = {0: [1, 0, 1, 1], 1: [0, 0, 1, 0]}
    stored(tmp_path, right)
    stored(tmp_path, {0: [0] * 4, 1: [0] * 4}, "ia3", "mini-t0")
    ((one,), _) = paired(tmp_path)
    expected = [0] * 4
    for (_, row), choices in scores(right).groupby(["template", "row_id"]):
        listed = [ChoiceScore(*values) for values in choices.iloc[:, 4:].itertuples(index=False)]
        expected[row] += predict(listed) == choices["label"].iloc[0]
    assert one.num_right_a.tolist() == expected == [1, 0, 2, 1]


def test_what_choices_were_ranked_by_counts_where_the_scores_have_it(tmp_path):
    # calibration has turned the first example around: by its log-probabilities alone it would be wrong
    made = stored(tmp_path, {0: [1, 1]})
    stored(tmp_path, {0: [0, 0]}, "ia3", "mini-t0")
    table = scores({0: [0, 1]}).assign(ranked_by=lambda table: table["log_prob"] / table["num_tokens"])
    table.loc[table["row_id"] == 0, "ranked_by"] *= -1
    Store(tmp_path).write(made, table)
    ((one,), _) = paired(tmp_path)
    assert one.num_right_a.tolist() == [1, 1]


def test_answers_under_the_same_template_and_seed_stand_beside_each_other(tmp_path):
    for seed, right_a, right_b in ((0, [1, 1, 0], [0, 1, 0]), (1, [0, 1, 0], [1, 1, 1])):
        stored(tmp_path, {0: right_a, 1: [1, 1, 1]}, seed=seed)
        stored(tmp_path, {0: right_b, 2: [1, 1, 1]}, "ia3", "mini-t0", seed=seed)
    ((one,), left_out) = paired(tmp_path)
    assert (one.templates, one.seeds, one.num_pairs) == ((0,), (0, 1), 2)
    assert one.num_right_a.tolist() == [1, 2, 0]
    assert one.num_right_b.tolist() == [1, 2, 1]
    assert one.by_seed == pytest.approx((-1 / 3, 2 / 3))
    assert left_out == ["nli: template 1: only A has it", "nli: template 2: only B has it"]


def test_only_seeds_of_both_sides_count(tmp_path):
    stored(tmp_path, {0: [1, 1]}, seed=0)
    stored(tmp_path, {0: [0, 0]}, seed=1)
    stored(tmp_path, {0: [0, 1]}, "ia3", "mini-t0", seed=1)
    ((one,), left_out) = paired(tmp_path)
    assert one.num_right_a.tolist() == [0, 0]
    assert left_out == ["nli: seed 0: only A has it"]


def test_zero_shot_stands_beside_each_seed(tmp_path):
    for seed in (3, 4):
        stored(tmp_path, {0: [1, 0]}, seed=seed)
    stored(tmp_path, {0: [0, 1]}, model="mini-t0", shots=0)
    ((one,), left_out) = paired(tmp_path, A, ZERO)
    assert (one.seeds, one.num_right_a.tolist(), one.num_right_b.tolist()) == ((3, 4), [2, 0], [0, 2])
    assert left_out == []
    ((back,), _) = paired(tmp_path, ZERO, A)
    assert (back.num_right_a.tolist(), back.num_right_b.tolist()) == ([0, 2], [2, 0])


def test_two_single_records_may_have_other_seeds(tmp_path):
    a, b = (stored(tmp_path, {0: [1, seed]}, seed=seed) for seed in (0, 1))
    ((one,), _) = paired(tmp_path, a.id, b.id)
    assert (one.num_right_a.tolist(), one.num_right_b.tolist()) == ([1, 0], [1, 1])


def test_only_rows_of_both_sides_count(tmp_path):
    stored(tmp_path, {0: {0: 1, 1: 1, 5: 0}})
    stored(tmp_path, {0: {1: 0, 5: 1, 7: 1}}, "ia3", "mini-t0")
    ((one,), left_out) = paired(tmp_path)
    assert (one.num_right_a.tolist(), one.num_right_b.tolist()) == ([1, 0], [0, 1])
    assert left_out == ["nli: 2 of 4 examples that not all of these have answered"]


def test_of_one_cell_with_two_limits_the_longer_counts(tmp_path):
    stored(tmp_path, {0: [1, 1, 1]}, num_examples=3, limit=3)
    stored(tmp_path, {0: [1, 1]}, num_examples=2, limit=2)
    stored(tmp_path, {0: [0, 0, 0]}, "ia3", "mini-t0")
    ((one,), _) = paired(tmp_path)
    assert len(one.num_right_a) == 3


def test_tasks_are_paired_by_their_data_and_left_out_tasks_are_named(tmp_path):
    for task, letter in (("x", "1"), ("y", "2"), ("only-a", "3")):
        stored(tmp_path, {0: [1, 0]}, task=task, sha256=letter * 64)
    for task, letter in (("y", "2"), ("x", "1")):
        stored(tmp_path, {0: [1, 0], 1: [1, 0]}, "ia3", "mini-t0", task, sha256=letter * 64)
    stored(tmp_path, {0: [1, 0]}, "ia3", "mini-t0", "only-b", sha256="4" * 64)
    tasks, left_out = paired(tmp_path)
    assert [one.task for one in tasks] == ["x", "y"]
    assert left_out == [
        "task only-a: only A has it",
        "task only-b: only B has it",
        "all 2 tasks: template 1: only B has it",
    ]


def test_other_data_under_one_name_is_refused(tmp_path):
    stored(tmp_path, {0: [1, 0]}, sha256="1" * 64)
    stored(tmp_path, {0: [1, 0]}, "ia3", "mini-t0", sha256="2" * 64)
    message, hint = refused(tmp_path)
    assert message == "task 'nli' is other data on each side: A has 111111, B has 222222 (SHA-256)"
    assert "run both sides again" in hint


def test_nothing_in_common_is_refused(tmp_path):
    stored(tmp_path, {0: [1, 0]}, task="x", sha256="1" * 64)
    stored(tmp_path, {0: [1, 0]}, "ia3", "mini-t0", "y", sha256="2" * 64, seed=1)
    assert refused(tmp_path) == ("A and B have no task in common", "A has x; B has y")
    stored(tmp_path, {0: [1, 0]}, "ia3", "mini-t0", "x", sha256="1" * 64, seed=1)
    message, hint = refused(tmp_path)
    assert message == "A and B have no example under the same template and seed in common"
    assert "x: seed 0: only A has it; x: seed 1: only B has it" in hint


@pytest.fixture
def pieces(tmp_path):
    record = stored(tmp_path, {0: [1, 0]})
    stored(tmp_path, {0: [1, 0]}, "ia3", "mini-t0")
    return tmp_path, tmp_path / "records" / f"{record.id}.json", tmp_path / "scores" / f"{record.id}.parquet"


def test_missing_scores(pieces):
    folder, _, path = pieces
    path.unlink()
    message, hint = refused(folder)
    assert message.endswith(f"are missing: no '{path}'")
    assert "--force" in hint


@pytest.mark.parametrize("content", [b"", b"PAR1 cut off"])
def test_damaged_scores(content, pieces):
    folder, _, path = pieces
    path.write_bytes(content)
    message, hint = refused(folder)
    assert "are damaged" in message
    assert "\n" not in message
    assert hint


def test_scores_without_a_column(pieces):
    folder, record, path = pieces
    without_files(record)
    scores({0: [1, 0]}).drop(columns="num_tokens").to_parquet(path)
    assert "are damaged: 'num_tokens'" in refused(folder)[0]


def test_scores_that_were_not_written_with_their_record_are_refused(pieces):
    folder, record, path = pieces
    scores({0: [1, 0]}).to_parquet(path)  # the same answers, and yet another file
    message, hint = refused(folder)
    assert message.endswith("are damaged: their SHA-256 is not the one in the record")
    assert "--force" in hint
    without_files(record)
    assert paired(folder)


def test_edited_scores_and_edited_accuracies_are_found(pieces):
    folder, record, path = pieces
    without_files(record)
    scores({0: [1, 1]}).to_parquet(path)
    assert "tell different accuracies" in refused(folder)[0]
    scores({0: [1, 0]}).to_parquet(path)
    assert paired(folder)
    table = json.loads(record.read_text())
    table["results"][0]["num_correct"]["token"] = 2
    record.write_text(json.dumps(table))
    with pytest.raises(RecordError, match="was edited"):
        read([folder])
    # Records of version 1 have no digest.
    del table["digest"]
    record.write_text(json.dumps(table | {"schema_version": 1}))
    assert "tell different accuracies" in refused(folder)[0]


def test_of_packed_records_the_right_answers_are_the_records_own(tmp_path):
    one, other = tmp_path / "single", tmp_path / "packed"
    for folder in (one, other):
        stored(folder, {0: [1, 0, 1], 2: [0, 0, 1]})
        stored(folder, {0: [1, 1, 0], 2: [0, 1, 1]}, "ia3", "mini-t0")
    pack(other)
    for path in other.glob("*/*"):
        path.unlink()
    (((a,), left_out), ((b,), left_out_of_packed)) = (paired(folder) for folder in (one, other))
    assert (a.num_right_a.tolist(), a.num_right_b.tolist()) == (b.num_right_a.tolist(), b.num_right_b.tolist())
    assert (a.num_right_a.tolist(), a.num_right_b.tolist()) == ([1, 0, 2], [1, 2, 1])
    assert (a.templates, a.by_seed, left_out) == (b.templates, b.by_seed, left_out_of_packed)


def test_of_packed_records_of_another_metric_the_predictions_are_the_records_own(tmp_path):
    one, other = tmp_path / "single", tmp_path / "packed"
    for folder in (one, other):
        stored(folder, {0: [1, 0, 1], 2: [0, 0, 1]}, metric="macro_f1")
        stored(folder, {0: [1, 1, 0], 2: [0, 1, 1]}, "ia3", "mini-t0", metric="macro_f1")
    pack(other)
    for path in other.glob("*/*"):
        path.unlink()
    (((a,), _), ((b,), _)) = (paired(folder) for folder in (one, other))
    # example i has label i % 2
    assert a.sides.labels.tolist() == [[0, 1, 0]] * 2
    assert (a.sides.a.tolist(), a.sides.b.tolist()) == ([[0, 0, 0], [1, 0, 0]], [[0, 1, 1], [1, 1, 0]])
    for part in ("a", "b", "labels"):
        assert getattr(a.sides, part).tolist() == getattr(b.sides, part).tolist()


def test_edited_scores_that_keep_the_number_of_right_answers_are_found_where_the_record_has_predictions(tmp_path):
    made = stored(tmp_path, {0: [1, 1, 0]}, metric="macro_f1")
    stored(tmp_path, {0: [1, 0, 0]}, "ia3", "mini-t0", metric="macro_f1")
    assert paired(tmp_path)
    without_files(tmp_path / "records" / f"{made.id}.json")
    scores({0: [0, 1, 1]}).to_parquet(tmp_path / "scores" / f"{made.id}.parquet")
    assert "tell different accuracies" in refused(tmp_path)[0]


def test_a_packed_record_that_does_not_say_which_answers_are_right_is_refused(pieces):
    folder, path, scores_path = pieces
    table = json.loads(path.read_text())
    del table["digest"], table["results"][0]["right"]
    path.write_text(json.dumps(table | {"schema_version": 1}))
    pack(folder)
    path.unlink()
    scores_path.unlink()
    assert "does not say which examples were answered rightly" in refused(folder)[0]


def test_a_mixture_of_tasks_is_refused(tmp_path):
    for method, model in (("ia3", "mini-gpt"), ("ia3", "mini-t0")):
        made = stored(tmp_path, {0: [1, 0]}, method, model, task="lab-train")
        mixed = made.model_copy(update={"task": made.task.model_copy(update={"family": "mixture"})})
        Store(tmp_path).write(mixed, scores({0: [1, 0]}))
    message, hint = refused(tmp_path, "ia3@mini-gpt", "ia3@mini-t0")
    assert message.startswith("task 'lab-train' is a mixture: ")
    assert "`peftbench tune --start-from`" in hint


def test_other_orders_of_the_shots_are_left_out_and_said(tmp_path):
    stored(tmp_path, {0: [1, 0]})
    stored(tmp_path, {0: [0, 0, 0]}, icl={"order": 1})
    stored(tmp_path, {0: [0, 1]}, "ia3", "mini-t0")
    ((one,), left_out) = paired(tmp_path)
    assert (one.num_right_a.tolist(), one.num_pairs) == ([1, 0], 1)
    assert left_out == ["1 records of A with another order of the shots than that of the draw"]


def test_a_template_that_lacks_one_of_the_seeds_is_said(tmp_path):
    for seed in (0, 1):
        stored(tmp_path, {template: [1, 0] for template in range(2 - seed)}, seed=seed)
        stored(tmp_path, {0: [0, 1], 1: [0, 1]}, "ia3", "mini-t0", seed=seed)
    ((one,), left_out) = paired(tmp_path)
    assert one.num_pairs == 3
    assert left_out == ["nli: template 1 with seed 1: only B has it"]
