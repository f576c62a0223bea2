"""A task of one's own under another metric, from its TOML to report, compare and advise; values by hand from scores."""

import contextlib
import csv
import io
import json
import statistics
from pathlib import Path

import pytest

from peftbench.cli.app import main
from peftbench.report.rows import setting
from peftbench.report.rows.frame import frame
from peftbench.store.results import Store
from tests.tiny import tiny_folder

TEXTS = ("soup was warm", "bed was hard", "a fine day", "rain all week", "she smiled", "key broke", "it is late", "no")
ROWS = [{"text": f"{text} {number}"} for number in (1, 2) for text in TEXTS]
ROWS = [row | {"label": "bad" if place % 3 == 0 else "good"} for place, row in enumerate(ROWS)]
TASK = """
name = "mine"
family = "f"
description = "d"
metric = "{metric}"
[data]
train = "rows.jsonl"
test = "rows.jsonl"
[label]
names = ["good", "bad"]
[[templates]]
name = "plain"
text = "{{{{text}}}} How is it? ||| {{{{choice}}}}"
choices = ["yes", "no"]
[[templates]]
name = "other"
text = "Is it fine? {{{{text}}}} ||| {{{{choice}}}}"
choices = ["yes", "no"]
"""
SIDES = ("icl", "--shots", "4"), ("tune", "--method", "ia3", "--shots", "4", "--set", "num_steps=3", "--set", "lr=0.5")


def macro_f1(predictions, labels):
    f1 = []
    for label in {*predictions, *labels}:
        right = sum(prediction == truth == label for prediction, truth in zip(predictions, labels, strict=True))
        f1.append(2 * right / (predictions.count(label) + labels.count(label)))
    return sum(f1) / len(f1)


def matthews(predictions, labels):
    """The correlation of two 0/1 variables; 0 where one of them does not vary."""
    is_constant = len(set(predictions)) == 1 or len(set(labels)) == 1
    return 0.0 if is_constant else statistics.correlation(predictions, labels)


# Metric -> its value by hand, its title, its unit, and guessing with 6 of 16 labelled 1: the mean of
# 2 (10/16) (1/2) / (10/16 + 1/2) and 2 (6/16) (1/2) / (6/16 + 1/2).
HAND = {
    "macro_f1": (macro_f1, "macro F1", "%", (0.625 / 1.125 + 0.375 / 0.875) / 2),
    "matthews": (matthews, "Matthews correlation", "points", 0.0),
}


@pytest.fixture(scope="module", params=HAND)
def study(request, tmp_path_factory):
    """Both learners run on the task; the values of each row by hand, and the accuracies, by its method."""
    folder = tmp_path_factory.mktemp(request.param)
    tiny_folder("llama", folder / "llama")
    with contextlib.chdir(folder):
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        Path("mine.toml").write_text(TASK.format(metric=request.param))
        for learner, *options in SIDES:
            assert (
                main([learner, "--model", "llama", "--task", "mine.toml", "--seeds", "4,5", "--quiet", *options]) == 0
            )
    store, values, accuracies = Store(folder / "results"), {}, {}
    for record in store.all():
        scores = store.read_scores(record.id)
        for _, rows in scores.groupby("template"):
            best = rows.loc[rows.groupby("row_id")["ranked_by"].idxmax()]
            value = HAND[request.param][0](best["choice"].tolist(), best["label"].tolist())
            values.setdefault(setting.method(record), []).append(value)
            accuracies.setdefault(setting.method(record), []).append((best["choice"] == best["label"]).mean())
    return folder, request.param, values, accuracies


def typed(folder, *words):
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert main([*words]) == 0
    return out.getvalue()


