"""The page, read as HTML; and, where there is a Chromium, as it is seen."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from peftbench.report.notes.document import compose
from peftbench.report.pictures import colors, page, svg
from peftbench.report.rows.reference import published
from tests.report.pictured import TASKS, document, records
from tests.report.pictures.browser import FOUND, Browser
from tests.report.records import record

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Elements by name, each with its attributes; a tag that closes another one is a fault."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag, css=None):
        return [
            attrs
            for name, attrs in self.found
            if name == tag and (css is None or css in attrs.get("class", "").split())
        ]


@pytest.fixture(scope="module")
def text():
    return page.html(document())


@pytest.fixture(scope="module")
def read(text):
    return Page(text)


def test_it_needs_no_other_file_and_no_network(text, read):
    assert not [attrs for _, attrs in read.found if "src" in attrs]
    assert [attrs["href"] for _, attrs in read.found if "href" in attrs] == ["data:,"]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|\bimport\(", text)
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) == {"http://www.w3.org/2000/svg"}


def test_style_script_and_frame_are_small():
    assert sum(path.stat().st_size for path in page.FOLDER.iterdir()) < 20_000


def test_each_row_and_each_point_is_there(read):
    num_rows = len(document().tables[0].rows)
    assert (num_rows, len(read.all("tr"))) == (6, 2 * (1 + 6))
    # inference and total: six rows, two of them once more with a cache; parameters: two; shots: zero, 4, 32
    assert len(read.all("g", "pt")) == 2 * (6 + 2) + 2 + 3
    assert len(read.all("circle", "pt")) == sum(len(one.results) for one in records())
    assert [len(read.all("figure", name)) for name in ("inference", "total", "parameters", "examples")] == [1] * 4


def test_each_point_tells_its_record(text):
    for one in records()[::5]:
        assert f"record {one.id}" in text
    assert "95 % interval" in text
    scored = r"accuracy \d+\.\d %, \d+ of 120 right"
    assert re.search(rf"template 1, &#x27;1&#x27;, seed 2\n{scored}\nrecord [0-9a-f]{{16}}", text)


def test_columns_have_units_and_hints_and_values_to_sort_by(read):
    buttons = read.all("button")
    assert all(one["title"] for one in buttons)
    assert {"FLOPs/example", "FLOPs", "bytes", "parameters", "%", "points"} <= set(read.texts)
    numbers = [attrs["data-v"] for attrs in read.all("td") if "data-v" in attrs]
    assert str(33 * 47_000_000) in numbers
    assert all(number == "" or float(number) >= 0 for number in numbers)


def test_the_foot_has_the_recipe_and_the_versions(text):
    assert "lr = 0.01" in text
    assert "python 3.11.7, torch 2.13.0" in text


def test_findings_and_conventions_stand_on_it(read):
    words = "".join(read.texts)
    assert all(note in words for note in (*document().findings, *document().conventions))


def test_words_of_records_are_never_markup():
    name = "<script>alert(1)</script>&\"'"
    made = record()
    evil = made.model_copy(update={"model": made.model.model_copy(update={"name": name})})
    text = page.html(compose([evil]))
    assert name not in text
    Page(text)
    assert text.count("<script>") == 1


def test_published_rows_have_a_table_and_a_picture_but_no_records():
    read = Page(page.html(compose(records(), published("t-few"))))
    assert len(read.all("figure", "inference")) == 2
    assert len(read.all("circle", "pt")) == sum(len(one.results) for one in records())


def test_one_record_without_costs_is_a_page_too():
    bare = record(correct=(150,)).model_copy(update={"costs": []})
    read = Page(page.html(compose([bare])))
    assert len(read.all("circle", "pt")) == 1
    assert "What to read into it, and what not" not in read.texts


def test_colours_of_the_style_sheet_are_those_of_the_png():
    style = (page.FOLDER / "page.css").read_text()
    light = style.partition("@media")[0]
    found = tuple(re.search(rf"--s{number}: (#\w+)", light)[1] for number in range(len(colors.LIGHT)))
    assert found == colors.LIGHT
    # light, dark and print
    assert style.count(f"--s{len(colors.LIGHT) - 1}: #") == 3
    assert len(svg.SHAPES) == colors.NUM_SHAPES


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if FOUND is None:
        pytest.skip("there is no Chromium here")
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def url(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text)
    return path.as_uri()


COLUMN = "[...document.querySelector('table').tBodies[0].rows].map(row => row.cells[{}].textContent.trim())"
TITLES = "[...document.querySelector('table').tHead.rows[0].cells].map(cell => cell.textContent.trim())"


def column(browser, name):
    return browser.run(COLUMN.format(next(k for k, one in enumerate(browser.run(TITLES)) if one.startswith(name))))


def press(browser, name):
    browser.run(
        f"[...document.querySelectorAll('th button')].find(one => one.textContent.trim().startsWith('{name}')).click()"
    )


def test_in_a_browser_it_draws_without_a_complaint(browser, url):
    browser.show(url)
    assert browser.run("document.querySelectorAll('figure > svg').length") == 4 + len(TASKS)
    assert browser.run("document.querySelector('.label').getBoundingClientRect().width") > 5
    assert browser.errors == []


def test_in_a_browser_a_header_sorts_and_sorts_back(browser, url):
    browser.show(url)
    press(browser, "accuracy")
    up = [float(text) for text in column(browser, "accuracy")]
    assert up == sorted(up)
    press(browser, "accuracy")
    assert [float(text) for text in column(browser, "accuracy")] == up[::-1]
    press(browser, "cached")
    assert [text == "n/a" for text in column(browser, "cached")] == [False] * 2 + [True] * 4
    press(browser, "method")
    assert column(browser, "method") == sorted(column(browser, "method"), key=str.lower)
    assert browser.errors == []


SLIDE = (
    "{{const one = document.querySelector('input[type=range]'); one.value = {}; one.dispatchEvent(new Event('input'))}}"
)
LEFT = (
    "Object.fromEntries([...document.querySelectorAll('.total .pt')].map(one => "
    "[one.dataset.told.split('\\n')[0] + one.classList.contains('hollow'), "
    "Number(one.getAttribute('transform').match(/\\(([\\d.]+)/)[1])]))"
)


def test_in_a_browser_the_slider_moves_what_training_has_to_be_paid_for(browser, url):
    browser.show(url)
    tuned, icl = "ia3 on mini-t0, 32 shotsfalse", "ICL on mini-gpt, 32 shotsfalse"
    assert "1,000 queries" in browser.run("document.querySelector('.total figcaption b').textContent")
    # break-even by hand: 9.1e12 / (32 * 47e6) = 6,051 queries, between 10^3.75 and 10^4
    browser.run(SLIDE.format(15))
    before = browser.run(LEFT)
    assert before[tuned] > before[icl]
    assert browser.run("document.querySelectorAll('.paid li.yes').length") == 0
    browser.run(SLIDE.format(16))
    after = browser.run(LEFT)
    assert after[tuned] < after[icl] == before[icl]
    assert browser.run("document.querySelector('output').textContent") == "10,000"
    assert browser.run("document.querySelectorAll('.paid li.yes').length") == 2
    assert "total 9.6e12 FLOPs" in browser.run(
        "[...document.querySelectorAll('.total .pt')].map(one => one.dataset.told).find(text => text.startsWith('ia3'))"
    )
    ticks = browser.run("[...document.querySelectorAll('.total .tick')].map(one => one.textContent)")
    assert "1e12" in ticks
    assert browser.errors == []


def test_in_a_browser_lines_move_with_their_points(browser, url):
    """Each line of the picture of totals ends at a point's place, before and after the slider moves."""
    browser.show(url)
    for place in (3, 30):
        browser.run(SLIDE.format(place))
        ends = browser.run(
            "[...document.querySelectorAll('.total .line')].flatMap(line => line.getAttribute('d').slice(1).split('L'))"
        )
        points = browser.run(
            "[...document.querySelectorAll('.total .pt')].map(one => one.getAttribute('transform').slice(10, -1))"
        )
        assert len(ends) > 1
        assert set(ends) <= set(points)


