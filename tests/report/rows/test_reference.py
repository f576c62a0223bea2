import pytest

from peftbench import registry
from peftbench.errors import RecordError
from peftbench.report.formats import text
from peftbench.report.notes.document import compose
from peftbench.report.rows.reference import published
from tests.report.records import record


def test_table_one_is_as_printed():
    rows = {(row.method, row.model): row for row in published("t-few")[0].rows}
    tuned = rows["T-Few", "T0 11B"]
    assert (tuned.score, tuned.cost("inference_flops_per_example"), tuned.cost("training_flops")) == (
        0.724,
        1.1e12,
        2.7e16,
    )
    assert rows["ICL", "GPT-3 175B"].cost("inference_flops_per_example") == 1.4e15
    assert all(row.published for row in rows.values())


@pytest.mark.parametrize(
    ("method", "model", "mean"),
    [
        ("T-Few", "T0 11B", 72.41),
        ("zero-shot", "T0 11B", 62.51),
        ("ICL", "GPT-3 175B", 66.64),
        ("ICL", "GPT-3 13B", 60.32),
    ],
)
def test_per_task_values_have_the_mean_that_table_nine_has(method, model, mean):
    (row,) = [row for row in published("t-few")[0].rows if (row.method, row.model) == (method, model)]
    assert 100 * sum(spread.median for spread in row.spreads.values()) / 11 == pytest.approx(mean, abs=0.006)


def test_every_published_row_covers_the_eleven_tasks():
    assert {len(row.spreads) for row in published("t-few")[0].rows} == {11}


RAFT = {"T-Few": 75.8, "human": 73.5, "PET": 69.6, "SetFit": 66.9, "ICL": 62.7}


def test_rafts_means_are_those_of_the_rows_per_task_and_no_accuracy_stands_beside():
    table, means = published("raft")
    assert {row.method: 100 * row.score for row in table.rows} == pytest.approx(RAFT)
    for row in table.rows:
        values = [spread.median for spread in row.spreads.values()]
        assert len(values) == 11
        assert 100 * sum(values) / 11 == pytest.approx(RAFT[row.method], abs=0.06)
    assert [100 * row.score for row in means.rows] == pytest.approx([71.3, 51.4, 45.8, 33.1, 29.2])
    for row in (*table.rows, *means.rows):
        assert (row.metric.name, row.accuracy, row.published, row.costs) == ("macro_f1", None, True, {})
    assert {task.name: task.num_examples for task in table.tasks} == registry.leaderboard("raft").num_rows


def test_loras_rows_stand_with_the_metric_of_each_task():
    accuracies, cola = published("lora")
    rows = {(row.method, row.model): row for row in accuracies.rows}
    lora = rows["lora", "RoBERTa base"]
    assert {task.name: 100 * spread.median for task, spread in lora.spreads.items()} == pytest.approx(
        {"sst2": 95.1, "mrpc": 89.7, "rte": 86.6}
    )
    assert 100 * lora.score == pytest.approx((95.1 + 89.7 + 86.6) / 3, abs=0.01)
    assert (lora.num_trained_parameters, rows["full", "RoBERTa base"].num_trained_parameters) == (300_000, 125_000_000)
    assert [(row.metric.name, row.accuracy) for row in cola.rows] == [("matthews", None)] * 4
    assert [100 * row.score for row in cola.rows] == pytest.approx([63.6, 63.4, 72.0, 72.4])


def test_rafts_rows_are_in_a_table_of_their_own_metric():
    document = compose([record("ICL", "mini-gpt", "rte", shots=0)], published("raft"))
    assert [table.metric.name for table in document.tables] == ["accuracy", "macro_f1", "macro_f1"]
    drawn = text.markdown(document)
    assert "macro F1 % (IQR)" in drawn
    means, tasks = [line for line in drawn.splitlines() if line.startswith("| T-Few | T0 11B | 50 |")]
    assert "75.8" in means
    assert tasks.endswith("| 80.4 | 69.5 | 83.3 | 67.6 | 95.0 | 91.5 | 50.8 | 73.6 | 75.0 | 58.6 | 87.9 |")
    assert document.tables[1].rows[0].accuracy is None


def test_an_unknown_reference_names_the_known():
    with pytest.raises(RecordError, match="unknown reference 'tfew'"):
        published("tfew")