def test_the_report_shows_the_metric_of_the_task(study, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    folder, metric, values, _ = study
    _, title, unit, chance = HAND[metric]
    (table,) = json.loads(typed(folder, "report", "--format", "json"))["tables"]
    assert table["metric"] == {"name": metric, "title": title, "unit": unit, "higher_is_better": True}
    for row in table["rows"]:
        assert row["score_median"] == pytest.approx(statistics.median(values[row["method"]]))
        assert row["chance"] == pytest.approx(chance)
        low, high = row["score_interval"]
        assert low <= row["score_median"] <= high
    text = typed(folder, "report")
    head = text.partition("───")[0]
    assert [word for word in (*title.split(), unit, "(IQR)") if word not in head] == []
    for method, of_row in values.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{method} ")]
        assert f"{100 * statistics.median(of_row):.1f}" in line.split()
    lines = (folder / "results" / "report.csv").read_text().splitlines()
    assert {f"{metric}_median", f"{metric}_interval_low"} < set(lines[0].split(","))
    assert [name for name in lines[0].split(",") if "accuracy" in name] == ["accuracy_median"]


def test_accuracy_stands_beside_it_in_every_format(study, monkeypatch):
    folder, metric, _, accuracies = study
    medians = {method: statistics.median(of_row) for method, of_row in accuracies.items()}
    (table,) = json.loads(typed(folder, "report", "--format", "json"))["tables"]
    assert {row["method"]: row["accuracy_median"] for row in table["rows"]} == pytest.approx(medians)
    assert {row["method"]: row["tasks"][0]["accuracy_median"] for row in table["rows"]} == pytest.approx(medians)
    lines = csv.DictReader(io.StringIO(typed(folder, "report", "--format", "csv")))
    assert {line["method"]: float(line["accuracy_median"]) for line in lines} == pytest.approx(medians)
    monkeypatch.setenv("COLUMNS", "160")
    for form, separator in (("md", "|"), ("latex", "&"), ("table", None)):
        rows = [line.split(separator) for line in typed(folder, "report", "--format", form).splitlines()]
        for method, median in medians.items():
            (row,) = [row for row in rows if [cell.strip() for cell in row if cell.strip()][:1] == [method]]
            assert f"{100 * median:.1f}" in [cell.strip() for cell in row]
    convention = f"accuracy beside {HAND[metric][1]}: a median of its own over the same templates x seeds"
    assert convention in typed(folder, "report")
    monkeypatch.setenv("COLUMNS", "80")
    text = typed(folder, "report")
    assert convention not in text
    assert f"accuracy beside {HAND[metric][1]}: there is no room for it at 80 columns" in text.replace("\n  ", " ")
    best = max(medians, key=medians.get)
    assert typed(folder, "report", "--sort", "accuracy", "--format", "md").split("|\n| ")[2].startswith(best)


def test_always_the_most_frequent_answer_stands_under_the_table(study):
    folder, metric, _, _ = study
    _, title, _, _ = HAND[metric]
    value = {"macro_f1": 100 * (2 * 10 / 26) / 2, "matthews": 0.0}[metric]  # 10 of 16 rows are labelled 0
    (note,) = [text for text in findings(folder) if text.startswith("always")]
    accuracies = "(accuracy 62.5, by guessing 50.0) on mine"
    assert note == f"always the most frequent answer: {title} {value:.1f} {accuracies}"


def findings(folder):
    return json.loads(typed(folder, "report", "--format", "json"))["findings"]


def test_pages_and_files_for_papers_show_it_too(study):
    folder, metric, values, _ = study
    _, title, unit, _ = HAND[metric]
    score = f"{100 * statistics.median(values['ia3']):.1f}"
    for form in ("md", "latex"):
        text = typed(folder, "report", "--format", form)
        assert f"{title} {unit.replace('%', chr(92) + '%' if form == 'latex' else '%')} (IQR)" in text
        assert score in text
    typed(folder, "report", "--format", "html", "--out", "page.html")
    page = (folder / "page.html").read_text()
    assert f"{title} {score} {unit}, chance" in page
    assert f"{title[0].upper()}{title[1:]} against inference FLOPs" in page


def test_the_frame_has_it_beside_the_accuracy(study):
    folder, metric, values, _ = study
    table = frame(folder / "results")
    assert set(table["metric"]) == {metric}
    assert sorted(table["score"]) == pytest.approx(sorted(value for of_row in values.values() for value in of_row))
    assert table["score"].tolist() != table["accuracy"].tolist()


def test_compare_tests_the_difference_of_the_metric(study):
    folder, metric, values, _ = study
    _, title, unit, _ = HAND[metric]
    told = json.loads(typed(folder, "compare", "icl@llama", "ia3@llama", "--format", "json"))
    (line,) = told["tasks"]
    means = [statistics.fmean(values[method]) for method in ("ICL", "ia3")]
    assert (line["score_a"], line["score_b"]) == (pytest.approx(means[0]), pytest.approx(means[1]))
    assert line["difference"] == pytest.approx(means[1] - means[0])
    assert (line["metric"]["name"], line["test"]) == (metric, "approximate randomisation")
    assert 0 < line["p_value"] <= 1
    text = typed(folder, "compare", "icl@llama", "ia3@llama")
    assert f"{title} {unit}\n" in text
    assert "accuracy of B" not in text
    assert text.count("always the most frequent answer") == text.count("A and B: always") == 1


def test_advise_judges_by_the_metric(study):
    folder, metric, values, _ = study
    _, title, unit, _ = HAND[metric]
    text = typed(folder, "advise", "--queries", "1000", "--min-score", "60")
    assert f"1,000 queries, at least 60.0 {unit} {title}" in text
    (table,) = json.loads(typed(folder, "advise", "--queries", "10", "--min-score", "0.01", "--format", "json"))[
        "tables"
    ]
    for choice in table["choices"]:
        assert choice["score"] == pytest.approx(statistics.median(values[choice["method"]]))
        low, high = choice["score_interval"]
        assert choice["is_enough"] == ("yes" if low >= 0.01 else "no" if high < 0.01 else "unclear")
