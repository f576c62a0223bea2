"""What a finished trial leaves: its evaluations, its record and its per-example scores."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from peftbench import registry
from peftbench.costs import of_classifier
from peftbench.costs.of_cell import Facts, ScoredRows, costs, drawing_costs
from peftbench.costs.traced_cell import Traced, trace_cell
from peftbench.flow import of_pet
from peftbench.flow.evaluation import Evaluation
from peftbench.flow.plan import Plan
from peftbench.flow.trial import Trial
from peftbench.flow.written import WrittenEvaluation
from peftbench.learners import tune
from peftbench.learners.classify import Classifying
from peftbench.learners.icl import Icl
from peftbench.learners.learn import Classified, Distilled, Ensembled, Learned, Learner, Tuned
from peftbench.models.backbone import Backbone
from peftbench.scoring.work import Usage, Work
from peftbench.selection import kmeans
from peftbench.served.costs import known
from peftbench.store import record as store
from peftbench.store.record import Cost, ModelInfo, Record, StartingPoint, TaskInfo

PACKAGES = ("peftbench", "torch", "transformers", "tokenizers", "datasets", "safetensors")


def to_record(trial: Trial, learned: Learned, evaluations: Sequence[Evaluation], adapter: Path | None) -> Record:
    """Put together the record of a finished trial.

    Args:
        trial: What was run.
        learned: What came out of learning.
        evaluations: One for each template.
        adapter: Folder that what was learned was saved to; None where it is no adapter.
    """
    return Record(
        id=trial.id,
        created_at=store.now(),
        identity=trial.identity,
        model=_model_info(trial.backbone),
        task=_task_info(trial.plan),
        learned=_learned(trial, learned),
        seed=trial.cell.seed,
        end=trial.scoring.end,
        results=[evaluation.result for evaluation in evaluations],
        costs=[
            *known(_costs(trial, learned, evaluations, adapter), trial.backbone, _scoring(evaluations).usage),
            *(drawing_costs(trial.drawing, trial.backbone.sizes) if trial.drawing else []),
        ],
        work=_work(learned, evaluations),
        versions={name: version(name) for name in _packages(trial)} | {"python": platform.python_version()},
    )


def _packages(trial: Trial) -> list[str]:
    """List the packages that have a part in what comes out."""
    options, learner = trial.cell.icl, trial.learner
    package = registry.selector(options.select).package if options.is_chosen else None
    if isinstance(learner, Classifying):
        package = registry.classifier(learner.classifier).package
    if trial.drawing is not None:
        package = kmeans.PACKAGE
    return [*PACKAGES, *([package] if package else [])]


def to_frame(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Return the scores of all templates: see `Evaluation.frame`, or `WrittenEvaluation.frame` of written answers."""
    return pd.concat([evaluation.frame() for evaluation in evaluations], ignore_index=True)


def _model_info(backbone: Backbone) -> ModelInfo:
    return ModelInfo(
        name=backbone.name,
        revision=backbone.revision,
        fingerprint=backbone.fingerprint,
        **backbone.facts,
    )


def _task_info(plan: Plan) -> TaskInfo:
    task, clusters = plan.task, plan.task.clusters or ()
    is_stratified = task.has_fixed_counts and all(len(rows) == len(task.test) for rows in plan.queries)
    return TaskInfo(
        name=task.name,
        family=task.family,
        version=task.version,
        sha256=task.sha256,
        chance=task.chance,
        metric=task.metric,
        labels=" ".join(str(row.label) for row in task.test) if is_stratified else None,
        clusters=" ".join(map(str, clusters)) if len(set(clusters)) < len(clusters) else None,
        subsets=_subsets(plan),
    )


def _subsets(plan: Plan) -> dict[str, str] | None:
    """List the examples of each subset of the test rows; None where a template skips rows, or there are none."""
    num_rows = len(plan.task.test[: plan.cell.limit])
    if plan.cell.fold is not None or any(len(rows) < num_rows for rows in plan.queries):
        return None
    places = {name: [place for place in ids if place < num_rows] for name, ids in plan.task.subsets.items()}
    return {name: " ".join(map(str, of_name)) for name, of_name in places.items() if of_name} or None


