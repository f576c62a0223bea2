"""What must stand under a comparison so that nobody reads more into it than is there."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from peftbench.metrics.base import Scale
from peftbench.metrics.text import TextMetric
from peftbench.report.evidence.compare import Comparison
from peftbench.report.evidence.significance import MCNEMAR, NUM_DRAWS, RANDOMISATION, SIGN_FLIP
from peftbench.report.notes import commands, remarks
from peftbench.report.rows import select, setting, strata, units
from peftbench.report.rows.confidence import CONFIDENCE
from peftbench.report.rows.metric import ACCURACY
from peftbench.report.rows.select import Selection, Stored
from peftbench.report.rows.table import build
from peftbench.report.rows.units import points
from peftbench.store.record import Record

FEW_EXAMPLES = 30


def findings(comparison: Comparison, all_stored: Sequence[Stored] = (), options: str = "") -> list[str]:
    """List what must not be read into a comparison.

    Args:
        comparison: Of A and B.
        all_stored: All records that there are, to name what would stand on the same model.
        options: What a command that this names needs besides, as typed.
    """
    lines = comparison.lines
    return [
        *(f"left out: {text}" for text in comparison.left_out),
        *(f"left out: {text}" for side in (comparison.a, comparison.b) for text in select.left_out(side, all_stored)),
        *_other_shots(comparison),
        *_unlike(comparison.a, comparison.b),
        *_hardware(comparison.a, comparison.b),
        *_weak([pairs.num_clusters for pairs in comparison.pairs], [line.interval is not None for line in lines]),
        *_models(comparison, [f"{command}{options}" for command in _same_model(comparison, select.rows(all_stored))]),
    ]


def _other_shots(comparison: Comparison) -> Iterator[str]:
    """Write what the test cannot know: how much other shots would change."""
    if comparison.a.is_zero_shot and comparison.b.is_zero_shot:
        return
    by_task = comparison.pairs
    seeds = set(by_task[0].seeds).intersection(*(pairs.seeds for pairs in by_task))
    means = [sum(pairs.by_seed[pairs.seeds.index(seed)] for pairs in by_task) / len(by_task) for seed in sorted(seeds)]
    if len(means) > 1:
        above, below = sum(value > 0 for value in means), sum(value < 0 for value in means)
        if comparison.overall:
            metric = comparison.overall.metric
            low, high = (points(end, metric.decimals) for end in (min(means), max(means)))
            yield (
                f"seed by seed B minus A is {low} to {high} {metric.difference_unit}: above 0 with {above} of "
                f"{len(means)} seeds, below with {below}"
            )
        yield "the test is over examples, for these tasks, templates and seeds: it does not speak of other shots"
    else:
        yield "the test is over examples, for one draw of shots: with another seed the sides may change places"


def _unlike(a: Selection, b: Selection) -> Iterator[str]:
    """Write what stands under the table of a side, once where it is that of both, and what the sides do not share."""
    letters: dict[str, list[str]] = {}
    for letter, selection in (("A", a), ("B", b)):
        for text in dict.fromkeys(text for table in build(selection.records) for text in remarks.cautions(table)):
            letters.setdefault(text, []).append(letter)
    yield from (f"{' and '.join(sides)}: {text}" for text, sides in letters.items())
    if a.is_zero_shot != b.is_zero_shot:
        letter = "A" if a.is_zero_shot else "B"
        yield f"{letter} is zero-shot, which draws no shots: its answers stand beside those of each seed"
    elif a.is_record and b.is_record and a.first.seed != b.first.seed:
        yield f"A has seed {a.first.seed} and B seed {b.first.seed}: their shots differ"


def _hardware(a: Selection, b: Selection) -> Iterator[str]:
    """Write that records were made on other kinds of device, with weights spread otherwise, or of another type."""
    of_a, of_b = ({_place(part.record) for whole in side.stored for part in whole.folds or (whole,)} for side in (a, b))
    if len(of_a | of_b) > 1:
        sides = f"A ran on {' and '.join(sorted(of_a))}, B on {' and '.join(sorted(of_b))}"
        yield f"{sides}: that alone gives other last digits, and after training other answers"


def _place(record: Record) -> str:
    """Write where a model's weights were: cpu in float32, 2 x cuda in bfloat16."""
    model = record.model
    if model.server is not None:
        return "a server"
    kinds = Counter(name.partition(":")[0] for name in model.device.split(", "))
    devices = " + ".join(f"{number} x {kind}" if number > 1 else kind for kind, number in sorted(kinds.items()))
    return f"{devices} in {model.dtype}"


