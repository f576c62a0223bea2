"""What must stand under a comparison so that nobody reads more into it than is there."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

from peftbench.report.evidence.pairs import Pairs
from peftbench.report.evidence.significance import MCNEMAR, NUM_DRAWS, SIGN_FLIP
from peftbench.report.notes import commands, remarks
from peftbench.report.rows import select, setting, units
from peftbench.report.rows.confidence import CONFIDENCE
from peftbench.report.rows.select import Side
from peftbench.report.rows.table import build
from peftbench.report.rows.units import points

FEW_EXAMPLES = 30


def spread(a: Side, b: Side, paired: Sequence[Pairs]) -> Iterator[str]:
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


def unlike(a: Side, b: Side) -> Iterator[str]:
    """Say what the sides do not share."""
    for letter, one in (("A", a), ("B", b)):
        for table in build([each.record for each in one.kept]):
            yield from (f"{letter}: {text}" for text in remarks.cautions(table))
    if a.draws_nothing != b.draws_nothing:
        letter = "A" if a.draws_nothing else "B"
        yield f"{letter} is zero-shot, which draws no shots: its answers stand beside those of each seed"
    elif a.is_record and b.is_record and a.first.seed != b.first.seed:
        yield f"A has seed {a.first.seed} and B seed {b.first.seed}: their shots differ"


def weak(nums_examples: Sequence[int], have_interval: Sequence[bool]) -> Iterator[str]:
    """Say where the interval is weak: few examples, or none that differ.

    Args:
        nums_examples: Of each task.
        have_interval: Whether there is one for each task.
    """
    if min(nums_examples) < FEW_EXAMPLES:
        yield f"fewer than {FEW_EXAMPLES} examples of a task: intervals come out a little too narrow"
    if not all(have_interval):
        yield "interval n/a: all examples differ by the same, so that drawing them again shows nothing"


def models(a: Side, b: Side, ways: Sequence[str]) -> Iterator[str]:
    """Say that models differ, and name what would compare the ways of learning on one model."""
    if a.first.model.name != b.first.model.name:
        sizes = ", ".join(f"{one.model.name} {units.number(one.model.num_parameters)}" for one in (a.first, b.first))
        commands = f"; on one model: {' or '.join(f'`{way}`' for way in ways)}" if ways else ""
        yield f"A and B stand on different models (parameters: {sizes}): they differ in that, too{commands}"


def same_model(a: Side, b: Side, rows: Mapping[str, Side], tasks: Sequence[str]) -> Iterator[str]:
    """List the commands that put one side's learner on the other's model, or compare it where it is there."""
    if setting.method(a.first) == setting.method(b.first):
        return
    for fixed, moved in ((a, b), (b, a)):
        word = select.name(moved.first, fixed.first.model.name)
        if word in rows:
            yield shlex.join(["peftbench", "compare", fixed.word, word])
        else:
            yield commands.transfer(moved.first, fixed.first, tasks)


def conventions(tests: Sequence[str]) -> Iterator[str]:
    """Say how the numbers were had.

    Args:
        tests: Which test gave the p-value of each task.
    """
    yield (
        "accuracy: mean over examples, templates and seeds (the report shows medians); answers ranked by "
        "log-probability per token; difference: accuracy of B minus accuracy of A, in percentage points; ahead: "
        "examples that one side gets right under more of the templates and seeds than the other (with one of each: "
        "that it alone gets right); shown: a difference with (corrected) p < 0.05"
    )
    over = "; over several tasks the mean of their differences, the tasks kept fixed" if len(tests) > 1 else ""
    yield (
        f"interval: {CONFIDENCE:.0%} percentile, cluster bootstrap over examples within tasks, {NUM_DRAWS:,} draws, "
        f"fixed seed; an example stays together with all its templates and seeds{over}"
    )
    if MCNEMAR in tests:
        yield f"p: {MCNEMAR} test, two-sided (McNemar 1947)"
    if SIGN_FLIP in tests or len(tests) > 1:
        of_mean = " of the mean" if SIGN_FLIP not in tests else ""
        yield (
            f"p{of_mean}: {SIGN_FLIP} test over examples, two-sided, {NUM_DRAWS:,} draws (Dror et al. 2018, P18-1128)"
        )
    if len(tests) > 1:
        yield (
            f"p Holm: corrected for {len(tests)} tasks (Holm 1979); it decides on each task, while the mean is one "
            "test of its own"
        )
