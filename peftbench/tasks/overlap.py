"""Test rows that are no test: those among the shots, and those that stand there twice."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from peftbench.tasks.task import Row, Task


def remark(task: Task, test: Sequence[Row], shots: Iterable[Row]) -> str | None:
    """Say in one line how many test rows are shots, of whatever seed, and how many repeat another; None where none is.

    Rows are equal if they are but for their labels, and for what columns are called: shots may be another task's.

    Args:
        task: The task, which names the label's column.
        test: The test rows that are used.
        shots: All shots that are drawn.
    """
    label = task.templates[0].label
    keys = Counter(_key(row, label) for row in test)
    num_shots = sum(keys[key] for key in {_key(row, label) for row in shots})
    num_repeated = len(test) - len(keys)
    parts = [
        f"{num_shots:,} of {len(test):,} test rows are among the shots" if num_shots else "",
        f"{num_repeated:,} of {len(test):,} test rows repeat another one" if num_repeated else "",
    ]
    text = ", and ".join(part for part in parts if part)
    if not text:
        return None
    is_one_file = num_shots > 0 and keys.keys() <= {_key(row, label) for row in task.train}
    instead = (
        ": `--folds 5` in place of --test tests each row by what is learned from the others" if is_one_file else ""
    )
    return f"{task.name}: {text}; what is measured on them says little of new rows{instead}"


def _key(row: Row, label: str) -> str:
    values = [row.fields[name] for name in sorted(row.fields) if name != label]
    return json.dumps(values, sort_keys=True, default=str)
