"""How long it takes to list a results folder of many records: single files, and packed.

Run: python benchmarks/listing.py [--records 20000] [--dry]      --dry: a hundred. Records of results/reference, under
ids of their own. CPU seconds too, as the machine may be busy; the folder is in the cache of the file system.
"""

import argparse
import tempfile
import time
from pathlib import Path

from peftbench.store.pack import pack
from peftbench.store.record import SCHEMA_VERSION, identify
from peftbench.store.results import Store
from peftbench.store.seal import sealed

ROOT = Path(__file__).parents[1]


def fill(root: Path, num_records: int) -> None:
    """Write as many records, of this version."""
    models = Store(ROOT / "results" / "reference").all()
    (root / "records").mkdir(parents=True)
    for number in range(num_records):
        model = models[number % len(models)]
        identity = model.identity | {"number": number}
        facts = {"id": identify(identity), "identity": identity, "schema_version": SCHEMA_VERSION}
        text = sealed(model.model_copy(update=facts).model_dump_json(indent=2))
        (root / "records" / f"{facts['id']}.json").write_text(text, encoding="utf-8")


def measure(name: str, root: Path) -> None:
    """List a folder three times and print the fastest."""
    times = []
    for _ in range(3):
        started = time.perf_counter(), time.process_time()
        records = Store(root).all()
        times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    seconds, cpu = (min(column) for column in zip(*times, strict=True))
    print(f"{name}: {len(records):,} records in {seconds:.2f} s, {cpu:.2f} CPU seconds")


def main() -> None:
    """Fill, list, pack, list."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root, 100 if options.dry else options.records)
        measure("single files", root)
        pack(root)
        (root / "records").rename(root / "aside")
        measure("packed", root)


if __name__ == "__main__":
    main()
