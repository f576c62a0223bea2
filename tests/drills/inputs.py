"""Drills with files, templates and command lines that strangers wrote: each is used, or refused by an error of ours.

A drill takes a number of tries and a seed, and returns its tally. Try n of a seed is always the same input; no try may
leave by a traceback, take more than 30 s, or bring the process over 2 GB. That an error is one line is looked at on the
command line alone, where it is written; hints are not looked at.
"""

import contextlib
import datetime
import decimal
import io
import json
import random
import resource
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from peftbench.cli.app import main
from peftbench.cli.run import expanded
from peftbench.errors import PeftbenchError
from peftbench.flow.usage import Shot
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load
from peftbench.tasks.shots import draw
from tests.drills.tally import Tally

SECONDS = 30
BYTES = 2 * 10**9
TEMPLATE = "{{text}} Sentiment: ||| {{label}}"
CHOICES = ("bad", "good")
DEEP = "[" * 3000 + "]" * 3000
DIGITS = "9" * 5000
TOKENS: list[bytes] = [
    *(
        b"",
        b"\x00",
        b"\xff",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\r\n",
        b"\x1b[2J",
        b'"',
        b"'",
        b",",
        b";",
        b"{",
        b"}",
    ),
    *(
        b"[",
        b"]",
        b"=",
        b"#",
        b"\\",
        b"\\ud800",
        b"\\u0000",
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
        b"0x",
        b"null",
        b"true",
    ),
    *(b"text", b"label", b"good", b"bad", "ü 🎈".encode(), b"{{", b"}}", b"{%", b"%}", b"{#", b"|||", b"1979-05-27"),
    *(
        b"18446744073709551616",
        DIGITS.encode(),
        b"[" * 100_000,
        DEEP.encode(),
        b"a." * 2000,
        b"x" * 300,
        b"x" * 200_000,
    ),
]
VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 2**53, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "0", "1", "good", "GOOD", "bad", "\x1b[31m", "\r\n", "\ud800", "é", "=cmd|' /C calc'!A0", "x" * 300),
    *(
        "x" * 1_100_000,
        DIGITS,
        [],
        [[]],
        ["good", "bad"],
        [None],
        {},
        {"a": 1},
        {"a": {"b": []}},
        json.loads("[" * 40 + "]" * 40),
    ),
]
COLUMNS: list[Callable[[], Any]] = [
    lambda: pyarrow.array(["good", "bad", None]),
    lambda: pyarrow.array([b"a", b"\xff", None]),
    lambda: pyarrow.array([0, 1, 2**62]),
    lambda: pyarrow.array([0.0, float("nan"), float("inf")]),
    lambda: pyarrow.array([decimal.Decimal("1.5")] * 3),
    lambda: pyarrow.array([datetime.timedelta(1)] * 3),
    lambda: pyarrow.array([datetime.date(2020, 1, 1)] * 3),
    lambda: pyarrow.array([2**62] * 3, pyarrow.duration("s")),
    lambda: pyarrow.array([2**31 - 1] * 3, pyarrow.date32()),
    lambda: pyarrow.array([2**62] * 3, pyarrow.timestamp("s")),
    lambda: pyarrow.array([1] * 3, pyarrow.timestamp("ns", "Nowhere/Town")),
    lambda: pyarrow.array([1] * 3, pyarrow.time64("ns")),
    lambda: pyarrow.array([[1, None], [], None]),
    lambda: pyarrow.array([{"a": 1}, {"a": None}, None]),
    lambda: pyarrow.array([[("k", 1), ("k", 2)]] * 3, pyarrow.map_(pyarrow.string(), pyarrow.int64())),
    lambda: pyarrow.array(["good", "bad", "bad"]).dictionary_encode(),
    lambda: pyarrow.nulls(3),
    lambda: pyarrow.array(["x" * 10**6] * 3),
    lambda: pyarrow.array([b"abc"] * 3, pyarrow.binary(3)),
    lambda: (
        pyarrow.array([1.5, 2.5, 3.5], pyarrow.float16())
        if hasattr(pyarrow, "no")
        else pyarrow.array([True, False, None])
    ),
]
EXPRESSION_TEXTS = """
text|text.upper|text.upper()|row|row.text|row['text']|options|options[0]|choices|label|choice|nowhere|true|none|1
10**9|'a'|range(99999)|range(3)|dict|cycler('a')|joiner(',')|namespace(a=1)|loop|self|text * 10**9|[text] * 1000
text ~ row|[text, row]|{'a': text}|'%s %d' % (text, 1)|'%0999999999d' % 1|'{:>99999999}'.format(1)
'{0}{0}'.format(text)|text.format_map({})|text.__class__|text.join(options)|options.append(1)|1 // 0|-text
not text|text < 1|text in row|text[::-1]|text[:10**30]|text if label else 1|((((text))))|2**10**9|10**10
text.replace('', 'abc')|text.zfill(10**9)|text.translate({})|(1).to_bytes(9)
"""
FILTER_TEXTS = """
upper center(10**9) center(1000000000) indent(1000000000) join join(',') list string length sum tojson
map('upper') first last batch(1000000000) slice(99999) round(99999,'ceil') sort unique groupby('a') format(1)
replace('','x') default('x') truncate(3) wordwrap(1) wordcount urlencode striptags title escape safe attr('upper')
select reject dictsort items min max int float abs pprint urlize xmlattr random filesizeformat nowhere
"""
EXPRESSIONS = EXPRESSION_TEXTS.strip().replace("\n", "|").split("|")
FILTERS = FILTER_TEXTS.split()
BLOCKS = [
    ("{% for x in range(99999) %}", "{% endfor %}"),
    ("{% for x in options recursive %}{{ loop(options) }}", "{% endfor %}"),
    ("{% if text %}", "{% endif %}"),
    ("{% set a %}", "{% endset %}{{ a }}{{ a }}"),
    ("{% set a = text ~ text %}", "{{ a }}"),
    ("{% macro f(a) %}{{ f(a) }}", "{% endmacro %}{{ f(1) }}"),
    ("{% filter upper %}", "{% endfilter %}"),
    ("{% raw %}", "{% endraw %}"),
    ("{# ", " #}"),
    ("{% call f() %}", "{% endcall %}"),
    ("{% include 'x' %}", ""),
    ("{% extends text %}", ""),
    ("{% block a %}", "{% endblock %}{{ self.a() }}"),
    ("{% with a = text %}", "{% endwith %}"),
    ("{{", "}}"),
    ("{%", "%}"),
]
TASK = """name = "toy"
family = "toys"
description = "toy"
version = 1
chance = 0.5
data = {train = "rows.csv", test = "rows.csv"}
label = {field = "label", names = ["bad", "good"]}
[[templates]]
name = "one"
text = "{{text}} ||| {{choice}}"
choices = ["bad", "good"]
"""
RECIPE = """name = "toy"
description = "toy"
[[run]]
learner = "icl"
model = "mini-gpt"
task = ["lab-nli2"]
shots = [0, 4]
seeds = [0, 1]
orders = 1
limit = 2
icl = {calibrate = true}
scoring = {separator = "x"}
[[run]]
learner = "tune"
model = "mini-t0"
task = "lab-nli2"
method = "lora"
set = [{rank = 2}]
training = {lr = 1e-3, batch_size = 8}
"""
TOML_VALUES = [
    *(
        "1",
        "-1",
        "0",
        DIGITS,
        "18446744073709551616",
        "99999999999999999999999",
        "nan",
        "inf",
        "1e400",
        "true",
        "[]",
        "{}",
    ),
    *('""', '"x"', '"\\u0000"', '"\\u001b[2J"', '["a", "b"]', "[[1]]", "{a = {b = 1}}", DEEP, "1979-05-27", "07:32:00"),
    *(
        f'"{"x" * 300}"',
        '"../../x"',
        '"/dev/null"',
        '"lab"',
        '"lab-train"',
        "10000000",
        f"[{', '.join('1' * 400)}]",
        '"{{"',
    ),
    *(f"[{', '.join(map(str, range(1000)))}]", "{x = 1}", '"{{text}} ||| {{choice}}"', '"a ||| b ||| c"'),
]
OPTION_NAMES = """
--model --task --train --test --template --choices --templates --seeds --limit --draw --shots --orders --labels
--ensemble --content-free --revision --dtype --device --end --separator --max-input-tokens --results --format
--set --method --start-from --sweep
"""
WORDS = [
    *(
        "",
        "0",
        "-1",
        "1",
        "4",
        "2,3",
        "a,b",
        "all",
        "auto",
        "meta",
        "cuda:99",
        "cpu:-1",
        "nan",
        "1e3",
        "x=1",
        "rank=",
        "=1",
        "rank=8",
    ),
    *(
        "lr=nan",
        "batch_size=99999999999999999999",
        "batch_size=10000000000",
        "rank=1e400",
        f"x={DEEP}",
        f"x={DIGITS}",
        DIGITS,
    ),
    *(
        "18446744073709551616",
        "10000000",
        "x" * 300,
        "x/" + "y" * 300,
        "\udcff",
        "a\udcff",
        "\x1b]0;t\x07",
        "[red]",
        "x; touch P #",
    ),
    *(
        "/",
        ".",
        "..",
        "/dev/null",
        "/dev/zero",
        "rows.csv",
        "toy.toml",
        "nowhere",
        "lab",
        "lab-nli2",
        "lora",
        "ia3",
        "plain",
    ),
    *(
        "{{text}} ||| {{label}}",
        "{{text.upper}} ||| {{label}}",
        "{{text}} {# ||| {{label}}",
        "{{'a' * 10**9}} ||| {{label}}",
    ),
]
COMMAND_TEXTS = "icl,icl,tune,tune,run,predict,export,report,compare,advise,list,list tasks,list methods,cost,lab"
OWN_ROWS = ["--train", "rows.csv", "--test", "rows.csv", "--template", TEMPLATE, "--choices", "good,bad"]
ROWS = "text,label\n" + "".join(f"row {number} is fine,{('good', 'bad')[number % 2]}\n" for number in range(8))


