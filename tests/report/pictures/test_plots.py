import builtins
import io

import pytest

from peftbench.errors import RecordError
from peftbench.report.notes.document import compose
from peftbench.report.pictures import plots
from tests.report.pictured import document
from tests.report.records import record

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def picture():
    return plots.png(document())


def opened(content):
    from PIL import Image

    return Image.open(io.BytesIO(content)).convert("RGB")


def test_it_is_small(picture):
    assert len(picture) < 100_000


def test_it_says_what_made_it(picture):
    from PIL import Image

    assert Image.open(io.BytesIO(picture)).info[plots.MADE_BY] == plots.made_with()
    assert plots.made_with().startswith("matplotlib ")


def test_it_is_drawn_in_the_colours_of_its_ways_of_learning(picture):
    image = opened(picture)
    shown = {color for count, color in image.getcolors(1 << 20) if count > 30}

    def near(hexed):
        wanted = [int(hexed[place : place + 2], 16) for place in (1, 3, 5)]
        return any(sum(abs(a - b) for a, b in zip(color, wanted, strict=True)) < 24 for color in shown)

    # zero-shot, ICL and two methods are there; a third method is not
    assert [near(plots.colors.LIGHT[number]) for number in (0, 1, 2, 3, 7)] == [True] * 4 + [False]


def test_tables_stand_one_below_the_other_and_one_without_points_is_left_out(monkeypatch):
    from PIL import Image

    drawn = []

    def small(table):
        drawn.append([task.name for task in table.tasks])
        return Image.new("RGB", (10 * len(drawn), 7))

    monkeypatch.setattr(plots, "_picture", small)
    bare = record("ICL", "mini-t0", task="c").model_copy(update={"costs": []})
    image = opened(plots.png(compose([record(task="a"), record("lora", "mini-t0", task="b"), bare])))
    assert drawn == [["a"], ["b"]]
    assert image.size == (20, 14)


def test_nothing_to_draw_is_said():
    with pytest.raises(RecordError, match="nothing to draw"):
        plots.png(compose([record().model_copy(update={"costs": []})]))


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecordError, match="--format png needs matplotlib") as caught:
        plots.png(document())
    assert "pip install 'peftbench[plots]'" in caught.value.hint
