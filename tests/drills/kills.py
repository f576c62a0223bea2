"""Runs and predictions that are killed or have no room left, and are then begun again: nothing may be lost."""

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from peftbench.errors import PeftbenchError, RecordError
from peftbench.store.growing import Output
from tests.drills import results
from tests.drills.engines import Forked, Inline, drive
from tests.drills.process import start, wait
from tests.drills.tally import Tally

KILLED = -9
STEPS = "steps of the longest"
SUFFIXES = (".jsonl", ".csv", ".parquet")
CHUNKS = [
    [{"row": 3 * chunk + i, "prediction": "yes", "scores": {"yes": -0.1, "no": -2.0 - i}} for i in range(3)]
    for chunk in range(3)
]


def run(tries: int, seed: int) -> Tally:
    """Kill runs before each of their steps, fresh and with --force; then groups of two to four of one cell."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cells = results.cells(root)
        whole = {}
        for kind, cell in cells.items():
            results.run(cell, root / "whole" / kind)
            whole[kind] = results.snapshot(root / "whole" / kind)

        def attempt(case: tuple, tally: Tally) -> str | None:
            kind, force, steps = case
            place = root / "tried"
            shutil.rmtree(place, ignore_errors=True)
            if force:
                shutil.copytree(root / "whole" / kind, place)
            _act(lambda: results.run(cells[kind], place, force=force), place, steps, tally)
            if (found := results.fault(place)) or (force and not results.Store(place).all()):
                return found or "the record is lost"
            _act(lambda: results.run(cells[kind], place), place, [None], tally)
            return _difference(whole[kind], results.snapshot(place))

        kinds = list(itertools.product(cells, (False, True)))
        return _drill(kinds, attempt, tries, seed)


def jobs(tries: int, seed: int) -> Tally:
    """Kill workers before each of their steps while a driver deals cells to them; then drivers, with their workers."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cells = list(results.cells(root).values())
        for cell in cells:
            results.run(cell, root / "whole")
        whole = results.snapshot(root / "whole")

        def attempt(case: tuple, tally: Tally) -> str | None:
            victim, _, (step, *_) = case
            place, log = root / "tried", root / "log"
            shutil.rmtree(place, ignore_errors=True)
            if victim == "driver":
                _act(lambda: drive(cells, place, Inline()), place, [step], tally)
            else:
                drive(cells, place, Forked(place, step, log))
                tally.count("killed" if step is not None else "not killed")
                tally.notes[STEPS] = max(int(log.read_text() or 0) if step is None else 0, tally.notes.get(STEPS, 0))
            if found := results.fault(place):
                return found
            drive(cells, place, Forked(place))
            return _difference(whole, results.snapshot(place))

        return _drill([("worker", False), ("driver", False)], attempt, tries, seed, num_processes=1)