def files(tries: int, seed: int) -> Tally:
    """Load rows of CSV, JSONL and Parquet files with odd bytes, values and types, and make shots of them."""
    return _drill(tries, seed, _file)


def templates(tries: int, seed: int) -> Tally:
    """Render templates that are put together by chance, bombs among them."""
    return _drill(tries, seed, _template)


def tomls(tries: int, seed: int) -> Tally:
    """Read tasks and recipes with odd values and bytes."""
    return _drill(tries, seed, _toml)


def commands(tries: int, seed: int) -> Tally:
    """Type commands with odd words; no model is loaded, since none of the name exists."""
    return _drill(tries, seed, _command)


def running(tries: int, seed: int) -> Tally:
    """Type commands with odd words that load mini-gpt, if they get as far, and score two rows after a shot or none."""
    return _drill(tries, seed, _running)


DRILLS = {"files of rows": files, "templates": templates, "TOML": tomls, "command lines": commands}
"""Their tries in `make drill`: 20,000 together."""


def _drill(tries: int, seed: int, attempt: Callable[[random.Random, Path], str]) -> Tally:
    tally = Tally()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("rows.csv").write_text(ROWS)
        for number in range(tries):
            drawn = random.Random(f"{attempt.__name__} {seed} {number}")
            tally.add(f"{attempt.__name__} {seed} {number}", _fault(tally, attempt, drawn))
    return tally


