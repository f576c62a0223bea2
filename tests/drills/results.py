"""Small cells on a tiny model, and what their results look like when nothing went wrong."""

import contextlib
import json
from pathlib import Path

import torch

from peftbench.adapters import saved
from peftbench.flow import run as flow
from peftbench.flow import usage
from peftbench.spec.cell import Cell, IclOptions, TaskSpec
from peftbench.store.results import Store
from tests.tiny import tiny_folder

ROWS = [
    ("the soup was warm", "good"),
    ("the bed was hard", "bad"),
    ("a fine day", "good"),
    ("rain all week", "bad"),
]


def cells(root: Path) -> dict[str, Cell]:
    """Name -> a cell: one that leaves a prompt, one with adapters of its shots, one that is tuned."""
    torch.set_num_threads(1)
    model = str(tiny_folder("llama", root / "llama"))
    rows = root / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS))
    task = TaskSpec(
        name="mine", train=rows, test=rows, template="{{text}} How is it? ||| {{label}}", choices=("good", "bad")
    )
    prompt = Cell(learner="icl", model=model, task=task, shots=2, device="cpu")
    training = {"num_steps": 1, "batch_size": 2, "scale_parameter": False, "lr": 0.01}
    return {
        "prompt": prompt,
        "prefix": prompt.model_copy(update={"icl": IclOptions(as_prefix=True)}),
        "tune": Cell(learner="tune", model=model, task=task, shots=4, method="lora", training=training, device="cpu"),
    }


def run(cell: Cell, results: Path, *, force: bool = False) -> int:
    """Run a cell, as the command does."""
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        list(flow.run([cell], Store(results), force=force))
    return 0


def snapshot(folder: Path) -> dict[str, object]:
    """Return all files by their names, without the clock in the records; so that strays are seen as well."""
    return {
        str(path.relative_to(folder)): _plain(path.read_text()) if path.parent.name == "records" else path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def fault(results: Path) -> str | None:
    """Tell what is wrong with results as they stand: a record that is damaged, or lacks what belongs to it."""
    store = Store(results)
    records, faults = store.readable()
    if faults:
        return faults[0].message
    for record in records:
        if not store.is_complete(record):
            return f"record {record.id} without its adapter"
        store.read_scores(record.id)
        for path in (store.adapters / record.id).rglob(saved.CARD):
            saved.tensors(path.parent, saved.read(path.parent))
            usage.read(path.parent / usage.FILE)
        if record.learned.learner == "icl":
            usage.read(store.prompts / f"{record.id}.json")
    return None


def _plain(text: str) -> object:
    try:
        table = json.loads(text)
    except ValueError:
        return text
    del table["created_at"], table["digest"]
    table["costs"] = [cost for cost in table["costs"] if "second" not in cost["unit"]]
    return table
