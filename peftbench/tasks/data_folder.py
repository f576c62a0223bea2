"""A folder of tasks' rows in place of the hub: DIR/TASK/train and DIR/TASK/test, in .jsonl, .csv, .tsv or .parquet."""

from pathlib import Path
from typing import Literal

from peftbench.errors import TaskError
from peftbench.tasks.rows import READERS
from peftbench.tasks.schema import TaskFile

Split = Literal["train", "test", "unlabelled"]


def split_file(data: Path, file: TaskFile, split: Split) -> Path | None:
    """Find the file of a task's split.

    Args:
        data: Folder of tasks' rows.
        file: The task.
        split: Where DIR/TASK has no file of this name, the one in the task's TOML counts: validation.jsonl for
            test.jsonl where that is the hub's split.

    Returns:
        None where the rows come with the task, or it needs none, and the folder has none of it.

    Raises:
        TaskError: The rows do not come with the task, and are not here; or two files have one name but for the suffix.
    """
    folder = data / file.name
    if file.data.is_beside and not folder.is_dir():
        return None
    in_toml = getattr(file.data, split)
    stem = in_toml.removesuffix(Path(in_toml).suffix) if Path(in_toml).suffix in READERS else in_toml
    names = [split] if file.data.is_beside else list(dict.fromkeys([split, stem]))
    for name in names:
        paths = [path for suffix in READERS if (path := folder / f"{name}{suffix}").is_file()]
        if len(paths) > 1:
            message = f"'{folder}' has {' and '.join(path.name for path in paths)}, and the rows are in one file"
            raise TaskError(message, hint="remove or rename all but one")
        if paths:
            return paths[0]
    if not getattr(file.data, split):
        return None
    raise _missing(data, file.name, names)


def _missing(data: Path, task: str, names: list[str]) -> TaskError:
    if not data.is_dir():
        return TaskError(f"'{data}' is no folder", hint="--data DIR or PEFTBENCH_DATA, with DIR/TASK/train.jsonl")
    looked_for = " or ".join(str(data / task / f"{name}.jsonl") for name in names)
    hint = f"looked for {looked_for}; .csv, .tsv and .parquet are read too"
    return TaskError(f"--data '{data}' has no {names[0]} rows of task '{task}'", hint=hint)
