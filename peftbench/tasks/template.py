"""A template turns a row into an input and its answer choices; strangers' templates run in Jinja's sandbox."""

import copy
import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jinja2
from jinja2.sandbox import SecurityError

from peftbench.errors import TaskError
from peftbench.spec import limits
from peftbench.tasks import labels
from peftbench.tasks.growth import BudgetError
from peftbench.tasks.sandbox import ENVIRONMENT, Environment, MissingValueError, NotTextError, compiled
from peftbench.tasks.task import Example, Row

SEPARATOR = "|||"
# Names that a template has beside the row's columns.
CHOICE, CHOICES, ROW = "choice", "choices", "row"
# Most targets are the choice and nothing else: it need not go through Jinja again for each row.
PLAIN_TARGET = re.compile(r"\{\{\s*choice\s*\}\}")
MAX_SHOWN = 200
NOT_TEXT = "name what it holds: {{column.field}}, {{column | join(', ')}}; methods are called: {{text.upper()}}"


class Template:
    """One wording of a task: "input ||| target" in Jinja, and its answer choices.

    The input sees the row's columns without the label, and `choices`. The target is rendered once for each
    choice; there `choice`, and the label's own column name, stand for that choice's text. `row` holds the columns
    whose names are no identifiers: {{row["Tweet text"]}}.

    Args:
        name: The wording's name.
        index: Its number in the task, from 0.
        text: Jinja source.
        choices: Jinja source of each choice, or one source that renders to choices split by "|||".
        label: Name of the label's column.

    Attributes:
        reads_rows: Whether its input or its choices name a column.
        fixed_choices: The choices where all rows share them; None where they come from the row.
        task: Name of the task whose rows it reads, in a mixture of several; None where it reads all.
        description: What stands once before all that it renders: before the shots, or before a query without shots.
        more: What its wording says beside name, text and choices (see `tasks.schema.Wording`).
        environment: The sandbox that it runs in.
        is_text: Whether the answer is written, and the choices of an example are references.

    Raises:
        TaskError: A syntax error, not exactly one "|||", or an input or choice that reads the label.
    """

    reads_rows: bool
    fixed_choices: tuple[str, ...] | None
    task: str | None = None
    description = ""
    more: Mapping[str, str] = {}
    environment: Environment = ENVIRONMENT
    is_text = False

    def __init__(self, name: str, index: int, text: str, choices: str | Sequence[str], label: str) -> None:
        self._begin(name, index, text, choices, label)
        parts = text.split(SEPARATOR)
        if len(parts) != 2:
            raise TaskError(
                f"template '{name}' has {len(parts) - 1} '{SEPARATOR}'; it takes one, between input and target",
                hint='for example "{{text}} Sentiment: ||| {{choice}}"',
            )
        sources = (self.choices,) if isinstance(self.choices, str) else self.choices
        read = [self._compile(source.strip()) for source in (*parts, *sources)]
        self._input, self._target, *self._choices = (part for part, _ in read)
        (of_input, _, *of_choices) = (names for _, names in read)
        self._refuse_label(of_input, *of_choices)
        self._variables = set().union(*(names for _, names in read))
        self.reads_rows = bool(of_input or any(of_choices))
        self._is_plain = PLAIN_TARGET.fullmatch(parts[1].strip()) is not None
        self.fixed_choices = None if any(of_choices) else self._rendered_choices(None)

    def _begin(self, name: str, index: int, text: str, choices: str | Sequence[str], label: str) -> None:
        self.name = name
        self.index = index
        self.text = text
        self.choices = choices if isinstance(choices, str) else tuple(choices)
        self.label = label
        self._num_chars = len(text) + sum(map(len, self.choices))

    def reads(self, row: Row) -> bool:
        """Whether the row is one of its task's, and one that it makes something of."""
        return self.task in (None, row.task)

    def label_of(self, row: Row) -> int | None:
        """Return the index of the choice that the label's column means; None where it means none of them."""
        return labels.index_in_row(row.fields.get(self.label), self.choices_of(row))

    def without_description(self) -> "Template":
        """Return the template for what stands behind shots."""
        if not self.description:
            return self
        bare = copy.copy(self)
        bare.description = ""
        return bare

    def absent(self, fields: Mapping[str, Any]) -> list[str]:
        """List the columns that the template reads and a row lacks; a template may do without ("is defined")."""
        return sorted(self._variables - fields.keys() - {CHOICE, CHOICES, ROW, self.label})

    def render(self, row: Row, content: str | None = None) -> Example:
        """Turn a row into an example.

        Args:
            row: The row of the input, the choices and the label.
            content: Text that the input shows in place of each of the row's texts; None shows the row as it is.

        Raises:
            TaskError: A column that the row lacks or that is null, a forbidden attribute, an empty input, empty or
                equal choices or targets, or a label beyond the choices.
        """
        choices = self.choices_of(row)
        self.environment.start(self._num_chars)
        fields = self._visible(row) | {CHOICES: choices}
        source = row if content is None else replace(row, fields=emptied(row.fields, content))
        text = self._render(self._input, fields | self._visible(source), row)
        if not text and content is not None:
            raise TaskError(
                f"template '{self.name}' gives an empty input for the content-free text '{content}'",
                hint=f"texts with something in them: --content-free 'N/A'; or words before '{SEPARATOR}'",
            )
        if not text:
            hint = f"the part before '{SEPARATOR}' needs some text in every row"
            raise TaskError(f"template '{self.name}' gives an empty input{place(row)}", hint=hint)
        self._check_label(choices, row)
        targets = choices if self._is_plain else self._targets(choices, fields, row)
        return Example(row.id, text, targets, row.label, row)

    def query(self, row: Row) -> Example:
        """Turn a row whose answer nobody knows into an example; its label is not looked at.

        Raises:
            TaskError: As `render`.
        """
        return self.render(row)

    def _targets(self, choices: Sequence[str], fields: dict[str, Any], row: Row) -> tuple[str, ...]:
        targets = [self._render(self._target, fields | {CHOICE: choice, self.label: choice}, row) for choice in choices]
        if len(set(targets)) < len(targets) or not all(targets):
            raise TaskError(
                f"template '{self.name}' gives equal or empty targets {targets}{place(row)}",
                hint="the part after '|||' needs {{choice}} in it",
            )
        return tuple(targets)

    def choices_of(self, row: Row) -> tuple[str, ...]:
        """Render the answer choices of a row.

        Raises:
            TaskError: As `render`; also fewer than two choices.
        """
        return self.fixed_choices or self._rendered_choices(row)

    def _check_label(self, choices: Sequence[str], row: Row) -> None:
        if not 0 <= row.label < len(choices):
            message = f"template '{self.name}' has {len(choices)} choices, and label {row.label}{place(row)}"
            raise TaskError(message, hint="labels count from 0, one for each choice")

    def _rendered_choices(self, row: Row | None) -> tuple[str, ...]:
        self.environment.start(self._num_chars)
        fields = {} if row is None else self._visible(row)
        rendered = [self._render(choice, fields, row) for choice in self._choices]
        if isinstance(self.choices, str):
            rendered = [choice.strip() for choice in rendered[0].split(SEPARATOR)]
        return self._checked_choices(rendered, row)

    def _checked_choices(self, rendered: Sequence[str], row: Row | None) -> tuple[str, ...]:
        if len(rendered) < 2 or len(set(rendered)) < len(rendered) or not all(rendered):
            raise TaskError(
                f"template '{self.name}' has the choices {_excerpt(str(rendered))}{place(row)}",
                hint="choices must be at least two, not empty, and each different",
            )
        if len(rendered) > limits.MAX_CHOICES:
            message = f"template '{self.name}' has {len(rendered):,} choices{place(row)}"
            raise TaskError(message, hint=f"{limits.MAX_CHOICES} choices for a row are the most")
        return tuple(rendered)

    def _visible(self, row: Row) -> dict[str, Any]:
        fields = {name: value for name, value in row.fields.items() if name != self.label}
        return fields | {ROW: fields}

    def _render(self, part: jinja2.Template, context: Mapping[str, Any], row: Row | None, *, strip: bool = True) -> str:
        try:
            text = part.render(context)
            return text.strip() if strip else text
        except SecurityError as error:
            message = f"template '{self.name}' reads what no template may: {str(error).rstrip('.')}"
            raise TaskError(message, hint="templates see the row's columns, nothing behind them") from None
        except MissingValueError as error:
            empty = [name for name in sorted(self._variables) if row and _is_missing(row.fields.get(name, ""))]
            message = f"template '{self.name}' reads {error}{place(row)}: {', '.join(empty)}"
            raise TaskError(
                message, hint="fill the value in, or say what stands for it: {{column or 'nothing'}}"
            ) from None
        except jinja2.UndefinedError as error:
            raise self._undefined(error, row) from None
        except NotTextError as error:
            message = f"template '{self.name}' shows{place(row)} what is no text: {error}"
            raise TaskError(message, hint=NOT_TEXT) from None
        except BudgetError as error:
            raise self._too_large(error, place(row)) from None
        except Exception as error:  # whatever a stranger's expression runs into: wrong types, division by zero
            message = f"template '{self.name}' fails{place(row)}: {type(error).__name__}: {error}"
            raise TaskError(message, hint=f"it stands in: {_excerpt(self.text)}") from None

    def _undefined(self, error: jinja2.UndefinedError, row: Row | None) -> TaskError:
        missing = self.absent(row.fields if row else {})
        if missing:
            return self._no_column(missing, row)
        hint = f"columns: {', '.join(self._columns(row))}"
        return TaskError(f"template '{self.name}' fails{place(row)}: {error}", hint=hint)

    def _no_column(self, missing: Sequence[str], row: Row | None) -> TaskError:
        names = ", ".join(f"'{name}'" for name in missing)
        no_column = "which are no columns" if len(missing) > 1 else "which is no column"
        columns = self._columns(row)
        near = difflib.get_close_matches(missing[0], columns, n=1)
        hint = (f"did you mean '{near[0]}'? " if near else "") + f"columns: {', '.join(columns)}"
        return TaskError(f"template '{self.name}' names {names}, {no_column}{place(row)}", hint=hint)

    def _columns(self, row: Row | None) -> list[str]:
        return [name for name in (row.fields if row else {}) if name != self.label]

    def _compile(self, source: str) -> tuple[jinja2.Template, frozenset[str]]:
        try:
            return compiled(source, self.environment)
        except jinja2.TemplateSyntaxError as error:
            message = f"template '{self.name}' has a syntax error: {str(error.message).rstrip('.')}"
            raise TaskError(message, hint=f"it stands in: {_excerpt(source)}") from None
        except BudgetError as error:
            raise self._too_large(error) from None

    def _too_large(self, error: BudgetError, place: str = "") -> TaskError:
        message = f"template '{self.name}' goes beyond its budget{place}: {error}"
        return TaskError(message, hint="peftbench/spec/limits.py says how much a template may do for one row")

    def _refuse_label(self, *names: frozenset[str]) -> None:
        if any(self.label in read - {ROW} for read in names):
            raise TaskError(
                f"template '{self.name}' reads the label '{self.label}' before the answer",
                hint="only the part after '|||' may name it",
            )


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _excerpt(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ..."


def emptied(value: Any, content: str) -> Any:
    """Replace every text by `content`, also in lists and tables."""
    return replaced(value, lambda: content)


def replaced(value: Any, text: Callable[[], str]) -> Any:
    """Replace every text, one after the other, also in lists and tables."""
    if isinstance(value, str):
        return text()
    if isinstance(value, Mapping):
        return {name: replaced(field, text) for name, field in value.items()}
    return [replaced(item, text) for item in value] if isinstance(value, list | tuple) else value


def place(row: Row | None) -> str:
    """Say in which row something is, where it is in one."""
    return "" if row is None else f" in row {row.id + 1}"
