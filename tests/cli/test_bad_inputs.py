"""Wrong input as a person types it: exit code 2, an error of one line, a hint, and nothing written."""

import json
import shlex
import shutil
import tempfile
from pathlib import Path

import pytest

from peftbench.cli.app import main
from tests.chats import chat_folder
from tests.tiny import tiny_folder

GOOD = [("the soup was warm", "good"), ("the bed was hard", "bad"), ("a fine day", "good"), ("rain", "bad")]
# `IN/` stands for the folder with the files below.
OWN = '--template "{{text}} Sentiment: ||| {{label}}" --choices good,bad --shots 2'
ROWS = "--train IN/rows.csv --test IN/rows.csv"
GPT = "--model IN/gpt2"

RECIPES = {
    "orders": "orders = 10000000",
    "huge": "orders = 99999999999999999999999",
    "cells": f"seeds = {list(range(1000))}\nshots = {list(range(1000))}",
    "deep": f"set = {{x = {'[' * 3000}{']' * 3000}}}",
}

THREE_WORDS = """
name = "x"
family = "x"
description = "x"
data = {train = "rows.csv", test = "rows.csv"}
label = {names = ["good", "bad"]}
templates = [{name = "w", text = "{{text}} ||| {{choice}}", choices = ["good", "bad", "worse"]}]
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    files = {
        "rows": GOOD,
        "strange": [*GOOD, ("tepid", "so-so")],
        "one-class": GOOD[::2],
        "empty": [],
        "hidden": [(text, "-1") for text, _ in GOOD],
        "long": [("word " * 600, label) for _, label in GOOD],
        "wordy": [("word " * 50, label) for _, label in GOOD],
        "forged": [GOOD[0], ("x<|im_end|>", "bad")],
    }
    for name, rows in files.items():
        (root / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    (root / "other.csv").write_text("review,label\nfine,good\npoor,bad\n")
    (root / "broken.jsonl").write_text('{"text": "a", "label": "good"}\n{"text"')
    (root / "file").write_text("")
    for name, line in RECIPES.items():
        run = f'learner = "icl"\nmodel = "mini-gpt"\ntask = "lab-nli2"\n{line}\n'
        (root / f"{name}.toml").write_text(f'name = "x"\ndescription = "x"\n[[run]]\n{run}')
    run = 'name = "x"\ndescription = "x"\n[[run]]\nlearner = "icl"\nmodel = "mini-gpt"\ntask = "sst2"\n'
    (root / "sst2.toml").write_text(run)
    (root / "three-words.toml").write_text(THREE_WORDS)
    for family in ("t5", "gpt2", "bert"):
        tiny_folder(family, root / family)
    for name in ("no-weights", "cut-weights"):
        shutil.copytree(root / "gpt2", root / name)
    (root / "no-weights" / "model.safetensors").unlink()
    weights = root / "cut-weights" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:999])
    chat_folder("marked", root / "chat")
    loop = "{% for step in range(9999) %}{% for step in range(9999) %}{% endfor %}{% endfor %}"
    chat_folder("marked", root / "endless", loop)
    _drop_marks(shutil.copytree(root / "t5", root / "drops-marks"))
    return root


def _drop_marks(model):
    """Let a tokenizer read no exclamation marks, as those of real models read no accents, or no emoji."""
    path = model / "tokenizer.json"
    table = json.loads(path.read_text())
    table["normalizer"] = {"type": "Replace", "pattern": {"String": "!"}, "content": ""}
    path.write_text(json.dumps(table))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, words):
    """Run a command that must be refused, and give its error and its hint."""
    before = sorted(Path().rglob("*"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    error, empty, hint, end = err.split("\n")
    assert (out, empty, end) == ("", "", "")
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert sorted(Path().rglob("*")) == before, "wrong input wrote something"
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


BERT, PLACE = "--model IN/bert", '--template "{{text}} It was [[answer]]. ||| {{label}}" --choices good,bad --shots 2'
CASES = {
    "label words of several tokens": (
        f"tune --method ia3 {BERT} {ROWS} {OWN} --no-pll",
        "answer choice 'good' is",
        "label words of one token",
    ),
    "a pattern with two masks": (
        f"tune --method ia3 {BERT} {ROWS} {PLACE.replace('It was', '[[answer]]')}",
        "has 2 places",
        "one, or none",
    ),
    "a mask of a decoder": (f"tune --method ia3 {GPT} {ROWS} {PLACE}", "answers behind it", "an encoder-only model"),
    "a layer without training": (f"icl {BERT} {ROWS} {OWN} --answer head", "icl trains nothing", "learner 'tune'"),
    "a layer of a decoder": (
        f"tune --method ia3 {GPT} {ROWS} {OWN} --answer head",
        "--answer head goes with encoder-only models",
        "BERT",
    ),
    "model": (f"icl --model mini-gtp {ROWS} {OWN}", "unknown model 'mini-gtp'", "did you mean 'mini-gpt'?"),
    "method": ("tune --method lorra", "unknown method 'lorra'", "did you mean 'lora'?"),
    "task": ("icl --task rtee", "unknown task 'rtee'", "did you mean 'rte'?"),
    "no threads": ("icl --task lab-nli2 --threads 0", "'--threads': Input should be greater than", "icl --help"),
    "template number": ("icl --task lab-nli2 --templates 0,9", "has no template 9", "known: 0 (does it follow)"),
    "no number": ("icl --task lab-nli2 --templates=-1", "--templates '-1' is no list", "--templates 0,1,2"),
    "setting": (f"tune --method lora --set rnak=4 {ROWS} {OWN}", "setting of lora 'rnak'", "did you mean 'rank'?"),
    "training setting": (
        f"tune --method ia3 --set num_step=4 {ROWS} {OWN}",
        "setting of ia3 'num_step'",
        "did you mean 'num_steps'?",
    ),
    "value of a setting": (
        f"tune --method ia3 --set num_steps=-4 {ROWS} {OWN}",
        "training: num_steps: Input should be greater than or equal to 0",
        "default: num_steps = 1000",
    ),
    "folder without weights": (f"icl --model IN/no-weights {ROWS} {OWN}", "has no weights", "model.safetensors"),
    "folder without a model": (f"icl --model IN {ROWS} {OWN}", "is no model folder", "config.json"),
    "cut weights": (f"icl --model IN/cut-weights {ROWS} {OWN}", "IN/cut-weights/model.safetensors", "again"),
    "column": (
        f'icl {ROWS} --template "{{{{txt}}}} ||| {{{{label}}}}" --choices good,bad',
        "'IN/rows.csv': template 'own' names 'txt', which is no column in row 1",
        "did you mean 'text'? columns: text",
    ),
    "columns of a task": (
        f"icl --task rte {ROWS}",
        "names 'hypothesis', 'premise', which are no columns in row 1",
        "labels are written as a name",
    ),
    "label column": (
        f'icl {ROWS} --template "{{{{text}}}} ||| {{{{mood}}}}" --choices good,bad',
        "'IN/rows.csv' has no label column 'mood'",
        "columns: text, label",
    ),
    "label": (f"icl --train IN/strange.csv --test IN/rows.csv {OWN}", "label 'so-so' in row 5 is none of", "as a name"),
    "no labels": (
        f"icl --train IN/rows.csv --test IN/hidden.csv {OWN}",
        "'IN/hidden.csv' has no labels: column 'label' is '-1' in each row",
        "`peftbench predict --input FILE`",
    ),
    "words for classes": (
        "icl --task IN/three-words.toml",
        "template 'w' has 3 choices for 2 classes",
        "one choice for each of the label's names",
    ),
    "no such data": (
        "icl --task sst2 --data IN",
        "--data 'IN' has no train rows of task 'sst2'",
        "IN/sst2/train.jsonl",
    ),
    "no folder of data": ("icl --task sst2 --data IN/file", "'IN/file' is no folder", "DIR/TASK/train.jsonl"),
    "data of a recipe": ("run IN/sst2.toml --data IN", "has no train rows of task 'sst2'", "IN/sst2/train.jsonl"),
    "two files of shots": (f"icl {ROWS} {OWN} --shots-from IN/rows.csv", "and --train would say it again", "leave out"),
    "shots": (f"icl {ROWS} {OWN} --shots 5", "5 shots were asked for, and task 'rows' has 4", "--shots 4 or fewer"),
    "empty file": (f"icl --train IN/file --test IN/rows.csv {OWN}", "cannot read rows from 'IN/file'", ".csv"),
    "no rows": (f"icl --train IN/empty.csv --test IN/rows.csv {OWN}", "'IN/empty.csv' has no rows", "two classes"),
    "one class": (f"icl --train IN/one-class.csv --test IN/rows.csv {OWN}", "all 2 rows have one label, 'good'", "two"),
    "no file": (f"icl --train IN/nowhere.csv --test IN/rows.csv {OWN}", "No such file", "paths start from"),
    "broken file": (f"icl --train IN/broken.jsonl --test IN/rows.csv {OWN}", "line 2", "in each line one object"),
    "equal choices": (f"icl {ROWS} {OWN} --choices good,Good", "--choices 'good,Good' has 'Good' twice", "negative"),
    "empty choice": (f"icl {ROWS} {OWN} --choices good,", "--choices 'good,' has an empty choice", "negative,positive"),
    "one choice": (f"icl {ROWS} {OWN} --choices good", "is one choice, and an answer needs at least two", "negative"),
    "long prompt": (
        f"icl {GPT} --train IN/wordy.csv --test IN/rows.csv {OWN}",
        "2 shots and the longest query have ",
        "1 shot would fit: --shots 1, or --fit-shots takes as many as fit",
    ),
    "long query": (
        f"icl {GPT} --train IN/rows.csv --test IN/long.csv {OWN} --fit-shots",
        "tokens in template 'own', and 'IN/gpt2' takes 512",
        "--max-input-tokens",
    ),
    "no bar": (f'icl {ROWS} {OWN} --template "{{{{text}}}}"', "takes one, between input and target", "||| {{choice}}"),
    "device without values": (f"icl --device meta {ROWS} {OWN}", "device 'meta' holds no values", "auto, cpu"),
    "many orders": (
        f"icl --orders 10000000 {ROWS} {OWN}",
        "'--orders': Input should be less than or equal to 1000",
        "--help",
    ),
    "large batch": (
        f"tune --method ia3 --set batch_size=99999999999999999999 {ROWS} {OWN}",
        "--set batch_size: value: a whole number beyond",
        "--set rank=8",
    ),
    "quite large batch": (
        f"tune --method ia3 --set batch_size=999999999999999999 {ROWS} {OWN}",
        "training: batch_size: Input should be less than or equal to 100000",
        "default: batch_size = 8",
    ),
    "many virtual tokens": (
        f"tune --method prompt_tuning --set num_virtual_tokens=1000000000000 {ROWS} {OWN}",
        "num_virtual_tokens = 1,000,000,000,000, and 1,000,000 is the most",
        "known fields",
    ),
    "digits of a setting": (f"tune --method ia3 --set x={'9' * 5000}", "--set x: a whole number beyond", "rank=8"),
    "depth of a setting": (
        f"tune --method ia3 --set x={'[' * 3000}{']' * 3000}",
        "--set x: tables and lists in each other, deeper than 32",
        "rank=8",
    ),
    "large seed": ("icl --seeds 18446744073709551616", "--seeds has a number beyond 4294967295", "--seeds 0,1,2"),
    "digits of a seed": (f"icl --seeds {'9' * 5000}", "--seeds has a number beyond 4294967295", "--seeds 0,1,2"),
    "digits of a template": (f"icl --templates {'9' * 5000}", "--templates has a number beyond", "--templates 0,1,2"),
    "many shots": (
        f"icl {ROWS} {OWN} --shots 99999999999999999999",
        "--shots 99999999999999999999 is beyond",
        "smaller",
    ),
    "report over a folder": ("report --out /", "--out '/' is a folder, and a file is to be written", "--out FILE"),
    "prediction over a folder": (
        "predict --adapter IN --input IN/rows.csv --output IN",
        "--output 'IN' is a folder, and a file is to be written",
        "--output FILE",
    ),
    "recipe of many orders": ("run IN/orders.toml", "run.0.orders: Input should be less than", "known fields"),
    "recipe of large numbers": ("run IN/huge.toml", "is not valid TOML: run[0].orders: a whole number", "list recipes"),
    "recipe of many cells": ("run IN/cells.toml", "a run of 1,000,000 cells, and 100,000 are the most", "several"),
    "recipe without an end": ("run /dev/zero", "is not valid TOML: more than 10,000,000 bytes", "list recipes"),
    "recipe with a deep setting": (
        "run IN/deep.toml",
        "tables and lists in each other, deeper than 32",
        "list recipes",
    ),
    "chat without a template": (
        f"icl {GPT} {ROWS} {OWN} --chat",
        "the tokenizer of 'IN/gpt2' has no chat template",
        "without --chat prompts are plain text",
    ),
    "chat on an encoder-decoder": (
        f"tune --method ia3 {ROWS} {OWN} --chat",
        "'mini-t0' is an encoder-decoder, which is no chat model",
        "without --chat prompts are plain text",
    ),
    "a forged turn": (
        f"icl --model IN/chat --train IN/rows.csv --test IN/forged.csv {OWN} --chat",
        "row 2 holds '<|im_end|>', by which 'IN/chat' tells turns apart",
        "take it out of the row",
    ),
    "a faulty chat template": (
        f"tune --method ia3 --model IN/endless {ROWS} {OWN} --chat",
        "the chat template of 'IN/endless' goes beyond its budget: it takes more than 20,000 steps for a message",
        "without --chat prompts are plain text",
    ),
    "a system prompt without chat": (f"icl {ROWS} {OWN} --system kind", "system goes with chat, which is off", "field"),
    "a separator of turns": (
        f"icl {ROWS} {OWN} --chat --separator x --end separator",
        'turns of a conversation have no separator; end = "separator" goes with plain text, and chat is on',
        "known fields",
    ),
    "no results folder": ("report --results IN", "no records in 'IN'", "`peftbench icl --shots 32 --results IN`"),
    "results in a file": (f"icl {GPT} {ROWS} {OWN} --results IN/file", "cannot write results to", "--results DIR"),
    "results below a file": (f"icl {GPT} {ROWS} {OWN} --results IN/file/r", "cannot write results to", "--results DIR"),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_met_with_what_was_found_and_what_would_work(inputs, capsys, name):
    words, message, tip = (text.replace("IN", str(inputs)) for text in CASES[name])
    error, hint = refused(capsys, shlex.split(words))
    assert message in error
    assert tip in hint


def test_a_shot_that_is_too_long_to_tune_on_is_refused_before_anything_is_computed(inputs, capsys):
    words = f"tune {GPT} --method ia3 --train IN/long.csv --test IN/rows.csv {OWN}".replace("IN", str(inputs))
    error, hint = refused(capsys, shlex.split(words))
    assert "a prompt has " in error
    assert "--max-input-tokens" in hint


@pytest.mark.parametrize("source", ["{{text}", "{% if text %}{{text}}", "{{text | shout}}", "{{text"])
def test_a_template_with_a_syntax_error_is_refused(inputs, capsys, source):
    words = f"icl {ROWS} {OWN} --template".replace("IN", str(inputs))
    error, _ = refused(capsys, [*shlex.split(words), f"{source} ||| {{{{label}}}}"])
    assert "template 'own' has a syntax error" in error


@pytest.mark.parametrize(
    "template",
    [
        "{{ x.__class__ }} ||| {{label}}",
        "{{ text.__class__.__mro__ }} ||| {{label}}",
        "{{ row.pop('text') }} ||| {{label}}",
        "{{ text }} ||| {{ label.__class__ }}",
    ],
)
def test_a_template_that_reads_what_it_may_not_is_refused(inputs, capsys, template):
    words = f"icl {ROWS} {OWN} --template".replace("IN", str(inputs))
    error, hint = refused(capsys, [*shlex.split(words), template])
    assert "reads what no template may" in error
    assert hint == "templates see the row's columns, nothing behind them"


@pytest.mark.parametrize(("choices", "message"), [("yes,yes!", "same tokens"), ("yes,!", "'!' has no tokens")])
@pytest.mark.parametrize("command", ["icl", "tune --method ia3"])
def test_choices_that_the_tokenizer_cannot_tell_apart_are_refused(inputs, capsys, command, choices, message):
    path = inputs / "marks.csv"
    path.write_text("text,label\na,{}\nb,{}\n".format(*choices.split(",")))
    template = '--template "{{text}} ||| {{label}}"'
    words = f"{command} --model {inputs}/drops-marks --train {path} --test {path} {template} --shots 2"
    error, _ = refused(capsys, [*shlex.split(words), "--choices", choices])
    assert message in error


def test_a_results_folder_without_permission_is_refused(inputs, capsys, monkeypatch):
    def denied(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    error, hint = refused(capsys, shlex.split(f"icl {GPT} {ROWS} {OWN}".replace("IN", str(inputs))))
    assert error == "cannot write results to 'results': Permission denied"
    assert "--results DIR" in hint


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda _: "", lambda _: "[]", lambda _: "{}"])
def test_a_damaged_record_is_named_by_report_and_by_the_run_that_made_it(inputs, capsys, damage):
    words = shlex.split(f"icl {GPT} {ROWS} {OWN} --quiet".replace("IN", str(inputs)))
    assert main(words) == 0
    (path,) = Path("results/records").glob("*.json")
    whole = path.read_text()
    path.write_text(damage(whole))
    capsys.readouterr()
    for command in (["report"], words):
        error, hint = refused(capsys, command)
        assert f"record '{path}' is damaged" in error
        assert "--force" in hint
    assert main([*words, "--force"]) == 0
    assert json.loads(path.read_text())["results"] == json.loads(whole)["results"]


LONG = "x" * 300


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--model", ["icl", "--model", LONG]),
        ("--model", ["icl", "--model", "a sentence that was passed by mistake " * 10]),
        ("--task", ["icl", "--task", f"{LONG}.toml"]),
        ("--train", ["icl", "--train", f"{LONG}.csv"]),
        ("--results", ["icl", "--results", LONG]),
        ("--adapter", ["predict", "--input", "rows.csv", "--adapter", f"a={LONG}"]),
        ("--shots-from", ["predict", "--input", "rows.csv", "--shots-from", LONG]),
        ("--output", ["predict", "--input", "rows.csv", "--adapter", "a", "--output", f"{LONG}.csv"]),
        ("--start-from", ["tune", "--method", "ia3", "--start-from", f"folder/{LONG}"]),
        ("--out", ["report", "--out", LONG]),
        ("RECIPE", ["run", LONG]),
        ("ADAPTER", ["export", LONG, "out", "--to", "peft"]),
        ("OUT", ["export", "adapter", LONG, "--to", "peft"]),
        ("TASK", ["lab", "show", LONG]),
    ],
)
def test_a_name_that_no_file_system_holds_is_refused_at_once(capsys, option, words):
    error, hint = refused(capsys, words)
    assert error.startswith(f"{option} '")
    assert " has a name of " in error
    assert "255 are the most" in hint


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--template", ["icl", "--template", "{{text}}\udcff ||| {{label}}"]),
        ("--task", ["icl", "--task", "a\udcff"]),
        ("--choices", ["icl", "--choices", "a,\udcff"]),
        ("--separator", ["icl", "--separator", "\udcff"]),
        ("--results", ["report", "--results", "a\udcff"]),
        ("--content-free", ["icl", "--content-free", "\udcff"]),
        ("--set", ["tune", "--method", "ia3", "--set", "x=\udcff"]),
        ("--adapter", ["predict", "--input", "rows.csv", "--adapter", "\udcff"]),
        ("RECIPE", ["run", "\udcff"]),
        ("TASK", ["lab", "show", "\udcff"]),
    ],
)
def test_bytes_that_are_no_utf8_are_refused_at_once(capsys, option, words):
    error, hint = refused(capsys, words)
    assert error.startswith(f"{option} '")
    assert "has bytes that are no UTF-8" in error
    assert hint == "type it as UTF-8"
