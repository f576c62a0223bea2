"""What a finished cell has to tell: its identity, its evaluations, its record and its per-example scores."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from peftbench import registry
from peftbench.costs.of_cell import Asked, Facts, Trained, Tried, ledger
from peftbench.costs.traced_cell import trace_cell
from peftbench.flow.plan import Plan
from peftbench.learners import sweep
from peftbench.learners.predictor import Predictor
from peftbench.learners.sweep import Swept
from peftbench.learners.tune import TunePredictor
from peftbench.methods.base import Added
from peftbench.methods.stages import left
from peftbench.models.backbone import Backbone
from peftbench.scoring.score import NORMALIZATIONS, SCORER_VERSION, Scores, predict
from peftbench.spec.cell import Scoring, Training
from peftbench.store.record import Learned, ModelInfo, Record, StartingPoint, TaskInfo, TemplateResult, identify, now
from peftbench.tasks.task import Example, Task
from peftbench.tasks.template import Template

PACKAGES = ("peftbench", "torch", "transformers", "tokenizers", "datasets", "safetensors")
# Where and how fast a cell runs does not make it another cell.
NOT_IDENTITY = {"device", "allow_pickle", "task", "method_config", "training", "start_from", "sweep", "scoring"}
# Always told. Other fields are when they are not at their defaults: an option that comes later, and is off, leaves the
# records that were made before it what they are.
ALWAYS = {"learner", "model", "revision", "shots", "seed", "templates", "limit", "method", "dtype"}


@dataclass(frozen=True)
class Learnt:
    """What came out of learning: a predictor for each template, and for tuning what was trained.

    Args:
        seconds: Wall time of learning.
        adapter: Folder that the trained parameters were saved to.
    """

    predictors: Sequence[Predictor]
    seconds: float
    tuned: TunePredictor | None = None
    training: Training | None = None
    swept: Swept | None = None
    adapter: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """The test rows under one template, their scores, and the wall time that scoring took.

    Args:
        num_shots: Shots that were learned from; in a prompt, those that stood in it.
    """

    template: Template
    num_shots: int
    examples: Sequence[Example]
    scores: Scores
    seconds: float

    def result(self) -> TemplateResult:
        """Count the right answers by each length normalisation."""
        labels = [example.label for example in self.examples]
        right = {
            normalization: [
                predict(choices, normalization) == label
                for choices, label in zip(self.scores.choices, labels, strict=True)
            ]
            for normalization in NORMALIZATIONS
        }
        return TemplateResult(
            template=self.template.index,
            name=self.template.name,
            num_examples=len(labels),
            num_correct={normalization: sum(some) for normalization, some in right.items()},
            num_shots=self.num_shots,
            right="".join("01"[each] for each in right["token"]),
        )


def identity(step: Plan, backbone: Backbone, scoring: Scoring, training: Training | None) -> dict[str, Any]:
    """Say what makes a cell this cell; equal identities give equal results.

    A file's path is not part of it, its rows are: an edited file at the same path is another cell. So for an adapter
    that tuning starts from.
    """
    told = step.cell.model_dump(mode="json", include=ALWAYS)
    options = step.cell.model_dump(mode="json", exclude=NOT_IDENTITY | ALWAYS, exclude_defaults=True)
    return {
        **told,
        **options,
        **({"start_from": step.start.sha256} if step.start else {}),
        **({"sweep": f"{step.cell.sweep}, {sweep.BUDGET}"} if step.cell.sweep else {}),
        "fingerprint": backbone.fingerprint,
        "task": step.task.name,
        "task_sha256": step.task.sha256,
        "method_config": step.config and step.config.model_dump(mode="json"),
        "training": training and training.model_dump(mode="json"),
        "scoring": scoring.model_dump(mode="json"),
        "scorer_version": SCORER_VERSION,
    }


def to_record(
    facts: dict[str, Any],
    step: Plan,
    backbone: Backbone,
    scoring: Scoring,
    learnt: Learnt,
    evaluations: Sequence[Evaluation],
) -> Record:
    """Put together the record of a finished cell."""
    return Record(
        id=identify(facts),
        created_at=now(),
        identity=facts,
        model=_model_info(backbone),
        task=_task_info(step.task),
        learned=_learned(step, learnt),
        seed=step.cell.seed,
        end=str(scoring.end),
        results=[evaluation.result() for evaluation in evaluations],
        costs=ledger(_facts(step, backbone, learnt, evaluations)),
        work=_work(learnt, evaluations),
        versions={name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
    )


def to_frame(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Give one row per (template, example, choice): log-probability in nats, lengths, and what it is ranked by."""
    rows = [
        {
            "template": evaluation.template.index,
            "row_id": example.row_id,
            "label": example.label,
            "choice": index,
            "log_prob": score.log_prob,
            "num_tokens": score.num_tokens,
            "num_chars": score.num_chars,
            "num_bytes": score.num_bytes,
            "ranked_by": score.value(),
        }
        for evaluation in evaluations
        for example, choices in zip(evaluation.examples, evaluation.scores.choices, strict=True)
        for index, score in enumerate(choices)
    ]
    return pd.DataFrame(rows)


