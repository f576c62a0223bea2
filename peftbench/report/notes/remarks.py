"""What must stand under a table so that nobody reads more into it than is there."""

from collections import Counter
from collections.abc import Iterator, Sequence

from peftbench import registry
from peftbench.report.evidence.break_even import break_evens
from peftbench.report.evidence.sensitivity import sensitivities
from peftbench.report.notes import steps
from peftbench.report.rows import confidence, names, strata, units
from peftbench.report.rows.folds import Joined
from peftbench.report.rows.metric import ACCURACY, has_accuracy_beside
from peftbench.report.rows.table import Row, Spread, Table
from peftbench.report.rows.texts import have_orders
from peftbench.report.rows.units import MARK
from peftbench.store.record import Cost

ONE_CHOICE = 0.98
"""Share of examples with one and the same answer from which on a prompt counts as giving one answer only."""
MARGIN = 0.005
"""Half a point: by so much the most frequent answer has to be more than chance to be worth a line."""
FEW = 30
"""Examples below which a bootstrap's intervals are too narrow: by simulation they cover 90 to 93 %, not 95."""
PACKED = "of bitsandbytes, packed on loading (--load)"
PLAIN = ("F32", "F16", "BF16")
"""Types in GGUF files that weights are published in."""
TITLES = {
    "inference_flops_per_example": "inference FLOPs per example",
    "training_flops": "training FLOPs",
    "disk_bytes": "disk",
}


def conventions(tables: Sequence[Table]) -> list[str]:
    """List how the columns were counted, each convention once, and why values are absent."""
    rows = [row for table in tables for row in table.rows]
    orders = " x orders of the shots" if have_orders(rows) else ""
    titles = ", ".join(dict.fromkeys(table.metric.title for table in tables))
    notes = [
        f"{titles}: median (interquartile range) over templates x seeds{orders}; over several tasks the mean of their "
        "medians (and of their ranges); n = examples"
    ]
    notes += [*folds(rows), *stand_ins(tables)]
    if any(next(break_evens(table), None) for table in tables):
        notes.append("break-even: training FLOPs / FLOPs that a query then costs less than with ICL, rounded up")
    notes += [*beside(tables), *intervals(tables)]
    for name, title in TITLES.items():
        costed = [(row.method, row.costs[name]) for row in rows if name in row.costs and not row.published]
        notes += [f"{title}{of}: {how}" for of, how in _counted(costed)]
        reasons = dict.fromkeys(cost.reason for _, cost in costed if cost.reason)
        notes += [f"{title}: {units.ABSENT} because {reason}" for reason in reasons]
    return notes


def folds(rows: Sequence[Row]) -> Iterator[str]:
    """Write who answered the rows of tasks without test rows."""
    numbers = dict.fromkeys(len(record.ids) for row in rows for record in row.records if isinstance(record, Joined))
    for number in numbers:
        yield (
            f"{number} folds: each row was answered by what was learned from the other folds, {number - 1}/{number} of "
            "the rows, and all rows together are n; a further seed is a further split"
        )


def stand_in(table: Table) -> str | None:
    """Name the leaderboard of which folds of labelled rows are tested; None where a task is none of a leaderboard's."""
    names = {task.name for task in table.tasks}
    of_folds = any(isinstance(record, Joined) for row in table.rows for record in row.records)
    boards = (board for board in registry.LEADERBOARDS if names <= set(registry.GROUP_TASKS[board]))
    return next(boards, None) if of_folds else None


def stand_ins(tables: Sequence[Table]) -> Iterator[str]:
    """Write that scores by folds only stand in for a leaderboard's."""
    for board in dict.fromkeys(board for table in tables if (board := stand_in(table))):
        yield (
            f"{board}: folds of the labelled rows stand in for the leaderboard's test rows, whose labels nobody shows; "
            f"none of these scores is the leaderboard's: `peftbench submit {board}` makes what it scores"
        )


def beside(tables: Sequence[Table]) -> Iterator[str]:
    """Write what the accuracies are that stand beside another metric."""
    for title in dict.fromkeys(table.metric.title for table in tables if has_accuracy_beside(table.metric)):
        yield f"accuracy beside {title}: a median of its own over the same templates x seeds"


def intervals(tables: Sequence[Table]) -> Iterator[str]:
    """Write how intervals were computed, and why some rows have none."""
    rows = [row for table in tables for row in table.rows if not row.published]
    spreads = [spread for row in rows for spread in row.spreads.values()]
    if any(spread.interval for spread in spreads):
        yield confidence.CONVENTION
    yield from stratified(rows)
    clusters = {task.name: _num_clusters(spread) for row in rows for task, spread in row.spreads.items()}
    together = [f"{name} {number:,}" for name, number in clusters.items() if number is not None]
    if together and any(spread.interval for spread in spreads):
        texts = "rows of one text, or of one group, are drawn together"
        yield f"{confidence.INTERVAL}: {texts} (such clusters, of any size: {', '.join(together)})"
    for reason in dict.fromkeys(spread.why_no_interval for spread in spreads if spread.why_no_interval):
        yield f"{confidence.INTERVAL}: {units.ABSENT} because {reason}"
    numbers = {task.name: clusters[task.name] or task.num_examples for row in rows for task in row.spreads}
    few = {name: number for name, number in numbers.items() if number < FEW}
    if few and any(spread.interval for spread in spreads):
        sizes = ", ".join(f"{name} {number}" for name, number in few.items())
        yield f"{confidence.INTERVAL}: a little too narrow below {FEW} examples ({sizes})"


