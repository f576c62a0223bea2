"""Two sides of a comparison -> what is different, by a paired test over examples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peftbench.metrics.base import Scale
from peftbench.report.evidence import randomisation, significance
from peftbench.report.evidence.pairs import Pairs, pair
from peftbench.report.evidence.significance import ALPHA, MCNEMAR, RANDOMISATION, SIGN_FLIP, Draws
from peftbench.report.rows import select
from peftbench.report.rows.select import Selection


@dataclass(frozen=True)
class Line:
    """The comparison on one task, or on the mean over tasks.

    Args:
        task: Its name; None for the mean over tasks.
        sha256: Of the task's data; None for the mean.
        num_examples: That both sides answered.
        num_templates: Under which they did; None for the mean, as the next.
        num_seeds: Of the side that draws shots.
        metric: Of which the scores are.
        score_a: Mean over (template, seed) of the metric over examples, in hundredths of what is shown.
        score_b: The same for B.
        difference: score_b - score_a.
        interval: 95 %; None where all draws of the difference are equal.
        p_value: Two-sided, of the difference.
        p_corrected: By Holm over the tasks; of the mean, and where there is one task, p_value itself.
        test: Which gave p_value.
        num_a_ahead: Examples that A gets right under more of the (template, seed) than B; with one, those that A alone
            gets right; None where answers are written, of which a metric speaks as a whole.
        num_b_ahead: The same for B.
        is_stratified: Whether examples are drawn within each label, whose counts are fixed; of the mean, whether those
            of a task are.
    """

    task: str | None
    sha256: str | None
    num_examples: int
    num_templates: int | None
    num_seeds: int | None
    metric: Scale
    score_a: float
    score_b: float
    difference: float
    interval: tuple[float, float] | None
    p_value: float
    p_corrected: float
    test: str
    num_a_ahead: int | None
    num_b_ahead: int | None
    is_stratified: bool

    @property
    def is_different(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_corrected < ALPHA

    @property
    def is_b_better(self) -> bool:
        """Whether B has the better score."""
        return (self.difference > 0) == self.metric.higher_is_better


@dataclass(frozen=True)
class Comparison:
    """Lines by task, and their mean where there are several, all of one metric.

    Args:
        pairs: The answers that were compared, task by task.
        left_out: What one side has and the other has not, in words.
    """

    a: Selection
    b: Selection
    lines: tuple[Line, ...]
    mean: Line | None
    pairs: tuple[Pairs, ...]
    left_out: tuple[str, ...]

    @property
    def overall(self) -> Line | None:
        """The mean, or the only task; None where the tasks have different metrics, whose mean would mean nothing."""
        return self.lines[0] if len(self.lines) == 1 else self.mean

    @property
    def metrics(self) -> list[Scale]:
        """The metrics of its tasks."""
        return list(dict.fromkeys(line.metric for line in self.lines))


def compare(a: Selection, b: Selection) -> Comparison:
    """Test whether two sides are different in the metric of each task, on the examples that both answered.

    Args:
        a: One side.
        b: The other; differences are its score minus A's.

    Raises:
        RecordError: They cannot be paired.

    Paper: 2411.00640 (paired differences, clustered by example).
    """
    select.check_apart(a, b)
    by_task, left_out = pair(a, b)
    draws = [_drawn(pairs) for pairs in by_task]
    lines = [_line(pairs, drawn) for pairs, drawn in zip(by_task, draws, strict=True)]
    corrected = significance.holm([line.p_value for line in lines])
    lines = [replace(line, p_corrected=p) for line, p in zip(lines, corrected, strict=True)]
    is_one_metric = len({line.metric for line in lines}) == 1
    mean = _mean(lines, significance.mean(draws)) if len(lines) > 1 and is_one_metric else None
    return Comparison(a, b, tuple(lines), mean, tuple(by_task), tuple(left_out))


def _drawn(pairs: Pairs) -> Draws:
    name = pairs.task + pairs.sha256
    if pairs.sides is not None:
        return randomisation.draw(pairs.metric, pairs.sides, name, labels=pairs.labels, clusters=pairs.clusters)
    assert pairs.num_right_a is not None
    assert pairs.num_right_b is not None
    sums = pairs.num_right_b - pairs.num_right_a
    return significance.draw(sums, pairs.num_pairs, name, labels=pairs.labels, clusters=pairs.clusters)


def _scores(pairs: Pairs) -> tuple[float, float, float]:
    """Compute A's score, B's score and their difference."""
    if pairs.sides is not None:
        a, b = (float(score) for score in randomisation.scores(pairs.metric, pairs.sides).mean(axis=1))
        return a, b, b - a
    assert pairs.num_right_a is not None
    assert pairs.num_right_b is not None
    num_answers = pairs.num_examples * pairs.num_pairs
    right_a, right_b = int(pairs.num_right_a.sum()), int(pairs.num_right_b.sum())
    return right_a / num_answers, right_b / num_answers, (right_b - right_a) / num_answers


def _line(pairs: Pairs, draws: Draws) -> Line:
    ahead = _ahead(pairs)
    score_a, score_b, difference = _scores(pairs)
    is_drawn_alone = pairs.labels is None and pairs.clusters is None
    is_single = pairs.num_pairs == 1 and pairs.sides is None and is_drawn_alone
    p = significance.mcnemar(*ahead) if ahead and is_single else significance.p_value(difference, draws)
    return Line(
        task=pairs.task,
        sha256=pairs.sha256,
        num_examples=pairs.num_examples,
        num_templates=len(pairs.templates),
        num_seeds=len(pairs.seeds),
        metric=pairs.metric,
        score_a=score_a,
        score_b=score_b,
        difference=difference,
        interval=significance.interval(draws),
        p_value=p,
        p_corrected=p,
        test=MCNEMAR if is_single else SIGN_FLIP if pairs.sides is None else RANDOMISATION,
        num_a_ahead=ahead[0] if ahead else None,
        num_b_ahead=ahead[1] if ahead else None,
        is_stratified=pairs.labels is not None,
    )


def _ahead(pairs: Pairs) -> tuple[int, int] | None:
    """Count the examples that A gets right under more of the (template, seed), and those that B does."""
    a, b = pairs.num_right_a, pairs.num_right_b
    return None if a is None or b is None else (int((a > b).sum()), int((b > a).sum()))


def _mean(lines: Sequence[Line], draws: Draws) -> Line:
    difference = sum(line.difference for line in lines) / len(lines)
    p = significance.p_value(difference, draws)
    return Line(
        task=None,
        sha256=None,
        num_examples=sum(line.num_examples for line in lines),
        num_templates=None,
        num_seeds=None,
        metric=lines[0].metric,
        score_a=sum(line.score_a for line in lines) / len(lines),
        score_b=sum(line.score_b for line in lines) / len(lines),
        difference=difference,
        interval=significance.interval(draws),
        p_value=p,
        p_corrected=p,
        test=RANDOMISATION if lines[0].test == RANDOMISATION else SIGN_FLIP,
        num_a_ahead=_total([line.num_a_ahead for line in lines]),
        num_b_ahead=_total([line.num_b_ahead for line in lines]),
        is_stratified=any(line.is_stratified for line in lines),
    )


def _total(numbers: Sequence[int | None]) -> int | None:
    """Add numbers; None where one is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
