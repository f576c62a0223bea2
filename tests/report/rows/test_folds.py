"""The records of folds as one: as if one record had all rows, and never a mean of small tables."""

import itertools
import json

import pytest

from peftbench import frame, registry
from peftbench.cli.app import main
from peftbench.errors import RecordError
from peftbench.report.evidence.compare import compare
from peftbench.report.formats import data
from peftbench.report.notes.document import compose
from peftbench.report.rows import setting
from peftbench.report.rows.folds import Joined, join
from peftbench.report.rows.select import choose, read
from peftbench.report.rows.table import build
from peftbench.store.pack import pack
from peftbench.store.record import Cost
from peftbench.store.results import Store
from tests.report.stored import folded, stored

RIGHT = {0: [1, 0, 1, 1, 0, 0, 1], 1: [0, 0, 1, 1, 1, 0, 1]}
OTHER = {0: [1, 1, 1, 1, 0, 1, 1], 1: [1, 0, 1, 1, 1, 1, 1]}


def one(records):
    (joined,), reasons = join(records)
    assert reasons == []
    return joined


def test_answers_stand_in_the_order_of_the_rows_as_if_one_record_had_them_all(tmp_path):
    parts = folded(tmp_path / "folds", RIGHT, 3)
    whole = stored(tmp_path / "whole", RIGHT)
    for order in (parts, parts[::-1]):
        joined = one(order)
        assert [result.model_dump() for result in joined.results] == [result.model_dump() for result in whole.results]
        assert joined.ids == [part.id for part in parts]
        assert joined.identity["folds"] == 3
        assert "fold" not in joined.identity


def test_macro_f1_is_of_all_rows_and_no_mean_of_folds(tmp_path):
    parts = folded(tmp_path / "folds", RIGHT, 3, metric="macro_f1")
    whole = stored(tmp_path / "whole", RIGHT, metric="macro_f1")
    joined = one(parts)
    for result, expected in zip(joined.results, whole.results, strict=True):
        assert result.value() == expected.value() == registry.metric("macro_f1").of(result.predictions, result.labels)
    mean = sum(part.results[0].value() for part in parts) / 3
    assert joined.results[0].value() != pytest.approx(mean, abs=0.01)
    (row,) = build([joined])[0].rows
    assert row.score == pytest.approx(sum(result.value() for result in whole.results) / 2)


def priced(record, **values):
    units = {"score_seconds": "seconds", "learn_seconds": "seconds"}
    costs = [
        Cost(name=name, value=value, unit=units.get(name, "FLOPs"), kind="counted", convention="c")
        for name, value in values.items()
    ]
    return record.model_copy(update={"costs": costs})


def test_costs_are_means_by_rows_where_they_are_of_a_row_and_sums_where_they_are_of_all(tmp_path):
    values = {"inference_flops_per_example": (10, 20, 30), "training_flops": (5, 6, 10), "scoring_flops": (1, 2, 3)}
    values |= {"score_seconds": (0.5, 0.25, 1.0), "learn_seconds": (1.0, 2.0, 6.0), "disk_bytes": (7, None, 7)}
    parts = folded(tmp_path, RIGHT, 3)  # of 3, 2 and 2 rows
    joined = one([priced(part, **{name: of[place] for name, of in values.items()}) for place, part in enumerate(parts)])
    assert {cost.name: cost.value for cost in joined.costs} == {
        "inference_flops_per_example": round((3 * 10 + 2 * 20 + 2 * 30) / 7),
        "training_flops": 7,
        "scoring_flops": 6,
        "score_seconds": 1.75,
        "learn_seconds": 3.0,
        "disk_bytes": None,
    }
    assert [cost.convention for cost in joined.costs[:3]] == [
        "c; mean over folds, by their rows",
        "c; mean over folds",
        "c; sum over folds",
    ]
    assert joined.cost("disk_bytes", "counted").reason == "some of the folds do not have it"


