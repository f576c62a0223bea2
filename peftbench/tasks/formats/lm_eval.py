"""A task YAML of lm-evaluation-harness as a task; functions that it names are refused by its field, never executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from pydantic import BaseModel, Field

from peftbench.errors import TaskError
from peftbench.spec.settings import checked
from peftbench.tasks.formats import yaml_file
from peftbench.tasks.formats.lm_eval_template import ENVIRONMENT, is_column
from peftbench.tasks.formats.yaml_file import Function
from peftbench.tasks.growth import BudgetError
from peftbench.tasks.sandbox import compiled
from peftbench.tasks.schema import Data, Label, TaskFile, Wording

MAX_INCLUDES = 20
MAX_SHOWN = 100
"""Characters of a stranger's name."""
SEPARATOR = "\n\n"
"""Between shots, there as here."""
ACCURACY = frozenset(("acc", "acc_norm", "acc_bytes"))
"""One metric under three length normalisations: "none", "char" and "byte" here."""
PARTS = ("doc_to_text", "doc_to_choice", "doc_to_target")
# What changes prompts or scores, and is not done here.
REFUSED = (
    "process_docs", "process_results", "custom_dataset", "use_prompt", "gen_prefix", "doc_to_image", "doc_to_audio",
)  # fmt: skip
OTHER_FILES = {
    "group": "is a group of tasks",
    "task_list": "is a list of tasks",
    "class": "is a task written in Python",
}
SHOT_FIELDS = frozenset(("sampler", "samples", "split", "fewshot_indices"))
"""Of `fewshot_config`: which rows are shots; others would show shots in another wording than queries."""
WHAT_WORKS = "plain multiple-choice tasks can be read: column names and Jinja, without Python"


class Config(BaseModel):
    """The fields that are used, each after all includes."""

    task: str = Field(min_length=1)
    dataset_path: str = Field(min_length=1)
    dataset_name: str | int | float | None = None
    doc_to_text: str
    doc_to_target: str | int
    doc_to_choice: str | list[str | int | float | bool] | dict[str, str | int | float | bool]
    target_delimiter: str = " "
    description: str = ""
    training_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    fewshot_split: str | None = None
    metadata: dict[str, Any] = {}
    metric_list: list[dict[str, Any]] = []

    @property
    def choices(self) -> str | tuple[str, ...]:
        """The choices, or their source."""
        if isinstance(self.doc_to_choice, str):
            return self.doc_to_choice
        table = self.doc_to_choice
        return tuple(str(choice) for choice in (table.values() if isinstance(table, dict) else table))


def task_file(path: Path, table: dict[str, Any]) -> TaskFile:
    """Describe the task of a YAML.

    Test rows are its test split, or else its validation split. Shots come from `fewshot_split`, the training or the
    validation split; never from the test rows, as they do there where a task has no other split.

    Args:
        path: Where it was read.
        table: Its content, `include` not yet merged.

    Raises:
        TaskError: A file that is no such task, an include that cannot be read, or all fields that cannot be used.
    """
    merged = {name: value for name, value in merged_fields(path, table).items() if value is not None}
    _refuse_other_files(path, merged)
    faults = _faults(merged)
    if faults:
        raise TaskError(f"task '{path}': {'; '.join(faults)}", hint=WHAT_WORKS)
    config = checked(Config, merged, f"task '{path}'", TaskError)
    test = config.test_split or config.validation_split
    if test is None:
        raise TaskError(f"task '{path}' names no test_split and no validation_split", hint="name one in the file")
    metric, remark = _metric(config)
    return TaskFile(
        name=config.task,
        family="lm-eval",
        description=f"lm-evaluation-harness's task {config.task}",
        version=_version(config.metadata.get("version")),
        metric=metric,
        data=Data(
            train=_train_split(config, merged.get("fewshot_config"), test),
            test=test,
            hub=config.dataset_path,
            config=None if config.dataset_name is None else str(config.dataset_name),
        ),
        label=Label(field=_label(path, config)),
        templates=(
            Wording(
                name=config.task,
                text=config.doc_to_text,
                choices=config.choices,
                kind="lm-eval",
                target=str(config.doc_to_target),
                joint=config.target_delimiter,
                description=config.description,
            ),
        ),
        remark=remark,
    )


