"""The records of the folds of one split -> one record, in which each row was answered once."""

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from peftbench import registry
from peftbench.report.rows import options, setting, strata
from peftbench.report.rows.metric import ACCURACY
from peftbench.store.record import Cost, Normalization, Record, TemplateResult, WrittenResult, identify

TOTALS = ("scoring_flops", "score_seconds")
"""Costs that are of all rows together."""
PER_ROW = "_per_example"
"""How costs end that are means over rows."""


class Joined(Record):
    """The records of all folds of a split as one.

    Its shots are those of no single training; `folds` have theirs. Its identity has the number of folds in place of
    the fold.
    """

    folds: tuple[Record, ...]

    @property
    def ids(self) -> list[str]:
        """Ids of the folds' records."""
        return [record.id for record in self.folds]


def is_fold(record: Record) -> bool:
    """Return whether a record is of one fold, and so of a part of the rows."""
    return record.identity.get("fold") is not None


def of_folds(record: Record) -> str:
    """Return what the records of all folds of a split share: the id of the record that they become."""
    return identify(setting.whole(record.identity))


def row_key(record: Record) -> str:
    """Return what the record of all folds shares with the others of its row, as `setting.key`."""
    return setting.key(record.model_copy(update={"identity": setting.whole(record.identity)}))


