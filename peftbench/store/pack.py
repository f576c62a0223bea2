"""Records in one Parquet file, for a results folder that is handed on and no longer grows.

`records.parquet` has each record's text as it was written, its digest included. The scores of single answer choices are
left out; which examples were answered rightly is in the records. `python -m peftbench.store.pack FOLDER` writes it.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peftbench.errors import PeftbenchError, RecordError
from peftbench.store import fit, packed, scores
from peftbench.store.files import replacing
from peftbench.store.place import named, url
from peftbench.store.record import Record
from peftbench.store.results import AGAIN, DAMAGE, Store


def pack(root: Path) -> int:
    """Write the records of a folder's single files, and those that were packed already, into one file.

    The same records give the same bytes. The single files stay where they are.

    Returns:
        Number of records.

    Raises:
        RecordError: The folder is elsewhere; there are no records; some are damaged; what lies beside one is not what
            it was written with; or the scores of one are of other rows than its test rows from the first on, so that
            its record does not tell which were answered rightly.
    """
    import pyarrow
    from pyarrow import parquet

    if url(root):
        raise RecordError(f"'{named(root)}' is no local folder", hint="copy it to one first")
    whole = Store(root).all()
    if not whole:
        raise RecordError(f"no records in '{root}'", hint="name a results folder: what --results said")
    for record in whole:
        _check(root, record)
    before = {name: record.text for name, record in packed.read(root).items()}
    single = {path.stem: path.read_text(encoding="utf-8") for path in (root / "records").glob("*.json")}
    records = dict(sorted((before | single).items()))
    table = pyarrow.table({"id": list(records), "record": list(records.values())})
    with replacing(root / packed.FILE) as temporary:
        # As small as Parquet gets: in one piece, without statistics and without a dictionary of texts that all differ.
        parquet.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=22,
            row_group_size=len(records),
            use_dictionary=False,
            write_statistics=False,
        )
    return len(records)


def _check(root: Path, record: Record) -> None:
    """See that what lies beside a record is its own, and that it tells which of its rows were answered rightly."""
    for path in (root / "adapters" / record.id, root / "prompts" / f"{record.id}.json"):
        if path.exists():
            fit.check(path)
    path = root / "scores" / f"{record.id}.parquet"
    if path.exists():
        _check_rows(path, record)


def _check_rows(path: Path, record: Record) -> None:
    """See that scores are of rows 0, 1, 2, ... under each template, or of those that the record names."""
    sha256 = record.files.scores if record.files else None
    try:
        rows = scores.read(path, sha256)[["template", "row_id"]].drop_duplicates()
    except DAMAGE as error:
        raise RecordError(f"scores '{path}' are damaged: {str(error).splitlines()[0]}", hint=AGAIN) from None
    named: Mapping[Any, str | None] = {result.template: result.row_ids for result in record.results}
    for template, of_template in rows.groupby("template")["row_id"]:
        row_ids = named.get(template)
        expected = range(len(of_template)) if row_ids is None else map(int, row_ids.split())
        if of_template.tolist() != list(expected):
            raise RecordError(
                f"'{path}' has scores of rows that are not numbered from 0 on", hint="leave this folder as it is"
            )


def main(folders: Sequence[str]) -> None:
    """Pack each folder; end the program with one line where that cannot be done."""
    if not folders:
        sys.exit("usage: python -m peftbench.store.pack FOLDER...")
    try:
        for folder in folders:
            sys.stdout.write(f"{folder}: {pack(Path(folder))} records\n")
    except PeftbenchError as error:
        sys.exit(f"error: {error.message}\n\nhint: {error.hint}")


if __name__ == "__main__":
    main(sys.argv[1:])
