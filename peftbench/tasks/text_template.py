"""A template of a task whose answers are written: "input ||| {{reference}}"."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from peftbench.errors import TaskError
from peftbench.tasks import references
from peftbench.tasks.references import HINT
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import ROW, SEPARATOR, Template, place

REFERENCE = "reference"
TARGET = re.compile(r"\{\{\s*reference\s*\}\}")


class TextTemplate(Template):
    """One wording of such a task; the answer is a reference as it stands in the row.

    The input sees the row's columns without those of the references. An example's choices are the references that
    differ, without blank ones, and the first is the one that shots show.

    Args:
        name: The wording's name.
        index: Its number in the task, from 0.
        text: Jinja source.
        columns: Where the references are (`tasks.references`).

    Raises:
        TaskError: A syntax error, a target other than {{reference}}, or an input that reads the references.
    """

    is_text = True

    def __init__(self, name: str, index: int, text: str, columns: Sequence[str]) -> None:
        self._begin(name, index, text, (), columns[0].partition(".")[0])
        self.columns = tuple(columns)
        self.more = {"answer": "text", "references": "\n".join(columns)}
        source, separator, target = text.partition(SEPARATOR)
        if not separator or not TARGET.fullmatch(target.strip()):
            message = f"template '{name}' does not end in '{SEPARATOR} {{{{reference}}}}'"
            raise TaskError(message, hint='for example "{{text}} In short: ||| {{reference}}"')
        self._input, self._variables = self._read(source.strip())
        self.reads_rows = bool(self._variables)
        self.fixed_choices = None

    def _read(self, source: str) -> tuple[Any, set[str]]:
        part, names = self._compile(source)
        hidden = self._hidden
        if read := sorted(names & (hidden | {REFERENCE})):
            message = f"template '{self.name}' reads the references in '{read[0]}' before the answer"
            raise TaskError(message, hint=f"only the part after '{SEPARATOR}' may")
        return part, set(names)

    @property
    def _hidden(self) -> set[str]:
        return {name for column in self.columns for name in (column, column.partition(".")[0])}

    def references_of(self, row: Row) -> tuple[str, ...]:
        """Return a row's references as its file has them, blank ones included.

        Raises:
            TaskError: Its columns are not there, or hold what is no text.
        """
        texts = references.of_row(row.fields, self.columns)
        if texts is None:
            named = " and ".join(f"'{column}'" for column in self.columns)
            raise TaskError(f"no column {named} of references{place(row)}", hint=HINT)
        return texts

    def choices_of(self, row: Row) -> tuple[str, ...]:
        """Return a row's references that are not blank, each different one once.

        Raises:
            TaskError: As `references_of`; or there is none.
        """
        texts = references.present(self.references_of(row))
        if not texts:
            raise TaskError(
                f"no reference{place(row)}", hint="at least one for each row that is learned from or tested"
            )
        return texts

    def label_of(self, row: Row) -> int | None:
        """Return 0, the reference that shots show."""
        return 0

    def render(self, row: Row, content: str | None = None) -> Example:
        """Turn a row into an example, whose choices are its references.

        Raises:
            TaskError: As `Template.render`; no reference.
        """
        assert content is None, "nothing calibrates written answers"
        return replace(self.query(row), choices=self.choices_of(row))

    def query(self, row: Row) -> Example:
        """Turn a row into an example without choices: its references are not looked at, and need not be there.

        Raises:
            TaskError: As `Template.render`.
        """
        self.environment.start(self._num_chars)
        text = self._render(self._input, self._visible(row), row)
        if not text:
            hint = f"the part before '{SEPARATOR}' needs some text in every row"
            raise TaskError(f"template '{self.name}' gives an empty input{place(row)}", hint=hint)
        return Example(row.id, text, (), 0, row)

    def _visible(self, row: Row) -> dict[str, Any]:
        hidden = self._hidden
        fields = {name: value for name, value in row.fields.items() if name not in hidden}
        return fields | {ROW: fields}
