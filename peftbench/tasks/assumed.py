"""What was assumed of one file of rows: the task, three lines that say it, and the task's TOML."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench.spec.cell import TaskSpec
from peftbench.tasks.own import own_task

WIDTH = 100
MAX_NAME = 30
"""Characters of a column's or a class's name, where it is shown."""
MAX_LISTED = 20
"""Classes; of more only the ends are shown."""


@dataclass(frozen=True)
class Assumed:
    """A task that was made of one file of rows.

    Args:
        spec: The task, without test rows; `peftbench.tasks.load.load` loads it.
        lines: Three lines of at most 100 characters: which column is the label, which are the text, what a prompt looks
            like; each names the option that changes it.
        remarks: What somebody should know about the rows, a line for each thing.
        counts: Class -> number of rows, in the order of the labels.
        text: The columns that a model reads.
    """

    spec: TaskSpec
    lines: tuple[str, ...]
    remarks: tuple[str, ...]
    counts: Mapping[str, int]
    text: tuple[str, ...]

    def to_toml(self, file: Path = Path("task.toml")) -> str:
        """Write the task as a TOML that loads to the same task.

        Args:
            file: Where it will stand: the path of the rows is written as seen from its folder.
        """
        task = own_task(self.spec)
        wording = task.templates[0]
        lines = [
            "# Written by peftbench. Change what you like: the words of a template and of its choices above all.",
            f"name = {_string(task.name)}",
            f"family = {_string(task.family)}",
            f"description = {_string(task.description)}",
            "",
            "[data]",
            f"train = {_string(_relative(Path(task.data.train), file.parent))}",
            'test = ""  # none: `icl` and `tune` take --folds 5',
            "",
            "[label]",
            f"field = {_string(task.label.field)}",
            f"names = {_list(task.label.names or ())}",
            "",
            "[[templates]]",
            f"name = {_string(wording.name)}",
            f"text = {_string(wording.text)}",
            f"choices = {_string(wording.choices) if isinstance(wording.choices, str) else _list(wording.choices)}",
        ]
        return "\n".join(lines) + "\n"


def _string(text: str) -> str:
    """Write a TOML string: JSON's escapes are TOML's, but for a character that TOML wants escaped, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_string, texts))}]"


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()


def label_line(label: str, counts: Mapping[str, int]) -> str:
    """Say which column is the label, and what its classes are, the most frequent one first."""
    head = f"Label: {named(label)}, {len(counts)} classes in {sum(counts.values()):,} rows"
    names = sorted(counts, key=lambda name: -counts[name])
    if len(set(counts.values())) == 1:
        shared = f"{head}, {counts[names[0]]:,} of each"
        return _shortest("--label", *_ever_fewer(f"{shared}: ", [named(name) for name in names]), shared)
    often, *others = (f"{named(name)} ({counts[name]:,})" for name in names)
    head, last = f"{head}, most often {often}", others[-1]
    fewer = [f"{head}, least often {last}"] if len(names) > MAX_LISTED else _ever_fewer(f"{head}, then ", others)
    return _shortest("--label", *fewer, head)


def text_line(text: Sequence[str], left_out: Mapping[str, str]) -> str:
    """Say which columns a model reads, and which were left out for what.

    Args:
        text: Columns that are read.
        left_out: Column -> why it is not.
    """
    names = [named(name) for name in text]
    others = [f"{named(name)} ({reason})" for name, reason in left_out.items()]
    end = f"; left out: {len(others)} columns" if others else ""
    return _shortest(
        "--text",
        *(_ever_fewer(f"Text: {', '.join(names)}; left out: ", others) if others else [f"Text: {', '.join(names)}"]),
        *(f"{start}{end}" for start in _ever_fewer("Text: ", names)),
    )


def prompt_line(template: str, choices: Sequence[str] | None) -> str:
    """Show the template, a stroke in place of each new line, and the choices that stand for the classes."""
    lines = template.split("\n")
    shorter = [[*lines[:number], "...", lines[-1]] for number in range(len(lines) - 2, 0, -1)]
    shown = [" / ".join(listed) for listed in (lines, *shorter)]
    variants = [f"Prompt (/ is a new line): {shown[0]}", *(f"Prompt: {text}" for text in shown)]
    if choices:
        variants = [*(f"{text}; {', '.join(choices)}" for text in variants[:2]), *variants]
    return _shortest("--template, --choices", *variants)


def _ever_fewer(head: str, items: Sequence[str]) -> Iterator[str]:
    """List all items behind a head, then ever fewer of them with the number of the others, down to the first."""
    yield head + ", ".join(items)
    for number in range(len(items) - 1, 0, -1):
        yield f"{head}{', '.join(items[:number])} and {len(items) - number} more"


def _shortest(options: str, *variants: str) -> str:
    """Take the first text that fits into a line with its options, and cut the last one if none does."""
    tail = f" [{options}]"
    lines = [" ".join(text.split()) for text in variants]
    room = WIDTH - len(tail)
    return next((line for line in lines if len(line) <= room), f"{lines[-1][: room - 3]}...") + tail


def named(name: str) -> str:
    """Write a column's or a class's name in one line, cut where it is long, in quotes unless it is a word."""
    text = " ".join(name.split())
    text = text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 3]}..."
    return text if re.fullmatch(r"[\w.+-]+", text) else f"'{text}'"
