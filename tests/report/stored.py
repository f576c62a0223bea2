"""Records with scores, in a folder, made by hand: which answers are right is said, the log-probabilities follow."""

import pandas as pd

from peftbench import registry
from peftbench.store.record import TemplateResult, WrittenResult, identify
from peftbench.store.results import Store
from tests.report.records import record

NUM_TOKENS = (2, 5)


def scores(right):
    """Make scores from {template: [1, 0, ...]}, or from {template: {row: 1}}; per token the picked choice is likelier.

    By the sum of its log-probabilities the shorter choice would always win.
    """
    rows = []
    for template, answers in right.items():
        for row, is_right in (answers if isinstance(answers, dict) else dict(enumerate(answers))).items():
            label = row % 2
            picked = label if is_right else 1 - label
            rows += [
                {
                    "template": template,
                    "row_id": row,
                    "label": label,
                    "choice": choice,
                    "log_prob": -num_tokens * (1.0 if choice == picked else 1.5),
                    "num_tokens": num_tokens,
                    "num_chars": 9,
                    "num_bytes": 9,
                }
                for choice, num_tokens in enumerate(NUM_TOKENS)
            ]
    return pd.DataFrame(rows)


def of_metric(metric, table):
    """What a record says of a template beside what is right."""
    per_token = table.assign(rank=table["log_prob"] / table["num_tokens"])
    best = per_token.loc[per_token.groupby("row_id")["rank"].idxmax()]
    predictions, labels = best["choice"].tolist(), best["label"].tolist()
    value = registry.metric(metric).of(predictions, labels)
    return {"values": {"token": value}, "predictions": predictions, "labels": labels}


def folded(root, right, num_folds, method="ICL", model="mini-gpt", *, skip=(), group=None, **facts):
    """Write a record for each fold, of every num_folds-th row, with its answers; `skip` are folds that are left out."""
    shared = {"of": num_folds} | ({} if group is None else {"group": group})
    return [
        stored(
            root,
            {
                template: {row: is_right for row, is_right in enumerate(answers) if row % num_folds == index}
                for template, answers in right.items()
            },
            method,
            model,
            fold={"index": index} | shared,
            **facts,
        )
        for index in range(num_folds)
        if index not in skip
    ]


def stored(
    root,
    right,
    method="ICL",
    model="mini-gpt",
    task="nli",
    *,
    sha256="d" * 64,
    metric="accuracy",
    device="cpu",
    dtype="float32",
    **facts,
):
    """Write a record that has these answers, and its scores; of a fold where `facts` has one."""
    made = record(method, model, task, task_sha256=sha256, **facts)
    counts = {template: list(some.values() if isinstance(some, dict) else some) for template, some in right.items()}
    table = scores(right)
    results = [
        TemplateResult(
            template=template,
            name=str(template),
            num_examples=len(some),
            num_correct={"token": sum(some)},
            right="".join(map(str, some)),
            row_ids=" ".join(map(str, right[template])) if "fold" in facts else None,
            **({} if metric == "accuracy" else of_metric(metric, table[table["template"] == template])),
        )
        for template, some in counts.items()
    ]
    told = {"id": identify(made.identity), "results": results}
    told["model"] = made.model.model_copy(update={"device": device, "dtype": dtype})
    made = made.model_copy(update=told | {"task": made.task.model_copy(update={"sha256": sha256, "metric": metric})})
    return Store(root).write(made, table)


def wrote(
    root,
    outputs,
    references,
    method="ICL",
    model="mini-gpt",
    task="data",
    *,
    metric="token_f1",
    sha256="s" * 64,
    **facts,
):
    """Write a record that has these outputs, {template: [text, ...]}, compared with the references of each row."""
    made = record(method, model, task, **facts)
    texts, scale = registry.text_metric(metric), registry.text_metric(metric).scale
    results = []
    for template, of_template in outputs.items():
        rows = texts.statistics_of(of_template, references)
        value = texts.of_sums(rows.sum(0))
        counts = {"num_tokens": 9, "num_empty": sum(not text for text in of_template), "num_cut": 0}
        worth = WrittenResult(value=value, scale=scale, statistics=rows.tolist(), **counts)
        kept = {"num_examples": len(of_template), "num_correct": {}, "written": worth}
        results.append(TemplateResult(template=template, name=str(template), **kept))
    table = pd.DataFrame(
        [
            {"template": template, "row_id": row, "output": text, "num_references": len(references[row])}
            for template, of_template in outputs.items()
            for row, text in enumerate(of_template)
        ]
    )
    of_task = made.task.model_copy(update={"metric": metric, "chance": 0.0, "sha256": sha256})
    changes = {"id": identify(made.identity), "results": results, "task": of_task}
    return Store(root).write(made.model_copy(update=changes), table)
