"""SHA-256 of files and folders, by which what lies beside a record is known to be the record's own."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def of_file(path: Path) -> str:
    """Hash a file's content, without reading it into memory as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_folder(folder: Path) -> str:
    """Hash a folder's files by name: the SHA-256 of the lines that `sha256sum` writes for them, in the order of names.

    Names are paths inside of the folder, separated by slashes. Hidden files are left out: file managers make such.
    """
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    shown = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    return of_sums({name: of_file(folder / name) for name in shown})


def of_sums(sums: Mapping[str, str]) -> str:
    """Hash the lines that `sha256sum` writes for files, in the order of names: name -> the file's SHA-256."""
    return hashlib.sha256("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()).hexdigest()