def _fault(tally: Tally, attempt: Callable[[random.Random, Path], str], drawn: random.Random) -> str | None:
    """Try an input; return what no input may bring about."""
    try:
        with _in_time():
            tally.count(attempt(drawn, Path()))
    except PeftbenchError as error:
        tally.count("refused")
        if not error.message:
            return "no message"
    except Exception as error:  # which is what the drill looks for
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"{peak / 1e9:.1f} GB" if peak > BYTES else None


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _mutated(content: bytes, drawn: random.Random) -> bytes:
    """Change bytes, cut, repeat, or put a token in, one to four times."""
    for _ in range(drawn.randint(1, 4)):
        start, end = sorted(drawn.randint(0, len(content)) for _ in range(2))
        end = min(end, start + drawn.choice((0, 1, 8, 10**6)))
        middle = drawn.choice((drawn.choice(TOKENS), bytes([drawn.randrange(256)]), content[start:end] * 2))
        content = content[:start] + middle + content[end:]
    return content


def _file(drawn: random.Random, folder: Path) -> str:
    suffix = drawn.choice(("csv", "jsonl", "parquet"))
    path = folder / f"odd.{suffix}"
    path.write_bytes(_parquet(drawn) if suffix == "parquet" else _lines(drawn, suffix))
    train, test = drawn.sample((path, folder / "rows.csv"), 2)
    template = drawn.choice((TEMPLATE, "{{row}} {{text}} ||| {{label}}", "{{text | string}} ||| {{choice}}"))
    task = load(TaskSpec(name="odd", train=train, test=test, template=template, choices=CHOICES))
    shots = draw(task, min(2, len(task.train)), 0)
    for row in shots:
        fields = dict(row.fields)
        shot = Shot(id=row.id, fields=fields, label=row.label)
        Shot.model_validate_json(shot.model_dump_json())
    assert all(example.input for example in (task.templates[0].render(row) for row in task.test))
    return "used"


def _lines(drawn: random.Random, suffix: str) -> bytes:
    rows = [{"text": f"row {number}", "label": CHOICES[number % 2]} for number in range(6)]
    if suffix == "csv":
        return _mutated(ROWS.encode(), drawn)
    if drawn.random() < 0.6:
        row: dict[str, Any] = drawn.choice(rows)
        row[drawn.choice(("text", "label", "x", "\ud800", "text ", "x" * 300))] = drawn.choice(VALUES)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return content if drawn.random() < 0.4 else _mutated(content, drawn)


def _parquet(drawn: random.Random) -> bytes:
    names = drawn.choice(
        (["text", "label"], ["text", "label", "x"], ["text", "text", "label"], ["label"], ["text", ""])
    )
    columns = [drawn.choice(COLUMNS)() if drawn.random() < 0.5 else COLUMNS[0]() for _ in names]
    file = io.BytesIO()
    try:
        parquet.write_table(pyarrow.Table.from_arrays(columns, names), file)
    except pyarrow.ArrowException:  # a type that Parquet does not hold
        parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [0, 1]}), file)
    return file.getvalue() if drawn.random() < 0.5 else _mutated(file.getvalue(), drawn)


