"""Crossings of learning curves in words."""

from peftbench.report.evidence.crossing import BEFORE, BEYOND, Crossing
from peftbench.report.rows import confidence

CONVENTION = (
    "learning curves: ahead with each larger number of examples that was run, straight on a log scale in between; "
    f"{confidence.INTERVAL} by drawing the test rows again, so that it does not speak of other draws of the shots"
)


def sentence(crossing: Crossing) -> str:
    """Write from how many examples on tuning is ahead, in one line."""
    tuned, prompted, counts = crossing.tuned.title, crossing.prompted.title, crossing.counts
    if crossing.place == BEFORE:
        text = f"{tuned} is ahead of {prompted} from {counts[0]:,} examples on, the fewest that both have"
    elif crossing.place == BEYOND:
        text = f"{tuned} is not ahead of {prompted} with {counts[-1]:,} examples, the most that both have"
    else:
        text = f"{tuned} is ahead of {prompted} from about {round(crossing.place):,} examples on"
    return text + _interval(crossing)


def _interval(crossing: Crossing) -> str:
    if crossing.interval is None:
        return ""
    low, high = (_end(end, crossing.counts) for end in crossing.interval)
    return f" ({confidence.INTERVAL}: {low})" if low == high else f" ({confidence.INTERVAL}: {low} to {high})"


def _end(place: float, counts: tuple[int, ...]) -> str:
    if place == BEFORE:
        return f"fewer than {counts[0]:,}"
    return f"more than {counts[-1]:,}" if place == BEYOND else f"{round(place):,}"
