"""What a drill came to."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of a drill.

    Args:
        tries: What was tried.
        failures: What did not survive, each in a line from which it can be tried again.
        notes: What else is worth knowing: how many were stopped in the middle, how many refused.
    """

    tries: int = 0
    failures: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def count(self, note: str) -> None:
        """Count what is worth knowing."""
        self.notes[note] = self.notes.get(note, 0) + 1

    def add(self, what: str, fault: str | None) -> None:
        """Count a try, and what went wrong with it."""
        self.tries += 1
        if fault is not None:
            self.failures.append(f"{what}: {fault}")
