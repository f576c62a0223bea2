"""A task made of the user's own rows and one template, without a TOML."""

from collections.abc import Sequence

import jinja2

from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.spec.settings import checked
from peftbench.tasks.growth import BudgetError
from peftbench.tasks.sandbox import variables
from peftbench.tasks.schema import TaskFile
from peftbench.tasks.template import CHOICE, CHOICES, ROW, SEPARATOR

DEFAULT = "label"
FAMILY = "own data"
"""Of the tasks that are no file, but rows and a template on the command line."""


def own_task(spec: TaskSpec) -> TaskFile:
    """Make the description of a task from a template, its choices and its files of rows.

    The label's column is the one that the target names ("||| {{label}}"), or "label" where it names none
    ("||| {{choice}}"). Choices are the classes' names as well, unless they come from the row; `spec` may say both in
    other words. Without a file of test rows there are none.

    Raises:
        TaskError: A part is missing, choices are fewer than two, empty or equal, or the target names two columns.
    """
    missing = [f"--{name}" for name in ("train", "choices") if getattr(spec, name) is None]
    if missing or spec.template is None:
        raise TaskError(
            f"a template of your own needs {', '.join(missing)} too",
            hint='for example --train train.csv --test test.csv --choices "negative,positive"',
        )
    choices = [choice.strip() for choice in spec.choices or ()]
    _refuse(choices)
    from_row = any("{{" in choice or "{%" in choice for choice in choices)
    names = spec.classes or (None if from_row else choices)
    table = {
        "name": spec.name,
        "family": FAMILY,
        "description": spec.template,
        "data": {"train": str(spec.train), "test": "" if spec.test is None else str(spec.test)},
        "label": {"field": spec.label or target_column(spec.template) or DEFAULT, "names": names},
        "templates": [
            {"name": "own", "text": spec.template, "choices": choices if len(choices) > 1 else "".join(choices)}
        ],
    }
    return checked(TaskFile, table, f"task '{spec.name}'", TaskError)


def _refuse(choices: Sequence[str]) -> None:
    """Refuse choices that cannot be classes, in the words of the command line."""
    option = f"--choices '{','.join(choices)}'"
    hint = 'one for each class, separated by commas: --choices "negative,positive"'
    if not all(choices):
        raise TaskError(f"{option} has an empty choice", hint=hint)
    # One text with Jinja in it may be a list: "{{options | join('|||')}}".
    if len(choices) < 2 and "{" not in "".join(choices):
        raise TaskError(f"{option} is one choice, and an answer needs at least two", hint=hint)
    folded = [choice.casefold() for choice in choices]
    twice = next((choice for index, choice in enumerate(choices) if folded[index] in folded[:index]), None)
    if twice is not None:
        raise TaskError(f"{option} has '{twice}' twice; upper and lower case count as equal", hint=hint)


def target_column(template: str) -> str | None:
    """Return the column that the target names; None where it names none, or is no Jinja, which `Template` refuses."""
    try:
        names = variables(template.partition(SEPARATOR)[2].strip())
    except (jinja2.TemplateSyntaxError, BudgetError):
        return None
    columns = names - {CHOICE, CHOICES, ROW}
    if CHOICE in names or not columns:
        return None
    if DEFAULT in columns:
        return DEFAULT
    if len(columns) > 1:
        raise TaskError(
            f"the target names several columns, and one of them must be the label: {', '.join(sorted(columns))}",
            hint="write {{choice}} for the answer, and call the label's column 'label'",
        )
    return columns.pop()