def test_each_seed_is_a_split_and_all_splits_are_one_row_with_all_rows_once(tmp_path):
    records = [part for seed in (0, 1) for part in folded(tmp_path, RIGHT, 3, seed=seed)]
    document = compose(records)
    (row,) = document.tables[0].rows
    assert (row.num_examples, row.num_seeds, row.num_templates) == (7, (2, 2), (2, 2))
    assert [record.seed for record in row.records] == [0, 1]
    (note,) = [text for text in document.conventions if "3 folds: " in text]
    assert "what was learned from the other folds, 2/3 of the rows" in note
    assert "a further seed is a further split" in note
    (task,) = data.to_json(document)["tables"][0]["rows"][0]["tasks"]
    assert sorted(task["records"]) == sorted(record.id for record in records)


def test_joined_and_other_records_stay_as_they_are(tmp_path):
    records = [*folded(tmp_path, RIGHT, 2), stored(tmp_path, {0: [1, 0]}, sha256="e" * 64)]
    joined, _ = join(records)
    assert join(joined) == (joined, [])
    assert records[-1] in joined
    assert len(joined) == 2


def test_a_split_that_lacks_a_fold_is_left_out_by_name_with_the_command_that_runs_the_rest(tmp_path):
    folded(tmp_path, RIGHT, 5, skip=(1, 4), shots=4, group="customer")
    stored(tmp_path, RIGHT, "ia3", "mini-t0")
    joined, (reason,) = join(Store(tmp_path).all())
    command = "peftbench icl --model mini-gpt --shots 4 --task PATH/nli.toml --folds 5 --group customer"
    assert reason == (f"nli: ICL on mini-gpt, 4 shots, seed 0: 3 of 5 folds have a record; `{command}` runs the rest")
    assert [setting.method(record) for record in joined] == ["ia3"]
    assert f"left out: {reason}" in compose(Store(tmp_path).all()).findings


def test_folds_that_do_not_fit_each_other_are_left_out(tmp_path):
    first, second = folded(tmp_path, RIGHT, 2)
    spoiled = {
        "some have the same ones": {"row_ids": "1 3 4"},
        "it is not said which rows": {"row_ids": None},
        "not as many answers as rows": {"right": "1"},
    }
    for text, update in spoiled.items():
        results = [result.model_copy(update=update) for result in second.results]
        joined, (reason,) = join([first, second.model_copy(update={"results": results})])
        assert (joined, text in reason) == ([], True), reason
    assert "different templates" in join([first, second.model_copy(update={"results": second.results[:1]})])[1][0]
    other = second.task.model_copy(update={"clusters": "0 0 1"})
    assert "of different rows" in join([first, second.model_copy(update={"task": other})])[1][0]


def test_a_template_that_skips_rows_has_the_rows_that_it_read(tmp_path):
    parts = [stored(tmp_path, {0: rows}, fold={"index": i, "of": 2}) for i, rows in enumerate(({5: 1, 2: 0}, {3: 1}))]
    parts[0] = parts[0].model_copy(
        update={"results": [parts[0].results[0].model_copy(update={"row_ids": "5 2", "num_skipped": 1})]}
    )
    (result,) = one(parts).results
    assert (result.row_ids, result.right, result.num_skipped) == ("2 3 5", "011", 1)


def test_a_comparison_of_joined_folds_is_that_of_records_with_all_rows(tmp_path):
    def lines(folder):
        all_stored = read([folder])
        comparison = compare(*(choose(word, all_stored) for word in ("icl@mini-gpt:32", "ia3@mini-t0:32")))
        return [vars(line) | {"metric": None} for line in comparison.lines]

    for seed in (0, 1):
        for method, model, right in (("ICL", "mini-gpt", RIGHT), ("ia3", "mini-t0", OTHER)):
            folded(tmp_path / "folds", right, 3, method, model, seed=seed)
            stored(tmp_path / "whole", right, method, model, seed=seed)
            stored(tmp_path / "packed", right, method, model, seed=seed)
    expected = lines(tmp_path / "whole")
    assert lines(tmp_path / "folds") == expected
    for path in (tmp_path / "packed" / "records").glob("*"):  # of one side there are folds, of the other all rows
        if json.loads(path.read_text())["learned"]["method"] is None:
            path.unlink()
    for seed in (0, 1):
        folded(tmp_path / "packed", RIGHT, 3, seed=seed)
    pack(tmp_path / "packed")
    for path in (tmp_path / "packed" / "records").glob("*"):
        path.unlink()
    for path in (tmp_path / "packed" / "scores").glob("*"):
        path.unlink()
    assert lines(tmp_path / "packed") == expected


