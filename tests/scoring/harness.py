"""lm-evaluation-harness beside us: its own prompts, requests, model and metrics on the rows and shots of a record."""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch

from peftbench.models.load import read_config
from peftbench.scoring.ranking import ChoiceScore, predict
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.record import Normalization, Record
from peftbench.tasks.load import load
from peftbench.tasks.task import Row
from peftbench.tasks.template import SEPARATOR, Template

METRICS: dict[str, Normalization] = {"acc": "none", "acc_norm": "char"}
SCORE = [field.name for field in fields(ChoiceScore) if field.name != "ranked"]


@dataclass(frozen=True)
class Side:
    """What came out on one side.

    Args:
        log_probs: Per row, per choice: sum over the choice's tokens, in nats.
        acc: Share of right answers, 0 to 1, by the sums.
        acc_norm: The same by sums over characters.
        right: By metric, which rows were answered right.
    """

    log_probs: list[list[float]]
    acc: float
    acc_norm: float
    right: dict[str, list[bool]]

    def apart(self, other: "Side") -> float:
        """Return the largest difference between two sides' sums."""
        pairs = zip(self.log_probs, other.log_probs, strict=True)
        return max(abs(a - b) for row, others in pairs for a, b in zip(row, others, strict=True))

    def agrees(self, other: "Side") -> bool:
        """Whether accuracies are equal, and right answers are to the same rows."""
        return (self.acc, self.acc_norm, self.right) == (other.acc, other.acc_norm, other.right)


def cell(model: str, task: TaskSpec, template: int, shots: int, limit: int) -> Cell:
    """Describe a run that the harness can do too: answers without an end, shots a blank line apart (both defaults)."""
    return Cell(learner="icl", model=model, task=task, templates=(template,), shots=shots, limit=limit, dtype="float32")


def ours(record: Record, frame: pd.DataFrame) -> Side:
    """Read a record and its scores."""
    (result,) = record.results
    rows = [group for _, group in frame.groupby("row_id", sort=False)]
    right = {
        metric: [
            predict([ChoiceScore(*choice) for choice in row[SCORE].to_numpy()], by) == int(row["label"].iloc[0])
            for row in rows
        ]
        for metric, by in METRICS.items()
    }
    return Side([row["log_prob"].tolist() for row in rows], *map(result.accuracy, METRICS.values()), right)


def theirs(model: Any, spec: TaskSpec, record: Record, frame: pd.DataFrame) -> Side:
    """Run a record's rows, behind its shots, through the harness.

    Args:
        model: Its model, as `their_model` makes it.
        spec: The record's task.
        record: Says the template and the shots.
        frame: Says the rows.
    """
    from lm_eval.evaluator import evaluate

    task = load(spec)
    template = task.templates[record.results[0].template]
    shots = [task.train[index] for index in record.learned.shot_ids]
    rows = [task.test[index] for index in frame["row_id"].unique()]
    with _quiet():
        made = _task(template, shots, rows)
        outcome = evaluate(model, {"tasks": {"task": made}}, bootstrap_iters=0)
    samples, totals = outcome["samples"]["task"], outcome["results"]["task"]
    log_probs = [[log_prob for log_prob, _ in sample["filtered_resps"]] for sample in samples]
    right = {metric: [sample[metric] == 1 for sample in samples] for metric in METRICS}
    return Side(log_probs, totals["acc,none"], totals["acc_norm,none"], right)


def their_model(path: Path, tokenizer: Any) -> Any:
    """Load a GGUF file or a folder as the harness does, by transformers.

    The tokenizer is ours: transformers' reading of a GGUF file does not split digits and blank lines as the file says.
    """
    import gguf
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    with _quiet():
        if path.is_dir():
            return HFLM(str(path), tokenizer=tokenizer, dtype="float32", device="cpu", batch_size=1)
        # The harness's own call reads the file's words three times, for seconds each: twice for its config. And
        # transformers asks gguf for one and the same table of names once for each module.
        of_file = {"gguf_file": path.name, "config": read_config(path)}
        with mock.patch("gguf.get_tensor_name_map", cache(gguf.get_tensor_name_map)):
            model = AutoModelForCausalLM.from_pretrained(path.parent, **of_file, dtype=torch.float32)
        return HFLM(model, tokenizer=tokenizer, batch_size=1)


def _task(template: Template, shots: Sequence[Row], rows: Sequence[Row]) -> Any:
    """Write a template as a task of the harness, which renders rows and shots by itself."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    def documents(subset: Sequence[Row]) -> Dataset:
        return Dataset.from_list(
            [dict(row.fields) | {"choices": template.choices_of(row), "gold": row.label} for row in subset]
        )

    splits = {"test": documents(rows)} | ({"train": documents(shots)} if shots else {})
    config = {
        "task": "task",
        "output_type": "multiple_choice",
        "custom_dataset": lambda **_: splits,
        "test_split": "test",
        "doc_to_text": template.text.partition(SEPARATOR)[0].strip(),
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "num_fewshot": len(shots),
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in METRICS],
    }
    behind = {"training_split": "train", "fewshot_split": "train", "fewshot_config": {"sampler": "first_n"}}
    return ConfigurableTask(config=config | (behind if shots else {}))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and remarks of the harness off the terminal."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()):
        yield
