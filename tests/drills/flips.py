"""Files that are read back with other bytes in them: what is read is what was written, or the file is refused."""

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from peftbench.adapters import saved
from peftbench.errors import PeftbenchError
from peftbench.flow import usage
from peftbench.store.growing import Output
from peftbench.store.pack import pack
from peftbench.store.results import Store
from tests.drills import results
from tests.drills.kills import CHUNKS
from tests.drills.tally import Tally

REFUSALS = (PeftbenchError, OSError, ValueError)


def flips(tries: int, seed: int) -> Tally:
    """Damage one file after the other and read it as the commands do."""
    rng, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as folder:
        readers = _readers(Path(folder))
        expected = {path: read() for path, read in readers.items()}
        for number in range(tries):
            path = list(readers)[number % len(readers)]
            whole = path.read_bytes()
            damage, how = _damaged(whole, rng)
            path.write_bytes(damage)
            found = None
            try:
                if repr(readers[path]()) != repr(expected[path]):
                    found = "read as something else, without a word"
                tally.count("read as it was")
            except PeftbenchError as error:
                tally.count("refused")
                if "\n" in error.message or not error.hint:
                    found = f"no line with a hint: {error.message!r}"
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            path.write_bytes(whole)
            tally.add(f"{path.parent.name}/{path.name}, {how}", found)
    return tally


def _readers(root: Path) -> dict[Path, Callable[[], object]]:
    """Return each file that is read back, with what reads it."""
    cells = results.cells(root)
    place = root / "results"
    for cell in cells.values():
        results.run(cell, place)
    store = Store(place)
    packed = root / "packed"
    shutil.copytree(place / "records", packed / "records")
    pack(packed)
    shutil.rmtree(packed / "records")
    grown = _grown(root)
    readers: dict[Path, Callable[[], object]] = {
        packed / "records.parquet": lambda: Store(packed).all(),
        grown.with_name("a.jsonl.partial"): lambda: _begun(grown),
        grown.with_name("a.jsonl.partial.json"): lambda: _begun(grown),
    }
    for path in sorted(place.rglob("*")):
        kind = path.relative_to(place).parts[0]
        if path.name == usage.FILE or (kind == "prompts" and path.is_file()):
            readers[path] = lambda path=path: usage.read(path).text()
        elif path.name in (saved.CARD, saved.TENSORS):
            readers[path] = lambda path=path: _adapter(path.parent)
        elif kind == "records" and path.is_file():
            readers[path] = store.all
        elif kind == "scores" and path.is_file():
            readers[path] = lambda path=path: _scores(store, path.stem)
    return readers


def _adapter(folder: Path) -> object:
    card = saved.read(folder)
    return card, {name: value.tolist() for name, value in saved.tensors(folder, card).items()}


def _scores(store: Store, record_id: str) -> object:
    """Read scores as `compare` does, which makes one line of these errors."""
    try:
        return store.read_scores(record_id).to_dict()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PeftbenchError(str(error).splitlines()[0], hint="--force") from None


def _grown(root: Path) -> Path:
    (root / "grown").mkdir()
    path = root / "grown" / "a.jsonl"
    with Output(path, "same") as output:
        for chunk in CHUNKS:
            output.append(chunk)
    return path


def _begun(path: Path) -> object:
    with Output(path, "same") as output:
        return output.num_rows, output.num_faults, path.with_name("a.jsonl.partial").read_bytes()


def _damaged(whole: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Flip a bit, change or lose some bytes, or cut the file."""
    place = rng.randrange(len(whole))
    kind = rng.choice(["flip", "flip", "flip", "byte", "lose", "cut", "zeros"])
    if kind == "flip":
        bit = rng.randrange(8)
        return whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :], f"bit {bit} of byte {place}"
    if kind == "byte":
        value = (whole[place] + rng.randrange(1, 256)) % 256
        return whole[:place] + bytes([value]) + whole[place + 1 :], f"byte {place} is {value}"
    length = rng.randint(1, 64)
    if kind == "lose":
        return whole[:place] + whole[place + length :], f"{length} bytes lost at {place}"
    if kind == "cut":
        return whole[:place], f"cut at {place}"
    zeros = bytes(min(length, len(whole) - place))
    return whole[:place] + zeros + whole[place + length :], f"{length} zeros at {place}"
