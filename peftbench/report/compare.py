"""Two sides of a comparison -> what is different, by a paired test over examples."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from peftbench.report import remarks, setting, side, significance, steps, units
from peftbench.report.pairs import Pairs, pair
from peftbench.report.side import Kept, Side
from peftbench.report.significance import ALPHA, CONFIDENCE, NUM_DRAWS, Draws
from peftbench.report.table import build

MCNEMAR, SIGN_FLIP = "exact McNemar", "sign-flip permutation"
FEW_EXAMPLES = 30


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
    side.check_apart(a, b)
    paired, left_out = pair(a, b)
    draws = [_drawn(one) for one in paired]
    lines = [_line(*each) for each in zip(paired, draws, strict=True)]
    corrected = significance.holm([line.p_value for line in lines])
    lines = [replace(line, p_corrected=p) for line, p in zip(lines, corrected, strict=True)]
    mean = _mean(lines, significance.mean(draws)) if len(lines) > 1 else None
    ways = [f"{way}{options}" for way in _same_model(a, b, side.rows(kept), [one.task for one in paired])]
    findings = [f"left out: {text}" for text in left_out]
    findings += [*_spread(a, b, paired), *_unlike(a, b), *_weak(lines), *_models(a, b, ways)]
    return Comparison(
        a,
        b,
        tuple(lines),
        mean,
        _paired(paired),
        _verdict(a, b, mean or lines[0], len(lines)),
        tuple(findings),
        tuple(_conventions(lines)),
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


def points(share: float) -> str:
    """Write a difference of shares in percentage points: 0.123 is +12.3."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text


def probability(p_value: float) -> str:
    """Write a p-value with four decimals; 10,000 draws give no more."""
    return "<0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def _spread(a: Side, b: Side, paired: Sequence[Pairs]) -> Iterator[str]:
    """Say what the test cannot know: how much other shots would change."""
    if a.draws_nothing and b.draws_nothing:
        return
    seeds = set(paired[0].seeds).intersection(*(one.seeds for one in paired))
    found = [sum(one.by_seed[one.seeds.index(seed)] for one in paired) / len(paired) for seed in sorted(seeds)]
    if len(found) > 1:
        above, below = sum(value > 0 for value in found), sum(value < 0 for value in found)
        yield (
            f"seed by seed B minus A is {points(min(found))} to {points(max(found))} points: above 0 with {above} of "
            f"{len(found)} seeds, below with {below}"
        )
        yield "the test is over examples, for these tasks, templates and seeds: it does not speak of other shots"
    else:
        yield "the test is over examples, for one draw of shots: with another seed the sides may change places"


def _unlike(a: Side, b: Side) -> Iterator[str]:
    """Say what the sides do not share."""
    for letter, one in (("A", a), ("B", b)):
        for table in build([each.record for each in one.kept]):
            yield from (f"{letter}: {text}" for text in remarks.cautions(table))
    if a.draws_nothing != b.draws_nothing:
        letter = "A" if a.draws_nothing else "B"
        yield f"{letter} is zero-shot, which draws no shots: its answers stand beside those of each seed"
    elif a.is_record and b.is_record and a.first.seed != b.first.seed:
        yield f"A has seed {a.first.seed} and B seed {b.first.seed}: their shots differ"


def _weak(lines: Sequence[Line]) -> Iterator[str]:
    if min(line.num_examples for line in lines) < FEW_EXAMPLES:
        yield f"fewer than {FEW_EXAMPLES} examples of a task: intervals come out too narrow"
    if any(line.interval is None for line in lines):
        yield "interval n/a: all examples differ by the same, so that drawing them again shows nothing"


def _models(a: Side, b: Side, ways: Sequence[str]) -> Iterator[str]:
    """Say that models differ, and name what would compare the ways of learning on one model."""
    if a.first.model.name != b.first.model.name:
        sizes = ", ".join(f"{one.model.name} {units.number(one.model.num_parameters)}" for one in (a.first, b.first))
        commands = f"; on one model: {' or '.join(f'`{way}`' for way in ways)}" if ways else ""
        yield f"A and B stand on different models (parameters: {sizes}): they differ in that, too{commands}"


def _same_model(a: Side, b: Side, rows: Mapping[str, Side], tasks: Sequence[str]) -> Iterator[str]:
    """Name the commands that put one side's way of learning on the other's model, or compare it where it is there."""
    if setting.method(a.first) == setting.method(b.first):
        return
    for fixed, moved in ((a, b), (b, a)):
        model, method = shlex.quote(fixed.first.model.name), setting.method(moved.first)
        word = side.name(moved.first, fixed.first.model.name)
        if word in rows:
            yield f"peftbench compare {shlex.quote(fixed.word)} {shlex.quote(word)}"
        else:
            way = f"tune --model {model} --method {method}" if moved.first.learned.method else f"icl --model {model}"
            yield f"peftbench {way} --shots {side.shots(moved.first)}{steps.task_option(tasks)}"


def _conventions(lines: Sequence[Line]) -> Iterator[str]:
    yield (
        "difference: accuracy of B minus accuracy of A, in percentage points; answers ranked by log-probability per "
        "token; ahead: examples that one side gets right under more of the templates and seeds than the other (with "
        "one of each: that it alone gets right); shown: a difference with (corrected) p < 0.05"
    )
    over = "; over several tasks the mean of their differences, the tasks kept fixed" if len(lines) > 1 else ""
    yield (
        f"interval: {CONFIDENCE:.0%} percentile, cluster bootstrap over examples within tasks, {NUM_DRAWS:,} draws, "
        f"fixed seed; an example stays together with all its templates and seeds{over}"
    )
    tests = {line.test for line in lines}
    if MCNEMAR in tests:
        yield f"p: {MCNEMAR} test, two-sided (McNemar 1947)"
    if SIGN_FLIP in tests or len(lines) > 1:
        of_mean = " of the mean" if tests == {MCNEMAR} else ""
        yield (
            f"p{of_mean}: {SIGN_FLIP} test over examples, two-sided, {NUM_DRAWS:,} draws (Dror et al. 2018, P18-1128)"
        )
    if len(lines) > 1:
        yield (
            f"p Holm: corrected for {len(lines)} tasks (Holm 1979); it decides on each task, while the mean is one "
            "test of its own"
        )
