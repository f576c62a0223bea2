"""What the pictures of a table show, as data: the same for HTML and PNG."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from peftbench.report.rows import names, units
from peftbench.report.rows.curves import curves
from peftbench.report.rows.metric import has_chance, heading
from peftbench.report.rows.table import Interval, Row, Table, best
from peftbench.report.rows.texts import flops, have_orders, interval, pool, pool_with_orders

NUM_QUERIES = 1_000
"""After so many queries the total costs are shown at first."""
CHANCE = "chance"


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        scale: "shots" is log(1 + x), which has a place for zero shots.
        ticks: Values, and how they are written.
    """

    title: str
    scale: Literal["linear", "log", "shots"]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Return the place on the axis: 0 at its low end, 1 at its high one."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def _scaled(self, value: float) -> float:
        if self.scale == "log":
            return math.log(value)
        return math.log1p(value) if self.scale == "shots" else value


@dataclass(frozen=True)
class Point:
    """One row of the table.

    Args:
        x: In the axis' unit.
        y: Score, as a fraction of 1.
        interval: Of y.
        series: What decides its colour: the method.
        model: What decides its shape.
        label: Short, to stand beside it.
        details: What it is, in full; several lines.
        is_hollow: Whether it stands for what costs less with the shots' keys and values in a cache.
        once: FLOPs of x that are paid once: training, or filling the cache.
        per_query: FLOPs of x that each query takes; None where x is no such total.
    """

    x: float
    y: float
    interval: Interval | None
    series: str
    model: str
    label: str
    details: str
    is_hollow: bool = False
    once: float = 0
    per_query: float | None = None


@dataclass(frozen=True)
class Line:
    """What joins points: a learning curve.

    Args:
        name: Method and settings, and the model where there are several.
        dashes: Which pattern it has: 0 is none; lines of one colour differ in it.
    """

    name: str
    points: tuple[Point, ...]
    dashes: int = 0

    @property
    def series(self) -> str:
        """What decides its colour; its last point is never the one without examples."""
        return self.points[-1].series


@dataclass(frozen=True)
class Figure:
    """Points over two axes.

    Args:
        name: Of the file or the element.
        lines: Each joins some of the points.
        levels: Scores that a line across shows, with their names.
    """

    name: str
    title: str
    note: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    lines: tuple[Line, ...] = ()
    levels: tuple[tuple[float, str], ...] = field(default=())


def level_end(figure: Figure, value: float, text: str) -> float:
    """Return where a line's name ends on the x axis, 0 to 1: at the right, or left of points in its way."""
    points = [(figure.x.place(point.x), figure.y.place(point.y)) for point in figure.points]
    near = [x for x, y in points if abs(y - figure.y.place(value)) < 0.07]
    width = 0.016 * len(text)
    return next(
        (end for end in (1.0, 0.65, 0.35) if not any(end - width < x + 0.02 and x - 0.02 < end for x in near)), 1
    )


def named_lines(figure: Figure) -> tuple[Line, ...]:
    """Return the lines that need a legend: all, where colours alone do not tell them apart."""
    return figure.lines if any(line.dashes for line in figure.lines) else ()


def figures(table: Table) -> list[Figure]:
    """Make the pictures of a table; those that would have no points are left out.

    Paper: 2205.05638, Figure 3 (inference), Figure 2 (parameters).
    """
    drawn = [_inference(table), _total(table), _parameters(table), _examples(table)]
    return [figure for figure in drawn if figure and figure.points]


def details(row: Row) -> str:
    """Describe a row in full: what was run, what came out, what it cost."""
    metric = row.metric
    is_guessed = row.chance is not None and has_chance(metric)
    chance = f", chance {units.percent(row.chance or 0, metric.decimals)}" if is_guessed else ""
    lines = [names.full(row), f"{metric.title} {units.percent(row.score, metric.decimals)} {metric.unit}{chance}"]
    if row.interval:
        lines.append(f"95 % interval {interval(row.interval, metric.decimals)}")
    if row.num_seeds:
        if have_orders([row]):
            pooled = f"seeds x orders x templates {pool_with_orders(row)}"
        else:
            pooled = f"seeds x templates {pool(row)}"
        lines.append(f"n {row.num_examples:,}, {pooled}")
    for title, cost in (("inference", "inference_flops_per_example"), ("training", "training_flops")):
        per_query = " per query" if title == "inference" else ""
        lines.append(f"{title} {flops(row, cost)} FLOPs{per_query}")
    if row.num_trained_parameters:
        lines.append(f"{row.num_trained_parameters:,} trained parameters")
    ids = [name for record in row.records for name in record.ids]
    if ids:
        lines.append(f"{len(ids)} records: {', '.join([*ids[:2], *('...' for _ in ids[2:3])])}")
    return "\n".join(lines)


