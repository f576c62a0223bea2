"""`peftbench report --metrics`: outputs that records keep, scored anew against the references of their task."""

import csv
import io
import json
from statistics import median

import pytest

from peftbench import registry
from peftbench.cli.app import main
from peftbench.report.formats import schema
from peftbench.store.results import Store
from peftbench.tasks.load import load
from tests.metrics.needs import needs
from tests.report.stored import stored, wrote
from tests.tasks.test_text_rows import toml

ROWS = [
    {"mr": f"inn {number}", "refs": [f"the inn {number} is cheap", f"{number} is a cheap inn"]} for number in range(6)
]
REFERENCES = [row["refs"] for row in ROWS]
OUTPUTS = {
    0: [[f"inn {number} is cheap" for number in range(6)], ["it is a cheap inn"] * 6],
    1: [["the inn"] * 6, [f"the inn {number}" for number in range(6)]],
}
"""By seed, those of two templates."""
TEMPLATES = '[{name = "a", text = "{{mr}} Text: ||| {{reference}}"}, {name = "b", text = "{{mr}}: ||| {{reference}}"}]'


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load(toml(tmp_path, ROWS, templates=TEMPLATES))


def records(task, method="ICL", rows=6, **facts):
    return [
        wrote(
            "results",
            {template: texts[:rows] for template, texts in enumerate(of_seed)},
            REFERENCES[:rows],
            method,
            task=task.name,
            sha256=task.sha256,
            seed=seed,
            **facts,
        )
        for seed, of_seed in OUTPUTS.items()
    ]


def report(metrics, *words):
    return main(["report", "--metrics", metrics, "--task", "toy.toml", "-q", *words])


def test_each_metric_is_the_median_over_seeds_and_templates_of_its_value_of_the_outputs(task, capsys):
    records(task)
    records(task, "ia3")
    assert report("contains,token_f1", "--format", "json") == 0
    text = capsys.readouterr().out
    schema.check("report", text)
    tables = json.loads(text)["tables"]
    assert [table["metric"]["name"] for table in tables] == ["contains", "token_f1"]
    for table in tables:
        metric = registry.text_metric(table["metric"]["name"])
        values = [metric.of(texts, REFERENCES) for of_seed in OUTPUTS.values() for texts in of_seed]
        assert [row["score_median"] for row in table["rows"]] == pytest.approx([median(values)] * 2)
    assert report("contains,token_f1", "--format", "csv") == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["method"] for line in lines] == ["ICL", "ia3"]
    assert float(lines[0]["token_f1_median"]) == tables[1]["rows"][0]["score_median"]


@needs("nist")
@pytest.mark.parametrize("form", ["table", "md", "latex"])
def test_a_table_has_a_column_for_each_metric_with_its_own_decimals(task, capsys, form):
    records(task)
    records(task, "ia3")
    assert report("bleu,nist,token_f1", "--format", form) == 0
    text = capsys.readouterr().out
    assert "chance" not in text
    (row,) = [line for line in text.splitlines() if "ia3" in line]
    for metric in map(registry.text_metric, ("bleu", "nist", "token_f1")):
        value = median(metric.of(texts, REFERENCES) for of_seed in OUTPUTS.values() for texts in of_seed)
        assert f"{metric.scale * value:.{metric.decimals}f}" in row
        assert metric.title in text.replace("\n", " ")


@needs("nist")
def test_what_is_of_all_rows_is_left_out_with_the_reason_where_a_limit_cut_them(task, capsys):
    records(task, rows=4, limit=4)
    assert report("nist,token_f1") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "left out: toy: NIST is of all 6 rows, and these records have 4: an n-gram's information" in text
    assert "token F1 %" in text
    assert "NIST bits" not in text


def test_a_task_whose_rows_are_not_here_is_left_out_with_the_reason_where_others_are(task, capsys):
    records(task)
    wrote("results", {0: OUTPUTS[0][0]}, REFERENCES, task="e2e", metric="bleu")
    assert report("token_f1", "--data", "nowhere") == 0
    out, err = capsys.readouterr()
    assert "Task: toy" in out
    assert "e2e" not in out
    assert err == "left out: 'nowhere' is no folder\nhint: --data DIR or PEFTBENCH_DATA, with DIR/TASK/train.jsonl\n"


def refused(capsys, part, *words):
    assert report("token_f1", *words) == 2
    error, _, hint = capsys.readouterr().err.splitlines()
    assert part in error
    assert hint.startswith("hint: ")


def test_other_rows_missing_outputs_and_wrong_words_are_refused_in_one_line(task, tmp_path, capsys):
    made = records(task)
    refused(capsys, "does not go with --sort, --format html", "--sort", "disk", "--format", "html")
    stored("chosen", {0: [1, 0]})
    refused(capsys, "no record in 'chosen' has answers that were written", "--results", "chosen")
    assert main(["report", "--metrics", "token_f1,accuracy"]) == 2
    assert "unknown metric of written answers 'accuracy'" in capsys.readouterr().err
    assert main(["report", "--metrics", "token_f1"]) == 2
    assert "the references of task 'toy' stand with its file" in capsys.readouterr().err
    path = Store("results").scores_file(made[0].id)
    content = path.read_bytes()
    path.unlink()
    refused(capsys, f"the outputs of record {made[0].id} are missing")
    path.write_bytes(content[:-8])
    refused(capsys, "are damaged")
    path.write_bytes(content)
    toml(tmp_path, [*ROWS[1:], ROWS[0]], templates=TEMPLATES)
    refused(capsys, "the rows or templates of task 'toy' are others than those of 2 records")
