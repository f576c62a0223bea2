"""Answers that came before a run was stopped: a file beside the results, which is gone when its record is there."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.dialects.base import Answer


class Answers:
    """A line of JSON for each answered prompt.

    Args:
        path: The file; it is made with the first answer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._sums = dict(_lines(path))

    def find(self, prompt: Encoded) -> Answer | None:
        """Return the answer to a prompt that came before; it took nothing now."""
        sums = self._sums.get(key_of(prompt))
        return None if sums is None else Answer(sums, Usage())

    def add(self, prompt: Encoded, answer: Answer) -> None:
        """Write down an answer; it is on the disk when this returns."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        key = key_of(prompt)
        self._file.write(json.dumps({"prompt": key, "sums": answer.sums}) + "\n")
        self._file.flush()
        self._sums[key] = answer.sums

    def close(self) -> None:
        """Close the file, which stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Remove the file: what it has stands in a record."""
        self.close()
        self._path.unlink(missing_ok=True)


def key_of(prompt: Encoded) -> str:
    """Write a digest of a prompt's ids and of those of its choices."""
    ids: Sequence[object] = prompt.context, prompt.choices, prompt.starts
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _lines(path: Path) -> list[tuple[str, tuple[float, ...]]]:
    """Read the lines that are whole: the last one may have been cut where a run was killed."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
            lines.append((str(line["prompt"]), tuple(map(float, line["sums"]))))
        except (ValueError, KeyError, TypeError):
            continue
    return lines