def _title(table: Table, of: str) -> str:
    title = table.metric.title
    return f"{title[0].upper()}{title[1:]} against {of}"


def _inference(table: Table) -> Figure | None:
    points = [
        *_points(table, table.rows, lambda row: row.cost("inference_flops_per_example")),
        *_points(table, table.rows, lambda row: row.cost("cached_inference_flops_per_example"), is_hollow=True),
    ]
    note = "One query. Hollow: with the shots' keys and values in a cache."
    return _figure("inference", _title(table, "inference FLOPs"), note, "inference FLOPs per example", points, table)


def _total(table: Table) -> Figure | None:
    plain = _totals(table, "inference", "training_flops")
    cached = _totals(table, "cached_inference", "cache_flops", True)
    points = [point for _, point in (*plain, *cached)]
    note = "Training, or filling the cache, and all queries. Hollow: with the shots' keys and values in a cache."
    title = _title(table, f"total FLOPs after {NUM_QUERIES:,} queries")
    figure = _figure("total", title, note, f"total FLOPs after {NUM_QUERIES:,} queries", points, table)
    lines = _lines(table, plain)
    return figure and replace(figure, x=totals(figure.x.title, points, NUM_QUERIES), lines=lines)


def _lines(table: Table, placed: Sequence[tuple[Row, Point]]) -> tuple[Line, ...]:
    """Join the points of each learning curve; those of one colour and shape differ in their dashes."""
    has_models = len({row.model for row, _ in placed}) > 1
    lines: list[Line] = []
    for curve in curves(table):
        points = tuple(point for row in curve.points for other, point in placed if other is row)
        if len(points) > 1:
            place = points[-1].series, points[-1].model
            like = sum((line.points[-1].series, line.points[-1].model) == place for line in lines)
            lines.append(Line(curve.title if has_models else curve.name, points, like))
    return tuple(lines)


def totals(title: str, points: Iterable[Point], num_queries: int) -> Axis:
    """Make an axis of total costs that is wide enough for any number of queries, relative to those of this one.

    With one query it is training that counts, with many it is each query.
    """
    costs = [(point.once, point.per_query) for point in points if point.per_query]
    return decades(title, [num_queries * (part * once + per_query) for once, per_query in costs for part in (0, 1)])


def _totals(table: Table, query: str, once: str, is_hollow: bool = False) -> list[tuple[Row, Point]]:
    points = []
    for row in table.rows:
        per_query, first = row.cost(f"{query}_flops_per_example"), row.cost(once)
        if per_query is not None and first is not None:
            first += row.cost("index_flops") or 0
            total = first + NUM_QUERIES * per_query
            points.append((row, _point(table, row, total, is_hollow, first, per_query)))
    return points


def _parameters(table: Table) -> Figure | None:
    points = _points(table, [row for row in table.rows if row.is_tuned], lambda row: row.num_trained_parameters)
    others = [row for row in table.rows if not row.is_tuned and not row.published]
    models = dict.fromkeys(row.model for row in sorted(others, key=lambda row: row.score))
    # Of equal ones the last.
    untrained = [best([row for row in reversed(others) if row.model == model]) for model in models]
    levels = [(row.score, f"{_label(table, row)}, {row.model}") for row in untrained]
    note = "Lines: the best that each model does without training."
    return _figure("parameters", _title(table, "trained parameters"), note, "trained parameters", points, table, levels)


def _examples(table: Table) -> Figure | None:
    rows = {id(row): row for curve in curves(table) for row in curve.points}
    placed = [(row, _point(table, row, row.num_labelled)) for row in rows.values()]
    if not placed:
        return None
    lines = tuple(_ending_in_name(line) for line in _lines(table, placed))
    points = tuple(dict.fromkeys(point for line in lines for point in line.points))
    counts = sorted({int(point.x) for point in points})
    ticks = tuple((float(count), str(count)) for count in counts)
    return Figure(
        "examples",
        _title(table, "labelled examples"),
        "In the prompt, chosen from for each query, or tuned on, as asked for; 0 is zero-shot.",
        Axis("labelled examples", "shots", counts[0], counts[-1] * 1.15, ticks),
        _scores(points, table, []),
        points,
        lines,
        _chance(table),
    )


