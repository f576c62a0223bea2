"""A results folder: finds and writes records, each once, and refuses edited ones."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import from_json

from peftbench.errors import RecordError
from peftbench.registry import is_classifier
from peftbench.store import digest, files, packed, scores
from peftbench.store.claims import Claims
from peftbench.store.collector import uncollected
from peftbench.store.local import KINDS, Local
from peftbench.store.packed import Packed
from peftbench.store.place import Place
from peftbench.store.record import SCHEMA_VERSION, Files, Record, identify
from peftbench.store.remote import opened
from peftbench.store.seal import FIELD, broken, sealed, unsealed

if TYPE_CHECKING:
    import pandas as pd

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # Version 2 adds the digest, and to each result its shots and which examples are right: absent in version 1.
    1: lambda table: table | {"schema_version": 2},
    # Version 3 adds the SHA-256 of the files that a record was written with.
    2: lambda table: table | {"schema_version": 3},
}
"""Schema version -> function that lifts a record's JSON to the next version."""

THIS_VERSION = f'{{\n  "schema_version": {SCHEMA_VERSION},'
"""How the text of a record of this version begins."""
SEALED_SINCE = 2
"""Schema version from which on a record has a digest."""
AGAIN = "type the command that made it again, with --force"
UNWRITTEN = (
    "nothing is half-written, finished records stay; where the folder can be written again, the same command goes on"
)
SINGLE_HINT = f"remove the file, or {AGAIN}"
PACKED_HINT = f"{AGAIN}: a single file stands for the packed one"
DAMAGE = (OSError, ValueError, KeyError, TypeError)

KNOWN = "served.json"
"""File of the served models that are known."""


