"""The plain template of a file's columns: one line for each column of text, and one for the label."""

import json
from collections.abc import Sequence

import jinja2

from peftbench.tasks.columns import Column
from peftbench.tasks.growth import BudgetError
from peftbench.tasks.sandbox import variables
from peftbench.tasks.template import CHOICE, CHOICES, ROW, SEPARATOR

OWN_NAMES = frozenset({CHOICE, CHOICES, ROW, "self", "super", "loop", "caller", "varargs", "kwargs"})
"""What means something else than a column in a template."""


def template(text: Sequence[Column], label: str) -> str:
    """Write "Title: {{column}}" for each column, and "Title: ||| {{label}}" for the label.

    The target names the label's column where it can, so that the template says all about the rows (see `tasks.own`).

    Args:
        text: The columns that a model reads; where a row lacks one, nothing stands behind its title.
        label: Name of the label's column.
    """
    titles = [title(column.name, "Text" if len(text) == 1 else "") or "Text" for column in text]
    lines = [f"{literal(name)}: {{{{{reference(column)}}}}}" for name, column in zip(titles, text, strict=True)]
    answer = label if _is_variable(label) else CHOICE
    return "\n".join([*lines, f"{literal(title(label, 'Label'))}: {SEPARATOR} {{{{{answer}}}}}"])


def title(name: str, short: str) -> str:
    """Write a column's name as words: "tweet_text" is "Tweet text"; a letter says nothing where there is `short`."""
    words = " ".join(name.replace("_", " ").split())
    return words[0].upper() + words[1:] if len(words) > 1 else short or words


def reference(column: Column) -> str:
    """Write an expression that reads a column, whatever its name is."""
    plain = column.name if _is_variable(column.name) else f"{ROW}[{quoted(column.name)}]"
    return f'{plain} | default("", true)' if None in column.values else plain


def literal(text: str) -> str:
    """Write a text so that a template shows it as it is."""
    # Jinja makes a new line of each carriage return outside of an expression.
    return f"{{{{{quoted(text)}}}}}" if any(mark in text for mark in ("{", SEPARATOR, "\r")) else text


def quoted(text: str) -> str:
    """Write a text as a string of an expression."""
    # A template is parted at its bars before Jinja reads it.
    return json.dumps(text, ensure_ascii=False).replace("|", "\\x7c")


def _is_variable(name: str) -> bool:
    try:
        return name.isidentifier() and name not in OWN_NAMES and variables(f"{{{{{name}}}}}") == {name}
    except (jinja2.TemplateSyntaxError, BudgetError):  # a keyword
        return False