def _model_info(backbone: Backbone) -> ModelInfo:
    return ModelInfo(
        name=backbone.name,
        revision=backbone.revision,
        fingerprint=backbone.fingerprint,
        family=backbone.model.config.model_type,
        is_encoder_decoder=backbone.is_encoder_decoder,
        num_parameters=backbone.num_parameters,
        dtype=str(backbone.dtype).removeprefix("torch."),
        device=backbone.device.type,
    )


def _task_info(task: Task) -> TaskInfo:
    return TaskInfo(
        name=task.name,
        family=task.family,
        version=task.version,
        sha256=task.sha256,
        chance=task.chance,
        metric=task.metric,
    )


def _learned(step: Plan, learnt: Learnt) -> Learned:
    num_shots = [predictor.num_shots for predictor in learnt.predictors]
    return Learned(
        learner=step.cell.learner,
        num_shots=min(num_shots),
        shot_ids=[row.id for row in step.shots[: max(num_shots)]],
        method=step.cell.method,
        config=step.config and step.config.model_dump(mode="json"),
        training=learnt.training and learnt.training.model_dump(mode="json"),
        **({} if learnt.tuned is None else _trained(step, learnt.tuned, learnt.swept)),
    )


def _trained(step: Plan, tuned: TunePredictor, swept: Swept | None) -> dict[str, Any]:
    start = step.start
    return {
        "num_trained_parameters": tuned.num_trained_parameters,
        "num_saved_parameters": tuned.num_saved_parameters,
        "num_unreached_parameters": tuned.num_unreached_parameters,
        "start_from": start and StartingPoint(path=str(start.path), sha256=start.sha256, model=start.model),
        "sweep": swept and swept.part(),
    }


def _facts(step: Plan, backbone: Backbone, learnt: Learnt, evaluations: Sequence[Evaluation]) -> Facts:
    method = None if step.cell.method is None else registry.method(step.cell.method)
    tuned = learnt.tuned
    asked = [_asked(*pair) for pair in zip(learnt.predictors, evaluations, strict=True)]
    traced = None
    if tuned and method is not None and step.cell.method not in registry.METHODS:
        traced = trace_cell(backbone, [length for each in asked for length in each.lengths], tuned.lengths)
    return Facts(
        sizes=backbone.sizes,
        num_parameters=backbone.num_parameters,
        bytes_per_value=backbone.dtype.itemsize,
        added=None if method is None or traced else method.added(backbone.sizes, step.config),
        asked=asked,
        passes=[one for evaluation in evaluations for one in evaluation.scores.work.passes],
        trained=Trained(tuned.lengths, tuned.prepared, tuned.passes) if tuned else None,
        tried=None if learnt.swept is None else _tried(learnt.swept),
        left=_left(step, backbone, tuned) if tuned and not traced else None,
        traced=traced,
        adapter=learnt.adapter,
        learn_seconds=learnt.seconds,
        score_seconds=sum(evaluation.seconds for evaluation in evaluations),
    )


def _left(step: Plan, backbone: Backbone, tuned: TunePredictor) -> Added:
    shapes = {name: tuple(tensor.shape) for name, tensor in backbone.tensors_named(tuned.names).items()}
    return left(registry.method(str(step.cell.method)), backbone.sizes, step.config, shapes)


def _tried(swept: Swept) -> Tried:
    return Tried(Trained(swept.lengths, swept.prepared, swept.passes), swept.held_out, swept.scored)


def _asked(predictor: Predictor, evaluation: Evaluation) -> Asked:
    tokens, scores = predictor.prompt_tokens, evaluation.scores
    return Asked(
        # Where all prompts hold the same shots, it need not be said of each.
        lengths=[replace(length, shots=length.shots or tokens) for length in scores.lengths],
        once=[replace(length, shots=length.shots or tokens) for length in scores.once],
        num_examples=len(evaluation.examples),
        shot_tokens=tokens,
        shot_bytes=predictor.prompt_bytes,
    )


def _work(learnt: Learnt, evaluations: Sequence[Evaluation]) -> dict[str, int]:
    """Add up the tokens that were run, training and scoring apart, and those that were cut.

    Beside them stands how often scoring ran out of memory and went on with batches of half the size.
    """
    work = {"cut_tokens": sum({id(predictor): predictor.num_cut_tokens for predictor in learnt.predictors}.values())}
    for field in ("shared_tokens", "context_tokens", "choice_tokens", "padding_tokens"):
        work[f"scoring_{field}"] = sum(getattr(evaluation.scores.work, field) for evaluation in evaluations)
    work["scoring_halvings"] = sum(evaluation.scores.work.num_halvings for evaluation in evaluations)
    if learnt.tuned is not None:
        work["training_tokens"] = learnt.tuned.num_tokens
        work["training_padding_tokens"] = learnt.tuned.num_padding_tokens
    return work