def _learned(trial: Trial, learned: Learned) -> store.Learned:
    num_shots = [predictor.num_shots for predictor in learned.predictors]
    read = [row for row in trial.plan.shots if any(template.reads(row) for template in trial.plan.shot_templates)]
    return store.Learned(
        learner=trial.cell.learner,
        num_shots=min(num_shots),
        shot_ids=[row.id for row in read[: max(num_shots)]],
        chosen_from=_num_chosen_from(trial),
        calibrated_by=_num_calibration_rows(trial.learner),
        embedder=None if trial.embedder is None else str(trial.embedder),
        **(_tuned(learned) if isinstance(learned, Tuned) else {}),
        **(_classified(trial, learned) if isinstance(learned, Classified) else {}),
        **(_ensembled(trial, learned) if isinstance(learned, Ensembled | Distilled) else {}),
    )


def _num_calibration_rows(learner: Learner) -> int | None:
    return len(learner.calibration_rows) or None if isinstance(learner, Icl) else None


def _num_chosen_from(trial: Trial) -> int | None:
    is_chosen = trial.cell.icl.is_chosen or trial.drawing is not None
    return trial.cell.icl.pool or len(trial.plan.source.train) if is_chosen else None


def _tuned(tuned: Tuned) -> dict[str, Any]:
    tuning, predictor, start = tuned.tuning, tuned.predictor, tuned.tuning.start
    return {
        "method": tuning.method,
        "config": tuning.config.model_dump(mode="json"),
        "training": tuning.training.model_dump(mode="json"),
        "num_trained_parameters": predictor.num_trained_parameters,
        "num_saved_parameters": predictor.num_saved_parameters,
        "num_unreached_parameters": predictor.num_unreached_parameters,
        "num_head_parameters": predictor.num_head_parameters or None,
        "start_from": start and StartingPoint(path=str(start.path), sha256=start.sha256, model=start.model),
        "sweep": tuned.swept and tuned.swept.part(),
    }


def _ensembled(trial: Trial, ensembled: Ensembled | Distilled) -> dict[str, Any]:
    settings = {"method": trial.cell.method, "config": trial.identity["method_config"]}
    return settings | of_pet.learned(ensembled)


def _classified(trial: Trial, classified: Classified) -> dict[str, Any]:
    num_parameters = max(predictor.num_parameters for predictor in classified.predictors)
    return {
        "method": classified.learner.classifier,
        "config": trial.identity["method_config"],
        "num_trained_parameters": num_parameters,
        "num_saved_parameters": num_parameters,
    }


def _costs(trial: Trial, learned: Learned, evaluations: Sequence[Evaluation], adapter: Path | None) -> list[Cost]:
    if not isinstance(learned, Classified):
        return costs(_facts(trial, learned, evaluations, adapter))
    reader = learned.predictors[0].reader
    parts = [
        of_classifier.Classified(
            shots=predictor.read_tokens,
            queries=[length.context for length in evaluation.scores.lengths],
            num_multiplied=predictor.fitted.num_multiplied,
            num_bytes=predictor.num_bytes,
            trained=predictor.trained.tokens if predictor.trained else (),
        )
        for predictor, evaluation in zip(learned.predictors, evaluations, strict=True)
    ]
    facts = of_classifier.ClassifierFacts(
        sizes=reader or trial.backbone.sizes,
        num_parameters=reader.num_parameters if reader else trial.backbone.num_parameters,
        classified=parts,
        learn_seconds=learned.seconds,
        score_seconds=sum(evaluation.scores.seconds for evaluation in evaluations),
    )
    return of_classifier.costs(facts)


def _facts(trial: Trial, learned: Learned, evaluations: Sequence[Evaluation], adapter: Path | None) -> Facts:
    backbone = trial.backbone
    return Facts(
        sizes=backbone.sizes,
        num_parameters=backbone.num_parameters,
        bytes_per_value=backbone.dtype.itemsize,
        scored=[_scored_rows(evaluation) for evaluation in evaluations],
        written=[evaluation.written for evaluation in evaluations if isinstance(evaluation, WrittenEvaluation)],
        passes=[shape for evaluation in evaluations for shape in evaluation.scores.work.passes],
        adapter=adapter,
        learn_seconds=learned.seconds,
        score_seconds=sum(evaluation.scores.seconds for evaluation in evaluations),
        **(_tuning_facts(learned, evaluations) if isinstance(learned, Tuned) else {}),
        **(of_pet.facts(learned, backbone) if isinstance(learned, Ensembled | Distilled) else {}),
    )


