"""`peftbench report --metrics`: the outputs of written answers by several metrics, a column for each."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from peftbench import registry
from peftbench.cli.options import OutputOptions
from peftbench.cli.progress import Watch
from peftbench.cli.screen import stdout
from peftbench.errors import PeftbenchError, RecordError
from peftbench.store.place import named

if TYPE_CHECKING:
    from peftbench.metrics.text import TextMetric
    from peftbench.report.evidence.rescored import Group, References, Scored
    from peftbench.spec.cell import TaskSpec

FORMS = ("table", "md", "latex", "json", "csv")


def tables(names: str, output: OutputOptions, tasks: Sequence[str], data: Path | None, form: str, watch: Watch) -> str:
    """Score the outputs of all records of written answers, and write them as tables.

    Args:
        names: Metrics, separated by commas.
        output: Where the records are.
        tasks: TOMLs of tasks that did not come with the package.
        data: Folder of tasks' rows.
        form: How the tables are written.
        watch: Is told of progress.

    Raises:
        PeftbenchError: An unknown metric, or one whose packages are missing; no written answers; outputs that are
            missing; or no task's rows are here, and are those of its records.
    """
    from peftbench.report.evidence import rescored
    from peftbench.report.rows import select

    metrics = _metrics(names)
    groups = rescored.groups(select.read([output.results]))
    if not groups:
        message = f"no record in '{named(output.results)}' has answers that were written"
        raise RecordError(message, hint="without --metrics `peftbench report` shows those that were chosen")
    pairs = _with_references(groups, tasks, data)
    number = len(metrics) * sum(len(group.stored) for group, _ in pairs)
    with watch.stage("scoring outputs", number) as advance:
        scored = [rescored.score(group, texts, metrics, lambda: advance(1, "")) for group, texts in pairs]
    return _written(scored, form)


def _metrics(names: str) -> "list[TextMetric]":
    """Look up metrics, and what they count with."""
    unique = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in unique:
        registry.known(name, registry.TEXT_METRICS, "metric of written answers", RecordError)
    metrics = [registry.text_metric(name) for name in unique]
    for metric in metrics:
        metric.require()
    return metrics


def _with_references(
    groups: "Sequence[Group]", files: Sequence[str], data: Path | None
) -> "list[tuple[Group, References]]":
    """Read the references of each group's rows, and name on stderr the groups that are left out, and why.

    Raises:
        PeftbenchError: All of them are.
    """
    from peftbench.report.formats import escape
    from peftbench.spec.cell import TaskSpec

    own = {_named(file): TaskSpec(name=file, data=data) for file in files}
    pairs, faults = [], []
    for group in groups:
        try:
            pairs.append((group, _of_group(group, own.get(group.name, TaskSpec(name=group.name, data=data)))))
        except PeftbenchError as fault:
            faults.append(fault)
    if not pairs:
        raise faults[0]
    for reason in faults:
        typer.echo(f"left out: {escape.line(reason.message)}\nhint: {escape.line(str(reason.hint))}", err=True)
    return pairs


def _named(file: str) -> str:
    """Read a task's name from its TOML."""
    from peftbench.tasks import schema

    return schema.read(Path(file)).name


def _of_group(group: "Group", spec: "TaskSpec") -> "References":
    from peftbench.tasks.load import load
    from peftbench.tasks.text_template import TextTemplate

    if spec.name not in registry.task_files() and spec.name == group.name:
        message = f"the references of task '{group.name}' stand with its file, which did not come with the package"
        raise RecordError(message, hint="--task FILE.toml, as when its records were made")
    task = load(spec, as_pool=group.is_split)
    if task.sha256 != group.sha256:
        message = f"the rows or templates of task '{group.name}' are others than those of {len(group.stored)} records"
        hint = f"--data DIR with the rows of then: SHA-256 {group.sha256[:12]}, and here it is {task.sha256[:12]}"
        raise RecordError(message, hint=hint)
    template = task.templates[0]
    assert isinstance(template, TextTemplate)
    return {row.id: template.references_of(row) for row in (task.train if group.is_split else task.test)}


def _written(scored: "Sequence[Scored]", form: str) -> str:
    from peftbench.report.formats import data, metrics_text

    match form:
        case "md":
            return metrics_text.markdown(scored)
        case "latex":
            return metrics_text.latex(scored)
        case "json":
            return json.dumps(data.to_json(metrics_text.document(scored)), indent=2) + "\n"
        case "csv":
            return metrics_text.to_csv(scored)
    return metrics_text.terminal(scored, stdout())
