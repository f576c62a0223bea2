"""Other projects' files as tasks, by what stands in them."""

from pathlib import Path

from peftbench.errors import TaskError
from peftbench.tasks.formats import promptsource, yaml_file
from peftbench.tasks.schema import TaskFile

SUFFIXES = (".yaml", ".yml")


def read(path: Path) -> TaskFile:
    """Read a YAML of promptsource.

    Raises:
        TaskError: It cannot be read, is none, or has what cannot be used here.
    """
    table = yaml_file.read(path)
    if "templates" in table and "dataset" in table:
        return promptsource.task_file(path, table)
    names = ", ".join(str(name) for name in list(table)[:8])
    raise TaskError(f"task '{path}' has the fields {names[:200]}: no task that is known", hint=yaml_file.HINT)
