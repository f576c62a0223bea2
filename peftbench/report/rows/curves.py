"""Learning curves: rows of a table that differ in the number of labelled examples alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peftbench.report.rows import setting
from peftbench.report.rows.setting import Setting
from peftbench.report.rows.table import Row, Table

OF_SHOTS = {"learner", "shots", "draw", "draw_version", "label_draw_version", "icl", "as"}
"""Fields of an identity that say nothing of a model without examples."""
OF_TUNING = {"method", "method_config", "training", "start_from", "sweep"}
WITHOUT_SHOTS = {"calibrate", "content_free"}
"""Options of in-context learning that say how it answers without examples, too."""
PLAIN = ("draw", "plain")


@dataclass(frozen=True)
class Curve:
    """Rows of one method, model and settings.

    Args:
        rows: At least one, by the number of labelled examples.
        zero: The model without any; None where the table does not have it.
        settings: What tells it from other curves of its method and model; mostly none.
    """

    rows: tuple[Row, ...]
    zero: Row | None = None
    settings: tuple[Setting, ...] = ()

    @property
    def first(self) -> Row:
        """The row of the fewest examples, for what is the same in all of them."""
        return self.rows[0]

    @property
    def points(self) -> tuple[Row, ...]:
        """Its rows, and the one without examples before them."""
        return self.rows if self.zero is None else (self.zero, *self.rows)

    @property
    def name(self) -> str:
        """Method and settings, and of chosen shots how many: "ICL (by bm25, 16 shots)"."""
        losses = setting.losses(self.settings, self.first.records[0])
        of_chosen = f"{self.first.num_shots} shots" if self.first.chosen_from else ""
        details = ", ".join(text for text in (setting.label(self.settings, losses), of_chosen) if text)
        return f"{self.first.method} ({details})" if details else self.first.method

    @property
    def title(self) -> str:
        """Method, settings and model."""
        return f"{self.name} on {self.first.model}"


def curves(table: Table) -> list[Curve]:
    """Find the learning curves of a table, in the order of its rows; a prompted one needs one row beside zero-shot.

    Shots that are chosen for each query are one curve where as many of them are chosen, from more and more rows.
    """
    own = [row for row in table.rows if not row.published]
    zeros = {_model(row): row for row in own if row.is_zero_shot}
    groups: dict[str, list[Row]] = {}
    for row in own:
        if not row.is_zero_shot:
            groups.setdefault(_key(row), []).append(row)
    joined = [_curve(rows, zeros) for rows in groups.values()]
    return _named([curve for curve in joined if len(curve.points if curve.first.is_icl else curve.rows) > 1])


def _key(row: Row) -> str:
    """Write what the rows of a curve share."""
    shared = setting.table(row.records[0])
    if row.chosen_from is None:
        return json.dumps({name: value for name, value in shared.items() if name != "shots"}, sort_keys=True)
    options = {name: value for name, value in shared["icl"].items() if name != "pool"}
    return json.dumps(shared | {"icl": options}, sort_keys=True)


def _model(row: Row) -> str:
    """Write what stays of a row's settings where there are no examples, and nothing is tuned."""
    shared = setting.table(row.records[0])
    rest = {name: value for name, value in shared.items() if name not in OF_SHOTS | OF_TUNING}
    options = {name: value for name, value in shared.get("icl", {}).items() if name in WITHOUT_SHOTS}
    return json.dumps(rest | {"icl": options}, sort_keys=True)


def _curve(rows: Sequence[Row], zeros: Mapping[str, Row]) -> Curve:
    ordered = tuple(sorted(rows, key=lambda row: (row.num_labelled, row.num_shots)))
    if ordered[0].is_classified:  # it has no answer without examples
        return Curve(ordered)
    return Curve(ordered, zeros.get(_model(ordered[0])))


def _named(drawn: Sequence[Curve]) -> list[Curve]:
    """Say of each curve what tells it from others of its method and model."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, curve in enumerate(drawn):
        groups.setdefault((curve.first.method, curve.first.model), []).append(index)
    settings: dict[int, tuple[Setting, ...]] = {}
    for indices in groups.values():
        unlike = setting.differences([drawn[index].first.records[0] for index in indices])
        settings |= dict(zip(indices, unlike, strict=True))
    return [Curve(curve.rows, curve.zero, _shown(settings[index])) for index, curve in enumerate(drawn)]


def _shown(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """Leave out the pool, in which the rows of a curve differ, that as many as fit are taken, and the plain draw."""
    unnamed = ("pool", "fit_shots")
    return tuple(part for part in settings if part.name not in unnamed and (part.name, part.value) != PLAIN)
