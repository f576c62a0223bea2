"""What was decided for, learned from all rows and written to a folder that `predict` takes."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import RecordError
from peftbench.flow import usage
from peftbench.flow.plan import on_all_rows
from peftbench.flow.trial import trials
from peftbench.learners.learn import Prompted, save
from peftbench.learners.progress import Watch
from peftbench.spec.cell import Cell
from peftbench.store.files import new_folder

PROMPT = "prompt.txt"


@dataclass(frozen=True)
class Kept:
    """What was written.

    Args:
        folder: The adapter's, or the prompt's.
        is_adapter: Whether it is an adapter, or a trained sentence model; else the shots stand before each query, with
            the text beside them, or a classifier learns from them again.
    """

    folder: Path
    is_adapter: bool

    @property
    def command(self) -> str:
        """The command that answers new rows with it."""
        use = ["--adapter", self.folder] if self.is_adapter else ["--shots-from", self.folder / usage.FILE]
        return shlex.join(["peftbench", "predict", *map(str, use), "--input", "NEW.csv"])


def check(folder: Path) -> None:
    """See that a folder can be written, before anything is computed.

    Raises:
        RecordError: There is something already, or nothing can be made there.
    """
    if os.path.lexists(folder):
        raise RecordError(f"'{folder}' is there already", hint="--keep DIR takes a new folder")
    parent = next(path for path in folder.absolute().parents if path.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise RecordError(f"nothing can be written in '{parent}'", hint="--keep DIR takes a folder of yours")


def keep(cell: Cell, folder: Path, watch: Watch, served: Path | None = None) -> Kept:
    """Learn from all rows as a cell says, and write what was learned; no row is left to test it on.

    Args:
        cell: Without a fold; `shots` are all rows that it learns from.
        folder: Is made.
        watch: Is told of progress.
        served: File of the served models that are known already.

    Raises:
        PeftbenchError: As learning, or the folder cannot be written.
    """
    (trial,) = trials([on_all_rows(cell)], served)
    trial.check()
    learned = trial.learn(watch)
    if save(learned, folder, usage.beside_adapters(trial)) is not None:
        return Kept(folder, is_adapter=True)
    texts = {usage.FILE: usage.of(trial).text()}
    if isinstance(learned, Prompted):
        texts[PROMPT] = "\n".join(learned.predictors[0].before)
    try:
        with new_folder(folder) as temporary:
            for name, text in texts.items():
                (temporary / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write '{folder}': {error.strerror}", hint="--keep DIR") from None
    return Kept(folder, is_adapter=False)
