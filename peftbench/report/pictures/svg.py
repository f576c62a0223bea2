"""Figures as SVG, to stand in a page: its style sheet gives the colours, its script the tooltips."""

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape

from peftbench.report.pictures.figures import CHANCE, Axis, Figure, Line, Point, level_end
from peftbench.report.pictures.strips import Answer, Band, Strip

WIDTH, HEIGHT = 460, 310
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 8, 42
"""Margins; units are CSS pixels where the figure is as wide as WIDTH."""
SHAPES = (
    "M-4.2 0A4.2 4.2 0 1 1 4.2 0A4.2 4.2 0 1 1 -4.2 0Z",
    "M-3.8 -3.8H3.8V3.8H-3.8Z",
    "M0 -5L4.8 3.8H-4.8Z",
    "M0 -5.4L5.4 0L0 5.4L-5.4 0Z",
    "M0 5L4.8 -3.8H-4.8Z",
)
"""Of points, by model: circle, square, triangle, diamond, triangle upside down."""
DASHES = ("none", "6 3", "2 3", "9 3 2 3", "1 5")
"""Of lines of one colour, in CSS pixels."""
STRIP_LEFT, LINE = 148, 4.5


def draw(figure: Figure, hues: Mapping[str, int], shapes: Mapping[str, int]) -> str:
    """Draw a figure.

    Args:
        figure: What to draw.
        hues: Series -> number of its colour in the style sheet.
        shapes: Model -> index in `SHAPES`.
    """
    marks = [_point(figure, point, hues, shapes) for point in figure.points]
    lines = [_line(figure, line, hues) for line in figure.lines]
    label = escape(f"{figure.title}: {len(figure.points)} points", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{label}" data-low="{figure.x.low:g}" '
        f'data-high="{figure.x.high:g}" data-left="{LEFT}" data-right="{WIDTH - RIGHT}">'
        + "".join([*_frame(figure), *_levels(figure), *lines, *marks])
        + "</svg>"
    )


def legend_mark(color: int | None = None, shape: int | None = None) -> str:
    """Draw a point for a legend: a series' colour, or a model's shape."""
    style = "ink" if color is None else f"s{color}"
    return (
        f'<svg class="mark" viewBox="-6 -6 12 12" aria-hidden="true"><path class="{style}" d="{SHAPES[shape or 0]}"/>'
        "</svg>"
    )


def legend_line(color: int, dashes: int) -> str:
    """Draw a line for a legend."""
    style = f'class="line s{color}" style="{_dashes(dashes)}"'
    return f'<svg class="mark wide" viewBox="0 -6 30 12" aria-hidden="true"><path {style} d="M0 0H30"/></svg>'


def draw_strip(strip: Strip, hues: Mapping[str, int]) -> str:
    """Draw one task's answers: a band for each row, in it a line of points for each template."""
    tops = _tops(strip.bands)
    bottom = tops[-1]
    parts = [
        *(_tick(_across(strip.axis, value), bottom, text) for value, text in strip.axis.ticks),
        *([] if strip.chance is None else [_upright(_across(strip.axis, strip.chance), bottom)]),
    ]
    for band, top, end in zip(strip.bands, tops, tops[1:], strict=False):
        parts += _band(band, strip.axis, top, end, hues[band.series])
    middle = (STRIP_LEFT + WIDTH) / 2
    title = f'<text class="axis" x="{middle:.0f}" y="{bottom + 32:.0f}">{escape(strip.axis.title)}</text>'
    label = escape(f"{strip.metric.name.capitalize()} on {strip.task} by template and seed", quote=True)
    height = bottom + 40
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="group" aria-label="{label}">'
        + "".join([*parts, title])
        + "</svg>"
    )