class Store:
    """A results folder: `records/ID.json`, the scores of each example in `scores/ID.parquet`, and what was learned.

    That is `adapters/ID/` of tuning, or `prompts/ID.json` of in-context learning with shots. Records may be packed, too
    (`pack.py`): those are read like the others, never written; a single file stands for a packed one of its id.
    """

    def __init__(self, root: str | Path | Local) -> None:
        self._place: Place = root if isinstance(root, Local) else opened(root)
        self.root = self._place.folder
        self.records = self.root / "records"
        self.scores = self.root / "scores"
        self.adapters = self.root / "adapters"
        self.prompts = self.root / "prompts"
        self.served = self.root / KNOWN
        self.claims = Claims(self._place.claims)

    def check_writable(self) -> None:
        """Make sure that results can be written, before anything is computed.

        Raises:
            RecordError: They cannot.
        """
        self._place.check_writable()

    def location(self, record_id: str) -> Path:
        """Name the file of a record; of a packed one, its place in the pack."""
        path = self.records / f"{record_id}.json"
        return self._packed[record_id].pack / record_id if self.is_packed(record_id) else path

    def answers(self, record_id: str) -> Path:
        """Name the file of what a server has answered for a record that is not there yet."""
        return self.root / "answers" / f"{record_id}.jsonl"

    def forget_answers(self, record_id: str) -> None:
        """Remove that file, now that the record is there."""
        path = self.answers(record_id)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or others are in it
            path.parent.rmdir()

    def is_packed(self, record_id: str) -> bool:
        """Tell whether a record is in the pack, and not in a file of its own."""
        return not (self.records / f"{record_id}.json").exists() and record_id in self._packed

    def find(self, record_id: str) -> Record | None:
        """Return the record with this id, or None.

        Raises:
            RecordError: The record is there and damaged.
        """
        self._place.settle_record(record_id)
        return self._find(record_id)

    def _find(self, record_id: str) -> Record | None:
        try:
            return _read(self.records / f"{record_id}.json")
        except FileNotFoundError:  # there is none; or it went away since it was listed
            in_pack = self._packed.get(record_id)
        return None if in_pack is None else _parse(in_pack.text, in_pack.pack / record_id, PACKED_HINT)

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
        self._place.settle()
        records: list[Record] = []
        faults: list[RecordError] = []
        names = {path.stem for path in self.records.glob("*.json")}
        try:
            names |= self._packed.keys()
        except RecordError as error:
            faults.append(error)
        with uncollected():
            for name in sorted(names):
                try:
                    record = self._find(name)
                except RecordError as error:
                    faults.append(error)
                else:
                    records += [record] if record else []
        return sorted(records, key=lambda record: (record.created_at, record.id)), faults

    @cached_property
    def _packed(self) -> Mapping[str, Packed]:
        """The packed records by their ids; read when they are first needed."""
        return packed.read(self.root)

    def read_scores(self, record_id: str) -> "pd.DataFrame":
        """Return the scores that were stored as a single file, one row per (template, example, choice).

        Raises:
            OSError: There are none, or they may not be read.
            ValueError: They are damaged, or others than the record was written with.
            RecordError: The record is damaged.
        """
        record = self.find(record_id)
        sha256 = None if record is None or record.files is None else record.files.scores
        return scores.read(self.scores_file(record_id), sha256)

    def scores_file(self, record_id: str) -> Path:
        """Name the file of a record's scores; it is there unless they are missing or were packed away.

        Raises:
            RecordError: They lie elsewhere, and cannot be had.
        """
        record = self._find(record_id)
        if record is not None:
            self._place.bring_scores(record)
        return self.scores / f"{record_id}.parquet"

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Make a folder on the results' disk, for what is to become a part of them; what stays in it is removed.

        Raises:
            RecordError: It cannot be made or written.
        """
        try:
            with files.temporary_folder(self.root) as staged:
                yield staged
        except OSError as error:
            why = f"cannot write results to '{self.root}': {error.strerror or error}"
            raise RecordError(why, hint=UNWRITTEN) from None

    def write(
        self,
        record: Record,
        frame: "pd.DataFrame",
        prompt: str | None = None,
        adapter: Path | None = None,
        *,
        force: bool = True,
    ) -> Record:
        """Write a cell's record and all that belongs to it: all of it is there, or nothing.

        It is put together in a folder beside, and one rename says that it is whole. From then on it counts: if the
        writer is stopped before all files are in their places, whoever reads or writes next brings them there.

        Args:
            record: Of a finished cell.
            frame: Its scores, one row per (template, example, choice).
            prompt: In-context learning: what stood before the queries, for those to come.
            adapter: What was learned, a folder in `staging()`; it is moved.
            force: Replace a record that is there; otherwise it stays, with all that belongs to it.

        Returns:
            The record that is there now; it knows the SHA-256 of its files.

        Raises:
            RecordError: The disk is full or the folder went away; no half-written file stays.
        """
        try:
            with files.temporary_folder(self.root) as staged:
                record = _lay_out(staged, record, frame, prompt, adapter)
                files.sync_whole(staged)
                return self._place.publish(staged, record, lambda: self._standing(record.id), force=force)
        except OSError as error:
            path = self.records / f"{record.id}.json"
            raise RecordError(f"cannot write '{path}': {error.strerror or error}", hint=UNWRITTEN) from None

    def _standing(self, record_id: str) -> Record | None:
        """Return the record of this id that is in the folder with all that belongs to it, or None."""
        record = self._find(record_id)
        return record if record is not None and self.is_complete(record) else None

    def is_complete(self, record: Record) -> bool:
        """Tell whether what was learned is there with a record; of packed records it is not kept."""
        is_tuned = record.learned.learner == "tune" and not is_classifier(record.learned.method)
        has_adapter = is_tuned or record.identity.get("icl", {}).get("as_prefix", False)
        return not has_adapter or self.is_packed(record.id) or self._place.has_adapter(record)

    def tidy(self) -> None:
        """Remove what dead writers left, and bring to its place what they had finished, where that may be done."""
        for folder in (self.root, *(self.root / kind for kind in KINDS)):
            files.sweep(folder)
        self.claims.sweep()
        self._place.settle()


def _lay_out(staged: Path, record: Record, frame: "pd.DataFrame", prompt: str | None, adapter: Path | None) -> Record:
    """Put together what a cell leaves, as in a results folder of its own; return the record that knows its files."""
    sha256: dict[str, str] = {}
    path = _made(staged, "scores", f"{record.id}.parquet")
    scores.write(path, frame)
    sha256["scores"] = digest.of_file(path)
    if adapter is not None:
        path = _made(staged, "adapters", record.id)
        adapter.rename(path)
        sha256["adapter"] = digest.of_folder(path)
    if prompt is not None:
        path = _made(staged, "prompts", f"{record.id}.json")
        path.write_text(prompt, encoding="utf-8")
        sha256["prompt"] = digest.of_file(path)
    record = record.model_copy(update={"files": Files(**sha256)})
    path = _made(staged, "records", f"{record.id}.json")
    path.write_text(sealed(record.model_dump_json(indent=2)), encoding="utf-8")
    return record


def _made(staged: Path, kind: str, name: str) -> Path:
    """Make the folder of a kind of files, and return where one goes in it."""
    (staged / kind).mkdir()
    return staged / kind / name


def _read(path: Path) -> Record:
    """Read a record's single file.

    Raises:
        FileNotFoundError: There is none.
        RecordError: It is damaged, or comes from a later version.
    """
    try:
        # Faster than read_text, which looks for all ends of lines; a copy by way of Windows is the same record.
        text = path.read_bytes().decode()
        text = text.replace("\r\n", "\n") if "\r" in text else text
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise RecordError(f"record '{path}' is damaged: {error}", hint=SINGLE_HINT) from None
    return _parse(text, path, SINGLE_HINT)


def _parse(text: str, path: Path, hint: str) -> Record:
    """Check a record's text against its digest, its name and its identity, and lift it to this version of the schema.

    Args:
        text: The record's JSON.
        path: Names the record in messages; its stem is the record's id.
        hint: What to do about a record that is damaged.

    Raises:
        RecordError: It was cut or edited, or comes from a later version.
    """
    record = _of_this_version(text) or _of_any_version(text, path, hint)
    if record.id != path.stem:
        raise RecordError(f"record '{path}' is a copy of {record.id} under another name", hint=f"remove '{path}'")
    if record.id != identify(record.identity):
        raise RecordError(f"record '{path}' was edited: its id is not the hash of its identity", hint=hint)
    return record


def _of_this_version(text: str) -> Record | None:
    """Read a whole record without a table of its JSON in between, in two thirds of the time; None for all others."""
    content = unsealed(text) if text.startswith(THIS_VERSION) else None
    with suppress(ValidationError):  # the slower way tells what is wrong
        return None if content is None else Record.model_validate_json(content)
    return None


def _of_any_version(text: str, path: Path, hint: str) -> Record:
    """Read a record of whatever version, or tell what is wrong with it; see `_parse`."""
    try:
        # Twice as fast as json.loads.
        table = from_json(text)
        version = table["schema_version"]
        if version > SCHEMA_VERSION:
            raise RecordError(
                f"record '{path}' has schema version {version}; this peftbench reads up to {SCHEMA_VERSION}",
                hint="update peftbench, or name another folder with --results",
            )
        if fault := broken(text, table, is_needed=version >= SEALED_SINCE):
            raise RecordError(f"record '{path}' {fault}", hint=hint)
        table.pop(FIELD, None)
        for step in range(version, SCHEMA_VERSION):
            table = UPGRADES[step](table)
        return Record.model_validate(table)
    except ValidationError as error:
        raise RecordError(f"record '{path}' is damaged: {_first(error)}", hint=hint) from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"record '{path}' is damaged: {error}", hint=hint) from None


def _first(error: ValidationError) -> str:
    """Describe the first faulty field, and count the others."""
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"]))
    more = error.error_count() - 1
    return f"{where}: {fault['msg']}" + (f", and {more} more faulty fields" if more else "")