def _ending_in_name(line: Line) -> Line:
    """Name the line at its end, and none of its other points, whose place on the axis says what they are."""
    *others, last = line.points
    return replace(line, points=(*(replace(point, label="") for point in others), replace(last, label=line.name)))


def _figure(
    name: str,
    title: str,
    note: str,
    unit: str,
    points: Sequence[Point],
    table: Table,
    levels: Sequence[tuple[float, str]] = (),
) -> Figure | None:
    if not points:
        return None
    axis = decades(unit, [point.x for point in points])
    all_levels = (*levels, *_chance(table))
    return Figure(name, title, note, axis, _scores(points, table, levels), tuple(points), levels=all_levels)


def _points(
    table: Table, rows: Iterable[Row], x: Callable[[Row], float | None], is_hollow: bool = False
) -> list[Point]:
    values = [(row, x(row)) for row in rows]
    return [_point(table, row, value, is_hollow) for row, value in values if value is not None]


def _point(
    table: Table, row: Row, x: float, is_hollow: bool = False, once: float = 0, per_query: float | None = None
) -> Point:
    return Point(
        x=x,
        y=row.score,
        interval=row.interval,
        series=row.method,
        model=row.model,
        label=_label(table, row) + (", cached" if is_hollow else ""),
        details=details(row) + ("\nwith cached keys and values of the shots" if is_hollow else ""),
        is_hollow=is_hollow,
        once=once,
        per_query=per_query,
    )


def _label(table: Table, row: Row) -> str:
    """Name a row where there is little room, with its shots where tuned rows differ in them, too."""
    tuned = {other.num_shots for other in table.rows if other.is_tuned and not other.published}
    shots = f" {names.shots(row)}" if row.is_icl or (row.is_tuned and len(tuned) > 1) else ""
    return f"{row.method}{shots} {names.short(row)}".rstrip()


def decades(title: str, values: Sequence[float]) -> Axis:
    """Make a logarithmic axis with some room around the values and a tick at each power of ten."""
    low, high = min(values) / 1.8, max(values) * 2.5
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    step = max(1, math.ceil((last - first + 1) / 7))
    ticks = [(1, k) for k in range(first, last + 1, step)]
    if len(ticks) < 3:
        ticks = [
            (digit, k) for k in range(first - 1, last + 1) for digit in (1, 2, 5) if low <= digit * 10.0**k <= high
        ]
    return Axis(title, "log", low, high, tuple((digit * 10.0**k, f"{digit}e{k}") for digit, k in ticks))


def _scores(points: Iterable[Point], table: Table, levels: Sequence[tuple[float, str]]) -> Axis:
    return scores(heading(table.metric), points, [*levels, *_chance(table)], table.metric.lowest)


def scores(title: str, points: Iterable[Point], levels: Sequence[tuple[float, str]], lowest: float = 0) -> Axis:
    """Make a linear axis of scores, not below the lowest that there can be, with room for all points and levels."""
    values = [*_ends(points), *(value for value, _ in levels)]
    unit = magnitude(values)
    step = unit * (0.05 if max(values) - min(values) < 0.35 * unit else 0.1)
    low = max(lowest, step * math.floor(min(values) / step - 0.2))
    high = min(1.0, step * math.ceil(max(values) / step + 0.2))
    count = round((high - low) / step)
    ticks = tuple((low + step * k, tick(low + step * k)) for k in range(count + 1))
    return Axis(title, "linear", low, high, ticks)


def magnitude(scores: Sequence[float]) -> float:
    """Return the power of ten, at most 1, that is above all scores: a hundredth of CIDEr is small."""
    highest = max(map(abs, scores))
    return 10.0 ** min(0, math.floor(math.log10(highest)) + 1) if highest else 1.0


def tick(score: float) -> str:
    """Write a hundred times a score, without more decimals than it takes."""
    text = f"{round(100 * score, 6):g}"
    return "0" if text == "-0" else text


def _ends(points: Iterable[Point]) -> Iterator[float]:
    for point in points:
        yield from point.interval or (point.y,)
        yield point.y


def _chance(table: Table) -> tuple[tuple[float, str], ...]:
    chance = [row.chance for row in table.rows if row.chance is not None]
    return ((chance[0], CHANCE),) if chance and has_chance(table.metric) else ()
