"""Tasks with checked rows, from a name, from a TOML, or from rows and a template of the user's own."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.tasks import fitting, labels, rows, schema, subsets, text_rows
from peftbench.tasks.data_folder import Split, split_file
from peftbench.tasks.faults import refuse
from peftbench.tasks.formats import read as formats
from peftbench.tasks.group import mix
from peftbench.tasks.own import own_task
from peftbench.tasks.schema import TaskFile
from peftbench.tasks.task import Row, Task, fingerprint
from peftbench.tasks.template import Template
from peftbench.tasks.text_rows import NUM_CHECKED_ROWS, rendering_faults

NUM_SHOWN_LABELS = 8
MAX_SHOWN_CHARS = 60
UNLABELLED_TEST = (
    "rows without labels cannot be scored; learn and score with labelled ones (--test FILE), then answer these with "
    "`peftbench predict --input FILE`"
)


@dataclass(frozen=True)
class TaskInfo:
    """A task as `list tasks` shows it, without its rows.

    Args:
        metric: Name in the registry.
        chance: The metric's value by guessing; None where only the rows can tell.
        default: Whether it runs when no task is named.
        num_train: Training rows; None where they do not come with the task.
        num_test: Test rows; None likewise.
    """

    name: str
    family: str
    description: str
    metric: str
    chance: float | None
    group: str | None
    default: bool
    num_templates: int
    num_train: int | None
    num_test: int | None


def load(spec: TaskSpec, *, as_pool: bool = False) -> Task:
    """Load a task and check its rows and templates; one that comes with the package and its rows, once in a process.

    Args:
        spec: Which task.
        as_pool: Whether its training rows are all that there is: test rows are not read, chance is that of the
            training rows, and the hash is of them alone.

    Raises:
        TaskError: An unknown name, a file that cannot be read, or faults in rows and templates, listed at once.
    """
    path = registry.task_files().get(spec.name)
    if path is not None and spec == TaskSpec(name=spec.name) and _packaged(path).data.is_beside:
        return _with_rows(path, spec, as_pool)
    return _loaded(spec, as_pool)


@cache
def _with_rows(_: Path, spec: TaskSpec, as_pool: bool) -> Task:
    return _loaded(spec, as_pool)


def _loaded(spec: TaskSpec, as_pool: bool) -> Task:
    if spec.template is None and spec.choices is not None:
        raise TaskError("choices were given without a template", hint='add --template "{{text}} ... ||| {{label}}"')
    if spec.name in registry.MIXTURES and spec.template is None:
        if as_pool:
            raise TaskError(
                f"folds go with one task, and '{spec.name}' is several as one", hint="--task with one of them"
            )
        return mix(spec.name, [load(TaskSpec(name=name, data=spec.data)) for name in expand(spec.name)])
    if spec.template is not None:
        file, folder = own_task(spec), Path()
    else:
        path = _path(spec.name)
        read = formats.read if path.suffix in formats.SUFFIXES else schema.read
        file, folder = read(path), path.parent
    templates, left_out = fitting.build(file)
    is_pool = as_pool or (not file.data.test and _replacement(file, "test", spec) is None)
    of_train = _read(file, "train", folder, spec)
    of_test = (file.name, []) if is_pool else _read(file, "test", folder, spec)
    if not of_train[1] and not of_test[1]:
        raise TaskError(
            f"task '{file.name}' has no rows to {'learn from' if is_pool else 'test on'}", hint="--train FILE"
        )
    templates, left_out = fitting.fitting(file, templates, left_out, _first_rows(of_train[1], of_test[1]))
    train = _rows(file, templates, "train", *of_train, leaves_out=is_pool) if of_train[1] else ()
    test = _rows(file, templates, "test", *of_test) if of_test[1] else ()
    return Task(
        name=file.name,
        family=file.family,
        description=file.description,
        version=file.version,
        metric=file.metric,
        chance=_chance(file.metric, templates[0], test or train) if file.chance is None else file.chance,
        templates=templates,
        train=train,
        test=test,
        sha256=fingerprint(train, test, templates),
        group=file.group,
        classes=file.label.names,
        is_own=_is_own(spec),
        has_rare_classes=file.label.rare,
        has_fixed_counts=file.label.counts == "fixed" and not as_pool and _replacement(file, "test", spec) is None,
        left_out=left_out,
        remark=_remark(file, left_out, len(of_train[1]), len(train)),
        writing=file.writing if file.answer == "text" else None,
        subsets=subsets.of(file.subsets, test, of_test[0]),
    )


def unlabelled(spec: TaskSpec) -> tuple[TaskFile, list[rows.Fields]]:
    """Read a task's rows whose labels nobody shows.

    Args:
        spec: Which task; its `test` is a file in their place.

    Returns:
        The task's file, and the rows.

    Raises:
        TaskError: It has no such rows, or they cannot be read.
    """
    path = _path(spec.name)
    file = schema.read(path)
    if not file.data.unlabelled:
        raise TaskError(f"task '{file.name}' has no unlabelled rows", hint="those of the group raft have")
    if spec.test is not None:
        return file, rows.read(spec.test)
    return file, _read(file, "unlabelled", path.parent, spec)[1]


def expand(name: str, *, as_mixture: bool = False) -> list[str]:
    """List the tasks that a group's name stands for; a task's name or path stands for itself.

    Args:
        name: A group's or a task's.
        as_mixture: Whether a group that can be a mixture stays one task.

    Raises:
        TaskError: Neither a task nor a group, or a group without tasks.
    """
    if as_mixture and name in registry.MIXTURES:
        return [name]
    if name not in registry.TASK_GROUPS:
        _path(name)
        return [name]
    files = {task: _packaged(path) for task, path in registry.task_files().items()}
    # "lab" is the part of "lab-all" that runs when no task is named.
    tasks = [task for task, file in files.items() if (file.default if name == "lab" else file.group == name)]
    if not tasks:
        raise TaskError(f"no task is in group '{name}'", hint=f"tasks: {', '.join(files)}")
    return tasks


def catalogue() -> list[TaskInfo]:
    """Describe the tasks that come with the package, without loading their rows."""
    return [_info(_packaged(path), path.parent) for path in registry.task_files().values()]


@cache
def _packaged(path: Path) -> TaskFile:
    """Read a task that comes with the package, once in a process: a group is found by reading all of them."""
    return schema.read(path)


def _info(file: TaskFile, folder: Path) -> TaskInfo:
    num_train = rows.count(folder / file.data.train) if file.data.is_beside else None
    num_test = rows.count(folder / file.data.test) if file.data.is_beside else None
    return TaskInfo(
        name=file.name,
        family=file.family,
        description=file.description,
        metric=file.metric,
        chance=_known_chance(file),
        group=file.group,
        default=file.default,
        num_templates=len(file.templates),
        num_train=num_train,
        num_test=num_test,
    )


def _known_chance(file: TaskFile) -> float | None:
    """Return the chance level as far as it is known without rows."""
    if file.answer == "text":
        return text_rows.value_of_nothing(file.metric)
    has_classes = file.label.names is not None and file.metric == "accuracy"
    return 1 / len(file.label.names or ()) if file.chance is None and has_classes else file.chance


def _path(name: str) -> Path:
    if Path(name).suffix or len(Path(name).parts) > 1:
        return Path(name)
    if name in registry.TASK_GROUPS:
        raise TaskError(f"'{name}' is a group of tasks, not a task", hint="`peftbench list tasks` names its tasks")
    return registry.task_file(name)


def _is_own(spec: TaskSpec) -> bool:
    """Whether the training rows did not come with the package."""
    if spec.template is not None or spec.train is not None:
        return True
    return _path(spec.name).resolve() not in {path.resolve() for path in registry.task_files().values()}


def _read(file: TaskFile, split: Split, folder: Path, spec: TaskSpec) -> tuple[str, list[rows.Fields]]:
    """Read a split: the words by which errors name it, and its rows."""
    source = getattr(file.data, split)
    replacement = _replacement(file, split, spec)
    if replacement is None and not source:
        return file.name, []
    if replacement is None and file.data.hub is not None:
        return f"{file.name}, split '{source}'", rows.from_hub(file.data, source)
    if replacement is None and file.data.by_hand is not None:
        message = f"nothing can download the rows of task '{file.name}': {file.data.by_hand}"
        hint = f"with the files: --train FILE --test FILE, or --data DIR with DIR/{file.name}/train.csv and test.csv"
        raise TaskError(message, hint=hint)
    path = replacement or folder / source
    return f"'{path}'", rows.read(path)


def _replacement(file: TaskFile, split: Split, spec: TaskSpec) -> Path | None:
    """Return the file that stands in place of a task's own rows, if there is one."""
    path: Path | None = getattr(spec, split, None)
    if split == "test" and file.data.unlabelled:  # a file of that name has no labels
        return path
    if path is not None or spec.data is None or spec.template is not None:
        return path
    return split_file(spec.data, file, split)