def _source(drawn: random.Random, depth: int = 0) -> str:
    kind = drawn.random()
    if kind < 0.4:
        return drawn.choice(("{{text}}", "{{text | upper}} ", "{{options | join(', ')}}", "{{text.title()}}", "words "))
    if depth > 5 or kind < 0.7:
        expression = drawn.choice(EXPRESSIONS)
        filters = "".join(f" | {drawn.choice(FILTERS)}" for _ in range(drawn.choice((0, 0, 1, 2, 4))))
        return "{{ " + expression + filters + " }}"
    if kind < 0.6:
        return drawn.choice(
            ["text ", "||| ", "{{text}} ", "\n", "é🎈", DIGITS, "{{" + "(" * 3000, "{% if 1 %}" * 400, "{" * 9]
        )
    inside = "".join(_source(drawn, depth + 1) for _ in range(drawn.randint(0, 2)))
    start, end = drawn.choice(BLOCKS)
    return (start * drawn.choice((1, 1, 1, 2, 30))) + inside + end


def _template(drawn: random.Random, folder: Path) -> str:
    source = "".join(_source(drawn) for _ in range(drawn.randint(1, 3))) + " ||| {{choice}}"
    if drawn.random() < 0.2:
        source = _mutated(source.encode(), drawn).decode(errors="replace")
    path = folder / "options.jsonl"
    path.write_text(
        '{"text": "a", "options": ["x", "y"], "label": 0}\n{"text": "b", "options": ["z", "y"], "label": 1}\n'
    )
    choices = CHOICES if drawn.random() < 0.8 else (_source(drawn), "x")
    task = load(TaskSpec(name="odd", train=path, test=path, template=source, choices=choices))
    inputs = [template.render(row).input for template in task.templates for row in task.test]
    leaks = [text for text in inputs if " object at 0x" in text or " of str object" in text]
    assert not leaks, f"an address in a prompt: {leaks[0][:100]} by {source[:100]}"
    return "used"


def _toml(drawn: random.Random, folder: Path) -> str:
    name, text = drawn.choice((("toy.toml", TASK), ("recipe.toml", RECIPE)))
    if drawn.random() < 0.6:
        lines = text.splitlines()
        number = drawn.choice([index for index, line in enumerate(lines) if "=" in line])
        key = drawn.choice((lines[number].partition(" =")[0], "x", "metric", "templates", "name", "orders", "group"))
        lines[number] = f"{key} = {drawn.choice(TOML_VALUES)}"
        text = "\n".join(lines)
    content = text.encode() if drawn.random() < 0.5 else _mutated(text.encode(), drawn)
    path = folder / name
    path.write_bytes(content)
    if name == "toy.toml":
        load(TaskSpec(name=str(path)))
    else:
        expanded(path)
    return "used"


def _command(drawn: random.Random, folder: Path) -> str:
    (folder / "toy.toml").write_text(TASK)
    words = drawn.choice(COMMAND_TEXTS.split(",")).split()
    if words[0] in ("icl", "tune"):
        words += ["--model", "no-such-model"]
    if words[0] == "tune":
        words += ["--method", "lora"]
    if drawn.random() < 0.6:
        words += [*OWN_ROWS, "--shots", "2"]
    return _typed(words, drawn, 4)


def _running(drawn: random.Random, folder: Path) -> str:
    (folder / "toy.toml").write_text(TASK)
    words = ["icl", "--shots", drawn.choice("01"), "--limit", "2", "--templates", "0", "--seeds", "0"]
    words += drawn.choice(([], ["--quiet"], ["--format", "json"], ["--as-prefix"], ["--fit-shots"], ["--force"]))
    words += drawn.choice((["--task", "lab-hazard"], ["--task", "toy.toml"], [*OWN_ROWS, "--strict"], OWN_ROWS))
    return _typed(words, drawn, 1)


def _typed(words: list[str], drawn: random.Random, num_odd: int) -> str:
    """Type a command, and odd words behind it."""
    for _ in range(drawn.randint(0, num_odd)):
        option = drawn.choice(OPTION_NAMES.split())
        if option != "--model":
            words += drawn.choice(([option, drawn.choice(WORDS)], [option, drawn.choice(WORDS)], [drawn.choice(WORDS)]))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    assert code in (0, 1, 2), code
    text = err.getvalue()
    text.encode()
    is_line = not code or text.count("\n") <= 3 or not text.startswith("error: ")
    assert is_line, f"more than a line: {text[:200]}"
    assert "\x1b]0;" not in text, "a terminal would obey"
    return "used" if code == 0 else "refused"
