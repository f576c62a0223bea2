import pytest

from peftbench.errors import RecordError
from peftbench.report.rows.reference import published


def test_table_one_is_as_printed():
    rows = {(row.method, row.model): row for row in published("t-few").rows}
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
    (row,) = [row for row in published("t-few").rows if (row.method, row.model) == (method, model)]
    assert 100 * sum(spread.median for spread in row.spreads.values()) / 11 == pytest.approx(mean, abs=0.006)


def test_every_published_row_covers_the_eleven_tasks():
    assert {len(row.spreads) for row in published("t-few").rows} == {11}


def test_an_unknown_reference_names_the_known():
    with pytest.raises(RecordError, match="unknown reference 'tfew'"):
        published("tfew")
