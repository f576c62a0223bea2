"""A plan: a cell with everything resolved that needs no model, so that faults show before anything is computed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from peftbench import registry
from peftbench.adapters import starts
from peftbench.adapters.peft import read
from peftbench.errors import MethodError, TaskError
from peftbench.flow import pet_plan, text_task
from peftbench.learners.calibration import NUM_ROWS, NUM_TEXTS
from peftbench.learners.classify import Classifying
from peftbench.learners.icl import Icl
from peftbench.learners.learn import Learner, Queries
from peftbench.learners.tune import Tuning
from peftbench.methods.base import MethodConfig
from peftbench.selection import kmeans
from peftbench.spec.cell import Cell, TaskSpec, Training
from peftbench.spec.packages import require
from peftbench.spec.settings import checked
from peftbench.tasks import folds, labels, overlap
from peftbench.tasks.load import load as load_task
from peftbench.tasks.random_text import random_rows
from peftbench.tasks.shots import check_number, draw, others
from peftbench.tasks.task import Example, Row, Task
from peftbench.tasks.template import Template


@dataclass(frozen=True)
class Plan:
    """A cell with everything resolved that needs no model.

    Args:
        templates: Of the task: each renders the test rows. PET answers a row once, by all of them: here is one then.
        source: The task whose rows are learned from: the same one, unless the cell names another.
        shot_templates: Of the source: each renders the shots that are tuned on.
        shots: As drawn; none where they are chosen for each query, or by the model that is not loaded yet.
        queries: The test rows, as each template renders them.
        learner: What is learned from the shots; of a tuning the settings that a model's folder may bring are missing.
            Where the model chooses the shots, it has those of a plain draw in their place, as many and about as long.
    """

    cell: Cell
    task: Task
    templates: tuple[Template, ...]
    source: Task
    shot_templates: tuple[Template, ...]
    shots: tuple[Row, ...]
    queries: Queries
    learner: Learner

    def after(self, shots: tuple[Row, ...]) -> "Plan":
        """Return the plan with these shots, which a model chose."""
        return replace(self, shots=shots, learner=_learner(self.cell, self.source, shots, self.shot_templates))

    def num_skipped(self, template: Template) -> int:
        """Count the test rows of a template's task that it makes nothing of."""
        rows = [row for row in self.task.test[: self.cell.limit] if template.task in (None, row.task)]
        return len(rows) - sum(map(template.reads, rows))


def plans(cells: Sequence[Cell]) -> list[Plan]:
    """Load tasks, draw shots, render rows and check the methods' settings: all faults that need no model show here.

    Cells of one task share its rows, and their renderings.

    Raises:
        PeftbenchError: A fault in a task, its data, the templates, the shots, a method or its settings.
    """
    tasks = _Tasks()
    rendered: dict[tuple[Any, ...], Queries] = {}
    planned = []
    for cell in cells:
        planned.append(_plan(cell, tasks.of(cell), tasks.source(cell), rendered))
    return planned


def on_all_rows(cell: Cell) -> Plan:
    """Plan a cell that learns from all training rows and is tested on none: their lengths stand for those of queries.

    Raises:
        PeftbenchError: As `plans`.
    """
    pool = load_task(cell.task, as_pool=True)
    task = replace(pool, test=pool.train)
    return _plan(cell, task, task, {})


def _plan(cell: Cell, task: Task, source: Task, rendered: dict[tuple[Any, ...], Queries]) -> Plan:
    _check_limit(task, cell.limit)
    if task.is_text or source.is_text:
        text_task.check(cell, task, source)
    templates, shot_templates = (
        part.select("all" if cell.templates is None else cell.templates) for part in (task, source)
    )
    if registry.is_ensemble(cell.method):
        templates = (pet_plan.as_one(templates),)
    check_number(source, cell.shots)
    if cell.draw == "kmeans":
        require(kmeans.PACKAGE, kmeans.EXTRA, "--draw kmeans")
    rows = _rows(source, cell)
    shots = () if cell.icl.is_chosen else rows
    learner = _learner(cell, source, rows, shot_templates)
    is_after_shots = cell.learner == "icl" and cell.shots > 0
    of_fold = None if cell.fold is None else (cell.fold, cell.seed)
    key = (cell.task, of_fold, tuple(template.index for template in templates), cell.limit, is_after_shots)
    if key not in rendered:
        bare = [template.without_description() for template in templates]
        rendered[key] = _queries(bare if is_after_shots else templates, task.test[: cell.limit])
    drawn = () if cell.draw == "kmeans" else shots
    return Plan(cell, task, templates, source, shot_templates, drawn, rendered[key], learner)


