"""promptsource's templates.yaml as a task: its templates with answer choices, of the data set's own task."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from pydantic import BaseModel, Field

from peftbench.errors import TaskError
from peftbench.spec.settings import checked
from peftbench.tasks.formats.promptsource_template import label_names
from peftbench.tasks.growth import BudgetError
from peftbench.tasks.schema import Data, Label, TaskFile, Wording

LABEL = "label"


class Metadata(BaseModel):
    """What promptsource says of a template."""

    original_task: bool | None = None


class Entry(BaseModel):
    """One template of the file.

    Args:
        answer_choices: Jinja of the choices; None where the answer is free text.
    """

    name: str | int | float
    jinja: str
    answer_choices: str | None = None
    metadata: Metadata | None = None

    @property
    def is_of_the_task(self) -> bool:
        """Whether it asks what the data set was made for."""
        return self.metadata is not None and bool(self.metadata.original_task)


class Collection(BaseModel):
    """The file.

    Args:
        dataset: Id of the data set on the hub.
        subset: Its configuration.
    """

    dataset: str = Field(min_length=1)
    subset: str | int | float | None = None
    templates: dict[str, Entry] = Field(min_length=1)


def task_file(path: Path, table: dict[str, Any]) -> TaskFile:
    """Describe the task of a templates.yaml.

    Templates are numbered as they stand in the file, from 0, among those that have answer choices and ask what the data
    set was made for; the others are counted in the remark. Rows are the data set's splits "train" and "validation".

    Args:
        path: Where it was read, for errors.
        table: Its content.

    Raises:
        TaskError: Faulty fields, or no template that can be ranked.
    """
    collection = checked(Collection, table, f"task '{path}'", TaskError)
    entries = list(collection.templates.values())
    ranked = [entry for entry in entries if entry.answer_choices is not None]
    usable = [entry for entry in ranked if entry.is_of_the_task]
    if not usable:
        message = f"task '{path}': none of {len(entries)} templates has answer choices and asks the data set's own task"
        raise TaskError(message, hint="templates whose answers are free text cannot be ranked")
    subset = None if collection.subset is None else str(collection.subset)
    name = f"{collection.dataset}/{subset}" if subset else collection.dataset
    return TaskFile(
        name=name,
        family="promptsource",
        description=f"promptsource's templates for {name}",
        data=Data(train="train", test="validation", hub=collection.dataset, config=subset),
        label=Label(field=_label(usable)),
        templates=tuple(
            Wording(name=str(entry.name), text=entry.jinja, choices=entry.answer_choices or "", kind="promptsource")
            for entry in usable
        ),
        drops_templates=True,
        remark=_remark(len(entries) - len(ranked), len(ranked) - len(usable), len(entries)),
    )


def _label(entries: Sequence[Entry]) -> str:
    """Find the label's column: what most templates read behind the separator alone."""
    votes: Counter[str] = Counter()
    for entry in entries:
        try:
            names = label_names(entry.jinja, entry.answer_choices or "")
        except (jinja2.TemplateSyntaxError, BudgetError):  # refused by name when it is compiled
            continue
        votes.update(names if len(names) == 1 else [])
    if not votes:
        return LABEL
    most = max(votes.values())
    names = {name for name, count in votes.items() if count == most}
    return LABEL if LABEL in names else min(names)


def _remark(num_free: int, num_other: int, num_all: int) -> str | None:
    reasons = [
        f"{num_free} without answer choices" if num_free else "",
        f"{num_other} of another task than the data set's" if num_other else "",
    ]
    text = ", and ".join(reason for reason in reasons if reason)
    return f"{num_free + num_other} of {num_all} templates of the file are left out: {text}" if text else None
