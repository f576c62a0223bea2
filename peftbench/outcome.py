"""What a finished cell has to tell: its identity, its evaluations, its record and its per-example scores."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from peftbench import registry
from peftbench.costs.ledger import Facts, ledger
from peftbench.learners.predictor import Predictor
from peftbench.learners.tune import TunePredictor
from peftbench.models.backbone import Backbone
from peftbench.models.scoring import NORMALIZATIONS, SCORER_VERSION, Scores, predict
from peftbench.plan import Plan
from peftbench.recipe import Scoring, Training
from peftbench.record import Learned, ModelInfo, Record, TaskInfo, TemplateResult, identify, now
from peftbench.tasks.task import Example, Task
from peftbench.tasks.template import Template

PACKAGES = ("peftbench", "torch", "transformers", "tokenizers", "datasets", "safetensors")
# Where and how fast a cell runs does not make it another cell.
NOT_IDENTITY = {"device", "allow_pickle", "task", "method_config", "training", "scoring"}


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

    A file's path is not part of it, its rows are: an edited file at the same path is another cell.
    """
    return {
        **step.cell.model_dump(mode="json", exclude=NOT_IDENTITY),
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
    """Give one row per (template, example, choice): log-probability in nats, and the choice's lengths."""
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
        num_trained_parameters=learnt.tuned.num_parameters if learnt.tuned else 0,
    )


def _facts(step: Plan, backbone: Backbone, learnt: Learnt, evaluations: Sequence[Evaluation]) -> Facts:
    method = None if step.cell.method is None else registry.method(step.cell.method)
    shot_tokens = [predictor.prompt_tokens for predictor in learnt.predictors]
    return Facts(
        sizes=backbone.sizes,
        num_parameters=backbone.num_parameters,
        num_trained_parameters=learnt.tuned.num_parameters if learnt.tuned else 0,
        added=None if method is None else method.added(backbone.sizes, step.config),
        lengths=[
            (tokens, length)
            for tokens, evaluation in zip(shot_tokens, evaluations, strict=True)
            for length in evaluation.scores.lengths
        ],
        icl_tokens=None if learnt.tuned else sum(shot_tokens) / len(shot_tokens),
        passes=[one for evaluation in evaluations for one in evaluation.scores.work.passes],
        examples=learnt.tuned.lengths if learnt.tuned else None,
        num_steps=len(learnt.tuned.log) if learnt.tuned else 0,
        adapter=learnt.adapter,
        learn_seconds=learnt.seconds,
        score_seconds=sum(evaluation.seconds for evaluation in evaluations),
    )


def _work(learnt: Learnt, evaluations: Sequence[Evaluation]) -> dict[str, int]:
    """Add up the tokens that were run, training and scoring apart, and those that were cut."""
    work = {"cut_tokens": sum({id(predictor): predictor.num_cut_tokens for predictor in learnt.predictors}.values())}
    for field in ("shared_tokens", "context_tokens", "choice_tokens", "padding_tokens"):
        work[f"scoring_{field}"] = sum(getattr(evaluation.scores.work, field) for evaluation in evaluations)
    if learnt.tuned is not None:
        work["training_tokens"] = learnt.tuned.num_tokens
        work["training_padding_tokens"] = learnt.tuned.num_padding_tokens
    return work
