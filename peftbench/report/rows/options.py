"""A record's settings as somebody types them: what the command line needs beside learner, model, method and task."""

from collections.abc import Iterator, Mapping
from typing import Any

from peftbench.report.rows.setting import SET, Setting
from peftbench.spec.cell import Cell, IclOptions, Scoring
from peftbench.store.record import Record

PLAIN = ("revision", "dtype", "templates", "limit", "draw")
"""Fields of a cell with an option of their own name."""
NOT_TYPED = ("order",)
"""Options of in-context learning that are typed for all records of a row together, as --orders."""


def of_record(record: Record) -> list[Setting]:
    """List what has to be typed so that the same cell is run again, defaults left out.

    What a method or a training defaults to depends on the method and the model's folder, which no record holds: all of
    their settings are listed.
    """
    return [*shared(record), *_icl(record), *_tuning(record)]


def shared(record: Record) -> list[Setting]:
    """List what any learner needs so that it sees the same rows and weights and scores alike, defaults left out."""
    identity, defaults = record.identity, {name: Cell.model_fields[name].default for name in PLAIN}
    plain = {name: identity.get(name, default) for name, default in defaults.items()}
    end = "eos" if record.model.is_encoder_decoder else "none"
    scoring = Scoring(end=end).model_dump(mode="json")
    return [*_changed((), plain, defaults), *_changed(("scoring",), identity.get("scoring", {}), scoring)]


def _icl(record: Record) -> Iterator[Setting]:
    options = {name: value for name, value in record.identity.get("icl", {}).items() if name not in NOT_TYPED}
    yield from _changed(("icl",), options, IclOptions().model_dump(mode="json"))


def _tuning(record: Record) -> Iterator[Setting]:
    for table in SET:
        for name, value in (record.identity.get(table) or {}).items():
            yield Setting((table, name), value)
    if record.learned.start_from:
        yield Setting(("start_from",), record.learned.start_from.path)
    if record.learned.sweep:
        # Around the rate that `training` has.
        yield Setting(("sweep",), "lr")


def _changed(path: tuple[str, ...], values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[Setting]:
    for name, value in values.items():
        if value != defaults.get(name):
            yield Setting((*path, name), value)