def _tuning_facts(tuned: Tuned, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    tuning, predictor = tuned.tuning, tuned.predictor
    method, sizes = registry.method(tuning.method), predictor.backbone.sizes
    work: dict[str, Any] = {"trained": predictor.work, "swept": tuned.swept and tuned.swept.work}
    if tuning.method not in registry.METHODS:
        return work | {"traced": _traced(predictor.backbone, evaluations, tuned)}
    tensors = predictor.backbone.tensors_named(predictor.names)
    beside = {*predictor.head_names, *predictor.own_names}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in beside}
    return work | {
        "added": tune.added(tuning, sizes, method.added(sizes, tuning.config)),
        "left": tune.added(tuning, sizes, method.added_finished(sizes, tuning.config, shapes)),
    }


def _traced(backbone: Backbone, evaluations: Sequence[Evaluation], tuned: Tuned) -> Traced:
    scored = [length for evaluation in evaluations for length in evaluation.scores.lengths]
    return trace_cell(backbone, scored, tuned.predictor.work.lengths)


def _scored_rows(evaluation: Evaluation) -> ScoredRows:
    return ScoredRows(
        lengths=evaluation.scores.lengths,
        once=evaluation.scores.once,
        num_examples=len(evaluation.queries),
        shot_tokens=evaluation.predictor.shot_tokens,
        shot_bytes=evaluation.predictor.shot_bytes,
        selection=evaluation.scores.selection,
    )


def _written(evaluations: Sequence[Evaluation]) -> dict[str, int]:
    """Count the tokens that were written; empty answers, and those that had not ended, are counted, not dropped."""
    parts = [part for evaluation in evaluations if (part := evaluation.result.written) is not None]
    if not parts:
        return {}
    return {
        "written_tokens": sum(part.num_tokens for part in parts),
        "empty_outputs": sum(part.num_empty for part in parts),
        "cut_outputs": sum(part.num_cut for part in parts),
    }


def _usage(usage: Usage) -> dict[str, int]:
    """List what a server was asked for, and what it says of its cache, if it does."""
    cached = {} if usage.cached is None else {"served_cached_tokens": usage.cached}
    sent = {"served_requests": usage.requests, "served_sent_tokens": usage.sent}
    resumed = {"served_resumed_prompts": usage.resumed} if usage.resumed else {}
    return sent | cached | {"served_generated_tokens": usage.generated} | resumed


def _scoring(evaluations: Sequence[Evaluation]) -> Work:
    return sum((evaluation.scores.work for evaluation in evaluations), Work())


def _work(learned: Learned, evaluations: Sequence[Evaluation]) -> dict[str, int]:
    """Add up the tokens that were run, training and scoring apart, and those that were cut.

    Beside them stands how often scoring ran out of memory and went on with batches of half the size.
    """
    scoring = _scoring(evaluations)
    if scoring.usage.requests:
        return {"cut_tokens": learned.num_cut_tokens + scoring.cut_tokens, **_usage(scoring.usage)}
    work = {
        "cut_tokens": learned.num_cut_tokens + scoring.cut_tokens,
        "scoring_shared_tokens": scoring.shared_tokens,
        "scoring_context_tokens": scoring.context_tokens,
        "scoring_choice_tokens": scoring.choice_tokens,
        "scoring_padding_tokens": scoring.padding_tokens,
        "scoring_halvings": scoring.num_halvings,
    }
    work |= _written(evaluations)
    if any(evaluation.scores.selection for evaluation in evaluations):
        work["scoring_saved_tokens"] = scoring.saved_tokens
    if isinstance(learned, Ensembled | Distilled):
        work |= of_pet.work(learned)
    if isinstance(learned, Tuned):
        work["training_tokens"] = learned.predictor.work.num_tokens
        work["training_padding_tokens"] = learned.predictor.work.num_padding_tokens
        if learned.tuning.training.stop != "never":
            work["training_steps"] = learned.predictor.work.num_steps
    return work