def _first_rows(*tables: list[rows.Fields]) -> list[Row]:
    """Return the rows that templates are tried on."""
    return [Row(number, fields, 0) for table in tables for number, fields in enumerate(table[:NUM_CHECKED_ROWS])]


def _rows(
    file: TaskFile,
    templates: Sequence[Template],
    split: Split,
    source: str,
    table: list[rows.Fields],
    *,
    leaves_out: bool = False,
) -> tuple[Row, ...]:
    """Label rows and check them.

    Args:
        file: The task.
        templates: Its templates.
        split: Which rows they are.
        source: Where they come from, in words.
        table: The rows.
        leaves_out: Whether rows without a label are left out, where others have one, or refused.

    Raises:
        TaskError: All faults: missing columns, labels outside the choices, one class, templates that do not fit.
    """
    if file.answer == "text":
        return text_rows.checked(templates, source, table, leaves_out=leaves_out)
    _refuse_unlabelled(file, split, source, table)
    unlabelled = [Row(number, fields, -1) for number, fields in enumerate(table)]
    if leaves_out and file.label.field:  # without a field several columns decide
        unlabelled = [row for row in unlabelled if not labels.is_missing(row.fields.get(file.label.field))]
    try:
        indices = [_label(file, templates, row) for row in unlabelled]
    except TaskError as fault:
        refuse(source, [fault])
    labelled = tuple(dataclasses.replace(row, label=index or 0) for row, index in zip(unlabelled, indices, strict=True))
    faults = _label_faults(file, templates, unlabelled, indices)
    faults += rendering_faults(templates, labelled)
    refuse(source, faults)
    # Errors name rows by their place in the file; whoever comes later counts those that are used.
    return tuple(dataclasses.replace(row, id=number) for number, row in enumerate(labelled)) if leaves_out else labelled


