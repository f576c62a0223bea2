"""Two sides of a comparison -> what is different, by a paired test over examples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peftbench.report.evidence import significance
from peftbench.report.evidence.pairs import Pairs, pair
from peftbench.report.evidence.significance import ALPHA, MCNEMAR, SIGN_FLIP, Draws
from peftbench.report.notes import caveats
from peftbench.report.rows import select, units
from peftbench.report.rows.select import Kept, Side
from peftbench.report.rows.units import points, probability


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
    """Lines by task, their mean where there are several, and what must be said with them.

    Args:
        paired: What stands beside what.
        verdict: One sentence.
        findings: What must not be read into it.
        conventions: How the numbers were had.
    """

    a: Side
    b: Side
    lines: tuple[Line, ...]
    mean: Line | None
    paired: str
    verdict: str
    findings: tuple[str, ...]
    conventions: tuple[str, ...]

    @property
    def overall(self) -> Line:
        """The mean, or the only task."""
        return self.mean or self.lines[0]


def compare(a: Side, b: Side, kept: Sequence[Kept] = (), options: str = "") -> Comparison:
    """Test whether two sides are different in accuracy, on the examples that both answered.

    Args:
        a: One side.
        b: The other; differences are its accuracy minus A's.
        kept: All records that there are, to name what would stand on the same model.
        options: What a command that this names needs besides, as typed.

    Raises:
        RecordError: They cannot be paired.

    Paper: 2411.00640 (paired differences, clustered by example).
    """
    select.check_apart(a, b)
    paired, left_out = pair(a, b)
    draws = [_drawn(one) for one in paired]
    lines = [_line(*each) for each in zip(paired, draws, strict=True)]
    corrected = significance.holm([line.p_value for line in lines])
    lines = [replace(line, p_corrected=p) for line, p in zip(lines, corrected, strict=True)]
    mean = _mean(lines, significance.mean(draws)) if len(lines) > 1 else None
    ways = [f"{way}{options}" for way in caveats.same_model(a, b, select.rows(kept), [one.task for one in paired])]
    weak = caveats.weak([line.num_examples for line in lines], [line.interval is not None for line in lines])
    findings = [f"left out: {text}" for text in left_out]
    findings += [*caveats.spread(a, b, paired), *caveats.unlike(a, b), *weak, *caveats.models(a, b, ways)]
    return Comparison(
        a,
        b,
        tuple(lines),
        mean,
        _paired(paired),
        _verdict(a, b, mean or lines[0], len(lines)),
        tuple(findings),
        tuple(caveats.conventions([line.test for line in lines])),
    )


def _drawn(one: Pairs) -> Draws:
    return significance.draw(one.num_right_b - one.num_right_a, one.num_pairs, one.task + one.sha256)


def _line(one: Pairs, draws: Draws) -> Line:
    a_ahead = int((one.num_right_a > one.num_right_b).sum())
    b_ahead = int((one.num_right_b > one.num_right_a).sum())
    num_answers = len(one.num_right_a) * one.num_pairs
    right_a, right_b = int(one.num_right_a.sum()), int(one.num_right_b.sum())
    difference = (right_b - right_a) / num_answers
    is_single = one.num_pairs == 1
    p = significance.mcnemar(a_ahead, b_ahead) if is_single else significance.sign_flip(difference, draws)
    return Line(
        task=one.task,
        sha256=one.sha256,
        num_examples=len(one.num_right_a),
        num_templates=len(one.templates),
        num_seeds=len(one.seeds),
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


def _paired(paired: Sequence[Pairs]) -> str:
    num_examples = sum(len(one.num_right_a) for one in paired)
    num_answers = sum(len(one.num_right_a) * one.num_pairs for one in paired)
    templates = units.span([len(one.templates) for one in paired])
    seeds = list(dict.fromkeys(one.seeds for one in paired))
    named = f" ({', '.join(map(str, seeds[0]))})" if len(seeds) == 1 else ""
    tasks = f"{len(paired)} tasks" if len(paired) > 1 else f"task {paired[0].task}"
    return (
        f"paired: {num_examples:,} examples of {tasks}, each under {_counted(templates, 'template')} and "
        f"{_counted(units.span([len(some) for some in seeds]), 'seed')}{named}: {num_answers:,} answers of each side"
    )


def _counted(number: str, noun: str) -> str:
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"


def _verdict(a: Side, b: Side, line: Line, num_tasks: int) -> str:
    where = f"on the mean over {num_tasks} tasks" if num_tasks > 1 else f"on {line.task}"
    evidence = f"p = {probability(line.p_value)}".replace("= <", "< ")
    if line.interval:
        evidence = f"95 % interval {points(line.interval[0])} to {points(line.interval[1])}, {evidence}"
    if not line.is_different:
        return (
            f"No difference shown {where} between A ({a.title}) and B ({b.title}): B minus A is "
            f"{points(line.difference)} points ({evidence})."
        )
    ahead, behind = (f"B ({b.title})", f"A ({a.title})")[:: 1 if line.difference > 0 else -1]
    by = f"B minus A is {points(line.difference)} points"
    return f"Different {where}: {ahead} is right more often than {behind}: {by} ({evidence})."
