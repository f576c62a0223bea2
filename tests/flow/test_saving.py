"""What a run leaves on disk, whoever else writes there, and what is read back of it."""

import itertools
import json
import os
import shutil
import signal
import sys

import pytest

from peftbench.cli.app import main
from peftbench.errors import MethodError, RecordError
from peftbench.flow import run as flow
from peftbench.flow import usage
from peftbench.spec.cell import Cell, IclOptions, TaskSpec
from peftbench.store import files
from peftbench.store.results import Store
from peftbench.store.seal import sealed
from tests.drills.process import fork
from tests.flow.test_run import ROWS, TEMPLATE, Watch, only
from tests.tiny import tiny_folder


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Name -> a cell that leaves a prompt, an adapter, or an adapter for each template."""
    root = tmp_path_factory.mktemp("cells")
    model = str(tiny_folder("llama", root / "llama"))
    rows = root / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    task = TaskSpec(name="mine", train=rows, test=rows, template=TEMPLATE, choices=("good", "bad"))
    prompt = Cell(learner="icl", model=model, task=task, shots=2)
    return {
        "prompt": prompt,
        "prefix": prompt.model_copy(update={"icl": IclOptions(as_prefix=True)}),
        "tune": Cell(
            learner="tune",
            model=model,
            task=task,
            shots=4,
            method="lora",
            training={"num_steps": 1, "batch_size": 2, "scale_parameter": False, "lr": 0.01},
        ),
    }


@pytest.mark.parametrize("kind", ["prefix", "tune"])
def test_f5_a_run_that_fails_takes_nothing_away_that_another_made_meanwhile(cells, tmp_path, monkeypatch, kind):
    store = Store(tmp_path)
    save = flow.save

    def late(*args):
        monkeypatch.setattr(flow, "save", save)
        only(flow.run([cells[kind]], store, Watch()))
        monkeypatch.setattr(Store, "write", full)
        return save(*args)

    def full(*_, **__):
        raise RecordError("cannot write", hint="make room")

    monkeypatch.setattr(flow, "save", late)
    with pytest.raises(RecordError, match="cannot write"):
        list(flow.run([cells[kind]], store, Watch()))
    monkeypatch.undo()
    again = only(flow.run([cells[kind]], store, Watch()))
    assert not again.is_new
    assert list((store.adapters / again.record.id).rglob("adapter.json"))


def killed_before_rename(number, act):
    """Act in a process that is killed before a rename; return whether it was."""
    process = fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL

    renames = itertools.count(1)

    def hook(event, _):
        if event == "os.rename" and next(renames) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        act()
    finally:
        os._exit(0)


def test_f5_with_force_no_kill_leaves_a_record_without_its_adapter(cells, tmp_path):
    store = Store(tmp_path)
    whole = only(flow.run([cells["tune"]], store, Watch())).record
    number = 1
    while killed_before_rename(number, lambda: list(flow.run([cells["tune"]], store, Watch(), force=True))):
        record = only(flow.run([cells["tune"]], store, Watch())).record
        assert record.results == whole.results
        assert (store.adapters / record.id / "adapter.json").exists(), f"killed before rename {number}"
        number += 1
    assert number > 3


@pytest.mark.parametrize("kind", ["prefix", "tune"])
def test_f5_a_record_whose_adapter_is_gone_is_not_there_already(cells, tmp_path, kind):
    store = Store(tmp_path)
    record = only(flow.run([cells[kind]], store, Watch())).record
    shutil.rmtree(store.adapters / record.id)
    again = only(flow.run([cells[kind]], store, Watch()))
    assert again.is_new
    assert list((store.adapters / record.id).rglob("adapter.json"))


def test_of_a_prefix_there_are_the_adapters_of_its_templates_and_nothing_beside_them(cells, tmp_path):
    store = Store(tmp_path)
    record = only(flow.run([cells["prefix"]], store, Watch())).record
    folders = [path.parent.name for path in (store.adapters / record.id).rglob("adapter.json")]
    assert folders == ["template-0"]
    assert {path.name for path in tmp_path.iterdir()} <= {"adapters", "prompts", "records", "scores"}


def test_f17_results_that_may_not_be_written_are_shown_where_the_record_is_there(cells, tmp_path, monkeypatch):
    store = Store(tmp_path)
    record = only(flow.run([cells["prompt"]], store, Watch())).record

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("peftbench.store.local.tempfile.TemporaryFile", read_only)
    again = only(flow.run([cells["prompt"]], store, Watch()))
    assert (again.is_new, again.record) == (False, record)
    watch = Watch()
    with pytest.raises(RecordError, match="Read-only file system"):
        list(flow.run([cells["prompt"].model_copy(update={"seed": 1})], store, watch))
    assert watch.told == []


def flipped(path):
    """Write a file again and again, each time with another byte changed."""
    whole = path.read_bytes()
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        yield place
    path.write_bytes(whole)


@pytest.mark.parametrize("kind", ["prompt", "tune"])
def test_f7_what_an_answer_follows_from_is_read_as_it_was_written_or_not_at_all(cells, tmp_path, kind):
    store = Store(tmp_path)
    record = only(flow.run([cells[kind]], store, Watch())).record
    folder = store.adapters / record.id
    path = store.prompts / f"{record.id}.json" if kind == "prompt" else folder / usage.FILE
    for place in flipped(path):
        with pytest.raises(RecordError):
            pytest.fail(f"read with another byte at {place}: {usage.read(path)}")
    assert usage.read(path).task == "mine"


def test_f7_an_edited_usage_is_one_line_and_exit_code_2(cells, tmp_path, capsys):
    store = Store(tmp_path)
    record = only(flow.run([cells["tune"]], store, Watch())).record
    path = store.adapters / record.id / usage.FILE
    path.write_text(path.read_text().replace('"good"', '"rood"'))
    rows = str(cells["tune"].task.test)
    assert main(["predict", "--adapter", str(path.parent), "--input", rows]) == 2
    err = capsys.readouterr().err
    assert "was edited: its digest is not that of its content\n\nhint: " in err


def test_f7_an_edited_setting_of_an_adapter_is_refused(cells, tmp_path):
    from peftbench.adapters import saved

    store = Store(tmp_path)
    record = only(flow.run([cells["tune"]], store, Watch())).record
    path = store.adapters / record.id / saved.CARD
    for place in flipped(path):
        with pytest.raises(MethodError):
            pytest.fail(f"read with another byte at {place}: {saved.read(path.parent)}")


def test_adapters_and_usages_that_were_written_before_are_read(cells, tmp_path):
    """Format 1 had no digest."""
    from peftbench.adapters import saved

    store = Store(tmp_path)
    record = only(flow.run([cells["tune"]], store, Watch())).record
    for path in (store.adapters / record.id).glob("*.json"):
        table = json.loads(path.read_text())
        del table["digest"]
        path.write_text(json.dumps(table | {"format_version": 1}, indent=2) + "\n")
    assert saved.read(store.adapters / record.id).method == "lora"
    assert usage.read(store.adapters / record.id / usage.FILE).task == "mine"


def test_all_that_a_cell_leaves_is_on_the_disk_before_it_counts(cells, tmp_path, monkeypatch):
    steps = []
    sync = files.sync
    monkeypatch.setattr(files, "sync", lambda path: (steps.append(path.name), sync(path)))
    record = only(flow.run([cells["tune"]], Store(tmp_path), Watch())).record
    for name in ("adapter.safetensors", "adapter.json", "usage.json", f"{record.id}.parquet", f"{record.id}.json"):
        assert name in steps


def test_results_that_go_away_while_a_cell_is_computed_are_one_line(cells, tmp_path, monkeypatch):
    def gone(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "make_folder", gone)
    with pytest.raises(RecordError, match="No space left on device") as caught:
        list(flow.run([cells["tune"]], Store(tmp_path), Watch()))
    assert caught.value.hint


@pytest.mark.parametrize("labels", ["random", "flipped"])
def test_a_prompt_of_before_is_refused_where_its_random_labels_would_be_drawn_otherwise(labels, tmp_path, cells):
    cell = cells["prompt"].model_copy(update={"icl": IclOptions(labels=labels)})
    record = only(flow.run([cell], Store(tmp_path), Watch())).record
    path = Store(tmp_path).prompts / f"{record.id}.json"
    assert usage.read(path).icl.labels == labels
    table = json.loads(path.read_text())
    del table["digest"]
    path.write_text(sealed(json.dumps(table | {"format_version": 2}, indent=2)))
    if labels == "random":
        with pytest.raises(RecordError, match="drew random labels otherwise"):
            usage.read(path)
    else:
        assert usage.read(path).icl.labels == labels
