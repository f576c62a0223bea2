"""Records in one Parquet file, for a results folder that is handed on and no longer grows.

`records.parquet` has each record's text as it was written, its digest included. The scores of single answer choices are
left out; which examples were answered rightly is in the records. `python -m peftbench.store.pack FOLDER` writes it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from peftbench.errors import PeftbenchError, RecordError
from peftbench.store import fit, scores
from peftbench.store.files import replacing
from peftbench.store.packed import Pack
from peftbench.store.results import AGAIN, DAMAGE


def pack(root: Path) -> int:
    """Write the records of a folder's single files, and those that were packed already, into one file.

    The same records give the same bytes. The single files stay where they are.

    Returns:
        Number of records.

    Raises:
        RecordError: There are none; what lies beside one is not what it was written with; or the scores of one are of
            other rows than its test rows from the first on, so that its record does not tell which were answered
            rightly.
    """
    import pyarrow
    from pyarrow import parquet

    packed = Pack(root)
    single = {path.stem: path.read_text(encoding="utf-8") for path in (root / "records").glob("*.json")}
    records = dict(sorted((packed.records | single).items()))
    if not records:
        raise RecordError(f"no records in '{root}'", hint="name a results folder: what --results said")
    for path in sorted((root / "scores").glob("*.parquet")):
        _check_scores(path, records.get(path.stem))
    for name in records:
        for path in (root / "adapters" / name, root / "prompts" / f"{name}.json"):
            if path.exists():
                fit.check(path)
    table = pyarrow.table({"id": list(records), "record": list(records.values())})
    with replacing(packed.path) as temporary:
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


def _check_scores(path: Path, record: str | None) -> None:
    """See that scores are the record's, of rows 0, 1, 2, ... under each template, or of those that the record names."""
    table = json.loads(record or "{}")
    try:
        rows = scores.read(path, (table.get("files") or {}).get("scores"))[["template", "row_id"]].drop_duplicates()
    except DAMAGE as error:
        raise RecordError(f"scores '{path}' are damaged: {str(error).splitlines()[0]}", hint=AGAIN) from None
    named = {result["template"]: result.get("row_ids") for result in table.get("results", [])}
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
