"""What a person names for a comparison: one record, or a row of the report with all its records."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import RecordError
from peftbench.registry import known
from peftbench.report.rows import folds, setting
from peftbench.report.rows.setting import Setting, shots
from peftbench.report.rows.table import distinguish
from peftbench.store.place import named
from peftbench.store.record import Record
from peftbench.store.results import Store

SPELLING = "METHOD@MODEL[:SHOTS][,KEY=VALUE]"


@dataclass(frozen=True)
class Stored:
    """A record, and the folder that has its scores.

    Args:
        folds: Of a record that was joined, those of its folds, which have the scores.
    """

    record: Record
    store: Store
    folds: "tuple[Stored, ...]" = ()


@dataclass(frozen=True)
class Selection:
    """The records that a word stands for, all of one row.

    Args:
        word: The record's id, or the row as `SPELLING` says.
        settings: What tells its row from others of the same method, model and shots; mostly none.
        stored: Its records.
        is_record: Whether one record was named.
    """

    word: str
    settings: tuple[Setting, ...]
    stored: tuple[Stored, ...]
    is_record: bool = False

    @property
    def first(self) -> Record:
        """One of its records, for what is the same in all of them."""
        return self.stored[0].record

    @property
    def records(self) -> list[Record]:
        """Its records without their folders."""
        return [stored.record for stored in self.stored]

    @property
    def ids(self) -> list[str]:
        """Ids of its records, those of joined folds each."""
        return [name for record in self.records for name in record.ids]

    @property
    def is_zero_shot(self) -> bool:
        """Whether it learned from nothing, so that nothing depends on a seed."""
        return setting.method(self.first) == "zero-shot"

    @property
    def title(self) -> str:
        """Method, model and shots in words."""
        details = [] if self.is_zero_shot else [f"{shots(self.first)} shots"]
        if self.settings:
            details.append(setting.label(self.settings, setting.losses(self.settings, self.first)))
        return ", ".join([f"{setting.method(self.first)} on {self.first.model.name}", *details])


def read(folders: Sequence[Path]) -> list[Stored]:
    """Read all records of some folders, each id once.

    Returns:
        The records, those of the folds of a split joined to one; then those of splits that lack a fold.

    Raises:
        RecordError: There are none, or some cannot be read.
    """
    stores = [Store(folder) for folder in folders]
    by_id = {record.id: Stored(record, store) for store in reversed(stores) for record in store.all()}
    if not by_id:
        names = ", ".join(f"'{named(folder)}'" for folder in folders)
        raise RecordError(f"no records in {names}", hint="`peftbench icl` and `peftbench tune` make the first ones")
    joined, _ = folds.join([stored.record for stored in by_id.values()])
    whole = [by_id.get(record.id) or _of_folds(record, by_id) for record in joined]
    used = {name for stored in whole for name in stored.record.ids}
    return [*whole, *(stored for name, stored in by_id.items() if name not in used)]


def _of_folds(record: Record, by_id: Mapping[str, Stored]) -> Stored:
    parts = tuple(by_id[name] for name in record.ids)
    return Stored(record, parts[0].store, parts)


def left_out(selection: Selection, all_stored: Sequence[Stored]) -> list[str]:
    """List the splits of a row that lack a fold, in words."""
    keys = {setting.key(record) for record in selection.records}
    alone = [stored.record for stored in all_stored if folds.is_fold(stored.record)]
    _, reasons = folds.join([record for record in alone if folds.row_key(record) in keys])
    return reasons


def rows(all_stored: Sequence[Stored]) -> dict[str, Selection]:
    """Return the rows of the report under the names that a person types."""
    groups: dict[str, list[Stored]] = {}
    whole = [stored for stored in all_stored if not folds.is_fold(stored.record)]
    for stored in sorted(whole, key=lambda stored: (stored.record.task.name, stored.record.seed)):
        groups.setdefault(setting.key(stored.record), []).append(stored)
    settings = distinguish({key: group[0].record for key, group in groups.items()})
    selections = {}
    for key, group in groups.items():
        word = name(group[0].record) + "".join(f",{part.text}" for part in settings[key])
        selections[word] = Selection(word, settings[key], tuple(group))
    return dict(sorted(selections.items()))


def name(record: Record, model: str | None = None) -> str:
    """Spell a record's row, or that of another model, as METHOD@MODEL:SHOTS."""
    plain = f"{setting.method(record).lower()}@{model or record.model.name}"
    return plain + (f":{shots(record)}" if shots(record) else "")


