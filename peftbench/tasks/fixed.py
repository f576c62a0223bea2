"""The labels of test rows whose counts are fixed, of the package's tasks: records that were made before hold none."""

import functools
import json

from peftbench.registry import PACKAGE

LABELS = PACKAGE / "lab" / "tasks" / "labels.json"
"""A task's SHA-256 -> the index of each test row's right choice, separated by spaces; `lab.text.rows` writes it."""


def labels(sha256: str) -> str | None:
    """Return the labels of a task's test rows; None where it is none of the package's, or its counts are not fixed.

    Args:
        sha256: Of the task's rows and templates, as records have it.
    """
    return _table().get(sha256)


@functools.cache
def _table() -> dict[str, str]:
    table: dict[str, str] = json.loads(LABELS.read_text(encoding="utf-8"))
    return table
