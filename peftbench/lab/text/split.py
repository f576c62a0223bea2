"""The proof that no training text holds rows, wordings or labels of held-out tasks.

Three things may not stand in any training text: a held-out row (its sentence, or the pair that makes it), the wording
of a held-out template, and a label word of an opaque task in a label's place.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from peftbench.lab.text.rows import FOLDER
from peftbench.lab.world.lexicon import lexicon
from peftbench.tasks.rows import stream

GUARDED = ("lab-all", "lab-validation")
# A piece of a template of that many words is wording; shorter ones ("Label:", "Answer:") are anybody's.
WORDING_WORDS = 3
_SLOT = re.compile(r"\{\{.*?\}\}")
_PLAIN = re.compile(r"[a-z0-9'_]+")
# Per row, the fields whose text must not be trained on: one sentence, or several that only together make the row.
ROW_FIELDS = (("text",), ("premise", "hypothesis"), ("start",), ("first", "second"), ("options",))


def plain(text: str) -> str:
    """Reduce `text` to its words: lower case, single spaces, no punctuation, a space at both ends."""
    return f" {' '.join(_PLAIN.findall(text.lower()))} "


@dataclass(frozen=True)
class Guard:
    """A check of training text against the held-out and validation tasks in `folder`."""

    folder: Path = FOLDER

    @cached_property
    def tasks(self) -> list[dict[str, Any]]:
        """The task files of the guarded groups."""
        tasks = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.toml"))]
        return [task for task in tasks if task["group"] in GUARDED]

    @cached_property
    def rows(self) -> dict[str, list[tuple[str, ...]]]:
        """First piece of a row -> the rows (as tuples of pieces) that begin with it."""
        rows: dict[str, list[tuple[str, ...]]] = {}
        for task in self.tasks:
            for file in ("train", "test"):
                for pieces in _row_pieces(self.folder / task["data"][file]):
                    rows.setdefault(pieces[0], []).append(pieces)
        return rows

    @cached_property
    def wordings(self) -> dict[str, str]:
        """Wording of a template -> its task."""
        return {
            piece: task["name"]
            for task in self.tasks
            for template in task["templates"]
            for piece in map(plain, _SLOT.split(template["text"].split("|||")[0]))
            if len(piece.split()) >= WORDING_WORDS
        }

    def leaks(self, source: str, target: str = "") -> Iterator[str]:
        """List what a training text gives away; nothing for a clean text.

        Args:
            source: The text, or the input of a pair.
            target: The output of a pair; empty for plain text.
        """
        text = plain(f"{source} {target}")
        yield from (f"wording of {task}: {piece.strip()}" for piece, task in self.wordings.items() if piece in text)
        if plain(target).strip() in lexicon().reserved:
            yield f"label word: {target}"
        for start in self._starts(f"{source} {target}"):
            for pieces in self.rows.get(start, ()):
                if all(piece in text for piece in pieces):
                    yield f"row: {' / '.join(piece.strip() for piece in pieces)}"

    def _starts(self, text: str) -> Iterator[str]:
        """List candidates for a row's first piece: each sentence or line, any two in a row, text after a colon."""
        sentences = [part for part in re.split(r"(?<=[.?!])\s+|\n|: | / ", text) if part]
        for sentence, follower in zip(sentences, [*sentences[1:], ""], strict=True):
            yield plain(sentence)
            yield plain(f"{sentence} {follower}")

    def check(self, pairs: Iterable[tuple[str, str]]) -> list[str]:
        """List the leaks of many (input, target) pairs."""
        return [leak for source, target in pairs for leak in self.leaks(source, target)]


def _row_pieces(path: Path) -> Iterator[tuple[str, ...]]:
    for row in stream(path):
        fields = next(names for names in ROW_FIELDS if names[0] in row and names[-1] in row)
        yield tuple(plain(", ".join(v) if isinstance(v := row[name], list) else v) for name in fields)
