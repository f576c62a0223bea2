"""The pictures of a report as one PNG, by matplotlib."""

import io
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from peftbench.errors import RecordError
from peftbench.report.notes.document import Document
from peftbench.report.pictures import colors
from peftbench.report.pictures.figures import CHANCE, Axis, Figure, figures, level_end, named_lines
from peftbench.report.pictures.strips import Strip, strips
from peftbench.report.rows.table import Table

if TYPE_CHECKING:
    from PIL.Image import Image

MADE_BY = "Software"
"""The PNG's field that holds `made_with`."""
INK, SOFT, RULE = "#1b1f24", "#59626d", "#dfe3e8"
MARKERS = "os^Dv"
"""By model, as `svg.SHAPES`."""
DASHES: Any = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 4)))
"""Of lines of one colour, as `svg.DASHES`."""
NUM_COLORS = 96
"""Of the PNG's palette; pictures of lines need no more, and take a third of the bytes."""
DPI, WIDTH, NUM_STRIPS = 100, 11.0, 4
PANEL = (350.0, 185.0)
"""About as wide and as high as a panel is, in points."""
STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}


def png(document: Document) -> bytes:
    """Draw the pictures of all tables that have some, one below the other.

    Raises:
        RecordError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        hint = "`pip install 'peftbench[plots]'`; --format html needs nothing else"
        raise RecordError("--format png needs matplotlib", hint=hint) from None
    with rc_context(STYLE):
        drawn = [_picture(table) for table in document.tables if figures(table)]
    if not drawn:
        raise RecordError("there is nothing to draw: no row has both a score and a cost", hint="--format table")
    from PIL.PngImagePlugin import PngInfo

    made_by = PngInfo()
    made_by.add_text(MADE_BY, made_with())
    file = io.BytesIO()
    _below(drawn).quantize(NUM_COLORS).save(file, "PNG", optimize=True, pnginfo=made_by)
    return file.getvalue()


def made_with() -> str:
    """Name what decides a PNG's bytes beside the records."""
    return ", ".join(f"{name} {version(name)}" for name in ("matplotlib", "pillow"))


def _below(images: "Sequence[Image]") -> "Image":
    from PIL import Image

    whole = Image.new("RGB", (max(image.width for image in images), sum(image.height for image in images)), "white")
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    return whole


def _picture(table: Table) -> "Image":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    from PIL import Image

    hues, shapes = colors.of_series(table), colors.of_models(table)
    drawn, tasks = figures(table), strips(table)
    heights = [3.4 * math.ceil(len(drawn) / 2)]
    if tasks:
        rows = math.ceil(len(tasks) / NUM_STRIPS)
        heights.append(rows * (0.75 + 0.2 * len(tasks[0].bands)))
    canvas = Canvas(figsize=(WIDTH, sum(heights) + 0.5), dpi=DPI, layout="constrained")
    canvas.suptitle(table.title, fontsize=10, fontweight="bold", x=0.01, ha="left", wrap=True)
    parts = canvas.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    panels = parts[0].subplots(math.ceil(len(drawn) / 2), 2, squeeze=False).flatten()
    for figure, panel in zip(drawn, panels, strict=False):
        _panel(panel, figure, hues, shapes)
    for panel in panels[len(drawn) :]:
        panel.set_axis_off()
    _legend(parts[0], hues, shapes)
    if tasks:
        panels = parts[1].subplots(rows, min(NUM_STRIPS, len(tasks)), squeeze=False, sharey=True).flatten()
        for strip, panel in zip(tasks, panels, strict=False):
            _strip(panel, strip, hues)
        for panel in panels[len(tasks) :]:
            panel.set_axis_off()
    agg = FigureCanvasAgg(canvas)
    agg.draw()
    return Image.frombuffer("RGBA", agg.get_width_height(), bytes(agg.buffer_rgba())).convert("RGB")


