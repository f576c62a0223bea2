"""What a person names for a comparison: one record, or a row of the report with all its records."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import RecordError
from peftbench.registry import known
from peftbench.report.rows import setting
from peftbench.report.rows.setting import Setting, shots
from peftbench.report.rows.table import distinguish
from peftbench.store.record import Record, identify
from peftbench.store.results import Store

SPELLING = "METHOD@MODEL[:SHOTS][,KEY=VALUE]"


@dataclass(frozen=True)
class Kept:
    """A record, and the folder that has its scores."""

    record: Record
    store: Store


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Args:
        word: A word that names it.
        settings: What tells its row from others of the same method, model and shots; mostly none.
        kept: Its records; of one row.
        is_record: Whether one record was named.
    """

    word: str
    settings: tuple[Setting, ...]
    kept: tuple[Kept, ...]
    is_record: bool = False

    @property
    def first(self) -> Record:
        """One of its records, for what is the same in all of them."""
        return self.kept[0].record

    @property
    def draws_nothing(self) -> bool:
        """Whether it is zero-shot: nothing depends on a seed."""
        return setting.method(self.first) == "zero-shot"

    @property
    def title(self) -> str:
        """Method, model and shots in words."""
        details = [] if self.draws_nothing else [f"{shots(self.first)} shots"]
        if self.settings:
            details.append(setting.label(self.settings, setting.losses(self.settings, self.first)))
        return ", ".join([f"{setting.method(self.first)} on {self.first.model.name}", *details])


def read(folders: Sequence[Path]) -> list[Kept]:
    """Read all records of some folders, each id once.

    Raises:
        RecordError: There are none, or some cannot be read.
    """
    stores = [Store(folder) for folder in folders]
    kept = {record.id: Kept(record, store) for store in reversed(stores) for record in store.all()}
    if not kept:
        names = ", ".join(f"'{folder}'" for folder in folders)
        raise RecordError(f"no records in {names}", hint="`peftbench icl` and `peftbench tune` make the first ones")
    return list(kept.values())


def rows(kept: Sequence[Kept]) -> dict[str, Side]:
    """Give the rows of the report under the names that a person types."""
    groups: dict[str, list[Kept]] = {}
    for one in sorted(kept, key=lambda one: (one.record.task.name, one.record.seed)):
        groups.setdefault(setting.key(one.record), []).append(one)
    settings = distinguish({key: group[0].record for key, group in groups.items()})
    sides = {}
    for key, group in groups.items():
        word = name(group[0].record) + "".join(f",{part.text}" for part in settings[key])
        sides[word] = Side(word, settings[key], tuple(group))
    return dict(sorted(sides.items()))


def name(record: Record, model: str | None = None) -> str:
    """Spell a record's row, or that of another model, as METHOD@MODEL:SHOTS."""
    plain = f"{setting.method(record).lower()}@{model or record.model.name}"
    return plain + (f":{shots(record)}" if shots(record) else "")


def choose(word: str, kept: Sequence[Kept]) -> Side:
    """Find the side that a word names.

    Args:
        word: A record's id or the beginning of one, or METHOD@MODEL[:SHOTS][,KEY=VALUE]; settings are needed only
            where rows differ in them.
        kept: All records that there are.

    Raises:
        RecordError: It names nothing, or more than one thing; the hint lists what there is. Or a record was edited.
    """
    sides = rows(kept)
    side = _row(word, sides) if "@" in word else _record(word, kept, sides)
    for one in side.kept:
        if one.record.id != identify(one.record.identity):
            path = one.store.location(one.record.id)
            raise RecordError(
                f"record '{path}' was edited: its id is not the hash of its identity",
                hint="remove the file, or type the command that made it again, with --force",
            )
    return side


def check_apart(a: Side, b: Side) -> None:
    """Make sure that no record stands on both sides.

    Raises:
        RecordError: One does.
    """
    shared = {one.record.id for one in a.kept} & {one.record.id for one in b.kept}
    if shared:
        raise RecordError(
            f"'{a.word}' and '{b.word}' have {len(shared)} records in common",
            hint="name two rows, or two records of which neither belongs to the other side",
        )


def _row(word: str, sides: Mapping[str, Side]) -> Side:
    method, _, rest = word.partition("@")
    # A comma inside a value, as of a list, separates nothing.
    head, *settings = re.split(r",(?=[\w.]+=)", f"{method.lower()}@{rest}")
    found = [side for side in sides.values() if head in _heads(side.first)]
    found = [side for side in found if set(settings) <= {part.text for part in side.settings}]
    # The row at the defaults has no settings to name: its plain word is its own.
    found = [side for side in found if set(settings) == {part.text for part in side.settings}] or found
    if len(found) > 1:
        words = ", ".join(side.word for side in found)
        raise RecordError(f"'{word}' stands for {len(found)} rows", hint=f"say which: {words}")
    return found[0] if found else sides[known(word, sides, "row", RecordError)]


def _heads(record: Record) -> set[str]:
    plain = f"{setting.method(record).lower()}@{record.model.name}"
    return {plain, f"{plain}:{shots(record)}"}


def _record(word: str, kept: Sequence[Kept], sides: Mapping[str, Side]) -> Side:
    found = [one for one in kept if one.record.id.startswith(word)]
    if len(found) > 1:
        some = ", ".join(one.record.id for one in itertools.islice(found, 4))
        raise RecordError(f"{len(found)} records have an id that begins with '{word}'", hint=f"among them: {some}")
    if not found:
        known(word, sides, "record or row", RecordError)
    row = next(side for side in sides.values() if found[0] in side.kept)
    return Side(found[0].record.id, row.settings, (found[0],), is_record=True)
