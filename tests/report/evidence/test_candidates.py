import pytest

from peftbench.errors import RecordError
from peftbench.report.evidence import candidates
from tests.report.evidence.answered import answered, curved, table
from tests.report.records import record


def test_right_is_the_mean_over_templates_and_seeds_row_by_row():
    found, left_out = candidates.candidates(
        table(answered("ICL", [1, 1, 0, 0]), answered("ICL", [1, 0, 0, 1], seed=1), answered("ia3", [1, 1, 1, 0]))
    )
    icl, ia3 = found
    assert (icl.right.tolist(), icl.num_answers, icl.by_seed) == ([1, 0.5, 0, 0.5], 2, (0.5, 0.5))
    assert (ia3.accuracy, ia3.by_seed, left_out) == (0.75, (0.75,), [])


def test_rows_whose_answers_are_not_known_are_left_out_by_name():
    found, left_out = candidates.candidates(table(answered("ICL", [1, 0]), record("ia3", num_examples=2, correct=(1,))))
    assert [candidate.row.method for candidate in found] == ["ICL"]
    assert left_out == ["ia3 on mini-gpt, 32 shots: records of schema version 1 do not say which examples are right"]


def test_what_learned_from_fewer_rows_than_it_could_is_nothing_to_choose():
    """Even where it was lucky: the picked one is to learn from all rows. A prompt of fewer shots is another prompt."""
    built = curved(fewer=0.99)
    found, left_out = candidates.candidates(built)
    assert [(candidate.row.method, candidate.row.num_shots) for candidate in found] == [
        ("ICL", 4), ("ICL", 16), ("ia3", 16)
    ]  # fmt: skip
    assert left_out == []
    assert len(built.rows) == 4


def test_several_tasks_and_no_answers_are_refused():
    with pytest.raises(RecordError, match="a decision is on one task, and this table has a, b"):
        candidates.candidates(table(*(answered("ICL", [1, 0], task=task) for task in "ab")))
    with pytest.raises(RecordError, match="no row of the table says which answers are right"):
        candidates.candidates(table(record(correct=(3,))))


def test_labels_come_from_any_record_that_says_them():
    silent, made = answered("ICL", [1, 0, 1]), answered("ICL", [1, 0, 1], labels=[0, 0, 1])
    assert candidates.label_counts([silent, made]) == [2, 1]
    assert (candidates.label_counts([silent]), candidates.labels_of([silent, made])) == (None, None)
    (result,) = made.results
    scored = made.model_copy(update={"results": [result.model_copy(update={"labels": [0, 0, 1]})]})
    assert candidates.labels_of([silent, scored]) == [0, 0, 1]
    fixed = made.model_copy(update={"task": made.task.model_copy(update={"labels": "1 0 1"})})
    assert candidates.labels_of([fixed]) == [1, 0, 1]


def test_clusters_come_from_any_record_that_says_them():
    plain, joined = answered("ICL", [1, 0, 1]), answered("ICL", [1, 0, 1], clusters="0 1 0")
    assert candidates.clusters([plain, joined], 3).of_row.tolist() == [0, 1, 0]
    assert candidates.clusters([plain], 3).number == 3
