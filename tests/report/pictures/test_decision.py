"""The page of a decision, read as HTML; and, where there is a Chromium, as it is seen and moved."""

import re

import pytest

from peftbench.report.evidence.decide import decide
from peftbench.report.notes import decision as notes
from peftbench.report.notes.decision import Answer
from peftbench.report.pictures import decision as page
from tests.report.evidence.answered import NAMES, answered, cases, table
from tests.report.evidence.simulated import right
from tests.report.pictures.browser import FOUND, Browser
from tests.report.pictures.test_page import Page

CASES = cases()


def answer(name, queries=10_000, choices=NAMES):
    built, labels = CASES[name]
    return Answer(decide(built, queries, labels), "peftbench predict --adapter x", choices)


@pytest.mark.parametrize("name", CASES)
def test_the_page_needs_nothing_else_and_begins_with_the_sentence(name):
    text = page.html(answer(name))
    read = Page(text)
    assert not re.search(r"(src|href)=\"(?!data:,)", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    written = " ".join(" ".join(read.texts).split())
    assert notes.sentence(answer(name)) in written
    assert notes.line(answer(name).decision) in written
    assert len(text) < 40_000


def test_points_are_at_their_price_and_the_best_are_corrected():
    figure = page.figure(answer("tune"))
    points = {(point.series, point.is_hollow): point for point in figure.points}
    # 50,000 + 10,000 x 10; 500 + 10,000 x 20
    assert points["ia3", False].x == 150_000
    assert points["ICL", True].x == 200_500
    decision = answer("tune").decision
    assert points["ia3", False].y == decision.tuned.estimate.value
    assert points["ia3", False].interval == decision.tuned.estimate.interval
    assert points["zero-shot", False].y == next(
        candidate.accuracy for candidate in decision.candidates if candidate.row.is_zero_shot
    )
    assert [name for _, name in figure.levels] == ["chance", "always 'complaint'"]


def test_without_prices_there_is_no_picture_and_still_a_page():
    (answers,) = right([0.9], 80, page_random())
    built = table(answered("ICL", answers, prices={"training_flops": 0}))
    found = Answer(decide(built, 10, [0, 1] * 40))
    assert page.figure(found) is None
    assert "<svg viewBox" not in page.html(found).partition("<table>")[0]


def page_random():
    import numpy as np

    return np.random.default_rng(0)


def test_names_of_strangers_are_text():
    text = page.html(answer("neither", choices=("</script><b>", "z")))
    assert "<b>" not in text.partition("<table>")[2]
    assert "</script><b>" not in text
    Page(text)


@pytest.mark.skipif(FOUND is None, reason="needs a Chromium")
def test_the_slider_says_what_python_says_and_moves_the_points(tmp_path):
    with Browser(tmp_path / "profile") as browser:
        for name in ("tune", "either", "neither"):
            found = answer(name, queries=12_345)
            (tmp_path / "page.html").write_text(page.html(found), encoding="utf-8")
            browser.show(f"file://{tmp_path}/page.html")
            shown = "document.getElementById('decision').textContent"
            assert browser.run(shown) == notes.line(found.decision)
            assert browser.run("document.querySelector('output').textContent") == "12,345"
            for place in (0, 5, 6.83, 6.84, 14.7, 14.8, 28):
                number = browser.run(
                    "(() => { const slider = document.querySelector('.queries input'); "
                    f"slider.value = {place}; slider.dispatchEvent(new Event('input')); "
                    "return Math.round(10 ** (slider.value / 4)); })()"
                )
                assert browser.run(shown) == notes.line(found.decision.after(number))
                told = browser.run("[...document.querySelectorAll('.pt')].map((point) => point.dataset.told)")
                (ia3,) = [text for text in told if text.startswith("ia3")]
                assert ia3.endswith(f"total {f'{50_000 + 10 * number:.1e}'.replace('e+0', 'e')} FLOPs")
        assert browser.errors == []