def _weak(nums_examples: Sequence[int], have_interval: Sequence[bool]) -> Iterator[str]:
    """Write where the interval is weak: few examples, or none that differ.

    Args:
        nums_examples: Of each task, those of a cluster counted once.
        have_interval: Whether there is one for each task.
    """
    if min(nums_examples) < FEW_EXAMPLES:
        yield f"fewer than {FEW_EXAMPLES} examples of a task: intervals come out a little too narrow"
    if not all(have_interval):
        yield "interval n/a: all examples differ by the same, so that drawing them again shows nothing"


def _models(comparison: Comparison, commands_on_one: Sequence[str]) -> Iterator[str]:
    """Write that models differ, and name what would compare the learners on one model."""
    models = [comparison.a.first.model, comparison.b.first.model]
    if models[0].name != models[1].name:
        sizes = ", ".join(f"{model.name} {units.number(model.num_parameters)}" for model in models)
        proposed = " or ".join(f"`{command}`" for command in commands_on_one)
        hint = f"; on one model: {proposed}" if proposed else ""
        yield f"A and B stand on different models (parameters: {sizes}): they differ in that, too{hint}"


def _same_model(comparison: Comparison, rows: Mapping[str, Selection]) -> Iterator[str]:
    """List the commands that put one side's learner on the other's model, or compare it where it is there."""
    a, b = comparison.a, comparison.b
    if setting.method(a.first) == setting.method(b.first):
        return
    tasks = [pairs.task for pairs in comparison.pairs]
    for fixed, moved in ((a, b), (b, a)):
        word = select.name(moved.first, fixed.first.model.name)
        if word in rows:
            yield shlex.join(["peftbench", "compare", fixed.word, word])
        else:
            yield commands.transfer(moved.first, fixed.first, tasks)


def _scored(metric: Scale) -> str:
    """Write what scores and differences are."""
    if metric.name == ACCURACY:
        return (
            "accuracy: mean over examples, templates and seeds (the report shows medians); answers ranked by "
            "log-probability per token; difference: accuracy of B minus accuracy of A, in percentage points"
        )
    mean = f"{metric.title}: over all examples, mean over templates and seeds (the report shows medians)"
    difference = f"difference: {metric.title} of B minus that of A"
    if isinstance(metric, TextMetric):
        return f"{mean}; {difference}"
    return f"{mean}; answers ranked by log-probability per token; {difference}, in points, hundredths of it"


def conventions(comparison: Comparison) -> Iterator[str]:
    """Write how the numbers were had."""
    tests = [line.test for line in comparison.lines]
    ahead = (
        "ahead: examples that one side gets right under more of the templates and seeds than the other (with one of "
        "each: that it alone gets right); "
        if any(line.num_a_ahead is not None for line in comparison.lines)
        else ""
    )
    *others, last = map(_scored, comparison.metrics)
    yield from others
    yield f"{last}; {ahead}shown: a difference with (corrected) p < 0.05"
    over = "; over several tasks the mean of their differences, the tasks kept fixed" if comparison.mean else ""
    yield (
        f"interval: {CONFIDENCE:.0%} percentile, cluster bootstrap over examples within tasks, {NUM_DRAWS:,} draws, "
        f"fixed seed; an example stays together with all its templates and seeds{over}"
    )
    if any(pairs.clusters is not None for pairs in comparison.pairs):
        yield "interval and p: rows of one text, or of one group, are drawn and change sides together"
    if remark := strata.remark({line.task or "": line.is_stratified for line in comparison.lines}):
        yield f"interval: {remark}"
        yield (
            "p: there the first rows of all labels change sides together, then the second ones, and so on: as exact as "
            "row by row, and what one label loses where another gains, which moves no score, is not taken for chance"
        )
    if MCNEMAR in tests:
        yield f"p: {MCNEMAR} test, two-sided (McNemar 1947)"
    if RANDOMISATION in tests:
        yield (
            f"p: {RANDOMISATION} over examples, which change sides with all their templates and seeds, two-sided, "
            f"{NUM_DRAWS:,} draws (Noreen 1989; Yeh 2000, cs/0008005)"
        )
    if SIGN_FLIP in (*tests, comparison.mean and comparison.mean.test):
        of_mean = " of the mean" if SIGN_FLIP not in tests else ""
        yield (
            f"p{of_mean}: {SIGN_FLIP} test over examples, two-sided, {NUM_DRAWS:,} draws (Dror et al. 2018, P18-1128)"
        )
    if len(tests) > 1:
        of_mean = ", while the mean is one test of its own" if comparison.mean else ""
        yield f"p Holm: corrected for {len(tests)} tasks (Holm 1979); it decides on each task{of_mean}"