def test_one_fold_alone_is_not_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, *_ = folded(tmp_path / "results", RIGHT, 3)
    folded(tmp_path / "results", OTHER, 3, "ia3", "mini-t0", skip=[2])
    all_stored = read([tmp_path / "results"])
    with pytest.raises(RecordError, match=f"record {first.id} is of one fold of 3") as caught:
        choose(first.id[:8], all_stored)
    assert caught.value.hint == "name the row: icl@mini-gpt:32"
    for word in ("ia3@mini-t0", all_stored[-1].record.id):
        with pytest.raises(RecordError, match="2 of 3 folds have a record; `peftbench tune"):
            choose(word, all_stored)
    assert main(["compare", "icl@mini-gpt", "ia3@mini-t0"]) == 2
    assert "2 of 3 folds have a record" in capsys.readouterr().err


def test_a_comparison_says_which_splits_are_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folded(tmp_path / "results", RIGHT, 3)
    folded(tmp_path / "results", OTHER, 3, "ia3", "mini-t0")
    folded(tmp_path / "results", OTHER, 3, "ia3", "mini-t0", seed=1, skip=[2])
    folded(tmp_path / "results", OTHER, 3, "lora", "mini-t0", skip=[2])
    assert main(["compare", "icl@mini-gpt", "ia3@mini-t0"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "left out: nli: ia3 on mini-t0, 32 shots, seed 1: 2 of 3 folds have a record" in said
    assert "lora" not in said


def test_a_report_of_incomplete_splits_alone_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folded(tmp_path / "results", RIGHT, 3, skip=[0])
    for words in (["report"], ["advise", "--queries", "10"]):
        assert main(words) == 2
        assert "error: nli: ICL on mini-gpt, 32 shots, seed 0: 2 of 3 folds have a record" in capsys.readouterr().err
    folded(tmp_path / "results", RIGHT, 3, "ia3", "mini-t0")
    for words in (["report"], ["advise", "--queries", "10"]):
        assert main(words) == 0
        assert "left out: nli: ICL on mini-gpt, 32 shots, seed 0: 2 of 3 folds" in capsys.readouterr().err


def test_a_frame_has_joined_records_and_warns_of_the_rest(tmp_path):
    folded(tmp_path, RIGHT, 3)
    folded(tmp_path, OTHER, 3, "ia3", "mini-t0", skip=[1])
    with pytest.warns(UserWarning, match="left out: nli: ia3 on mini-t0, 32 shots, seed 0: 2 of 3 folds"):
        table = frame(tmp_path)
    assert table[["method", "template", "num_examples", "accuracy"]].values.tolist() == [
        ["ICL", 0, 7, 4 / 7],
        ["ICL", 1, 7, 4 / 7],
    ]


@pytest.mark.parametrize("fold", [3, {"index": 0}, {"index": 5, "of": 2}, {"index": 0, "of": "2"}])
def test_a_record_of_a_fold_that_cannot_be_is_damaged(fold, tmp_path):
    made = stored(tmp_path, {0: {0: 1}}, fold={"index": 0, "of": 2})
    table = json.loads(made.model_dump_json())
    with pytest.raises(ValueError, match="identity"):
        type(made).model_validate(table | {"identity": table["identity"] | {"fold": fold}})


def test_rows_of_several_numbers_of_folds_are_told_apart(tmp_path):
    records = list(itertools.chain(folded(tmp_path, RIGHT, 2), folded(tmp_path, RIGHT, 3)))
    (table,) = compose(records).tables
    assert [[part.text for part in row.settings] for row in table.rows] == [["folds=2"], ["folds=3"]]
    assert all(isinstance(record, Joined) for row in table.rows for record in row.records)
