"""Records in a folder of this machine, or in one that several machines share."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from peftbench.errors import RecordError
from peftbench.store import files
from peftbench.store.claims import FolderNotes
from peftbench.store.record import Record

FINISHED = ".finished-"
KINDS = ("adapters", "scores", "prompts", "records")
"""Folders of what a cell leaves; the record, which says that all the rest is there, comes last."""


class Local:
    """A results folder, written under its lock; see `place.Place`.

    Args:
        folder: It need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.claims = FolderNotes(folder / "claims")

    def check_writable(self) -> None:
        """Make sure that all folders can be written, before anything is computed.

        Raises:
            RecordError: One cannot be made or written.
        """
        try:
            for folder in (self.folder, *(self.folder / kind for kind in KINDS)):
                # In what is there already: input that turns out to be wrong must leave no folders behind. A link that
                # leads nowhere is there, and nothing can be written in it.
                nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
                with tempfile.TemporaryFile(dir=nearest):
                    pass
        except OSError as error:
            hint = "give a folder that you may write with --results DIR"
            raise RecordError(f"cannot write results to '{self.folder}': {error.strerror}", hint=hint) from None

    def settle(self) -> None:
        """Bring to its place what a stopped writer had finished, where this folder may be written."""
        if any(self._finished()):
            with suppress(OSError), files.locked(self.folder):
                self._place_finished()

    def settle_record(self, record_id: str) -> None:
        """See `settle`."""
        self.settle()

    def bring_scores(self, record: Record) -> None:
        """They are there."""

    def has_adapter(self, record: Record) -> bool:
        """Tell whether what was learned is there with a record."""
        return (self.folder / "adapters" / record.id).is_dir()

    def publish(self, staged: Path, record: Record, standing: Callable[[], Record | None], *, force: bool) -> Record:
        """Make a record count by one rename, and bring it to its place; see `Place.publish`.

        Raises:
            OSError: The disk is full or the folder went away; no half-written file stays.
        """
        with files.locked(self.folder):
            self._place_finished()
            earlier = None if force else standing()
            if earlier is not None:
                return earlier
            for kind in staged.iterdir():
                files.make_folder(self.folder / kind.name)
            staged.rename(self.folder / f"{FINISHED}{record.id}")
            files.sync(self.folder)
            self._place_finished()
        return record

    def _finished(self) -> Iterator[Path]:
        return self.folder.glob(f"{FINISHED}*")

    def _place_finished(self) -> None:
        """Move what is finished to its places, the record last; under the folder's lock, from wherever it stopped.

        A later version may have finished more kinds of files than this one knows.
        """
        for finished in sorted(self._finished()):
            for kind in sorted(finished.iterdir(), key=lambda kind: (kind.name == "records", kind.name)):
                for path in sorted(kind.iterdir()):
                    files.move(path, self.folder / kind.name / path.name)
            shutil.rmtree(finished)
