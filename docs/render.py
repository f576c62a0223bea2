"""Write what is made from code and records: results/reference/, the README's table, and parts of docs/.

`make render` runs it; a test runs it, too, and compares.
"""

import inspect
import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from rich.console import Console
from typer.models import ArgumentInfo, OptionInfo

from peftbench.cli.commands import COMMANDS, load
from peftbench.cli.options import flatten
from peftbench.report.evidence.compare import Comparison, compare
from peftbench.report.evidence.significance import ALPHA, holm
from peftbench.report.formats import data, text
from peftbench.report.formats.schema import DOCUMENTS, json_schema
from peftbench.report.notes.document import Document, compose
from peftbench.report.rows.fields import FIELDS
from peftbench.report.rows.select import choose, read
from peftbench.report.rows.units import points, probability
from peftbench.store.results import Store

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference"
README = ROOT / "README.md"
RECORDS = ROOT / "docs" / "records.md"
FIELDS_TABLE = ("<!-- fields: made by `make render` -->\n", "<!-- end of fields -->")
REAL_TABLE = ("<!-- real: made by `make render` -->\n", "<!-- end of real -->")
LAB_TABLE = ("<!-- table: made by `make render` -->\n", "<!-- end of table -->")
WIDTH = 100
STUDIES = (
    "methods", "losses", "icl-sensitivity", "icl-to-prefix", "lora-rank", "figure2", "prefix-length",
    "p-tuning-encoders", "prompt-length-and-init", "real", "curve", "curve-lab", "e2e",
)  # fmt: skip
"""Folders of results/reference/ whose records cover fewer tasks than the others."""
PICTURED = ("", "figure2", "real", "curve", "curve-lab")
REAL_MODEL = "smollm2-135m"
PAIRS = tuple(
    (a.replace("@", f"@{REAL_MODEL}"), b.replace("@", f"@{REAL_MODEL}"))
    for a, b in (
        ("zero-shot@", "zero-shot@,calibrate=true"),
        ("zero-shot@", "icl@:16"),
        ("icl@:4", "icl@:32"),
        ("icl@:16", "icl@:16,calibrate=true"),
        ("icl@:32", "icl@:32,calibrate=true"),
        ("icl@:32", "ia3@:32"),
        ("icl@:32", "lora@:32"),
        ("icl@:32,calibrate=true", "ia3@:32"),
        ("icl@:32,calibrate=true", "lora@:32"),
        ("ia3@:32", "lora@:32"),
        ("lora@:32", "full@:32"),
        ("prompt_tuning@:32", "ia3@:32"),
        ("prefix_tuning@:32", "ia3@:32"),
    )
)
"""Rows of results/reference/real/ that are tested, chosen before one of in-context learning with shots was there."""


def rendered() -> dict[Path, str]:
    """Give each file that is made, but the picture."""
    document = reference()
    drawing = text.terminal(document, Console(file=StringIO(), width=WIDTH))
    markdown = text.markdown(document)
    studies = {REFERENCE / name / "report.md": text.markdown(reference(name)) for name in STUDIES}
    return {
        **studies,
        REFERENCE / "report.txt": drawing,
        REFERENCE / "report.csv": data.to_csv(document),
        REFERENCE / "report.md": markdown,
        REFERENCE / "real" / "compare.md": "".join(paired(compared("real", PAIRS))),
        README: readme(markdown, studies[REFERENCE / "real" / "report.md"]),
        RECORDS: put(RECORDS.read_text(encoding="utf-8"), FIELDS_TABLE, row_fields()),
        **{ROOT / "docs" / f"{name}.schema.json": json.dumps(json_schema(name), indent=2) + "\n" for name in DOCUMENTS},
        ROOT / "docs" / "commands.md": commands(),
    }


def reference(study: str = "") -> Document:
    """Read the lab's own records."""
    return compose(Store(REFERENCE / study).all())


def readme(lab: str, real: str) -> str:
    """Put the lab's table into the README, and those of the real model: means, and task by task."""
    text = put(README.read_text(encoding="utf-8"), REAL_TABLE, "\n\n".join(_tables(real)) + "\n")
    return put(text, LAB_TABLE, _tables(lab)[0] + "\n")


def _tables(markdown: str) -> list[str]:
    """Return the tables of a report."""
    return [part for part in markdown.split("\n\n") if part.startswith("|")]


def put(text: str, marks: tuple[str, str], part: str) -> str:
    """Put a part between two marks of a text."""
    head, _, rest = text.partition(marks[0])
    return head + marks[0] + part + marks[1] + rest.partition(marks[1])[2]


