"""Two sides of a comparison -> what is different, by a paired test over examples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peftbench.report.evidence import significance
from peftbench.report.evidence.pairs import Pairs, pair
from peftbench.report.evidence.significance import ALPHA, MCNEMAR, SIGN_FLIP, Draws
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
        accuracy_a: Share of right answers, 0 to 1.
        accuracy_b: The same for B.
        difference: accuracy_b - accuracy_a.
        interval: 95 %; None where all examples differ by the same, which cannot be resampled.
        p_value: Two-sided, of the difference.
        p_corrected: By Holm over the tasks; of the mean, and where there is one task, p_value itself.
        test: Which gave p_value.
        num_a_ahead: Examples that A gets right under more of the (template, seed) than B; with one, those that A alone
            gets right.
        num_b_ahead: The same for B.
    """

    task: str | None
    sha256: str | None
    num_examples: int
    num_templates: int | None
    num_seeds: int | None
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float] | None
    p_value: float
    p_corrected: float
    test: str
    num_a_ahead: int
    num_b_ahead: int

    @property
    def is_different(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_corrected < ALPHA


@dataclass(frozen=True)
class Comparison:
    """Lines by task, and their mean where there are several.

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
    def overall(self) -> Line:
        """The mean, or the only task."""
        return self.mean or self.lines[0]


def compare(a: Selection, b: Selection) -> Comparison:
    """Test whether two sides are different in accuracy, on the examples that both answered.

    Args:
        a: One side.
        b: The other; differences are its accuracy minus A's.

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
    mean = _mean(lines, significance.mean(draws)) if len(lines) > 1 else None
    return Comparison(a, b, tuple(lines), mean, tuple(by_task), tuple(left_out))


def _drawn(pairs: Pairs) -> Draws:
    return significance.draw(pairs.num_right_b - pairs.num_right_a, pairs.num_pairs, pairs.task + pairs.sha256)


def _line(pairs: Pairs, draws: Draws) -> Line:
    a_ahead = int((pairs.num_right_a > pairs.num_right_b).sum())
    b_ahead = int((pairs.num_right_b > pairs.num_right_a).sum())
    num_answers = len(pairs.num_right_a) * pairs.num_pairs
    right_a, right_b = int(pairs.num_right_a.sum()), int(pairs.num_right_b.sum())
    difference = (right_b - right_a) / num_answers
    is_single = pairs.num_pairs == 1
    p = significance.mcnemar(a_ahead, b_ahead) if is_single else significance.sign_flip(difference, draws)
    return Line(
        task=pairs.task,
        sha256=pairs.sha256,
        num_examples=len(pairs.num_right_a),
        num_templates=len(pairs.templates),
        num_seeds=len(pairs.seeds),
        accuracy_a=right_a / num_answers,
        accuracy_b=right_b / num_answers,
        difference=difference,
        interval=significance.interval(draws),
        p_value=p,
        p_corrected=p,
        test=MCNEMAR if is_single else SIGN_FLIP,
        num_a_ahead=a_ahead,
        num_b_ahead=b_ahead,
    )


def _mean(lines: Sequence[Line], draws: Draws) -> Line:
    difference = sum(line.difference for line in lines) / len(lines)
    p = significance.sign_flip(difference, draws)
    return Line(
        task=None,
        sha256=None,
        num_examples=sum(line.num_examples for line in lines),
        num_templates=None,
        num_seeds=None,
        accuracy_a=sum(line.accuracy_a for line in lines) / len(lines),
        accuracy_b=sum(line.accuracy_b for line in lines) / len(lines),
        difference=difference,
        interval=significance.interval(draws),
        p_value=p,
        p_corrected=p,
        test=SIGN_FLIP,
        num_a_ahead=sum(line.num_a_ahead for line in lines),
        num_b_ahead=sum(line.num_b_ahead for line in lines),
    )