def merged_fields(path: Path, table: dict[str, Any], seen: set[Path] | None = None) -> dict[str, Any]:
    """Merge what a file includes below its own fields; later includes win over earlier ones.

    Args:
        path: The file.
        table: Its content.
        seen: Files that were read before it.

    Raises:
        TaskError: An include that cannot be read, that was read before, or one too many.
    """
    seen = set() if seen is None else seen
    seen.add(path.resolve())
    if len(seen) > MAX_INCLUDES:
        raise TaskError(f"task '{path}' includes more than {MAX_INCLUDES} files", hint=WHAT_WORKS)
    names = table.get("include", [])
    merged: dict[str, Any] = {}
    for name in names if isinstance(names, list) else [names]:
        if not isinstance(name, str):
            raise TaskError(f"task '{path}': include: a file's name is needed", hint="include: FILE.yaml")
        if not _is_file(path.parent / name):
            message = f"task '{path}' includes '{name[:MAX_SHOWN]}', and no such file is beside it"
            raise TaskError(message, hint="copy that file as well")
        other = path.parent / name
        if other.resolve() in seen:
            raise TaskError(f"task '{path}' includes '{other}' twice, or in a cycle", hint="each file once")
        included = merged_fields(other, yaml_file.read(other), seen)
        merged |= {field: value for field, value in included.items() if field != "task_list"}
    return merged | {field: value for field, value in table.items() if field != "include"}


def _is_file(path: Path) -> bool:
    """Whether a name, which may be no name of a file at all, is that of one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _refuse_other_files(path: Path, table: Mapping[str, Any]) -> None:
    for field, what in OTHER_FILES.items():
        if field in table and not (field == "group" and isinstance(table.get("task"), str)):
            raise TaskError(f"'{path}' {what} ('{field}')", hint="give the file of one task")
    if not isinstance(table.get("task"), str):
        raise TaskError(f"'{path}' names no task: other files include it", hint="give the file of one task")


def _faults(table: Mapping[str, Any]) -> list[str]:
    """List the fields that cannot be used."""
    output = table.get("output_type", "generate_until")
    faults = [] if output == "multiple_choice" else [f"output_type is {output}, and only multiple_choice is ranked"]
    for field in REFUSED:
        if field in table:
            faults.append(f"{field}{_function(table[field])} is not carried out")
    for field in (*PARTS, "description", "dataset_path", "metric_list"):
        if isinstance(table.get(field), Function):
            faults.append(f"{field}{_function(table[field])} is not carried out")
    description = table.get("description", "")
    if isinstance(description, str) and "{" in description:
        faults.append("description is a template, and only a fixed text can stand before the shots")
    if table.get("fewshot_delimiter", SEPARATOR) != SEPARATOR:
        faults.append(f"fewshot_delimiter is {table['fewshot_delimiter']!r}, and shots stand {SEPARATOR!r} apart here")
    shots = table.get("fewshot_config", {})
    others = sorted(map(str, shots.keys() - SHOT_FIELDS)) if isinstance(shots, dict) else ["a function"]
    faults += [f"fewshot_config.{name} would word shots otherwise than queries" for name in others]
    return faults


def _function(value: Any) -> str:
    return f" (the function {value.name})" if isinstance(value, Function) else ""


def _train_split(config: Config, shots: Any, test: str) -> str:
    own = shots.get("split") if isinstance(shots, dict) else None
    splits = (own, config.fewshot_split, config.training_split, config.validation_split)
    split = next((split for split in splits if isinstance(split, str)), "")
    return "" if split == test else split


def _label(path: Path, config: Config) -> str:
    """Find the label's column: what the target reads and the others do not; "" where that is not one column.

    Raises:
        TaskError: The input reads the column that is the target.
    """
    target = str(config.doc_to_target)
    names = {field: _names(getattr(config, field)) for field in PARTS}
    if is_column(target) and target in names["doc_to_text"]:
        message = f"task '{path}': doc_to_text reads '{target}', which is doc_to_target: it would give the answer away"
        raise TaskError(message, hint="another task, or another doc_to_text")
    left = names["doc_to_target"] - names["doc_to_text"] - names["doc_to_choice"]
    return left.pop() if len(left) == 1 else ""


def _names(source: Any) -> set[str]:
    """List the columns that a field reads."""
    if not isinstance(source, str) or source.isdigit():
        return set()
    if is_column(source):
        return {source}
    try:
        return set(compiled(source, ENVIRONMENT)[1])
    except (jinja2.TemplateSyntaxError, BudgetError):  # refused by name when the template is made
        return set()


def _metric(config: Config) -> tuple[str, str | None]:
    """Choose the metric, and name those of the file that are not computed."""
    names = [str(entry.get("metric")) for entry in config.metric_list] or ["acc"]
    metric = "matthews" if "mcc" in names and not ACCURACY & set(names) else "accuracy"
    known = ACCURACY | ({"mcc"} if metric == "matthews" else set())
    others = ", ".join(name for name in names if name not in known)
    return metric, f"its metrics {others} are not computed; the table has {metric}" if others else None


def _version(version: Any) -> int:
    is_number = isinstance(version, int | float) and not isinstance(version, bool)
    return int(version) if is_number and 1 <= version < 1_000_000 else 1