class _Tasks:
    """Tasks that cells share: each is loaded once, and split once for each seed."""

    def __init__(self) -> None:
        self._loaded: dict[TaskSpec, Task] = {}
        self._pools: dict[tuple[TaskSpec, str | None], Task] = {}
        self._parts: dict[tuple[TaskSpec, str | None, int, int], tuple[Task, ...]] = {}

    def source(self, cell: Cell) -> Task:
        """Load the task whose rows a cell learns from; it needs no test rows where it is another one."""
        spec = cell.source_task
        return self.of(cell) if spec is None else self._load(spec)

    def _load(self, spec: TaskSpec) -> Task:
        return self._loaded.get(spec) or self._loaded.setdefault(spec, load_task(spec))

    def of(self, cell: Cell) -> Task:
        """Load a cell's task; of a fold the task whose test rows are the fold, and whose training rows are the others.

        Raises:
            TaskError: As `load`; no test rows where no fold is tested; rows that cannot be split so.
        """
        spec, fold = cell.task, cell.fold
        if fold is None:
            task = self._load(spec)
            if not task.test:
                hint = "--folds 5 tests each row by what is learned from the others; --test FILE brings test rows"
                raise TaskError(f"task '{task.name}' has no test rows", hint=hint)
            return task
        pool = self._pools.get((spec, fold.group))
        if pool is None:
            pool = self._pools[spec, fold.group] = folds.clustered(load_task(spec, as_pool=True), fold.group)
        key = (spec, fold.group, fold.of, cell.seed)
        parts = self._parts.get(key) or self._parts.setdefault(key, folds.split(pool, fold.of, cell.seed))
        folds.check_shots(pool.name, parts, cell.shots)
        folds.check_shots(pool.name, parts, cell.icl.pool or 0, "rows in the pool")
        return parts[fold.index]


def remarks(planned: Sequence[Plan]) -> list[str]:
    """List what somebody should know about the data of plans before they are run, a line for each thing and task."""
    alike: dict[tuple[str, int | None], list[Plan]] = {}
    for cell_plan in planned:
        alike.setdefault((cell_plan.task.sha256, cell_plan.cell.limit), []).append(cell_plan)
    lines: list[str | None] = []
    for (_, limit), group in alike.items():
        task, shots = group[0].task, [row for cell_plan in group for row in cell_plan.shots]
        repeated = overlap.remark(task, task.test[:limit], shots)
        if (fold := group[0].cell.fold) is not None:
            repeated = folds.remark(task) if fold.group is None else None
        sources = {source.sha256: source for source in (cell_plan.source for cell_plan in group)}
        lines += [task.remark, repeated, labels.remark(task)]
        lines += [line for source in sources.values() for line in (source.remark, labels.remark(source))]
    return list(dict.fromkeys(line for line in lines if line))


def plan(cell: Cell) -> Plan:
    """Plan one cell; see `plans`."""
    return plans([cell])[0]


def _queries(templates: Sequence[Template], test: Sequence[Row]) -> Queries:
    queries = [[_query(template, row) for row in test if template.reads(row)] for template in templates]
    for template, of_template in zip(templates, queries, strict=True):
        if not of_template:
            message = f"template '{template.name}' makes nothing of any of the {len(test)} test rows"
            raise TaskError(message, hint="another template with --templates, or a larger --limit")
    return queries


def _query(template: Template, row: Row) -> Example:
    """Render a test row; of references the first one stands for the answer, whose length nobody knows before."""
    example = template.render(row)
    return _of_references(example)[0] if template.is_text else example


def _check_limit(task: Task, limit: int | None) -> None:
    """Refuse a limit that takes more rows of some tasks of a mixture than of others, or none of some."""
    tasks = {row.task for row in task.test}
    num_rows = Counter(row.task for row in task.test[:limit])
    if limit is not None and len({num_rows[name] for name in tasks}) > 1:
        message = (
            f"--limit {limit} takes more test rows of some of the {len(tasks)} tasks of '{task.name}' than of others"
        )
        raise TaskError(message, hint=f"a multiple of {len(tasks)}")


def _rows(task: Task, cell: Cell) -> tuple[Row, ...]:
    """Draw the shots, or what they are chosen from; that is all training rows, unless a pool of them is drawn."""
    if cell.icl.pool is not None:
        check_number(task, cell.icl.pool, "rows in the pool")
        return draw(task, cell.icl.pool, cell.seed, cell.draw)
    return task.train if cell.icl.is_chosen else draw(task, cell.shots, cell.seed, cell.draw)