def compared(study: str, pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
    """Test rows of a study against each other, named as `peftbench compare` names them."""
    stored = read([REFERENCE / study])
    return [compare(choose(a, stored), choose(b, stored)) for a, b in pairs]


def paired(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Write a line of Markdown for each comparison: B minus A on the mean over tasks, and on each task."""
    corrected = holm([comparison.mean.p_value for comparison in comparisons if comparison.mean])
    tasks = [str(line.task) for line in comparisons[0].lines]
    yield f"| A | B | B - A | 95 % interval | p (Holm) | {' | '.join(tasks)} |\n"
    yield f"| :--- | :--- | ---: | ---: | ---: |{' ---: |' * len(tasks)}\n"
    for comparison, p_value in zip(comparisons, corrected, strict=True):
        mean = comparison.mean
        assert mean is not None, "several tasks of one metric have a mean"
        assert mean.interval is not None, "answers differ"
        sides = [side.title.replace(f" on {REAL_MODEL}", "") for side in (comparison.a, comparison.b)]
        by_task = [points(line.difference) + ("*" if line.p_corrected < ALPHA else "") for line in comparison.lines]
        interval = " to ".join(map(points, mean.interval))
        yield f"| {' | '.join([*sides, points(mean.difference), interval, probability(p_value), *by_task])} |\n"


def row_fields() -> str:
    """List the fields of a row as a table of Markdown."""
    rows = [
        f"| `{field.name}` | {_cell(field.about or field.hint)} | {'yes' if field.of_record else ''} |\n"
        for field in FIELDS
        if field.type
    ]
    return "".join(["| field of a row | what it is | in frames |\n|---|---|---|\n", *rows])


def commands() -> str:
    """Write the help of all commands as Markdown."""
    parts = ["# Commands\n\nMade from the commands' own help by `make render`.\n"]
    for name in COMMANDS:
        loaded = load(name)
        if isinstance(loaded, typer.Typer):
            parts += [_command(f"{name} {inner.name}", inner.callback) for inner in loaded.registered_commands]
        else:
            parts.append(_command(name, flatten(loaded)))
    return "\n".join(parts)


def _command(name: str | None, function: Any) -> str:
    parameters = [(one, *_told(one)) for one in inspect.signature(function, eval_str=True).parameters.values()]
    arguments = [each for each in parameters if isinstance(each[2], ArgumentInfo)]
    options = [each for each in parameters if isinstance(each[2], OptionInfo) and not each[2].hidden]
    usage = " ".join(["peftbench", str(name), *(_argument(*each) for each in arguments), "[OPTIONS]"])
    lines = [f"## {name}\n", f"`{usage}`\n", f"{_plain(inspect.cleandoc(function.__doc__))}\n"]
    lines += ["| option | what it does |", "|---|---|"]
    lines += [f"| `{_cell(_argument(*each))}` | {_cell(each[2].help)} |" for each in arguments]
    lines += [f"| `{_option(*each)}` | {_cell(each[2].help)}{_default(each[0])} |" for each in options]
    return "\n".join(lines) + "\n"


def _told(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """Take apart Annotated[type, Option(...)]."""
    kind, info = get_args(parameter.annotation)
    return kind, info


def _argument(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "|".join(kind)
    return (info.metavar or parameter.name.upper()) + "..." * (get_origin(kind) is list)


def _option(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    # With Annotated, what looks like a default is the first name.
    given = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
    names = ", ".join(given or [f"--{parameter.name.replace('_', '-')}"])
    if kind is bool:
        return names
    choices = [text for one in (kind, *get_args(kind)) if get_origin(one) is Literal for text in get_args(one)]
    value = info.metavar or "|".join(choices) or getattr(kind, "__name__", str(kind)).upper()
    return f"{names} {value}".replace("|", "\\|")


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return " Required."
    value = ", ".join(map(str, parameter.default)) if isinstance(parameter.default, list) else parameter.default
    return "" if isinstance(value, bool) or value in (None, "") else f" Default: `{value}`."


def _cell(help_text: str | None) -> str:
    return _plain(help_text or "").replace("|", "\\|")


def _plain(help_text: str) -> str:
    """Take out what rich needs."""
    return help_text.replace("\\[", "[")


def changed() -> Iterator[Path]:
    """Write the files that are not as they should be, and name them."""
    made: dict[Path, bytes] = {path: content.encode() for path, content in rendered().items()}
    from peftbench.report.pictures.plots import png

    made |= {REFERENCE / study / "report.png": png(reference(study)) for study in PICTURED}
    for path, content in made.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            yield path


if __name__ == "__main__":
    for one in changed():
        typer.echo(f"wrote {one.relative_to(ROOT)}")
