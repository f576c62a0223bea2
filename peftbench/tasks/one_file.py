"""One file of labelled rows as a task: the label, the text and a template are found, and what was found is said."""

import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.spec.settings import checked
from peftbench.tasks import fitting, label_column, labels, plain, text_columns
from peftbench.tasks.assumed import Assumed, label_line, prompt_line, text_line
from peftbench.tasks.columns import Column, columns
from peftbench.tasks.faults import listed, refuse
from peftbench.tasks.label_column import MIN_ROWS, WHY_MIN_ROWS, Classes
from peftbench.tasks.own import own_task, target_column
from peftbench.tasks.rows import read

OF_TARGET = "the template's target,"


def assume(
    path: Path,
    label: str | None = None,
    text: Sequence[str] = (),
    template: str | None = None,
    choices: Sequence[str] | None = None,
) -> Assumed:
    """Find the label, the text and the classes in a file of rows, and make a task of them.

    Args:
        path: CSV, TSV, JSONL or Parquet.
        label: The label's column; None: it is found by its name, or by its values.
        text: The columns that a model reads; none: those that hold texts.
        template: "input ||| target", in place of the plain template.
        choices: Answers for the classes in their order, in place of the classes' names.

    Raises:
        TaskError: The file cannot be read, or no task can be made of it; all faults at once.
    """
    source, rows = f"'{path}'", read(path)
    if len(rows) < MIN_ROWS:
        number = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
        refuse(source, [TaskError(f"{number}, and {WHY_MIN_ROWS}", hint="add labelled rows")])
    table = columns(rows)
    of_target = None if template is None else target_column(template)
    refuse(source, _wrong_options(table, label, text, template, of_target))
    answer, classes, faults = label_column.find(table, of_target if label is None else label)
    why = text_columns.reasons(table, answer)
    inputs, more = text_columns.choose(table, answer, why, text, template)
    faults += more
    if answer is None or faults:
        refuse(source, faults)
    assert answer is not None
    refuse(source, [*_equal_texts(inputs, classes), *_wrong_number(answer, classes, choices)])
    spec = checked(TaskSpec, _fields(path, answer, classes, inputs, template, choices), source, TaskError)
    fitting.build(own_task(spec))
    counts = {name: len(places) for name, places in classes.items()}
    names = [column.name for column in inputs]
    unread = [column.name for column in table if column.name not in (*names, answer.name)]
    return Assumed(
        spec=spec,
        lines=(
            label_line(answer.name, counts),
            text_line(names, {name: why.get(name, "a text") for name in unread}),
            prompt_line(str(spec.template), choices),
        ),
        remarks=tuple(f"{spec.name}: {remark}" for remark in _remarks(answer, classes, inputs, choices)),
        counts=counts,
        text=tuple(names),
    )


def _fields(
    path: Path,
    label: Column,
    classes: Classes,
    text: Sequence[Column],
    template: str | None,
    choices: Sequence[str] | None,
) -> dict[str, object]:
    """Return the fields of the task; names of classes are shown as they are, choices that somebody wrote are Jinja."""
    return {
        "name": path.stem,
        "train": path,
        "template": plain.template(text, label.name) if template is None else template,
        "choices": tuple(map(plain.literal, classes)) if choices is None else tuple(choices),
        "label": label.name,
        "classes": tuple(classes),
    }


def _wrong_options(
    table: Sequence[Column], label: str | None, text: Sequence[str], template: str | None, of_target: str | None
) -> list[TaskError]:
    """Find options that name no column, or go against each other."""
    names = [column.name for column in table]
    options = [("--label", label), *(("--text", name) for name in text), (OF_TARGET, of_target)]
    faults = []
    for option, name in options:
        if name is not None and name not in names:
            folded = {known.casefold(): known for known in names}
            near = difflib.get_close_matches(name.casefold(), folded, n=1)
            hint = (f"did you mean '{folded[near[0]]}'? " if near else "") + f"columns: {listed(names)}"
            hint += "; {{choice}} is the answer, whatever its column is called" if option == OF_TARGET else ""
            faults.append(TaskError(f"{option} '{name}' is no column", hint=hint))
    if template is not None and text:
        faults.append(TaskError("--text and --template both say what is read", hint="leave out one of them"))
    if label is not None and of_target not in (None, label):
        message = f"--label is '{label}', and the template's target names '{of_target}'"
        faults.append(TaskError(message, hint="write {{choice}} for the answer"))
    return faults


def _wrong_number(label: Column, classes: Classes, choices: Sequence[str] | None) -> list[TaskError]:
    if choices is None or len(choices) == len(classes):
        return []
    message = f"--choices has {len(choices)}, and column '{label.name}' has {len(classes)} classes"
    return [TaskError(message, hint=f"one for each class, in this order: {', '.join(classes)}")]


def _equal_texts(text: Sequence[Column], classes: Classes) -> list[TaskError]:
    if text and len(set(_contents(text, classes).values())) == 1:
        message = f"all texts are equal in {listed([column.name for column in text])}"
        return [TaskError(message, hint=text_columns.PICK_TEXT)]
    return []


def _contents(text: Sequence[Column], classes: Classes) -> dict[int, tuple[str, ...]]:
    """Return place of a labelled row -> what is read of it, in the order of the file."""
    labelled = sorted(place for places in classes.values() for place in places)
    return {place: tuple(_text(column.values[place]) for column in text) for place in labelled}


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _remarks(label: Column, classes: Classes, text: Sequence[Column], choices: Sequence[str] | None) -> list[str]:
    """List what somebody should know about the rows."""
    num_rows, num_labelled = len(label.values), len(label.texts)
    missing = labels.count_missing(num_rows - num_labelled, num_rows)
    remarks = [missing] if missing else []
    renamed = sum(number for name, number in label.counts.items() if name not in classes)
    if renamed:
        remarks.append(f"{renamed:,} of {num_labelled:,} rows write their class in another case, or with _ for a blank")
    contents = _contents(text, classes)
    remarks += _repeated(contents, classes)
    empty = [place + 1 for place, content in contents.items() if not any(content)]
    if empty and text:
        remarks.append(f"{len(empty):,} of {num_labelled:,} rows have no text, row {empty[0]} first")
    if choices is None and label.is_numeric:
        numbers = listed(list(classes))
        remarks.append(f"classes are numbers: --choices WORD,WORD puts words for models in the place of {numbers}")
    return remarks


def _repeated(contents: Mapping[int, tuple[str, ...]], classes: Classes) -> list[str]:
    """Count the rows whose text another row has: with another label, or with the same."""
    class_of = {place: name for name, places in classes.items() for place in places}
    alike: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, content in contents.items():
        alike[content][class_of[place]].append(place)
    torn = [by_class for by_class in alike.values() if len(by_class) > 1]
    copies = [place for by_class in alike.values() for places in by_class.values() for place in places[1:]]
    remarks = []
    if torn:
        number = sum(len(places) for by_class in torn for places in by_class.values())
        examples = [f"{places[0] + 1} ('{name}')" for name, places in list(torn[0].items())[:2]]
        contrary = f"{number:,} of {len(contents):,} rows have the text of another row and not its label"
        remarks.append(f"{contrary}, such as rows {' and '.join(examples)}")
    if copies:
        repeated = f"{len(copies):,} of {len(contents):,} rows repeat the text and the label of another row"
        remarks.append(f"{repeated}, such as row {min(copies) + 1}")
    return remarks