def join(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Make one record of those of all folds of a split; others stay.

    Args:
        records: Of any cells.

    Returns:
        The records, and for each split that lacks a fold, or whose folds do not fit each other, what is the matter: its
        folds are left out.
    """
    splits: dict[str, list[Record]] = {}
    for record in records:
        splits.setdefault(of_folds(record) if is_fold(record) else record.id, []).append(record)
    joined, reasons = [], []
    for group in splits.values():
        if not is_fold(group[0]):
            joined += group
        elif fault := next(_faults(group), None):
            reasons.append(f"{_name(group[0])}: {fault}")
        else:
            joined.append(_joined(group))
    return joined, reasons


def _name(record: Record) -> str:
    shots = f"{setting.shots(record)} shots, seed {record.seed}"
    return f"{record.task.name}: {setting.method(record)} on {record.model.name}, {shots}"


def _faults(group: Sequence[Record]) -> Iterator[str]:
    """Write why records do not make a whole split, each fault in words that follow the split's name."""
    num_folds = group[0].identity["fold"]["of"]
    if len(group) < num_folds:
        yield f"{len(group)} of {num_folds} folds have a record; `{options.again(group)}` runs the rest"
    why = next(_misfits(group), None)
    if why:
        yield f"the records of its folds do not fit: {why}; `{options.again(group)} --force` makes them again"


def _misfits(group: Sequence[Record]) -> Iterator[str]:
    if len({tuple(result.template for result in record.results) for record in group}) > 1:
        yield "they have different templates"
        return
    if len({(record.task.sha256, record.metric, record.task.clusters) for record in group}) > 1:
        yield "they are of different rows"
    clusters = group[0].task.clusters
    for results in zip(*(record.results for record in group), strict=True):
        ids = [row for result in results for row in _row_ids(result)]
        if len(ids) != sum(result.num_examples for result in results) or len(set(ids)) < len(ids):
            yield "it is not said which rows they have, or some have the same ones"
        elif clusters is not None and max(ids) >= strata.number(clusters):
            yield "they have rows that are in no cluster"
        if not all(_are_whole(result) for result in results):
            yield "there are not as many answers as rows"


def _row_ids(result: TemplateResult) -> list[int]:
    return [int(number) for number in (result.row_ids or "").split()]


def _are_whole(result: TemplateResult) -> bool:
    """Return whether each list of a result has an entry for each of its examples."""
    by_row = (result.right, result.predictions, result.labels)
    return all(len(answers) == result.num_examples for answers in by_row if answers is not None)


def _joined(group: Sequence[Record]) -> Joined:
    folds = sorted(group, key=lambda record: int(record.identity["fold"]["index"]))
    first, identity = folds[0], setting.whole(folds[0].identity)
    facts: dict[str, Any] = {name: getattr(first, name) for name in Record.model_fields}
    saved = [record.learned.num_saved_parameters for record in folds]
    learned = {
        "num_shots": min(record.learned.num_shots for record in folds),
        "shot_ids": [],
        "num_saved_parameters": max((number for number in saved if number is not None), default=None),
    }
    of_templates = zip(*(record.results for record in folds), strict=True)
    return Joined.model_construct(
        **facts
        | {
            "id": identify(identity),
            "created_at": max(record.created_at for record in folds),
            "identity": identity,
            "learned": first.learned.model_copy(update=learned),
            "results": [_result(first.metric, results) for results in of_templates],
            "costs": list(_costs(folds)),
            "work": {name: sum(record.work.get(name, 0) for record in folds) for name in first.work},
            "files": None,
            "folds": tuple(folds),
        }
    )


def _result(metric: str, results: Sequence[TemplateResult]) -> TemplateResult:
    """Put one template's answers in the order of the rows, and compute its metric from all of them."""
    ids = [row for result in results for row in _row_ids(result)]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    skipped = sum(result.num_skipped or 0 for result in results)
    predictions, labels = (_in_order(results, name, order) for name in ("predictions", "labels"))
    right = _in_order(results, "right", order)
    used = [result.num_shots for result in results if result.num_shots is not None]
    facts: dict[str, Any] = {
        "template": results[0].template,
        "name": results[0].name,
        "num_examples": len(ids),
        "num_correct": {name: _sum(results, name) for name in _normalizations(results)},
        "num_shots": min(used, default=None),
        "right": None if right is None else "".join(right),
        "num_predicted": _counts([result.num_predicted for result in results]),
        "num_labelled": _counts([result.num_labelled for result in results]),
        "num_skipped": skipped or None,
        "row_ids": " ".join(str(ids[place]) for place in order) if skipped else None,
    }
    if metric != ACCURACY and predictions is not None and labels is not None:
        # Of other normalisations the records hold no predictions, and a mean over folds would be another number.
        facts |= {"predictions": predictions, "labels": labels}
        facts |= {"values": {"token": registry.metric(metric).of(predictions, labels)}}
    if all(result.written is not None for result in results):
        facts |= {"written": _written(metric, [result.written for result in results if result.written], order)}
    return TemplateResult(**facts)


def _written(metric: str, parts: Sequence[WrittenResult], order: Sequence[int]) -> WrittenResult:
    """Put what was written in the order of the rows, and compute the metric from all of it."""
    rows = [row for part in parts for row in part.statistics]
    sums = [math.fsum(column) for column in zip(*rows, strict=True)]
    return WrittenResult(
        value=registry.text_metric(metric).of_sums(sums),
        scale=parts[0].scale,
        statistics=[rows[place] for place in order],
        num_tokens=sum(part.num_tokens for part in parts),
        num_empty=sum(part.num_empty for part in parts),
        num_cut=sum(part.num_cut for part in parts),
    )


def _normalizations(results: Sequence[TemplateResult]) -> list[Normalization]:
    return [name for name in results[0].num_correct if all(name in result.num_correct for result in results)]


def _sum(results: Sequence[TemplateResult], normalization: Normalization) -> int:
    return sum(result.num_correct[normalization] for result in results)


def _in_order(results: Sequence[TemplateResult], name: str, order: Sequence[int]) -> list[Any] | None:
    """Put what folds have of each row in the order of the rows; None where some do not have it."""
    lists = [getattr(result, name) for result in results]
    if any(of_fold is None for of_fold in lists):
        return None
    entries = [entry for of_fold in lists for entry in of_fold]
    return [entries[place] for place in order]


def _counts(lists: Sequence[list[int] | None]) -> list[int] | None:
    """Add up how often each choice occurs; a fold's rows may have fewer choices than another's."""
    present = [counts for counts in lists if counts is not None]
    return None if len(present) < len(lists) else [sum(of_choice) for of_choice in zip_longest(*present, fillvalue=0)]


def _costs(folds: Sequence[Record]) -> Iterator[Cost]:
    weights = [sum(result.num_examples for result in record.results) for record in folds]
    for cost in folds[0].costs:
        of_folds = [record.cost(cost.name, cost.kind) for record in folds]
        yield _cost(cost, [None if of_fold is None else of_fold.value for of_fold in of_folds], weights)


def _cost(cost: Cost, values: Sequence[float | None], weights: Sequence[int]) -> Cost:
    """Average a cost over folds, by their rows where it is of a row; what is of all rows together is added up."""
    present = [value for value in values if value is not None]
    if len(present) < len(values):
        return cost.model_copy(update={"value": None, "reason": cost.reason or "some of the folds do not have it"})
    value: float
    if cost.name in TOTALS:
        value, how = sum(present), "sum over folds"
    elif cost.name.endswith(PER_ROW):
        value, how = statistics.fmean(present, weights), "mean over folds, by their rows"
    else:
        value, how = statistics.fmean(present), "mean over folds"
    rounded = value if cost.unit == "seconds" else round(value)
    return cost.model_copy(update={"value": rounded, "convention": f"{cost.convention}; {how}"})