def test_in_a_browser_a_point_tells_its_record(browser, url):
    browser.show(url)
    browser.run("document.querySelector('circle.pt').dispatchEvent(new Event('pointerenter'))")
    assert "record " in browser.run("document.getElementById('tip').textContent")
    assert browser.run("getComputedStyle(document.getElementById('tip')).display") == "block"
    browser.run("dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    assert browser.run("getComputedStyle(document.getElementById('tip')).display") == "none"


@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_browser_nothing_is_wider_than_the_window(browser, url, width):
    browser.show(url, width=width, height=800)
    assert browser.run("document.documentElement.scrollWidth") <= width
    # in CSS pixels, after scaling
    assert browser.run("document.querySelector('.tick').getBoundingClientRect().height") > 10


def test_in_a_browser_a_wide_window_shows_all_columns(browser, url):
    browser.show(url, width=1400)
    assert (
        browser.run("document.querySelector('.scroll').scrollWidth - document.querySelector('.scroll').clientWidth")
        == 0
    )
    assert browser.run("document.querySelector('.scroll').clientWidth") < 1400


def test_in_a_browser_no_name_of_a_line_stands_on_a_point(browser, tmp_path):
    at_chance = [record("ICL", "mini-t0", task, num_examples=120, correct=(60, 60, 60)) for task in TASKS]
    path = tmp_path / "crowded.html"
    path.write_text(page.html(compose([*records(), *at_chance])))
    browser.show(path.as_uri(), width=1400)
    boxes = "[...figure.querySelectorAll('{}')].map(one => one.getBoundingClientRect())"
    meet = "(a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom"
    assert (
        browser.run(
            f"[...document.querySelectorAll('figure')].filter(figure => {boxes.format('.level-text')}.some("
            f"a => {boxes.format('.dot')}.some(b => ({meet})(a, b)))).map(figure => figure.className)"
        )
        == []
    )


def test_in_a_browser_the_dark_page_is_dark(browser, url):
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.show(url, scheme="dark")
    assert browser.run(paper) == "rgb(20, 23, 27)"
    browser.show(url, scheme="dark", media="print")
    assert browser.run(paper) == "rgb(255, 255, 255)"
    browser.show(url)
    assert browser.run(paper) == "rgb(255, 255, 255)"


def test_the_browser_would_see_a_complaint(browser, tmp_path):
    path = Path(tmp_path) / "bad.html"
    path.write_text("<script>nothing()</script>")
    browser.show(path.as_uri())
    assert len(browser.errors) == 1
    browser.errors.clear()
