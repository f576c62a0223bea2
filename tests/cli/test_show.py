"""What `peftbench show` prints of a task: what models see, and what labels mean, within a terminal's width."""

import json
from pathlib import Path

import pytest

from peftbench.cli.app import main
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load
from tests import real

OWN = [
    "--train",
    "rows.jsonl",
    "--test",
    "rows.jsonl",
    "--template",
    "{{text}} Good? ||| {{label}}",
    "--choices",
    "no,yes",
]


def shown(capsys, *words: str) -> str:
    assert main(["show", *words]) == 0
    return capsys.readouterr().out


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("words", [["lab-nli2"], ["lab-completion", "--templates", "0,2", "--limit", "3"]])
def test_a_task_is_shown_as_models_see_it(capsys, words):
    out = shown(capsys, *words)
    task = load(TaskSpec(name=words[0]))
    limit, templates = (3, task.select([0, 2])) if "--limit" in words else (2, task.templates)
    assert out.count("\ntemplate ") == len(templates)
    for template in templates:
        for row in task.test[:limit]:
            example = template.render(row)
            assert unwrapped(example.input) in unwrapped(out)
            answers = [f"[{text}]" if text == example.target else text for text in example.choices]
            forms = ("-> " + " | ".join(answers), " ".join(f"-> {answer}" for answer in answers))
            assert any(unwrapped(form) in unwrapped(out) for form in forms)
    assert max(map(len, out.splitlines())) <= 100


def test_labels_stand_in_their_order_with_their_counts_beside_chance_and_majority(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"text {number}", "label": int(number > 2)} for number in range(4)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["show", "mine", *OWN]) == 0
    out, err = capsys.readouterr()
    assert "accuracy: by guessing 50.0, always the most frequent answer 75.0\n" in out
    assert "labels in their order (rows to learn from/to test on): 0: no (3/3), 1: yes (1/1)\n" in out
    assert "  text 0 Good?\n  ->  [no]  |  yes\n\n  text 1 Good?\n" in out
    assert "next: peftbench icl --task mine --train rows.jsonl" in err
    assert not Path("results").exists()


def test_a_group_is_shown_task_by_task(capsys):
    out = shown(capsys, "lab", "--templates", "0", "--limit", "1")
    assert [line.partition(":")[0] for line in out.splitlines() if line.startswith("lab-")] == [
        "lab-completion",
        "lab-hazard",
        "lab-nli2",
        "lab-region",
    ]


def test_the_lab_has_the_same_command(capsys):
    assert main(["lab", "show", "lab-nli2"]) == 0
    assert capsys.readouterr().out == shown(capsys, "lab-nli2")


@pytest.mark.real_data
def test_of_many_choices_the_right_one_is_shown_and_the_others_are_counted(capsys, tmp_path):
    out = shown(capsys, "banking77", "--data", str(real.write("banking77", tmp_path, every=10)))
    assert "->  [card arrival]  |  76 others" in out
    assert "76: wrong exchange rate for cash withdrawal" in unwrapped(out)


def test_what_a_terminal_would_obey_is_shown_as_text(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": "\x1b[2Jgone", "label": label} for label in (0, 1)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = shown(capsys, "mine", *OWN)
    assert "\x1b" not in out
    assert "\\x1b[2Jgone Good?" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lab-nli"], "unknown task 'lab-nli'"),
        (["lab-nli2", "--templates", "9"], "task 'lab-nli2' has no template 9"),
        (["rte", "--data", "nowhere"], "'nowhere' is no folder"),
        (["mine", *OWN[2:]], "needs --train too"),
    ],
)
def test_what_cannot_be_shown_is_one_line(words, message, capsys):
    assert main(["show", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_test_rows_the_next_command_has_folds(tmp_path, capsys):
    folder = tmp_path / "overruling"
    folder.mkdir()
    rows = "Sentence,Label,ID\na,overruling,0\nb,not overruling,1\n"
    (folder / "train.csv").write_text(rows, encoding="utf-8")
    assert main(["show", "overruling", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().err.rstrip().endswith("--shots 32 --folds 5")
