"""The columns of a file of rows that a model reads, and why it does not read the others."""

from collections import Counter
from collections.abc import Mapping, Sequence

import jinja2

from peftbench.errors import TaskError
from peftbench.tasks import labels
from peftbench.tasks.columns import Column
from peftbench.tasks.faults import listed
from peftbench.tasks.growth import BudgetError
from peftbench.tasks.label_column import LABEL, PICK, same_classes
from peftbench.tasks.sandbox import variables
from peftbench.tasks.template import ROW, SEPARATOR

BEYOND_CHANCE = 1e-3
MAX_WORDS = 2
"""A value, on average, of a column that may give the label away: the copies of a text have one label, too."""
PICK_TEXT = "--text COLUMN names what is to be read"


def reasons(table: Sequence[Column], label: Column | None) -> dict[str, str]:
    """Say of each column beside the label why a model would not read it; columns of texts are not among them.

    Args:
        table: The file's columns.
        label: The label's; None where nobody knows.
    """
    why = {column.name: column.kind for column in table if column.kind != "texts" and column is not label}
    if label is None:
        return why
    texts = [column for column in table if column.kind == "texts" and column is not label]
    for column in texts:
        if LABEL & set(column.words):
            why[column.name] = "another label"
        elif _tells(column, label, [other for other in texts if other is not column]):
            why[column.name] = "tells the label"
    alike = [column.name for column in table if column is not label and same_classes(label, column)]
    return why | dict.fromkeys(alike, "the label again")


def _tells(column: Column, label: Column, beside: Sequence[Column]) -> bool:
    """Whether a column gives the label away: rows that share its value share their label, beyond chance.

    A finer label does: "NUM:date" is always a "NUM". Rows that are equal as a whole count once.
    """
    if sum(len(text.split()) for text in column.texts) > MAX_WORDS * len(column.texts):
        return False
    whole = {
        tuple(map(str, row)): (str(row[0]), labels.class_name(row[1]))
        for row in zip(column.values, label.values, *(other.values for other in beside), strict=True)
        if row[0] is not None and row[1] is not None
    }
    pairs, num_rows = set(whole.values()), len(whole)
    num_values = len({value for value, _ in pairs})
    if not whole or len(pairs) > num_values:  # a value has two labels
        return False
    majority = max(Counter(name for _, name in whole.values()).values()) / num_rows
    return bool(majority ** (num_rows - num_values) < BEYOND_CHANCE)


def choose(
    table: Sequence[Column], label: Column | None, why: Mapping[str, str], names: Sequence[str], template: str | None
) -> tuple[list[Column], list[TaskError]]:
    """Choose the columns that a model reads.

    Args:
        table: The file's columns.
        label: The label's; None where nobody knows.
        why: Column -> why it would not be read.
        names: The columns, where that is said.
        template: The template, where there is one: it says what is read.

    Returns:
        The columns, and the faults.
    """
    others = [column for column in table if column is not label]
    if template is not None:
        return _read_by(template, others), []
    if label is not None and label.name in names:
        return [], [TaskError(f"--text '{label.name}' is the label", hint=f"another column; or {PICK}")]
    if names:
        return [column for name in dict.fromkeys(names) for column in others if column.name == name], []
    texts = [column for column in others if column.name not in why]
    if not texts and label is not None:
        # Where there is nothing else, columns of few values are what there is to read: colour and size, say.
        texts = [column for column in others if why[column.name] == "few values"]
    return texts, [] if texts else [_no_text(others, why)]


def _read_by(template: str, others: Sequence[Column]) -> list[Column]:
    """List the columns that a template's input reads, by their names or as row["..."]."""
    source = template.partition(SEPARATOR)[0]
    try:
        names = variables(source.strip())
    except (jinja2.TemplateSyntaxError, BudgetError):  # `Template` refuses it
        return []
    by_row = [column.name for column in others if ROW in names and column.name in source]
    return [column for column in others if column.name in {*names, *by_row}]


def _no_text(others: Sequence[Column], why: Mapping[str, str]) -> TaskError:
    constant = [column for column in others if why.get(column.name) == "always the same"]
    if constant:
        message = f"all texts are equal: column '{constant[0].name}' is {constant[0].texts[0]!r:.60} in each row"
        return TaskError(message, hint=PICK_TEXT)
    columns = listed([f"{column.name} ({why.get(column.name, 'a label?')})" for column in others])
    return TaskError(f"no column holds texts{f': {columns}' if others else ' beside the label'}", hint=PICK_TEXT)
