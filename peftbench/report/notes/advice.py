"""What is said beside advice: why the evidence does not suffice, what to run for it, and what stays uncertain."""

from collections.abc import Iterator

from peftbench.report.evidence.advise import Advice, Gap
from peftbench.report.notes import commands
from peftbench.report.notes.steps import FIRST_METHOD
from peftbench.report.rows import confidence, names, options, units
from peftbench.report.rows.table import Row, Table

NUM_SEEDS = 5
"""Proposed where a row has one."""


def lacking(advice: Advice) -> list[str]:
    """Write why the records do not suffice, each reason once."""
    return list(dict.fromkeys(_reason(gap) for gap in advice.gaps))


def run_next(advice: Advice, options: str = "") -> list[str]:
    """List the commands that would help.

    Args:
        advice: With gaps or without.
        options: What each command needs besides, as typed.
    """
    proposed = [command for gap in advice.gaps for command in _commands(advice.table, gap)]
    return list(dict.fromkeys(f"{command}{options}" for command in proposed))


def caveats(advice: Advice) -> Iterator[str]:
    """Write what is uncertain all the same."""
    rows = [choice.row for choice in advice.choices]
    unclear = [names.full(choice.row) for choice in advice.choices if choice.is_enough == "unclear"]
    if advice.min_score is None:
        yield "not shown to be worse is no proof of being as good: see the intervals"
    elif unclear:
        metric = advice.table.metric
        line = f"{units.percent(advice.min_score, metric.decimals)} {metric.unit}"
        yield f"unclear whether they reach {line}: {'; '.join(unclear)}"
    if any(choice.is_estimated for choice in advice.choices):
        yield "~ training FLOPs by the paper's rule come out too high: the answer then errs against tuning"
    unpriced = "; ".join(names.full(choice.row) for choice in advice.picks[0].unpriced)
    if unpriced:
        yield f"what is cheapest is so of the rows with a total: nobody knows the FLOPs of {unpriced}"
    if len({row.model for row in rows}) > 1:
        yield "rows on different models differ in more than the way of learning"
    yield "intervals are over examples: other shots, templates and tasks may come out differently"
    beside = "no seconds" if advice.money else "neither seconds nor money"
    yield f"FLOPs are {beside}: `peftbench cost` and the records' measured seconds have more"


def _reason(gap: Gap) -> str:
    match gap.kind:
        case "task":
            return "a mixture of tasks is there to start from, and the choice falls on a task"
        case "icl":
            return "no row learns in context"
        case "tuned":
            return "no row was tuned"
        case "interval":
            spreads = _row(gap).spreads.values()
            why = next(spread.why_no_interval for spread in spreads if spread.why_no_interval)
            return f"rows without a 95 % interval: {why}"
        case "seeds":
            return f"{names.title(_row(gap))} has one seed: one draw of shots"
        case "score":
            return "no row is shown to be good enough, and some are not shown not to be"


def _commands(table: Table, gap: Gap) -> list[str]:
    """List the commands that would close a gap; none where none would."""
    most_shots = max(table.rows, key=lambda row: row.num_shots)
    match gap.kind:
        case "icl":
            return [commands.icl(table, most_shots, most_shots.num_shots or options.DEFAULT_SHOTS)]
        case "tuned":
            return [commands.tune(table, most_shots, FIRST_METHOD)]
        case "interval" if confidence.are_old(_row(gap).records):
            return [f"{command} --force" for command in commands.again(table, _row(gap))]
        case "seeds":
            return commands.again(table, _row(gap), range(NUM_SEEDS))
        case "score":
            return commands.again(table, _row(gap))
        case _:
            return []


def _row(gap: Gap) -> Row:
    assert gap.row is not None
    return gap.row
