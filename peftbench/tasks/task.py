"""Rows of data, examples that a template makes of them, and the task that holds rows and templates."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from peftbench.errors import TaskError
from peftbench.spec.decoding import DecodingOptions

if TYPE_CHECKING:
    from peftbench.tasks.template import Template


@dataclass(frozen=True)
class Row:
    """A row as its file has it.

    Args:
        id: Position in its file, from 0, among the rows that are not left out.
        fields: Column -> value, the label's column included.
        label: Index of the right class, or of the right answer choice where choices come from the row.
        task: Name of the task that it comes from, in a mixture of several.
    """

    id: int
    fields: Mapping[str, Any]
    label: int
    task: str | None = None


@dataclass(frozen=True)
class Example:
    """A row rendered by a template: the text that a model reads, and the targets, of which one is right.

    Args:
        row_id: The row's `id`.
        input: Text before the answer, without white space at its ends.
        choices: Rendered targets, one for each answer choice; of a task whose answers are written, the references.
        label: Index of the right choice; of references, that of the one that is shown or learned.
        row: The row that was rendered.
        joint: White space between input and answer.
    """

    row_id: int
    input: str
    choices: tuple[str, ...]
    label: int
    row: Row | None = field(default=None, compare=False, repr=False)
    joint: str = " "

    @property
    def target(self) -> str:
        """The right choice's text."""
        return self.choices[self.label]


@dataclass(frozen=True)
class Task:
    """Rows to learn from, rows to be tested on, and templates that turn either into text.

    Args:
        metric: Name in the registry.
        chance: The metric's value by guessing.
        sha256: Hash of all rows and templates: an edited file at the same path is another task's data.
        group: Name of the group that it belongs to, if any.
        classes: Names of the classes; None where each row brings its own choices.
        is_own: Whether its training rows are the user's own: shots are drawn by what stands in the rows, and not by the
            task's name (see `tasks.shots.draw`).
        has_rare_classes: Whether a class may have fewer rows than there are folds.
        has_fixed_counts: Whether the numbers of test rows of each label were set, and did not come as the rows came.
        left_out: Number of a template of the file that cannot be used -> why.
        clusters: Where training rows are split into folds, the number of each row's cluster, by `Row.id`, of all rows
            (see `tasks.folds`); None of other tasks.
        remark: What of the task's file is not used, or used otherwise than where it comes from; None for nothing.
        writing: How answers are written; None where they are chosen.
        subsets: Name -> `Row.id` of the test rows that are scored apart, too.
    """

    name: str
    family: str
    description: str
    version: int
    metric: str
    chance: float
    templates: tuple["Template", ...]
    train: tuple[Row, ...]
    test: tuple[Row, ...]
    sha256: str
    group: str | None = None
    classes: tuple[str, ...] | None = None
    is_own: bool = False
    has_rare_classes: bool = False
    has_fixed_counts: bool = False
    left_out: Mapping[int, str] = field(default_factory=dict)
    remark: str | None = None
    clusters: tuple[int, ...] | None = None
    writing: DecodingOptions | None = None
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether its answers are written, and not chosen."""
        return self.writing is not None

    @cached_property
    def train_keys(self) -> tuple[str, ...]:
        """For each training row what stands in it, and how many equal rows stand before it: no two are equal."""
        seen: Counter[str] = Counter()
        keys = []
        for row in self.train:
            text = content(row)
            keys.append(f"{seen[text]}\0{text}")
            seen[text] += 1
        return tuple(keys)

    def select(self, templates: Literal["all"] | Sequence[int]) -> tuple["Template", ...]:
        """Pick templates by number, each once.

        Raises:
            TaskError: A number without a template; the hint lists the templates.
        """
        if templates == "all":
            return self.templates
        known = {template.index: template for template in self.templates}
        unknown = [str(number) for number in templates if number not in known]
        reasons = [self.left_out[int(number)] for number in templates if int(number) in self.left_out]
        if reasons:
            message = f"task '{self.name}': {reasons[0]}"
            raise TaskError(message, hint=f"templates that can be used: {', '.join(map(str, known))}")
        if unknown or not templates:
            raise TaskError(
                f"task '{self.name}' has no template {', '.join(unknown)}" if unknown else "no template was asked for",
                hint="known: " + ", ".join(f"{index} ({template.name})" for index, template in known.items()),
            )
        return tuple(known[int(number)] for number in dict.fromkeys(templates))


def content(row: Row) -> str:
    """Write a row's fields and its label, in one way whatever the order of the columns."""
    return json.dumps([dict(row.fields), row.label], sort_keys=True, default=str)


def fingerprint(train: Sequence[Row], test: Sequence[Row], templates: Sequence["Template"]) -> str:
    """Return the SHA-256 of all that decides what models read and which answer is right."""
    digest = hashlib.sha256()
    for rows in (train, test):
        for row in rows:
            digest.update(content(row).encode())
        digest.update(b"\0")
    for template in templates:
        more = [dict(template.more)] if template.more else []
        digest.update(json.dumps([template.name, template.text, template.choices, *more]).encode())
    return digest.hexdigest()