def _num_clusters(spread: Spread) -> int | None:
    """Count the clusters of a task's rows; None where each row is its own."""
    text = strata.clusters(spread.records) if spread.records else None
    return None if text is None else len(set(text.split()))


def stratified(rows: Sequence[Row]) -> Iterator[str]:
    """Write where intervals are of rows that are drawn within each label."""
    tasks = [item for row in rows for item in row.spreads.items()]
    remark = strata.remark({task.name: spread.is_stratified for task, spread in tasks if spread.interval})
    if remark:
        yield f"{confidence.INTERVAL}: {remark}"


def _counted(costed: Sequence[tuple[str, Cost]]) -> Iterator[tuple[str, str]]:
    """Write how a column's numbers were counted; where one kind has several conventions, of which methods each is."""
    methods_of: dict[tuple[str, str], list[str]] = {}
    for method, cost in costed:
        if cost.value:
            methods_of.setdefault((cost.kind, cost.convention), []).append(method)
    kinds = Counter(kind for kind, _ in methods_of)
    for (kind, convention), methods in methods_of.items():
        of = f" of {', '.join(dict.fromkeys(methods))}" if kinds[kind] > 1 else ""
        yield of, f"{MARK} {kind}; {convention}" if kind == "estimated" else f"{kind}; {convention}"


def sensitivity(table: Table) -> Iterator[str]:
    """Write for each row that was run in several orders how far each factor moves its score."""
    decimals = table.metric.decimals
    for row in sensitivities(table):
        name = f"{names.title(row.row)}, {names.shots(row.row)} shots"
        variations = [
            f"{units.percent(variation.deviation, decimals)} over {variation.number} {variation.factor}"
            for variation in row.variations
        ]
        means = [f"{by} {units.percent(mean, decimals)}" for by, mean in row.by_normalization.items()]
        title, unit = table.metric.title, table.metric.difference_unit
        yield f"{name}: standard deviation of {title}, in {unit}, the others held: {', '.join(variations)}"
        yield f"{name}: mean {title} by length normalisation: {', '.join(means)}"


def cautions(table: Table, place: str = "") -> Iterator[str]:
    """Write what makes rows unlike each other: fewer shots than asked, cut inputs, unequal seeds or models.

    Args:
        table: Of the rows.
        place: Begins what does not say itself of which table it is.
    """
    titles = Counter(map(names.title, table.rows))
    for row in table.rows:
        title = names.title(row)
        name = title if titles[title] == 1 else f"{title}, {names.shots(row)} shots"
        yield from (f"{place}{text}" for text in _of_row(row, name))
    yield from _most_frequent(table)
    # Zero-shot draws nothing, so that its one seed is all there is.
    if len({row.num_seeds for row in table.rows if not row.is_zero_shot}) > 1:
        yield f"{place}the rows pool different numbers of seeds: their ranges are not alike"
    yield from (f"{place}{text}" for text in _unequal_models(table))
    yield from _dequantized(table)


def _of_row(row: Row, name: str) -> Iterator[str]:
    if skipped := _skipped(row, name):
        yield skipped
    elif row.used_shots != row.shots:
        yield f"{names.title(row)}: {names.shots(row)} shots, as many as fit the model's positions"
    if row.num_cut_tokens:
        yield f"{name}: {row.num_cut_tokens:,} input tokens were cut (--max-input-tokens)"
    yield from _approximate(row, name)
    yield from _one_choice(row, name)
    yield from _idle(row, name)
    yield from _beside(row, name)
    yield from _spent(row, name)


def _skipped(row: Row, name: str) -> str:
    """Count the templates x seeds that make nothing of some rows; nothing where all read all."""
    results = [result for record in row.records for result in record.results]
    skips = [result.num_skipped for result in results if result.num_skipped]
    if not skips:
        return ""
    text = f"{len(skips)} of {len(results)} tasks x templates x seeds skip rows that they make nothing of"
    shots = ", and shots like them" if row.used_shots != row.shots else ""
    return f"{name}: {text}, {max(skips):,} at most{shots}"


def _approximate(row: Row, name: str) -> Iterator[str]:
    """Write that shots in blocks are no full attention."""
    numbers = {record.identity.get("icl", {}).get("block_shots") for record in row.records} - {None}
    for number in sorted(numbers):
        yield f"{name}: an approximation: blocks of {number} shots do not see each other, the query sees them all"