def fill(tries: int, seed: int) -> Tally:
    """Fill the disk before each step of runs, fresh and with --force, and of predictions; then give them room.

    What finds no room ends with one line, and leaves what was there before; whatever it counts as done is whole.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cells = results.cells(root)
        acts: dict[str, Callable[[Path, bool], int]] = {
            kind: lambda place, force, cell=cell: results.run(cell, place, force=force) for kind, cell in cells.items()
        }
        acts |= {suffix: lambda place, _, suffix=suffix: _predict(place / f"a{suffix}") for suffix in SUFFIXES}
        whole = {}
        for kind, act in acts.items():
            place = root / "whole" / kind.strip(".")
            place.mkdir(parents=True)
            act(place, False)
            whole[kind] = results.snapshot(place)

        def attempt(case: tuple, tally: Tally) -> str | None:
            kind, force, steps = case
            place = root / "tried"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            if force:
                shutil.copytree(root / "whole" / kind, place, dirs_exist_ok=True)
            _act(lambda: _said(lambda: acts[kind](place, force)), place, steps, tally, full=True)
            if force and (found := results.fault(place) or _lost(place)):
                return found
            _act(lambda: acts[kind](place, False), place, [None], tally)
            return _difference(whole[kind], results.snapshot(place))

        kinds = [*itertools.product(cells, (False, True)), *((suffix, False) for suffix in SUFFIXES)]
        return _drill(kinds, attempt, tries, seed, num_processes=1)


def _said(act: Callable[[], int]) -> int:
    """Act, and refuse in a line as the command does.

    Raises:
        RuntimeError: The error is more than a line, or has no hint.
    """
    try:
        return act()
    except PeftbenchError as error:
        if "\n" in error.message or not error.hint:
            raise RuntimeError(f"no line with a hint: {error.message!r}") from error
        return 2


def _lost(place: Path) -> str | None:
    return None if results.Store(place).all() else "the record is lost"


def predict(tries: int, seed: int) -> Tally:
    """Kill runs that write predictions before each of their steps; then groups of two to four on one output."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        whole = {}
        for suffix in SUFFIXES:
            place = root / "whole" / suffix.strip(".")
            place.mkdir(parents=True)
            _predict(place / f"a{suffix}")
            whole[suffix] = results.snapshot(place)

        def attempt(case: tuple, tally: Tally) -> str | None:
            suffix, _, steps = case
            place = root / "tried"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            _act(lambda: _predict(place / f"a{suffix}"), place, steps, tally)
            _act(lambda: _predict(place / f"a{suffix}"), place, [None], tally)
            return _difference(whole[suffix], results.snapshot(place))

        return _drill([(suffix, False) for suffix in SUFFIXES], attempt, tries, seed)


def _predict(path: Path) -> int:
    try:
        with Output(path, "same") as output:
            for chunk in CHUNKS[output.num_rows // 3 :]:
                output.append(chunk)
            output.finish()
    except RecordError:
        return 2
    return 0


def _drill(
    kinds: list[tuple],
    attempt: Callable[[tuple, Tally], str | None],
    tries: int,
    seed: int,
    num_processes: int = 4,
) -> Tally:
    """Try every step of every kind once, if there are tries enough, and groups of processes with what is left."""
    rng = random.Random(seed)
    tally = Tally()
    num_steps = {}
    for kind in kinds:
        attempt((*kind, [None]), tally)
        num_steps[kind] = tally.notes.pop(STEPS)
    single = [(*kind, [step]) for kind in kinds for step in range(1, num_steps[kind] + 1)]
    tally.notes = {"steps": len(single)}
    cases = rng.sample(single, min(len(single), max(1, tries * 3 // 4)))
    while len(cases) < tries:
        kind = rng.choice(kinds)
        steps = [
            rng.choice([None, rng.randint(1, num_steps[kind])])
            for _ in range(rng.randint(min(2, num_processes), num_processes))
        ]
        cases.append((*kind, steps))
    for case in cases:
        try:
            found = attempt(case, tally)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        tally.add(f"{case[0]}{' --force' if case[1] else ''}, ended before {case[2]}", found)
    tally.notes.pop(STEPS, None)
    return tally


def _act(act: Callable[[], int], root: Path, steps: list[int | None], tally: Tally, *, full: bool = False) -> None:
    """Act in as many processes as there are steps, at the same time; from its step on each is killed, or has no room.

    Raises:
        RuntimeError: One failed, and not because it was killed.
    """
    logs = [root.parent / f"log-{number}" for number in range(len(steps))]
    processes = [start(act, root, step, log, full=full) for step, log in zip(steps, logs, strict=True)]
    codes = [wait(process) for process in processes]
    for code, step, log in zip(codes, steps, logs, strict=True):
        if code == KILLED and step is not None:
            tally.count("killed")
        elif code not in (0, 2):
            raise RuntimeError(f"exit {code}: {log.read_text() if log.exists() else ''}")
        elif full and step is not None:
            tally.count("refused" if code == 2 else "had room enough")
        else:
            tally.notes[STEPS] = max(int(log.read_text()), tally.notes.get(STEPS, 0))


def _difference(expected: dict[str, object], found: dict[str, object]) -> str | None:
    if missing := expected.keys() - found.keys():
        return f"lost: {sorted(missing)}"
    if more := found.keys() - expected.keys():
        return f"left behind: {sorted(more)}"
    other = sorted(name for name in expected if expected[name] != found[name])
    return f"differs: {other}" if other else None
