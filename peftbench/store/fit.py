"""Whether what was learned is what its record was written with."""

from pathlib import Path

from peftbench.errors import RecordError
from peftbench.store import digest
from peftbench.store.local import Local
from peftbench.store.results import AGAIN, Store


def check(path: Path) -> None:
    """Compare an adapter or a prompt with its record, where it lies in a results folder that has the record.

    Args:
        path: An adapter's folder, or the file of a record or of its prompt.

    Raises:
        RecordError: It is another one than the record was written with; or the record is damaged.
    """
    owner = _owner(path.absolute())
    record = None if owner is None else owner[0].find(owner[1])
    if owner is None or record is None or record.files is None:
        return
    store, name = owner
    is_adapter = path.is_dir()
    place = store.adapters / name if is_adapter else store.prompts / f"{name}.json"
    expected = record.files.adapter if is_adapter else record.files.prompt
    try:
        sha256 = digest.of_folder(place) if is_adapter else digest.of_file(place)
    except OSError as error:
        raise RecordError(f"cannot read '{place}': {error.strerror}", hint=AGAIN) from None
    if sha256 != expected:
        raise RecordError(f"'{place}' is not what record {name} was written with: its SHA-256 differs", hint=AGAIN)


def _owner(path: Path) -> tuple[Store, str] | None:
    """Return the results folder that a path lies in, and the id of its record; None for other places."""
    if path.parent.name in ("records", "prompts"):
        return Store(Local(path.parents[1])), path.stem
    folders = [folder for folder in (path, path.parent) if folder.parent.name == "adapters"]  # or template-N in one
    return (Store(Local(folders[0].parents[1])), folders[0].name) if folders else None
