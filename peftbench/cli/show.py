"""`peftbench show`: a task as models see it."""

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from peftbench import registry
from peftbench.cli.options import DATA, DataFolder, TaskOptions

if TYPE_CHECKING:
    from peftbench.spec.decoding import DecodingOptions
    from peftbench.tasks.task import Example, Task
    from peftbench.tasks.template import Template

WIDTH = 100
MAX_CHOICES = 20
"""Of a row that are all shown."""
MAX_CHARS = 30
"""Of choices that stand in one line."""


def show(
    *,
    task: Annotated[
        str, Argument(help="A task, a group, a TOML or YAML; a name of your own with --template.", metavar="TASK")
    ],
    limit: Annotated[int, Option(help="Test rows to show under each template.", metavar="N", min=1)] = 2,
    templates: Annotated[str, Option(help="Templates to show, by number: 0,2; or all.", metavar="N,N")] = "all",
    data: DataFolder = None,
    train: Annotated[Path | None, Option(help="Training rows.", metavar="FILE", rich_help_panel=DATA)] = None,
    test: Annotated[Path | None, Option(help="Test rows.", metavar="FILE", rich_help_panel=DATA)] = None,
    template: Annotated[
        str | None, Option(help="Jinja template for own rows.", metavar="TEXT", rich_help_panel=DATA)
    ] = None,
    choices: Annotated[
        str | None, Option(help="Answer choices for --template.", metavar="A,B", rich_help_panel=DATA)
    ] = None,
) -> None:
    """Show a task as models see it: rendered rows, answer choices, labels in their order, chance."""
    from peftbench.cli.cells import numbered, specs
    from peftbench.cli.progress import watch
    from peftbench.cli.screen import say_next
    from peftbench.tasks.load import load

    options = TaskOptions(
        task=task, data=data, train=train, test=test, template=template, choices=choices, templates=templates
    )
    tasks = [load(spec) for spec in specs(options)]
    for loaded in tasks:
        wordings = loaded.select(numbered(templates) or "all")
        typer.echo("\n".join([*_head(loaded), *_renderings(loaded, wordings, limit), ""]))
    folds = "" if all(loaded.test for loaded in tasks) else " --folds 5"
    say_next(watch(quiet=False), f"peftbench icl{options.typed()} --shots 32{folds}")


def _head(task: "Task") -> Iterator[str]:
    """Write what a task is: its metric's level by guessing, its rows, and its labels in their order."""
    yield from _wrapped(f"{task.name}: {task.description}", "", "  ")
    if task.remark:
        yield from _wrapped(task.remark.removeprefix(f"{task.name}: "), "", "  ")
    if task.writing is not None:
        yield from _head_of_text(task, task.writing)
        return
    metric = registry.metric(task.metric)
    labels = [row.label for row in task.test or task.train]
    often, _ = Counter(labels).most_common(1)[0]
    majority = metric.of([often] * len(labels), labels)
    guesses = f"by guessing {100 * task.chance:.1f}, always the most frequent answer {100 * majority:.1f}"
    yield f"{metric.title}: {guesses}"
    yield _num_rows(task)
    in_train, in_test = (Counter(row.label for row in rows) for rows in (task.train, task.test))
    names = task.classes or [""] * (1 + max(*in_train, *in_test))
    counts = [f"{index}: {name} ({in_train[index]}/{in_test[index]})" for index, name in enumerate(names)]
    in_order = ", ".join(counts).replace(":  (", ": (")
    yield from _wrapped(f"labels in their order (rows to learn from/to test on): {in_order}", "", "  ")


def _head_of_text(task: "Task", writing: "DecodingOptions") -> Iterator[str]:
    """Write how answers are written and what they are compared with."""
    settings = ", ".join(f"{name} {value!r}" for name, value in writing.model_dump(exclude_defaults=True).items())
    yield f"{registry.text_metric(task.metric).title} of answers that are written: {settings or 'greedily'}"
    yield _num_rows(task)
    rows = task.test or task.train
    numbers = [len(task.templates[0].choices_of(row)) for row in rows]
    yield f"different references of a row: {min(numbers)} to {max(numbers)}, {sum(numbers) / len(rows):.1f} on average"


def _num_rows(task: "Task") -> str:
    return f"rows: {len(task.train):,} to learn from, {len(task.test):,} to test on"


def _renderings(task: "Task", templates: "tuple[Template, ...]", limit: int) -> Iterator[str]:
    for template in templates:
        yield ""
        yield from _wrapped(f"template {template.index}: {template.name}", "", "  ")
        rows = itertools.islice(filter(template.reads, task.test or task.train), limit)
        for number, example in enumerate(map(template.render, rows)):
            yield from [""] if number else []
            yield from _wrapped(example.input, "  ", "    ")
            for line in _answers(example):
                yield from _wrapped(line, "  ", "      ")


def _answers(example: "Example") -> Iterator[str]:
    """Write the choices, the right one in brackets; long ones in lines of their own, of many the right one only."""
    if len(example.choices) > MAX_CHOICES:
        yield f"->  [{example.target}]  |  {len(example.choices) - 1} others"
        return
    marked = [f"[{text}]" if index == example.label else text for index, text in enumerate(example.choices)]
    if max(map(len, marked)) > MAX_CHARS:
        yield from (f"->  {text}" for text in marked)
    else:
        yield f"->  {'  |  '.join(marked)}"


def _wrapped(text: str, first: str, later: str) -> Iterator[str]:
    """Break lines that are too long for a terminal; what follows a break is indented further."""
    from peftbench.report.formats import escape

    for line in escape.terminal(text).split("\n"):
        lines = textwrap.wrap(
            line, WIDTH, initial_indent=first, subsequent_indent=later, replace_whitespace=False, break_on_hyphens=False
        )
        yield from lines or [""]
