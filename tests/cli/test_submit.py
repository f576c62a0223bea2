"""`peftbench submit`, from labelled rows to a folder."""

import json
from pathlib import Path

import pytest

from peftbench import registry
from peftbench.cli.app import main
from tests.tasks.test_load import write

CLASSES = {"overruling": ["overruling", "not overruling"], "tweet_eval_hate": ["hate speech", "not hate speech"]}
COLUMN = {"overruling": "Sentence", "tweet_eval_hate": "Tweet"}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two of RAFT's tasks: four labelled rows each, and two that are not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry.GROUP_TASKS, "raft", tuple(CLASSES))
    monkeypatch.setattr("peftbench.tasks.load.registry.task_files", lambda: FILES)
    for name, classes in CLASSES.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        rows = [{COLUMN[name]: f"{word} {word}", "Label": classes[word == "b"]} for word in "abab"]
        write(tmp_path / "data" / name / "train.jsonl", [row | {"ID": id} for id, row in enumerate(rows)])
        write(tmp_path / "data" / name / "test.jsonl", [{COLUMN[name]: word, "ID": word * 2} for word in "ba"])


FILES = {name: path for name, path in registry.task_files().items() if name in CLASSES}
KEEP = "tune --model mini-gpt --task raft --data data --templates 1 --quiet --keep kept"
SUBMIT = "submit raft out --data data --quiet"


def lines(name: str) -> list[str]:
    return Path("out", name, "predictions.csv").read_text(encoding="utf-8").splitlines()


def test_what_all_rows_taught_answers_the_open_rows(data, capsys):
    assert main([*KEEP.split(), "--method", "knn", "--set", "k=1"]) == 0
    assert not Path("results").exists()
    usage = json.loads(Path("kept/overruling/usage.json").read_text(encoding="utf-8"))
    assert len(usage["shots"]) == 4
    assert main([*SUBMIT.split(), "--adapter", "kept"]) == 0
    assert lines("overruling") == ["ID,Label", "bb,not overruling", "aa,overruling"]
    assert lines("tweet_eval_hate") == ["ID,Label", "bb,not hate speech", "aa,hate speech"]
    assert main([*SUBMIT.split(), "--check"]) == 0
    Path("out/overruling/predictions.csv").write_text("ID,Label\nbb,overruling\n", encoding="utf-8")
    assert main([*SUBMIT.split(), "--check"]) == 2
    assert "error: 'out' cannot be submitted to raft: overruling: no answer to ID aa" in capsys.readouterr().err


def test_an_adapter_and_a_prompt_answer_too(data):
    assert main([*KEEP.split(), "--method", "ia3", "--set", "num_steps=1"]) == 0
    recipe = 'name = "r"\ndescription = "r"\n[[run]]\nlearner = "icl"\nmodel = "mini-gpt"\nshots = [0, 2]\n'
    Path("r.toml").write_text(recipe + 'task = "overruling"\nfolds = 2\ntemplates = [1]\n', encoding="utf-8")
    assert main(["run", "r.toml", "--data", "data", "--quiet", "--keep", "prompts"]) == 0
    learned = ["--adapter", "prompts", "--adapter", "kept/tweet_eval_hate"]
    assert main([*SUBMIT.split(), *learned]) == 0
    assert {line.partition(",")[2] for line in lines("overruling")[1:]} <= set(CLASSES["overruling"])
    assert len(lines("tweet_eval_hate")) == 3
    assert Path("prompts/overruling/prompt.txt").read_text(encoding="utf-8").count("Sentence:") == 2


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("", "a submission is made with --adapter, or checked with --check"),
        ("--adapter kept --check", "a submission is made with --adapter, or checked with --check"),
        ("--adapter kept/overruling", "one thing learned for each task: nothing learned tweet_eval_hate"),
        ("--adapter kept --adapter kept/overruling", "several things learned overruling"),
        ("--adapter data", "'data' has nothing that was learned: no usage.json"),
        ("--adapter kept --adapter other", "none of its tasks is lab-hazard"),
    ],
)
def test_what_cannot_be_submitted_is_refused_before_anything_is_computed(data, capsys, words, fault):
    usage = {"format_version": 1, "model": "mini-gpt", "revision": None, "fingerprint": "0", "dtype": "float32"}
    usage |= {"label": "Label", "classes": None, "scoring": {"end": "none"}}
    usage |= {"templates": [{"name": "n", "index": 0, "text": "{{a}} ||| {{choice}}"}]}
    for folder, task in {"kept/a": "overruling", "kept/b": "tweet_eval_hate", "other": "lab-hazard"}.items():
        Path(folder).mkdir(parents=True)
        Path(folder, "usage.json").write_text(json.dumps(usage | {"task": task}), encoding="utf-8")
    Path("kept/a").rename("kept/overruling")
    assert main([*SUBMIT.split(), *words.split()]) == 2
    captured = capsys.readouterr().err
    assert fault in captured
    assert captured.count("error:") == captured.count("hint:") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("submit raft data --adapter kept", "'data' is there already"),
        ("submit raff out --check", "unknown leaderboard 'raff'"),
        ("submit raft out --check --data data", "'out' is no folder"),
        ("tune --method ia3 --task overruling --data data --seeds 0,1 --keep kept", "overruling in 2 ways"),
        ("tune --method ia3 --task overruling --data data --keep data", "'data' is there already"),
    ],
)
def test_wrong_words_are_told_in_one_line(data, capsys, words, fault):
    assert main([*words.split(), "--quiet"]) == 2
    captured = capsys.readouterr().err
    assert fault in captured
    assert captured.count("error:") == captured.count("hint:") == 1
