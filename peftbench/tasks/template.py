"""A template turns a row into an input and its answer choices; strangers' templates run in Jinja's sandbox."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from peftbench.errors import TaskError
from peftbench.tasks.task import Example, Row

SEPARATOR = "|||"
# Names that a template has beside the row's columns.
CHOICE, CHOICES, ROW = "choice", "choices", "row"
# Most targets are the choice and nothing else: it need not go through Jinja again for each row.
PLAIN_TARGET = re.compile(r"\{\{\s*choice\s*\}\}")


class _MissingValueError(Exception):
    """A column is there, but holds null."""


def _shown(value: Any) -> Any:
    # Jinja would print null as the word "None", and a model would read it.
    if value is None:
        raise _MissingValueError
    return value


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, finalize=_shown)
    # Rendering is pure: nothing random.
    del environment.globals["lipsum"], environment.filters["random"]
    return environment


ENVIRONMENT = _environment()


def variables(source: str) -> set[str]:
    """Return the names that a template part takes from the row.

    Raises:
        jinja2.TemplateSyntaxError: The part is no Jinja.
    """
    return meta.find_undeclared_variables(ENVIRONMENT.parse(source)) - set(ENVIRONMENT.globals)


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
        fixed_choices: The choices where all rows share them; None where they come from the row.
        task: Name of the task whose rows it reads, in a mixture of several; None where it reads all.

    Raises:
        TaskError: A syntax error, not exactly one "|||", or an input or choice that reads the label.
    """

    def __init__(self, name: str, index: int, text: str, choices: str | Sequence[str], label: str) -> None:
        self.name = name
        self.index = index
        self.text = text
        self.choices = choices if isinstance(choices, str) else tuple(choices)
        self.label = label
        self.task: str | None = None
        parts = text.split(SEPARATOR)
        if len(parts) != 2:
            raise TaskError(
                f"template '{name}' has {len(parts) - 1} '{SEPARATOR}'; it takes one, between input and target",
                hint='for example "{{text}} Sentiment: ||| {{choice}}"',
            )
        sources = (self.choices,) if isinstance(self.choices, str) else self.choices
        self._input, self._target, *self._choices = (self._compile(source.strip()) for source in (*parts, *sources))
        self._refuse_label(parts[0], *sources)
        self._variables = set().union(*(variables(source) for source in (*parts, *sources)))
        self._is_plain = PLAIN_TARGET.fullmatch(parts[1].strip()) is not None
        self.fixed_choices = None if any(map(variables, sources)) else self._rendered_choices(None)

    def reads(self, row: Row) -> bool:
        """Whether the row is one of its task's."""
        return self.task in (None, row.task)

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
        fields = self._visible(row) | {CHOICES: choices}
        source = row if content is None else replace(row, fields=_emptied(row.fields, content))
        text = self._render(self._input, fields | self._visible(source), row)
        if not text and content is not None:
            raise TaskError(
                f"template '{self.name}' gives an empty input for the content-free text '{content}'",
                hint=f"texts with something in them: --content-free 'N/A'; or words before '{SEPARATOR}'",
            )
        if not text:
            hint = f"the part before '{SEPARATOR}' needs some text in every row"
            raise TaskError(f"template '{self.name}' gives an empty input{_place(row)}", hint=hint)
        if not 0 <= row.label < len(choices):
            raise TaskError(
                f"template '{self.name}' has {len(choices)} choices, and label {row.label}{_place(row)}",
                hint="labels count from 0, one for each choice",
            )
        targets = choices if self._is_plain else self._targets(choices, fields, row)
        return Example(row.id, text, targets, row.label, row)

    def _targets(self, choices: Sequence[str], fields: dict[str, Any], row: Row) -> tuple[str, ...]:
        targets = [self._render(self._target, fields | {CHOICE: choice, self.label: choice}, row) for choice in choices]
        if len(set(targets)) < len(targets) or not all(targets):
            raise TaskError(
                f"template '{self.name}' gives equal or empty targets {targets}{_place(row)}",
                hint="the part after '|||' needs {{choice}} in it",
            )
        return tuple(targets)

    def choices_of(self, row: Row) -> tuple[str, ...]:
        """Render the answer choices of a row.

        Raises:
            TaskError: As `render`; also fewer than two choices.
        """
        return self.fixed_choices or self._rendered_choices(row)

    def _rendered_choices(self, row: Row | None) -> tuple[str, ...]:
        fields = {} if row is None else self._visible(row)
        rendered = [self._render(choice, fields, row) for choice in self._choices]
        if isinstance(self.choices, str):
            rendered = [choice.strip() for choice in rendered[0].split(SEPARATOR)]
        if len(rendered) < 2 or len(set(rendered)) < len(rendered) or not all(rendered):
            raise TaskError(
                f"template '{self.name}' has the choices {rendered}{_place(row)}",
                hint="choices must be at least two, not empty, and each different",
            )
        return tuple(rendered)

    def _visible(self, row: Row) -> dict[str, Any]:
        fields = {name: value for name, value in row.fields.items() if name != self.label}
        return {ROW: fields} | fields

    def _render(self, part: jinja2.Template, context: Mapping[str, Any], row: Row | None) -> str:
        try:
            return part.render(context).strip()
        except SecurityError as error:
            message = f"template '{self.name}' reads what no template may: {str(error).rstrip('.')}"
            raise TaskError(message, hint="templates see the row's columns, nothing behind them") from None
        except _MissingValueError:
            empty = [name for name in sorted(self._variables) if row and row.fields.get(name, "") is None]
            message = f"template '{self.name}' reads null{_place(row)}: {', '.join(empty)}"
            raise TaskError(
                message, hint="fill the value in, or say what stands for it: {{column or 'nothing'}}"
            ) from None
        except jinja2.UndefinedError as error:
            raise self._undefined(error, row) from None
        except Exception as error:  # whatever a stranger's expression runs into: wrong types, division by zero
            message = f"template '{self.name}' fails{_place(row)}: {type(error).__name__}: {error}"
            raise TaskError(message, hint=f"it stands in: {self.text}") from None

    def _undefined(self, error: jinja2.UndefinedError, row: Row | None) -> TaskError:
        fields = row.fields if row else {}
        missing = self.absent(fields)
        names = ", ".join(f"'{name}'" for name in missing)
        no_column = "which are no columns" if len(missing) > 1 else "which is no column"
        fault = f"names {names}, {no_column}{_place(row)}" if missing else f"fails{_place(row)}: {error}"
        columns = [name for name in fields if name != self.label]
        near = difflib.get_close_matches(missing[0], columns, n=1) if missing else []
        guess = f"did you mean '{near[0]}'? " if near else ""
        return TaskError(f"template '{self.name}' {fault}", hint=f"{guess}columns: {', '.join(columns)}")

    def _compile(self, source: str) -> jinja2.Template:
        try:
            return ENVIRONMENT.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            message = f"template '{self.name}' has a syntax error: {str(error.message).rstrip('.')}"
            raise TaskError(message, hint=f"it stands in: {source}") from None

    def _refuse_label(self, *sources: str) -> None:
        if any(self.label in variables(source) for source in sources):
            raise TaskError(
                f"template '{self.name}' reads the label '{self.label}' before the answer",
                hint="only the part after '|||' may name it",
            )


def _emptied(value: Any, content: str) -> Any:
    """Replace every text by `content`, also in lists and tables."""
    if isinstance(value, str):
        return content
    if isinstance(value, Mapping):
        return {name: _emptied(field, content) for name, field in value.items()}
    return [_emptied(item, content) for item in value] if isinstance(value, list | tuple) else value


def _place(row: Row | None) -> str:
    return "" if row is None else f" in row {row.id + 1}"