def _learner(cell: Cell, task: Task, rows: tuple[Row, ...], templates: tuple[Template, ...]) -> Learner:
    if cell.method is None:
        num_chosen = cell.shots if cell.icl.is_chosen else None
        return Icl(templates, rows, cell.icl, cell.seed, num_chosen, _calibration_rows(cell, task, templates, rows))
    if registry.is_classifier(cell.method):
        return _classifying(cell.method, cell, templates, rows)
    if registry.is_ensemble(cell.method):
        return pet_plan.learner(cell, task, templates, rows)
    start = None
    if cell.start_from is not None:
        start = starts.read(cell.start_from, lambda: read.describe(cell.model, cell.revision, cell.allow_pickle))
    return Tuning(
        method=cell.method,
        config=_config(cell.method, cell, start),
        training=checked(Training, text_task.training(cell, task), "training", MethodError),
        examples=[_of_shot(row, templates) for row in rows],
        seed=cell.seed,
        start=start,
        sweep=cell.sweep is not None,
    )


def _of_shot(row: Row, templates: Sequence[Template]) -> list[Example]:
    """Render a shot by each template, and of written answers for each reference: a step draws one of them."""
    examples = [template.render(row) for template in templates if template.reads(row)]
    return [part for example in examples for part in _of_references(example)] if templates[0].is_text else examples


def _of_references(example: Example) -> list[Example]:
    return [replace(example, choices=(text,), label=0) for text in example.choices]


def _calibration_rows(cell: Cell, task: Task, templates: Sequence[Template], shots: Sequence[Row]) -> tuple[Row, ...]:
    """Draw the rows that calibration reads; none where it reads queries without content, or where there is none.

    Raises:
        TaskError: All training rows are shots, a template makes nothing of the others, or choices come from the rows.
    """
    by = f"calibrate_by = {cell.icl.calibrate_by}"
    if not cell.icl.calibrates_by_rows:
        return ()
    if own := next((template for template in templates if template.fixed_choices is None), None):
        message = f"template '{own.name}' has choices of each row's own, of which {by} can make no mean over rows"
        raise TaskError(message, hint="--calibrate alone asks each row's choices without content")
    rows = others(task, shots, cell.seed, NUM_ROWS)
    if not rows:
        message = f"{by} reads training rows that are no shots, and all {len(task.train)} are shots"
        raise TaskError(message, hint="fewer --shots, more rows with --train, or --calibrate alone")
    if cell.icl.calibrate_by == "domain":
        rows = random_rows(rows, NUM_TEXTS, templates[0].label, cell.seed)
    for template in templates:
        if not any(map(template.reads, rows)):
            message = f"template '{template.name}' makes nothing of any of the {len(rows)} rows of {by}"
            raise TaskError(message, hint="--calibrate alone, or other templates with --templates")
    return rows


def _classifying(name: str, cell: Cell, templates: tuple[Template, ...], shots: tuple[Row, ...]) -> Classifying:
    """Plan a classifier of embeddings.

    Raises:
        MethodError: Settings that it does not have, or options of training and of prompts.
        TaskError: Choices come from the rows, or several tasks are one.
    """
    faults = {
        f"it is not trained by steps, and has no {', '.join(cell.training)}": bool(cell.training),
        "--transfer-to takes a tuned model to other tasks, and it tunes none": cell.source_task is not None,
        "--start-from goes on from an adapter, and it makes none": cell.start_from is not None,
        "--sweep chooses a learning rate, and it has none": cell.sweep is not None,
        "--chat writes prompts, and it reads texts as they are": cell.scoring.chat,
    }
    if any(faults.values()):
        message = "; ".join(text for text, is_so in faults.items() if is_so)
        raise MethodError(f"--method {name}: {message}", hint="leave out what goes with other methods")
    if own := next((template for template in templates if template.fixed_choices is None), None):
        message = f"template '{own.name}' has choices of each row's own, and {name} learns classes that rows share"
        raise TaskError(message, hint="prompts and methods that tune a model take such rows")
    if any(template.task is not None for template in templates):
        message = f"{name} learns the classes of one task, and --task is a mixture of several"
        raise TaskError(message, hint="one task, or another group")
    schema = registry.classifier(name).Config
    for key in cell.method_config:
        registry.known(key, schema.model_fields, f"setting of {name}", MethodError)
    config = checked(schema, cell.method_config, f"method '{name}'", MethodError)
    return Classifying(name, config, templates, shots, cell.seed)


def _config(method: str, cell: Cell, start: starts.Start | None) -> MethodConfig:
    schema = registry.method(method).Config
    for key in cell.method_config:
        registry.known(key, (*schema.model_fields, *Training.model_fields), f"setting of {method}", MethodError)
    settings = cell.method_config if start is None else start.settings(method, cell.method_config)
    return checked(schema, settings, f"method '{method}'", MethodError)