def _frame(figure: Figure) -> Iterator[str]:
    floor = HEIGHT - BOTTOM
    for value, text in figure.y.ticks:
        y = _y(figure, value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{text}</text>'
    ticks = "".join(_tick(_x(figure, value), floor, text) for value, text in figure.x.ticks)
    yield f'<g class="xticks" data-floor="{floor}">{ticks}</g>'
    yield f'<path class="frame" d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}"/>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 6}">{escape(figure.x.title)}</text>'
    yield f'<text class="axis" transform="translate(11 {floor / 2:.0f}) rotate(-90)">{escape(figure.y.title)}</text>'


def _tick(x: float, floor: float, text: str) -> str:
    return (
        f'<path class="grid" d="M{x:.1f} {TOP}V{floor:.1f}"/>'
        f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{floor + 15:.1f}">{text}</text>'
    )


def _levels(figure: Figure) -> Iterator[str]:
    for value, text in figure.levels:
        y = _y(figure, value)
        # Chance is named below its line, so that it does not stand on the name of one nearby.
        above = -11 if text == CHANCE else 3
        yield f'<path class="level" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        x = LEFT + level_end(figure, value, text) * (WIDTH - RIGHT - LEFT) - 2
        place = f'x="{x:.1f}" y="{y - above:.1f}"'
        yield f'<text class="level-text" text-anchor="end" {place}>{escape(text)}</text>'


def _line(figure: Figure, line: Line, hues: Mapping[str, int]) -> str:
    path = "L".join(f"{_x(figure, point.x):.1f} {_y(figure, point.y):.1f}" for point in line.points)
    paid = ""
    if all(point.per_query is not None for point in line.points):  # the script moves it with its points
        places = [[point.once, point.per_query, round(_y(figure, point.y), 1)] for point in line.points]
        paid = f' data-paid="{json.dumps(places)}"'
    return f'<path class="line s{hues[line.series]}" style="{_dashes(line.dashes)}"{paid} d="M{path}"/>'


def _dashes(number: int) -> str:
    return f"stroke-dasharray:{DASHES[number % len(DASHES)]}"


def _point(figure: Figure, point: Point, hues: Mapping[str, int], shapes: Mapping[str, int]) -> str:
    x, y = _x(figure, point.x), _y(figure, point.y)
    whisker = ""
    if point.interval:
        low, high = (_y(figure, end) - y for end in point.interval)
        whisker = f'<path class="whisker" d="M0 {low:.1f}V{high:.1f}"/>'
    paid = "" if point.per_query is None else f' data-once="{point.once:g}" data-each="{point.per_query:g}"'
    is_right = x > WIDTH * 0.72
    anchor, dx = ("end", -8) if is_right else ("start", 8)
    hollow = " hollow" if point.is_hollow else ""
    label = ""
    if point.label:
        label = f'<text class="label" text-anchor="{anchor}" x="{dx}" y="-5">{escape(point.label)}</text>'
    return (
        f'<g class="pt s{hues[point.series]}{hollow}" tabindex="0" role="img" transform="translate({x:.1f} {y:.1f})" '
        f'data-y="{y:.1f}"{paid}>{_title(point.details)}{whisker}<path class="dot" d="{SHAPES[shapes[point.model]]}"/>'
        f"{label}</g>"
    )


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _x(figure: Figure, value: float) -> float:
    return LEFT + figure.x.place(value) * (WIDTH - RIGHT - LEFT)


def _y(figure: Figure, value: float) -> float:
    floor = HEIGHT - BOTTOM
    return floor - figure.y.place(value) * (floor - TOP)


def _across(axis: Axis, value: float) -> float:
    return STRIP_LEFT + axis.place(value) * (WIDTH - RIGHT - STRIP_LEFT)


def _upright(x: float, bottom: float) -> str:
    return f'<path class="level" d="M{x:.1f} {TOP}V{bottom:.1f}"/>'


def _tops(bands: Iterable[Band]) -> list[float]:
    """Return where each band begins, and where the last one ends."""
    tops = [float(TOP)]
    for band in bands:
        tops.append(tops[-1] + max(18.0, LINE * band.num_templates + 8))
    return tops


def _band(band: Band, axis: Axis, top: float, end: float, color: int) -> Iterator[str]:
    middle = (top + end) / 2
    yield f'<text class="tick" text-anchor="end" x="{STRIP_LEFT - 8}" y="{middle + 4:.1f}">{escape(band.label)}</text>'
    yield f'<g class="s{color}">'
    if band.quartiles:
        low, high = (_across(axis, value) for value in band.quartiles)
        size = f'width="{high - low:.1f}" height="{end - top - 4:.1f}"'
        yield f'<rect class="iqr" x="{low:.1f}" y="{top + 2:.1f}" {size}/>'
    x = _across(axis, band.median)
    yield f'<path class="median" d="M{x:.1f} {top + 2:.1f}V{end - 2:.1f}"/>'
    first = middle - LINE * (band.num_templates - 1) / 2
    yield from (_answer(answer, axis, first) for answer in band.answers)
    yield "</g>"


def _answer(answer: Answer, axis: Axis, first: float) -> str:
    x, y = _across(axis, answer.score), first + LINE * answer.line
    return f'<circle class="pt" r="2" cx="{x:.1f}" cy="{y:.1f}">{_title(answer.details)}</circle>'
