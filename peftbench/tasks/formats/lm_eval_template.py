"""A template of lm-evaluation-harness: text, choices and target, each a column's name or Jinja of its own."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from peftbench.errors import TaskError
from peftbench.tasks import labels
from peftbench.tasks.formats.environment import Environment
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template, emptied, place

ENVIRONMENT = Environment(keep_trailing_newline=True)


class LmEvalTemplate(Template):
    """The wording of one of lm-evaluation-harness's multiple-choice tasks.

    A field that is the name of a column is what stands there, and Jinja otherwise. The input keeps the white space
    before it, and what stands behind it becomes part of the joint, so that prompts and answers read as they do there.

    Args:
        name: The task's name.
        index: Its number in the task.
        text: `doc_to_text`.
        choices: `doc_to_choice`: the choices, or Jinja that renders to a list as Python writes it.
        label: Name of the label's column; "" where several columns decide.
        target: `doc_to_target`: the index of the right choice, or its text.
        joint: `target_delimiter`.
        description: `description`.

    Raises:
        TaskError: A syntax error.
    """

    environment = ENVIRONMENT

    def __init__(
        self,
        name: str,
        index: int,
        text: str,
        choices: str | Sequence[str],
        label: str,
        *,
        target: str,
        joint: str,
        description: str,
    ) -> None:
        self._begin(name, index, text, choices, label)
        self.more = {"kind": "lm-eval", "target": target, "joint": joint, "description": description}
        self.description, self._joint, self._answer = description, joint, target
        sources = [text, target, *([choices] if isinstance(choices, str) else [])]
        read = {source: self._compile(source) for source in sources}
        self._parts = {source: part for source, (part, _) in read.items()}
        self._variables = set().union(*(names for source, (_, names) in read.items() if source != target))
        self._named = {source for source in sources if source != target and is_column(source)}
        self.reads_rows = bool(self._variables or self._named)
        self.fixed_choices = None if isinstance(choices, str) else self._list(list(choices), None)

    def absent(self, fields: Mapping[str, Any]) -> list[str]:
        """List the columns that the input and the choices read and a row lacks."""
        return sorted((self._variables | self._named) - fields.keys())

    def label_of(self, row: Row) -> int | None:
        """Return the index of the choice that the target means; None where it means none of them.

        Raises:
            TaskError: The target is a list, or as `render`.
        """
        value, choices = self._value(self._answer, row.fields, row), self.choices_of(row)
        if isinstance(value, str):
            value = _number_or_list(value.strip(), is_rendered=self._answer not in row.fields)
        if isinstance(value, list | tuple):
            message = f"template '{self.name}' has several right answers{place(row)}"
            raise TaskError(message, hint="tasks with one right choice for each row can be read")
        return labels.index_in_row(int(value) if isinstance(value, bool) else value, choices)

    def choices_of(self, row: Row) -> tuple[str, ...]:
        """Read the answer choices of a row.

        Raises:
            TaskError: They are no list of at least two different texts.
        """
        if self.fixed_choices is not None:
            return self.fixed_choices
        assert isinstance(self.choices, str)
        return self._list(self._value(self.choices, row.fields, row), row)

    def render(self, row: Row, content: str | None = None) -> Example:
        """Turn a row into an example; see `Template.render`.

        Raises:
            TaskError: A column that the row lacks, a text that is a number (there it chooses one of several inputs), or
                a label beyond the choices.
        """
        if absent := self.absent(row.fields):
            raise self._no_column(absent, row)
        choices = self.choices_of(row)
        self._check_label(choices, row)
        fields = row.fields if content is None else emptied(row.fields, content)
        text = self._value(self.text, fields, row) if self.text else ""
        if isinstance(text, int) or (isinstance(text, str) and text.isdigit() and self.text not in fields):
            message = f"template '{self.name}' has a number for its input{place(row)}: one input for each choice"
            raise TaskError(message, hint="tasks with one input and several answers can be read")
        if not isinstance(text, str):
            message = f"template '{self.name}' has no text for its input{place(row)}: {type(text).__name__}"
            raise TaskError(message, hint=f"it stands in column '{self.text}'")
        if content is not None and not text.strip():
            message = f"template '{self.name}' gives an empty input for the content-free text '{content}'"
            raise TaskError(message, hint="--calibrate needs an input")
        text = self.description + text
        joint = text[len(text.rstrip()) :] + self._joint
        return Example(row.id, text.rstrip(), choices, row.label, row, joint)

    def _value(self, source: str, fields: Mapping[str, Any], row: Row) -> Any:
        """Read a field of the task: the column of that name, or what the Jinja gives."""
        if source in fields:
            return fields[source]
        self.environment.start(self._num_chars + len(source))
        return self._render(self._parts[source], fields, row, strip=False)

    def _list(self, value: Any, row: Row | None) -> tuple[str, ...]:
        """Read a list of choices, or the text of one."""
        if isinstance(value, str):
            value = _literal(value.strip())
        if not isinstance(value, list | tuple) or not all(isinstance(item, str | int | float) for item in value):
            message = f"template '{self.name}' gives no list of texts for the choices{place(row)}"
            raise TaskError(message, hint="a list as Python writes it, for example ['no', 'yes']")
        return self._checked_choices([str(item).strip() for item in value], row)


def is_column(source: str) -> bool:
    """Whether a field can only be a column's name: it is no Jinja, and no list of choices."""
    return bool(source.strip()) and not any(mark in source for mark in ("{{", "{%", "[", "{#"))


def _number_or_list(text: str, *, is_rendered: bool) -> Any:
    """Read what a target renders to: digits are an index, and brackets a list."""
    if is_rendered and text.isdigit() and len(text) <= labels.MAX_DIGITS:
        return int(text)
    if is_rendered and text.startswith("[") and text.endswith("]"):
        return _literal(text)
    return text


def _literal(text: str) -> Any:
    """Read a list as Python writes it; a text that is none stays what it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