def _panel(panel: Any, figure: Figure, hues: Mapping[str, int], shapes: Mapping[str, int]) -> None:
    panel.set_title(figure.title, fontsize=10, loc="left", fontweight="bold")
    _set_axis(panel.xaxis, panel.set_xlim, figure.x)
    _set_axis(panel.yaxis, panel.set_ylim, figure.y)
    if figure.x.scale == "log":
        panel.set_xscale("log")
        _set_axis(panel.xaxis, panel.set_xlim, figure.x)
        panel.minorticks_off()
    panel.grid(visible=True, linewidth=0.8)
    panel.set_axisbelow(True)
    for value, text in figure.levels:
        panel.axhline(value, color=SOFT, linestyle="--", linewidth=0.9)
        where = {"va": "top" if text == CHANCE else "bottom", "ha": "right", "color": SOFT, "fontsize": 7.5}
        end = 0.995 * level_end(figure, value, text)
        panel.text(end, value, text, transform=panel.get_yaxis_transform(), **where)
    for line in figure.lines:
        style = {"color": colors.LIGHT[hues[line.series]], "linestyle": DASHES[line.dashes % len(DASHES)]}
        at = [_at(figure.x, point.x) for point in line.points]
        panel.plot(at, [point.y for point in line.points], linewidth=1.2, label=line.name, **style)
    if named_lines(figure):
        panel.legend(fontsize=7.5, loc="best", framealpha=0.8, handlelength=3)
    for point in figure.points:
        hue, x = colors.LIGHT[hues[point.series]], _at(figure.x, point.x)
        if point.interval:
            panel.plot([x, x], point.interval, color=hue, linewidth=1)
        face = "white" if point.is_hollow else hue
        panel.plot([x], [point.y], MARKERS[shapes[point.model]], color=hue, markerfacecolor=face, markersize=6)
    _label(panel, figure)


def _at(axis: Axis, value: float) -> float:
    """Return the place for matplotlib, which has no scale for shots."""
    return math.log1p(value) if axis.scale == "shots" else value


def _set_axis(axis: Any, limit: Any, data: Axis) -> None:
    limit(_at(data, data.low), _at(data, data.high))
    axis.set_ticks([_at(data, value) for value, _ in data.ticks], [text for _, text in data.ticks])
    axis.set_label_text(data.title)


def _label(panel: Any, figure: Figure) -> None:
    """Name the points whose names find room to the right, or to the left, of them."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2, foreground="white")]
    width, height = PANEL
    places = [(figure.x.place(p.x) * width, figure.y.place(p.y) * height) for p in figure.points]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for value, text in figure.levels:
        right, y = level_end(figure, value, text) * width, figure.y.place(value) * height
        below = 9 if text == CHANCE else 0
        taken.append((right - 4.7 * len(text), y - below, right, y - below + 9))
    for point, (x, y) in zip(figure.points, places, strict=True):
        long = 4.7 * len(point.label)
        for side, dx, dy in ((1, 6, 3), (-1, -6, 3), (1, 6, -11), (-1, -6, -11)):
            left = x + dx if side == 1 else x + dx - long
            box = (left, y + dy, left + long, y + dy + 9)
            if box[0] > 0 and box[2] < width and not any(_meet(box, other) for other in taken):
                taken.append(box)
                anchor = {"ha": "left" if side == 1 else "right", "fontsize": 8, "path_effects": halo}
                spot = (_at(figure.x, point.x), point.y)
                panel.annotate(point.label, spot, xytext=(dx, dy), textcoords="offset points", **anchor)
                break


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend(part: Any, hues: Mapping[str, int], shapes: Mapping[str, int]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=colors.LIGHT[hue], marker="o", linestyle="", label=name) for name, hue in hues.items()
    ]
    if len(shapes) > 1:
        marks += [
            Line2D([], [], color=INK, marker=MARKERS[shape], linestyle="", label=name) for name, shape in shapes.items()
        ]
    part.legend(handles=marks, loc="outside lower center", ncols=6, frameon=False)


def _strip(panel: Any, strip: Strip, hues: Mapping[str, int]) -> None:
    panel.set_title(strip.task, fontsize=9, loc="left", fontweight="bold")
    _set_axis(panel.xaxis, panel.set_xlim, strip.axis)
    if strip.chance is not None:
        panel.axvline(strip.chance, color=SOFT, linestyle="--", linewidth=0.9)
    panel.set_yticks(range(len(strip.bands)), [band.label for band in strip.bands], fontsize=7.5)
    panel.set_ylim(len(strip.bands) - 0.4, -0.6)
    for place, band in enumerate(strip.bands):
        hue = colors.LIGHT[hues[band.series]]
        if band.quartiles:
            low, high = band.quartiles
            panel.barh(place, high - low, left=low, height=0.8, color=hue, alpha=0.2)
        panel.plot([band.median] * 2, [place - 0.4, place + 0.4], color=hue, linewidth=2)
        step = 0.7 / max(band.num_templates, 2)
        heights = [place + step * (answer.line - (band.num_templates - 1) / 2) for answer in band.answers]
        panel.plot([answer.score for answer in band.answers], heights, ".", color=hue, markersize=3)