def _one_choice(row: Row, name: str) -> Iterator[str]:
    """Count the templates x seeds under which a row gives one answer to nearly all examples: its score means little."""
    results = [result for record in row.records for result in record.results if result.num_predicted is not None]
    alike = sum(max(result.num_predicted or [0]) >= ONE_CHOICE * result.num_examples for result in results)
    if alike:
        yield (
            f"{name}: one and the same answer to {100 * ONE_CHOICE:.0f} % of the examples or more under "
            f"{alike} of {len(results)} tasks x templates x seeds"
        )


def _most_frequent(table: Table) -> Iterator[str]:
    """Write the score of always giving the most frequent answer; an accuracy only where that is more than chance."""
    texts = {}
    if table.metric.name not in registry.METRICS:
        return
    metric = registry.metric(table.metric.name)
    for row in table.rows:
        for task, spread in row.spreads.items():
            results = [result for record in spread.records for result in record.results]
            counts = {tuple(result.num_labelled) for result in results if result.num_labelled}
            if not counts:
                continue
            num_labelled = max(counts, key=metric.of_majority)
            value = metric.of_majority(num_labelled)
            if table.metric.name != ACCURACY:
                texts[task.name] = f"{units.percent(value)} ({_accuracies(num_labelled)})"
            elif value - task.chance > MARGIN:
                texts[task.name] = units.percent(value)
    if texts:
        of_tasks = ", ".join(f"{text} on {name}" for name, text in texts.items())
        yield f"always the most frequent answer: {table.metric.title} {of_tasks}"


def _accuracies(num_labelled: Sequence[int]) -> str:
    """Write the accuracy of the most frequent answer, and of guessing."""
    often, guess = max(num_labelled) / sum(num_labelled), 1 / len(num_labelled)
    return f"accuracy {units.percent(often)}, by guessing {units.percent(guess)}"


def _idle(row: Row, name: str) -> Iterator[str]:
    """Count trained parameters that do nothing: those without a gradient, and those that are not kept."""
    if row.num_unreached_parameters:
        which = f"{row.num_unreached_parameters:,} of {row.num_trained_parameters:,} trained parameters"
        yield f"{name}: {which} are in tensors that no training step had a gradient for"
    if row.num_saved_parameters is not None and row.num_saved_parameters != row.num_trained_parameters:
        yield (
            f"{name}: {row.num_saved_parameters:,} parameters are kept and used after training, "
            f"{row.num_trained_parameters:,} were trained"
        )


def _beside(row: Row, name: str) -> Iterator[str]:
    """Count what was trained beside the method: a classification layer in the place of an encoder's head."""
    numbers = [record.learned.num_head_parameters or 0 for record in row.records]
    if any(numbers):
        yield (
            f"{name}: a classification layer of {max(numbers):,} parameters is trained beside the method; trained "
            "params leave it out, disk has it"
        )


def _spent(row: Row, name: str) -> Iterator[str]:
    """Write what training FLOPs include beside a training, and what they leave out."""
    learned = [record.learned for record in row.records]
    paths = dict.fromkeys(part.start_from.path for part in learned if part.start_from)
    if paths:
        whose = ", ".join(f"'{path}'" for path in paths)
        yield f"{name}: started from {whose}; what it took to train that is not in its training FLOPs"
    if any(part.sweep for part in learned):
        place = "not in" if row.costs["training_flops"].kind == "traced" else "in"
        yield f"{name}: the search for the learning rate is {place} its training FLOPs"


def _unequal_models(table: Table) -> Iterator[str]:
    tuned = {row.model: row for row in table.rows if row.is_tuned}
    prompted = {row.model: row for row in table.rows if row.is_icl}
    if tuned and prompted and steps.same_model(table):
        sizes = ", ".join(f"{row.model} {units.number(row.num_parameters)}" for row in (tuned | prompted).values())
        commands = " and ".join(f"`{command}`" for command in steps.same_model(table))
        yield (
            f"ICL and tuning stand on different models here (parameters: {sizes}): the rows compare models, too; "
            f"for the same model both ways: {commands}"
        )


def _dequantized(table: Table) -> Iterator[str]:
    """Write which models have quantised weights: they are not those that their makers published."""
    models = [record.model for row in table.rows for record in row.records]
    facts = ((model.name, model.quantization, model.server is not None, model.weight_bytes) for model in models)
    for name, quantization, is_served, weight_bytes in dict.fromkeys(facts):
        if quantization and quantization not in PLAIN:
            how = "as its server runs them" if is_served else "of a GGUF file, dequantised on loading"
            how = how if weight_bytes is None else f"{PACKED}, {units.size(weight_bytes)}"
            yield f"{name}: {quantization} weights {how}: another model than the published one"
