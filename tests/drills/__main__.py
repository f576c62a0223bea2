"""`python -m tests.drills [NAME...] [--tries N] [--seed N]`: run drills and print what came of them as a table."""

import argparse
import sys
import time

from tests import conftest as _offline  # noqa: F401
from tests.drills.drills import DRILLS, TRIES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drills")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRILLS)}; all of them without any")
    parser.add_argument("--tries", type=int, help="of each drill")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    options = parser.parse_args()
    if unknown := set(options.names) - DRILLS.keys():
        parser.error(f"unknown drill {min(unknown)!r}; known: {', '.join(DRILLS)}")
    failures = []
    _say(f"seed {options.seed}\n")
    _say("| drill | tries | survived | failures | seconds | |\n|---|---:|---:|---:|---:|---|")
    for name in options.names or DRILLS:
        started = time.monotonic()
        tally = DRILLS[name](options.tries or TRIES.get(name, 100), options.seed)
        seconds = time.monotonic() - started
        notes = ", ".join(f"{count} {note}" for note, count in sorted(tally.notes.items()))
        lost = len(tally.failures)
        _say(f"| {name} | {tally.tries} | {tally.tries - lost} | {lost} | {seconds:.0f} | {notes} |")
        failures += [f"{name}: {failure}" for failure in tally.failures]
    _say("\n" + "\n".join(failures) if failures else "\nnothing was lost")
    return 1 if failures else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
