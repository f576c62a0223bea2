"""Other projects' files as tasks, by what stands in them."""

from pathlib import Path

from peftbench.errors import TaskError
from peftbench.tasks.formats import lm_eval, promptsource, yaml_file
from peftbench.tasks.schema import TaskFile

SUFFIXES = (".yaml", ".yml")
LM_EVAL = frozenset(("task", "include", "output_type", "dataset_path", "doc_to_text", "group", "class", "task_list"))
"""Fields of which one at least stands in a file of lm-evaluation-harness."""


def read(path: Path) -> TaskFile:
    """Read a YAML of promptsource or of lm-evaluation-harness.

    Raises:
        TaskError: It cannot be read, is neither, or has what cannot be used here.
    """
    table = yaml_file.read(path)
    if "templates" in table and "dataset" in table:
        return promptsource.task_file(path, table)
    if LM_EVAL & table.keys():
        return lm_eval.task_file(path, table)
    names = ", ".join(str(name) for name in list(table)[:8])
    raise TaskError(f"task '{path}' has the fields {names[:200]}: no task that is known", hint=yaml_file.HINT)
