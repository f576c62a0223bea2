"""Answers that came before a run was stopped: a file beside the results, which is gone when its record is there."""

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from peftbench.errors import ModelError
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.dialects.base import Answer, finite


class Answers:
    """A line of JSON for each answered prompt: its sums, and what it took.

    Several threads may use it at once.

    Args:
        path: The file; it is made with the first answer.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._file: TextIO | None = None
        self._answers: dict[str, Answer] = {}
        for key, answer in _lines(path):  # a prompt that was asked twice was paid for twice
            before = self._answers.get(key, Answer((), Usage()))
            self._answers[key] = replace(answer, usage=answer.usage + before.usage)

    def find(self, prompt: Encoded) -> Answer | None:
        """Return the answer to a prompt that came before, with what it took; a second time it takes nothing."""
        key = key_of(prompt)
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None:
                self._answers[key] = replace(answer, usage=Usage())
        return answer

    def add(self, prompt: Encoded, answer: Answer) -> None:
        """Write down an answer; it is on the disk when this returns."""
        key, usage = key_of(prompt), answer.usage
        taken = usage.requests, usage.sent, usage.cached, usage.generated
        line = json.dumps({"prompt": key, "sums": answer.sums, "usage": taken}) + "\n"
        with self._lock:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a", encoding="utf-8")
                line = "\n" + line if self._path.stat().st_size else line  # the one before may have been cut
            self._file.write(line)
            self._file.flush()
            self._answers[key] = replace(answer, usage=Usage())

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


def _lines(path: Path) -> list[tuple[str, Answer]]:
    """Read the lines that are whole: the last one may have been cut where a run was killed."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            sums = tuple(map(finite, line["sums"]))
            requests, sent, cached, generated = line["usage"]
            usage = Usage(int(requests), int(sent), None if cached is None else int(cached), int(generated), resumed=1)
        except (ValueError, KeyError, TypeError, ModelError):
            continue
        lines.append((str(line["prompt"]), Answer(sums, usage)))
    return lines