def choose(word: str, all_stored: Sequence[Stored]) -> Selection:
    """Find the records that a word names.

    Args:
        word: A record's id or the beginning of one, or METHOD@MODEL[:SHOTS][,KEY=VALUE]; settings are needed only
            where rows differ in them.
        all_stored: All records that there are.

    Raises:
        RecordError: It names nothing, or more than one thing; the hint lists what there is.
    """
    selections = rows(all_stored)
    return _row(word, selections, all_stored) if "@" in word else _record(word, all_stored, selections)


def check_apart(a: Selection, b: Selection) -> None:
    """Make sure that two selections have no record in common.

    Raises:
        RecordError: They have.
    """
    shared = {record.id for record in a.records} & {record.id for record in b.records}
    if shared:
        raise RecordError(
            f"'{a.word}' and '{b.word}' have {len(shared)} records in common",
            hint="name two rows, or two records of which neither belongs to the other side",
        )


def _row(word: str, selections: Mapping[str, Selection], all_stored: Sequence[Stored]) -> Selection:
    method, _, rest = word.partition("@")
    # A comma inside a value, as of a list, separates nothing.
    head, *texts = re.split(r",(?=[\w.]+=)", f"{method.lower()}@{rest}")
    settings = set(texts)
    alike = [selection for selection in selections.values() if head in _heads(selection.first)]
    fitting = [selection for selection in alike if settings <= _texts(selection)]
    # The row at the defaults has no settings to name: its plain word is its own.
    exact = [selection for selection in fitting if settings == _texts(selection)] or fitting
    if len(exact) > 1:
        words = ", ".join(selection.word for selection in exact)
        raise RecordError(f"'{word}' stands for {len(exact)} rows", hint=f"say which: {words}")
    if not exact:
        _refuse_folds([stored.record for stored in all_stored if head in _heads(stored.record)])
    return exact[0] if exact else selections[known(word, selections, "row", RecordError)]


def _refuse_folds(records: Sequence[Record]) -> None:
    """Refuse records of which some are of splits that lack a fold."""
    _, reasons = folds.join(records)
    if reasons:
        raise RecordError(reasons[0], hint="a comparison is over all rows, and so takes all folds of a split")


def _texts(selection: Selection) -> set[str]:
    return {part.text for part in selection.settings}


def _heads(record: Record) -> set[str]:
    plain = f"{setting.method(record).lower()}@{record.model.name}"
    return {plain, f"{plain}:{shots(record)}"}


def _record(word: str, all_stored: Sequence[Stored], selections: Mapping[str, Selection]) -> Selection:
    of_folds = [part for stored in all_stored for part in stored.folds]
    candidates = [stored for stored in (*all_stored, *of_folds) if stored.record.id.startswith(word)]
    if len(candidates) > 1:
        ids = ", ".join(stored.record.id for stored in itertools.islice(candidates, 4))
        raise RecordError(f"{len(candidates)} records have an id that begins with '{word}'", hint=f"among them: {ids}")
    if not candidates:
        known(word, selections, "record or row", RecordError)
    record = candidates[0].record
    if folds.is_fold(record):
        _refuse_folds(
            [stored.record for stored in all_stored if folds.of_folds(stored.record) == folds.of_folds(record)]
        )
        word = next(name for name, selection in selections.items() if record.id in selection.ids)
        message = (
            f"record {record.id} is of one fold of {record.identity['fold']['of']}, and a comparison is over all rows"
        )
        raise RecordError(message, hint=f"name the row: {word}")
    row = next(selection for selection in selections.values() if candidates[0] in selection.stored)
    return Selection(candidates[0].record.id, row.settings, (candidates[0],), is_record=True)
