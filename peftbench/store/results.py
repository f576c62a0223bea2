"""A results folder: finds and writes records, each once, and refuses edited ones."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import from_json

from peftbench.errors import RecordError
from peftbench.store.files import replacing
from peftbench.store.pack import Pack
from peftbench.store.record import SCHEMA_VERSION, Record

if TYPE_CHECKING:
    import pandas as pd

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # Version 2 adds the digest, and to each result its shots and which examples are right: absent in version 1.
    1: lambda table: table | {"schema_version": 2},
}
"""Schema version -> function that lifts a record's JSON to the next version."""

SEAL, END = ',\n  "digest": "', "\n}"
AGAIN = "type the command that made it again, with --force"
SINGLE_HINT = f"remove the file, or {AGAIN}"
PACKED_HINT = f"{AGAIN}: a single file stands for the packed one"
DAMAGE = (OSError, ValueError, KeyError, TypeError)


def sealed(text: str) -> str:
    """Add the SHA-256 of a JSON object's text as its last field, by which an edited file is recognised."""
    return f'{text.removesuffix(END)}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}"{END}\n'


def _is_unbroken(text: str) -> bool:
    head, _, tail = text.rpartition(SEAL)
    return text == sealed(head + END) if tail else False


class Store:
    """A results folder: `records/ID.json`, the scores of each example in `scores/ID.parquet`, and what was learned.

    That is `adapters/ID/` of tuning, or `prompts/ID.json` of in-context learning with shots. Records may be packed, too
    (`pack.py`): those are read like the others, never written; a single file stands for a packed one of its id.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.records = self.root / "records"
        self.scores = self.root / "scores"
        self.adapters = self.root / "adapters"
        self.prompts = self.root / "prompts"
        self._pack = Pack(self.root)

    def check_writable(self) -> None:
        """Make sure that results can be written, before anything is computed.

        Raises:
            RecordError: The folder cannot be made or written.
        """
        try:
            for folder in (self.records, self.scores, self.adapters):
                # In what is there already: input that turns out to be wrong must leave no folders behind.
                nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
                with tempfile.TemporaryFile(dir=nearest):
                    pass
        except OSError as error:
            hint = "give a folder that you may write with --results DIR"
            raise RecordError(f"cannot write results to '{self.root}': {error.strerror}", hint=hint) from None

    def location(self, record_id: str) -> Path:
        """Name the file of a record; of a packed one, its place in the pack."""
        path = self.records / f"{record_id}.json"
        return self._pack.path / record_id if self.is_packed(record_id) else path

    def is_packed(self, record_id: str) -> bool:
        """Tell whether a record is in the pack, and not in a file of its own."""
        return not (self.records / f"{record_id}.json").exists() and record_id in self._packed()

    def find(self, record_id: str) -> Record | None:
        """Return the record with this id, or None.

        Raises:
            RecordError: The record is there and damaged.
        """
        path = self.records / f"{record_id}.json"
        if path.exists():
            return _read(path)
        text = self._packed().get(record_id)
        return None if text is None else _parse(text, self._pack.path / record_id, PACKED_HINT)

    def all(self) -> list[Record]:
        """Return all records, oldest first.

        Raises:
            RecordError: Some files are damaged; all of them are named.
        """
        records, faults = self.readable()
        if faults:
            raise RecordError("; ".join(fault.message for fault in faults), hint=faults[0].hint)
        return records

    def readable(self) -> tuple[list[Record], list[RecordError]]:
        """Return the records that are whole, oldest first, and for each other one what is wrong with it."""
        records: list[Record] = []
        faults: list[RecordError] = []
        names = {path.stem for path in self.records.glob("*.json")}
        try:
            names |= self._packed().keys()
        except RecordError as error:
            faults.append(error)
        for name in sorted(names):
            try:
                record = self.find(name)
            except RecordError as error:
                faults.append(error)
            else:
                records += [record] if record else []
        return sorted(records, key=lambda record: (record.created_at, record.id)), faults

    def _packed(self) -> dict[str, str]:
        """Return the packed records' texts by their ids."""
        try:
            return self._pack.records
        except DAMAGE as error:
            path = self._pack.path
            why = str(error).splitlines()[0]
            raise RecordError(f"'{path}' is damaged: {why}", hint="get it again from where it came from") from None

    def read_scores(self, record_id: str) -> "pd.DataFrame":
        """Return the scores that were stored as a single file, one row per (template, example, choice)."""
        import pandas as pd

        return pd.read_parquet(self.scores / f"{record_id}.parquet")

    def write(self, record: Record, scores: "pd.DataFrame", prompt: str | None = None) -> Path:
        """Write the scores, then the record: a record that is there is complete.

        Args:
            record: Of a finished cell.
            scores: One row per (template, example, choice).
            prompt: In-context learning: what stood before the queries, for those to come.

        Raises:
            RecordError: The disk is full or the folder went away; no half-written file stays.
        """
        path = self.records / f"{record.id}.json"
        try:
            with replacing(self.scores / f"{record.id}.parquet") as temporary:
                scores.to_parquet(temporary, index=False, compression="zstd")
            if prompt is not None:
                with replacing(self.prompts / f"{record.id}.json") as temporary:
                    temporary.write_text(prompt, encoding="utf-8")
            with replacing(path) as temporary:
                temporary.write_text(sealed(record.model_dump_json(indent=2)), encoding="utf-8")
        except OSError as error:
            raise RecordError(
                f"cannot write '{path}': {error.strerror}", hint="nothing half-written was left"
            ) from None
        return path


def _read(path: Path) -> Record:
    """Read a record's single file."""
    try:
        text = path.read_text(encoding="utf-8")
    except DAMAGE as error:
        raise RecordError(f"record '{path}' is damaged: {error}", hint=SINGLE_HINT) from None
    return _parse(text, path, SINGLE_HINT)


def _parse(text: str, path: Path, hint: str) -> Record:
    """Check a record's text against its digest, and lift it to this version of the schema.

    Args:
        text: The record's JSON.
        path: Names the record in messages.
        hint: What to do about a record that is damaged.

    Raises:
        RecordError: It was cut or edited, or comes from a later version.
    """
    try:
        # Twice as fast as json.loads.
        table = from_json(text)
        version = table["schema_version"]
        if version > SCHEMA_VERSION:
            raise RecordError(
                f"record '{path}' has schema version {version}; this peftbench reads up to {SCHEMA_VERSION}",
                hint="update peftbench",
            )
        if table.pop("digest", None) is not None and not _is_unbroken(text):
            raise RecordError(f"record '{path}' was edited: its digest is not that of its content", hint=hint)
        for step in range(version, SCHEMA_VERSION):
            table = UPGRADES[step](table)
        return Record.model_validate(table)
    except (ValueError, KeyError, TypeError) as error:
        why = f"{error.error_count()} faulty fields" if isinstance(error, ValidationError) else str(error)
        raise RecordError(f"record '{path}' is damaged: {why}", hint=hint) from None
