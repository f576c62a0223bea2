"""A table of one task, a number of queries -> tune, prompt, either or neither, and how sure that is."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from peftbench.report.evidence import lead, selection
from peftbench.report.evidence.break_even import BreakEven, break_even
from peftbench.report.evidence.candidates import Candidate, candidates, clusters, label_counts, labels_of
from peftbench.report.evidence.choices import Choice, by_price, cost_line, not_worse
from peftbench.report.evidence.clusters import Clusters
from peftbench.report.evidence.crossing import Crossing, crossings
from peftbench.report.evidence.lead import Lead
from peftbench.report.evidence.selection import Estimate
from peftbench.report.rows.table import Row, Table, best

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["tune", "prompt", "either", "neither"]
AS_GOOD = 0.02
"""Accuracies are called as good as each other where the whole interval of their difference is within two points."""


@dataclass(frozen=True)
class Best:
    """The most accurate of the tuned or of the prompted candidates; of equals the cheapest.

    Args:
        choice: With its price.
        estimate: Its accuracy, corrected for the choice.
        num_candidates: Among which it was chosen.
    """

    candidate: Candidate
    choice: Choice
    estimate: Estimate
    num_candidates: int

    @property
    def row(self) -> Row:
        """Its row of the table."""
        return self.candidate.row


@dataclass(frozen=True)
class Majority:
    """What always giving the most frequent label is worth.

    Args:
        label: Index of that choice.
        share: Of the rows that have it.
        is_by_row: Whether it is known which rows those are; else the share is taken for a fixed number.
        lead: The best candidate's over it.
    """

    label: int
    share: float
    is_by_row: bool
    lead: Lead


@dataclass(frozen=True)
class Decision:
    """What a table says about tuning or prompting.

    Args:
        verdict: `tune` or `prompt` where that is shown to be more accurate, or both to be as good and it is cheaper;
            `either` where nothing is shown; `neither` where the best of all is not shown to be better than the most
            frequent label.
        candidates: Cheapest first, as choices.
        choices: Enough is what is not shown to be worse than the best row.
        tuned: None where nothing was tuned.
        prompted: None where nothing was prompted.
        lead: The best tuned candidate's over the best prompted one; None where one of them is missing.
        majority: None where records do not say how often each label is right.
        break_even: Of those two.
        crossings: Where tuned learning curves and prompted ones cross.
        left_out: What could not be chosen, and why.
        num_clusters: Rows, those that belong together counted once.
    """

    table: Table
    num_queries: int
    verdict: Verdict
    candidates: tuple[Candidate, ...]
    choices: tuple[Choice, ...]
    tuned: Best | None
    prompted: Best | None
    lead: Lead | None
    majority: Majority | None
    break_even: BreakEven | None
    crossings: tuple[Crossing, ...]
    left_out: tuple[str, ...]
    num_rows: int
    num_clusters: int

    @property
    def best(self) -> Best:
        """The best tuned or the best prompted, whichever was right more often; of equals what is prompted."""
        present = [side for side in (self.prompted, self.tuned) if side]
        return max(present, key=lambda side: side.candidate.accuracy)

    @property
    def pick(self) -> Best | None:
        """What to use: what the verdict says, the cheaper one of `either`, None of `neither`."""
        if self.verdict == "neither":
            return None
        if self.tuned is None or self.prompted is None:
            return self.best
        is_tune = self.verdict == "tune" or (self.verdict == "either" and self.is_tuning_cheaper())
        return self.tuned if is_tune else self.prompted

    @property
    def is_as_good(self) -> bool:
        """Whether the best tuned and the best prompted are shown to be as good as each other."""
        return self.lead is not None and max(map(abs, self.lead.interval)) <= AS_GOOD

    @property
    def turns(self) -> tuple[int, ...]:
        """Numbers of queries from which on another one of the two is cheaper, the shots cached or not; ascending."""
        return tuple(sorted(set(_turns(self.tuned.row, self.prompted.row)))) if self.tuned and self.prompted else ()

    def is_tuning_cheaper(self, cached: bool = False) -> bool:
        """Return whether the best tuned costs no more than the best prompted; no where a price is not known."""
        if self.tuned is None or self.prompted is None:
            return False
        tuned, prompted = self.tuned.choice.price(cached), self.prompted.choice.price(cached)
        return tuned is not None and prompted is not None and tuned <= prompted

    def after(self, num_queries: int) -> "Decision":
        """Return the decision for another number of queries: the same evidence, other prices."""
        standings = [choice.is_enough for choice in self.choices]
        choices = by_price([choice.row for choice in self.choices], num_queries, standings)
        sides = [side and replace(side, choice=_choice(choices, side.row)) for side in (self.tuned, self.prompted)]
        priced = replace(self, num_queries=num_queries, choices=tuple(choices), tuned=sides[0], prompted=sides[1])
        return replace(priced, verdict=_verdict(priced))


def decide(table: Table, num_queries: int, labels: Sequence[int] | None = None) -> Decision:
    """Decide between tuning and prompting, for so many queries.

    The best tuned candidate, or classifier of embeddings, stands against the best prompted one, on the same rows, in a
    test that knows of how many each is the best. What is shown to be more accurate is the verdict; where both are shown
    to be as good (`AS_GOOD`) it is the cheaper one; else it is `either`. But where the best of all is not shown to be
    better than always giving the most frequent label, it is `neither`. Right is what was answered rightly, whatever the
    task's metric.

    Args:
        table: Rows on one task.
        num_queries: That will be asked.
        labels: For each row of the task, in its order, the index of the right choice; None for what records say.

    Raises:
        RecordError: The table is of several tasks, or no row of it says which answers are right.
    """
    present, left_out = candidates(table)
    rows, records = [candidate.row for candidate in present], [record for row in table.rows for record in row.records]
    groups, name = clusters(records, table.tasks[0].num_examples), table.tasks[0].sha256
    choices = by_price(rows, num_queries, not_worse(rows, best(rows)))
    ordered = [candidate for choice in choices for candidate in present if candidate.row is choice.row]
    tuned = [candidate for candidate in ordered if candidate.row.is_learned]
    prompted = [candidate for candidate in ordered if not candidate.row.is_learned]
    sides = [_best(side, choices, groups, name) if side else None for side in (tuned, prompted)]
    decision = Decision(
        table,
        num_queries,
        "either",
        tuple(ordered),
        tuple(choices),
        sides[0],
        sides[1],
        lead.between(_right(tuned), _right(prompted), groups, name) if tuned and prompted else None,
        _majority(_right(ordered), groups, name, labels or labels_of(records), label_counts(records)),
        break_even(sides[0].row, sides[1].row) if sides[0] and sides[1] else None,
        tuple(crossings(table)),
        tuple(left_out),
        groups.num_rows,
        groups.number,
    )
    return replace(decision, verdict=_verdict(decision))


def _verdict(decision: Decision) -> Verdict:
    if decision.majority and not decision.majority.lead.is_shown:
        return "neither"
    if decision.lead and decision.lead.is_shown:
        return "tune" if decision.lead.value > 0 else "prompt"
    if decision.is_as_good:
        return "tune" if decision.is_tuning_cheaper() else "prompt"
    return "either"


def _right(side: Sequence[Candidate]) -> "np.ndarray":
    """Stack right answers: (candidates, rows)."""
    import numpy as np

    return np.array([candidate.right for candidate in side])


def _best(side: Sequence[Candidate], choices: Sequence[Choice], groups: Clusters, name: str) -> Best:
    right = _right(side)
    chosen = side[int(right.mean(axis=1).argmax())]
    estimate = selection.corrected(right, groups, name, chosen.num_answers)
    return Best(chosen, _choice(choices, chosen.row), estimate, len(side))


def _choice(choices: Sequence[Choice], row: Row) -> Choice:
    return next(choice for choice in choices if choice.row is row)


def _majority(
    right: "np.ndarray", groups: Clusters, name: str, labels: Sequence[int] | None, counts: Sequence[int] | None
) -> Majority | None:
    """Compare the best candidate with the most frequent label, of equals the first; None where none is known."""
    import numpy as np

    if labels is None and counts is None:
        return None
    tally = np.bincount(labels) if labels is not None else np.array(counts)
    label, share = int(tally.argmax()), float(tally.max() / tally.sum())
    rival = np.full(groups.num_rows, share) if labels is None else (np.array(labels) == label).astype(float)
    return Majority(label, share, labels is not None, lead.over(right, rival, groups, name))


def _turns(tuned: Row, prompted: Row) -> Iterator[int]:
    """Yield where the lines of two total costs cross: once + queries x each."""
    line = cost_line(tuned)
    for other in (cost_line(prompted), cost_line(prompted, cached=True)):
        if line and other and line[1] != other[1]:
            crossing = (line[0] - other[0]) / (other[1] - line[1])
            if crossing > 0:
                # Tuning is cheaper where it costs no more: from the crossing on, or up to it.
                yield math.ceil(crossing) if other[1] > line[1] else math.floor(crossing) + 1
