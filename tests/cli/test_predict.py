"""`peftbench predict` on adapters and records that the commands themselves made, on tiny models."""

import csv
import io
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from peftbench.cli.app import main
from peftbench.scoring.ranking import NORMALIZATIONS
from peftbench.store.growing import Output
from peftbench.store.results import Store
from peftbench.store.seal import sealed
from tests.drills.process import fork, wait
from tests.tiny import tiny_folder

ROWS = [(f"the premise number {i}", "yes" if i % 2 else "no") for i in range(8)]
DATA = ["--train", "rows.csv", "--test", "rows.csv", "--template", "{{text}} true? ||| {{label}}"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A results folder with an adapter for each of two label words, and a record of four shots."""
    root = tmp_path_factory.mktemp("made")
    models = {family: str(tiny_folder(family, root / family)) for family in ("t5", "gpt2")}
    before = Path.cwd()
    os.chdir(root)
    try:
        with Path("rows.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *ROWS])
        Path("other.csv").write_text("txt\nthe premise\n")
        Path("empty.csv").write_text("text\n")
        Path("broken.jsonl").write_text('{"text": "one"}\n' * 600 + '{"text"\n')
        Path("peft").mkdir()
        Path("peft", "adapter_config.json").write_text("{}")
        tune = ["tune", "--model", models["t5"], "--shots", "4", "--set", "num_steps=3", "--set", "lr=0.1", *DATA, "-q"]
        assert main([*tune, "--method", "ia3", "--task", "one", "--choices", "no,yes"]) == 0
        assert main([*tune, "--method", "lora", "--task", "two", "--choices", "no,yes"]) == 0
        icl = ["icl", "--model", models["gpt2"], "--shots", "4", *DATA, "-q", "--choices", "no,yes"]
        assert main(icl) == 0
    finally:
        os.chdir(before)
    return root


@pytest.fixture(autouse=True)
def folder(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def records(root):
    return {
        record.learned.method or f"icl{record.learned.num_shots}": record for record in Store(root / "results").all()
    }


def adapter(root, method):
    return str(root / "results" / "adapters" / records(root)[method].id)


def shots(root):
    return str(root / "results" / "records" / f"{records(root)['icl4'].id}.json")


def stored(root, name):
    """Log-probabilities per token of the record itself, by row."""
    scores = Store(root / "results").read_scores(records(root)[name].id)
    values = scores["log_prob"] / scores["num_tokens"]
    return [list(values[scores["row_id"] == row]) for row in range(len(ROWS))]


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_an_adapter_predicts_what_its_record_scored(root, capsys):
    words = ["predict", "--adapter", adapter(root, "ia3"), "--input", str(root / "rows.csv")]
    assert main([*words, "--output", "out.jsonl"]) == 0
    table = lines("out.jsonl")
    assert [row["row"] for row in table] == list(range(1, 9))
    for row, expected in zip(table, stored(root, "ia3"), strict=True):
        assert list(row["scores"].values()) == pytest.approx(expected, abs=1e-5)
        assert row["prediction"] == ["no", "yes"][expected.index(max(expected))]
    right = sum(row["prediction"] == label for row, (_, label) in zip(table, ROWS, strict=True))
    assert right == records(root)["ia3"].results[0].num_correct[NORMALIZATIONS[0]]
    assert main(words) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == table


def test_the_shots_of_a_record_predict_what_it_scored(root):
    words = ["predict", "--shots-from", shots(root), "--input", str(root / "rows.csv"), "--output", "o.jsonl"]
    assert main(words) == 0
    for row, expected in zip(lines("o.jsonl"), stored(root, "icl4"), strict=True):
        assert list(row["scores"].values()) == pytest.approx(expected, abs=1e-5)


def test_rows_from_stdin_and_faults_that_a_stopped_run_left(root, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"text": "one"}\n\n{"txt": "two"}\n'))
    assert main(["predict", "--adapter", adapter(root, "ia3"), "--input", "-"]) == 1
    out, err = capsys.readouterr()
    assert [list(json.loads(line)) for line in out.splitlines()] == [["row", "prediction", "scores"], ["row", "error"]]
    assert "1 of 2 rows have no prediction: row 2: template 'own' names 'text'" in err


def test_what_a_stopped_run_could_not_predict_is_still_told_at_the_end(root, capsys, monkeypatch):
    Path("in.jsonl").write_text('{"text": "one"}\n' + '{"txt": "two"}\n' * 7 + '{"text": "three"}\n')
    words = ["predict", "--adapter", adapter(root, "ia3"), "--input", "in.jsonl", "--output", "out.csv"]
    monkeypatch.setattr("peftbench.flow.predict.CHUNK", 8)
    append = Output.append

    def stopped(output, rows):
        append(output, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(Output, "append", stopped)
    assert main(words) == 130
    monkeypatch.setattr(Output, "append", append)
    words_of_lora = [word.replace(adapter(root, "ia3"), adapter(root, "lora")) for word in words]
    assert main(words_of_lora) == 2
    assert "a part of other predictions" in capsys.readouterr().err
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "8 of 9 rows are there already" in err
    assert "error: 7 of 9 rows have no prediction: 7 more" in err


def test_a_row_that_is_too_long_fails_alone(root, capsys):
    texts = ["one", "two", "three", "word " * 600, "five"]
    Path("in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert main(["predict", "--shots-from", shots(root), "--input", "in.jsonl", "--output", "out.jsonl"]) == 1
    assert ["error" in row for row in lines("out.jsonl")] == [False, False, False, True, False]
    assert "row 4: 4 shots and the longest query have " in capsys.readouterr().err


def mixed(root, *words):
    """Rows of both adapters in turn, one that names none, and one without the template's column."""
    rows = [{"text": text, "name": name} for text, _ in ROWS for name in ("first", "second")]
    rows[4:4] = [{"text": "x", "name": "third"}, {"txt": "x", "name": "first"}]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adapters = [f"--adapter=first={adapter(root, 'ia3')}", f"--adapter=second={adapter(root, 'lora')}"]
    return main(["predict", *adapters, "--adapter-column", "name", "--input", "in.jsonl", *words])


def test_rows_of_two_adapters_share_batches_and_faulty_ones_are_named_while_the_others_are_done(root, capsys):
    assert mixed(root, "--output", "out.jsonl") == 1
    error = capsys.readouterr().err
    assert "error: 2 of 18 rows have no prediction: row 5: " in error
    assert "row 6: template 'own' names 'text'" in error
    table = lines("out.jsonl")
    assert [row["row"] for row in table] == list(range(1, 19))
    predicted = [row for row in table if "error" not in row]
    expected = [value for pair in zip(stored(root, "ia3"), stored(root, "lora"), strict=True) for value in pair]
    assert [row["adapter"] for row in predicted] == ["first", "second"] * 8
    for row, values in zip(predicted, expected, strict=True):
        assert list(row["scores"].values()) == pytest.approx(values, abs=1e-5)


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(root):
    rows = [(f"{text} and {number}", "no") for number in range(150) for text, _ in ROWS]
    with Path("many.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    words = ["predict", "--adapter", adapter(root, "ia3"), "--input", "many.csv"]
    torch.set_num_threads(1)  # a fork has no other threads
    child = fork()
    if not child:
        try:
            main([*words, "-q", "--output", "out.csv"])
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while not Path("out.csv.partial.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert wait(child) == -signal.SIGKILL
    assert not Path("out.csv").exists()
    assert main([*words, "--output", "out.csv"]) == 0
    assert main([*words, "--output", "again.csv"]) == 0
    assert Path("out.csv").read_bytes() == Path("again.csv").read_bytes()
    with Path("out.csv").open() as file:
        assert [int(row["row"]) for row in csv.DictReader(file)] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--adapter", "nowhere", "--input", "rows.csv"], "cannot read 'nowhere'"),
        (["--input", "rows.csv"], "either --adapter or --shots-from"),
        (["--adapter", "ADAPTER", "--input", "nowhere.csv"], "cannot read 'nowhere.csv'"),
        (["--adapter", "ADAPTER", "--input", "rows.csv", "--template", "7"], "template 7 of 'one'"),
        (["--adapter", "ADAPTER", "--adapter", "ADAPTER", "--input", "rows.csv"], "two adapters are called"),
        (["--adapter", "ADAPTER", "--input", "rows.csv", "--model", "mini-t0"], "has other weights"),
        (["--adapter", "ADAPTER", "--input", "rows.csv", "--output", "rows.csv"], "'rows.csv' is there already"),
        (["--adapter", "ADAPTER", "--input", "MADE/other.csv", "--output", "a.csv"], "'text', which is no column"),
        (["--adapter", "ADAPTER", "--input", "MADE/empty.csv", "--output", "a.csv"], "empty.csv' has no rows"),
        (["--adapter", "ADAPTER", "--input", "MADE/broken.jsonl", "--output", "a.csv"], "line 601: Expecting"),
        (["--shots-from", "RECORD", "--input", "rows.csv", "--model", "mini-gpt"], "has other weights"),
        (["--adapter", "ADAPTER", "--adapter", "again=ADAPTER", "--input", "rows.csv"], "is no column 'adapter'"),
        (["--adapter", "MADE/peft", "--input", "rows.csv"], "is an adapter of the peft library"),
    ],
)
def test_wrong_words_get_one_line_and_leave_nothing(root, capsys, words, error):
    Path("rows.csv").write_bytes((root / "rows.csv").read_bytes())
    named = {"ADAPTER": adapter(root, "ia3"), "RECORD": shots(root), "MADE": str(root)}
    for name, value in named.items():
        words = [word.replace(name, value) for word in words]
    assert main(["predict", *words]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert [line.partition(":")[0] for line in err.splitlines() if line] == ["error", "hint"]
    assert error in err
    assert [path.name for path in Path().iterdir()] == ["rows.csv"]


def test_adapters_of_two_models_do_not_share_a_batch(root, capsys, tmp_path):
    copied = tmp_path / "other"
    copied.mkdir()
    for path in Path(adapter(root, "ia3")).iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    card = json.loads((copied / "usage.json").read_text())
    del card["digest"]
    card |= {"fingerprint": "0" * 64, "model": "another"}
    (copied / "usage.json").write_text(sealed(json.dumps(card, indent=2)))
    adapters = ["--adapter", adapter(root, "ia3"), "--adapter", str(copied)]
    assert main(["predict", *adapters, "--input", str(root / "rows.csv")]) == 2
    assert "adapters of one batch share a model" in capsys.readouterr().err
