"""The stored scores of a side, or its records -> its answers on a task."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peftbench.errors import RecordError
from peftbench.report.rows import setting
from peftbench.report.rows.select import Selection, Stored
from peftbench.store.record import Record

if TYPE_CHECKING:
    import pandas as pd

Condition = tuple[int, int]
"""Template and seed."""
Answers = Mapping[Condition, "pd.DataFrame"]
"""By row_id: `right`, 1.0 or 0.0; and as indices of choices `prediction` and `label`, where records say them.

Of written answers: `statistics`, what the metric is made of.
"""
RANKED_BY = "ranked_by"
AGAIN = "type the command that made it again, with --force"


def read(selection: Selection, sha256: str) -> Answers:
    """Read a side's answers on one task, by its data's SHA-256; shots in another order than that of the draw left out.

    Raises:
        RecordError: Scores are missing or do not fit their record.
    """
    largest: dict[int, Stored] = {}
    for stored in selection.stored:
        record = stored.record
        if record.task.sha256 == sha256 and not setting.order(record):
            # The same cell with another --limit: the first of the same rows.
            largest[record.seed] = max(largest.get(record.seed, stored), stored, key=_num_examples)
    by_condition: dict[Any, pd.DataFrame] = {
        (template, seed): rows.droplevel("template")
        for seed, stored in sorted(largest.items())
        for template, rows in _answered(stored).groupby(level="template")
    }
    return by_condition


def _num_examples(stored: Stored) -> int:
    return stored.record.results[0].num_examples


def _answered(stored: Stored) -> "pd.DataFrame":
    """Return for each (template, row_id) the choice that ranks highest, of equals the first, and if it is the label.

    argmax_c  log p(y_c | x) / tokens(y_c); or, where the scores have it, what calibration or a vote made of that.
    Paper: 2205.05638, section 3.1.

    Raises:
        RecordError: The scores cannot be read, or give other answers than the record.
    """
    if stored.folds:
        import pandas as pd

        return pd.concat([_answered(fold) for fold in stored.folds]).sort_index()
    record, path = stored.record, stored.store.scores_file(stored.record.id)
    if record.results[0].written is not None:
        return _of_record(record)
    if not path.exists() and stored.store.is_packed(record.id):
        return _of_record(record)
    if not path.exists():
        raise RecordError(f"the scores of record {record.id} are missing: no '{path}'", hint=AGAIN)
    try:
        scores = stored.store.read_scores(record.id).sort_values(["template", "row_id", "choice"], kind="stable")
        if RANKED_BY not in scores:
            scores[RANKED_BY] = scores["log_prob"] / scores["num_tokens"]
        best = scores.loc[scores.groupby(["template", "row_id"])[RANKED_BY].idxmax()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise RecordError(f"the scores of record {record.id}, '{path}', are damaged: {why}", hint=AGAIN) from None
    answered = best.set_index(["template", "row_id"])[["choice", "label"]].rename(columns={"choice": "prediction"})
    answered["right"] = (answered["prediction"] == answered["label"]).astype(float)
    _check_fit(record, answered, str(path))
    return answered


def _of_record(record: Record) -> "pd.DataFrame":
    """Read what the record itself says of each (template, row_id): of packed ones the scores are not kept.

    Written answers are compared by what the record says of each alone: the texts are not read again.

    Raises:
        RecordError: It does not say it: it was written by version 1.
    """
    import pandas as pd

    by_template = {}
    for result in record.results:
        columns: dict[str, Any] = {"right": [float(digit) for digit in result.right or ""]}
        if result.predictions is not None:
            columns |= {"prediction": result.predictions, "label": result.labels}
        if result.written is not None:
            columns = {"statistics": result.written.statistics}
        rows = None if result.row_ids is None else [int(number) for number in result.row_ids.split()]
        by_template[result.template] = pd.DataFrame(columns, index=rows).rename_axis("row_id")
    answered = pd.concat(by_template, names=["template"])
    if len(answered) != sum(result.num_examples for result in record.results):
        raise RecordError(f"record {record.id} does not say which examples were answered rightly", hint=AGAIN)
    return answered


def _check_fit(record: Record, answered: "pd.DataFrame", path: str) -> None:
    """Make sure that scores give as many right answers as their record counts, and its predictions where it has them.

    Raises:
        RecordError: They do not.
    """
    by_record = {
        result.template: (result.num_examples, result.num_correct.get("token"), result.predictions)
        for result in record.results
    }
    is_known = any(predictions is not None for *_, predictions in by_record.values())
    by_scores = {
        template: (len(rows), int(rows["right"].sum()), rows["prediction"].tolist() if is_known else None)
        for template, rows in answered.groupby(level="template")
    }
    if by_scores != by_record:
        raise RecordError(
            f"record {record.id} and its scores, '{path}', tell different accuracies: one of them was edited",
            hint=AGAIN,
        )
