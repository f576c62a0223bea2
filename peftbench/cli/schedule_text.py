"""What is run for a decision, as text."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from peftbench.decision.schedule import Schedule, Step
from peftbench.learners.progress import duration
from peftbench.report.formats.columns import Column
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids
from peftbench.report.rows import units


def terminal(schedule: Schedule, console: Console) -> str:
    """Draw the strategies, in the order in which they are run, with what they cost and take."""
    steps = schedule.steps
    table = [
        Column(("strategy",), tuple(step.strategy.name for step in steps), is_text=True, is_key=True),
        Column(("runs",), tuple(str(len(step.cells)) for step in steps)),
        Column(("FLOPs",), tuple(units.flops(step.flops) for step in steps)),
        Column(("time",), tuple(duration(step.seconds) for step in steps)),
        Column(("is run",), tuple("yes" if step.is_chosen else "no" for step in steps), is_text=True),
    ]
    return draw(console, [*grids(table, console.width), Text(sentence(schedule))])


def sentence(schedule: Schedule) -> str:
    """Write how much is run, how long that takes, and what is left out."""
    chosen, others = schedule.chosen, [step for step in schedule.steps if not step.is_chosen]
    runs = sum(len(step.cells) for step in chosen)
    text = f"{len(chosen)} strategies, {runs} runs, about {duration(schedule.seconds)} in all"
    return f"{text}; no time for {_names(others)}: --budget {_more(schedule)}" if others else text


def _names(steps: Sequence[Step]) -> str:
    return "; ".join(step.strategy.name for step in steps)


def _more(schedule: Schedule) -> str:
    """Write a budget that suffices for everything."""
    minutes = 1.2 * sum(step.seconds for step in schedule.steps) / 60
    return f"{minutes + 1:.0f}m"