def _refuse_unlabelled(file: TaskFile, split: Split, source: str, table: list[rows.Fields]) -> None:
    """Refuse rows of which none has a label, such as a hidden test set's: they can be predicted, and not scored."""
    field = file.label.field
    if not field:  # several columns decide
        return
    columns = f"columns: {', '.join(table[0])}"
    hint = UNLABELLED_TEST if split == "test" else "labelled rows are needed to learn from"
    if all(field not in fields for fields in table):
        raise TaskError(f"{source} has no label column '{field}'", hint=f"{columns}; {hint}")
    values = {str(fields.get(field, "")).strip() for fields in table}
    if values <= labels.MISSING - set(file.label.names or ()):
        written = " or ".join(sorted(map(repr, values)))
        raise TaskError(f"{source} has no labels: column '{field}' is {written} in each row", hint=hint)


def _label(file: TaskFile, templates: Sequence[Template], row: Row) -> int | None:
    value = row.fields.get(file.label.field)
    if file.label.names is not None:
        return labels.index(value, file.label.names, file.label.first)
    # The first wording that shows the label as one of its choices decides; the others share its order.
    indices = (template.label_of(row) for template in templates)
    return next((index for index in indices if index is not None), None)


def _label_faults(
    file: TaskFile, templates: Sequence[Template], table: Sequence[Row], indices: Sequence[int | None]
) -> list[TaskError]:
    field = file.label.field
    wrong = [row for row, index in zip(table, indices, strict=True) if index is None]
    if wrong:
        known = ", ".join(file.label.names) if file.label.names else "the row's choices"
        count = f" ({len(wrong)} such rows)" if len(wrong) > 1 else ""
        if not field:
            message = f"the target of row {wrong[0].id + 1} is none of {known}{count}"
            return [TaskError(message, hint="a target is a choice's index from 0, or its text")]
        message = f"label {_brief(wrong[0].fields.get(field))} in row {wrong[0].id + 1} is none of {known}{count}"
        values = ", ".join(sorted({_brief(row.fields.get(field)) for row in table})[:NUM_SHOWN_LABELS])
        hint = f"column '{field}' holds {values}; labels are written as a name or as an index from 0"
        return [TaskError(message, hint=hint)]
    if len(set(indices)) == 1 and templates[0].fixed_choices:
        message = f"all {len(table)} rows have one label, {_brief(table[0].fields.get(field, indices[0]))}"
        return [TaskError(message, hint="rows of at least two classes are needed")]
    return []


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."


def _remark(file: TaskFile, left_out: fitting.LeftOut, num_read: int, num_labelled: int) -> str | None:
    missing = labels.count_missing(num_read - num_labelled, num_read)
    texts = [fitting.remark(file, left_out), missing and f"{file.name}: {missing}"]
    return "; ".join(text for text in texts if text) or None


def _chance(metric: str, template: Template, tested: Sequence[Row]) -> float:
    """Compute the metric's value where each choice is guessed equally often, or where nothing is written."""
    if template.is_text:
        return text_rows.value_of_nothing(metric)
    num_choices = [len(template.choices_of(row)) for row in tested]
    return registry.metric(metric).chance([row.label for row in tested], num_choices)
