r"""PET: for each pattern a masked model is trained several times, and the answers of all of them are averaged.

    s_j(y | x) = logit of y's label word at the mask of x under the pattern of model j
    L_j = -log softmax_y s_j(y | x)                    over the answer choices alone, on the shots
    p(y | x) = softmax_y  sum_j w_j s_j(y | x) / sum_j w_j

A pattern is a template. w_j is 1, or the accuracy on the shots of pattern j before training. All weights of the model
are trained, unless another method takes the place of `full`.

L_j is `length_norm_loss`: of answers of one token, beta is the logit less what all choices have in common.

Paper: 2001.07676, sections 3.1 to 3.3; 2009.07118.
Differs: an answer of several tokens has the mean of their log-probabilities for s_j, each predicted within its word
    (see `scoring.cloze`); the authors fill as many masks as it has tokens and train by a hinge. Without their auxiliary
    language modelling on unlabelled rows. Where no pattern answers any shot rightly before training, weights are equal.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_serializer, model_validator
from torch import Tensor

from peftbench.adapters import saved
from peftbench.errors import MethodError, TaskError
from peftbench.learners import tune
from peftbench.learners.ensemble import fraction
from peftbench.learners.predictor import no_text
from peftbench.learners.tune import TunePredictor, Tuning
from peftbench.methods.base import MethodConfig
from peftbench.models.backbone import Backbone
from peftbench.scoring.generate import Output
from peftbench.scoring.ranking import mean_score, predict
from peftbench.scoring.score import Scores, score
from peftbench.scoring.work import ForwardWork, TrainingWork, Work
from peftbench.spec import limits
from peftbench.spec.cell import Scoring
from peftbench.spec.decoding import Decoding
from peftbench.spec.settings import Settings
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template

PAPER = "2001.07676, section 3"
LOSSES: dict[str, Any] = {"lm_loss": 0.0, "unlikelihood_loss": 0.0, "length_norm_loss": 1.0}
DEFAULTS: dict[str, Any] = {"num_steps": 250, "batch_size": 16, "warmup_ratio": 0.0}
"""Fields of spec.cell.Training, whatever is trained."""
FULL = "full"
OF_FULL: dict[str, Any] = {"optimizer": "adamw", "lr": 1e-5, "weight_decay": 0.01}
"""The same where all weights are; other methods keep their own."""
OF_STUDENT = ("temperature", "distil_steps", "num_unlabelled")
"""Settings that go with `distil`."""


class Config(Settings):
    """Settings of PET, beside those of the method that trains.

    Args:
        repetitions: How often a model is trained for each pattern.
        combine: Weights of the models' answers: "uniform", or "weighted" by the accuracy of their pattern on the shots
            before training.
        method: Trains each model; the paper trains all weights.
        distil: Whether one classifier learns from the models, and answers in their place (`learners.distil`).
        temperature: Of the soft labels that it learns from.
        distil_steps: Its optimiser steps.
        num_unlabelled: Rows that it learns from, at most.
    """

    repetitions: int = Field(3, ge=1, le=limits.MAX_REPETITIONS)
    combine: Literal["uniform", "weighted"] = "uniform"
    method: str = FULL
    distil: bool = False
    temperature: float = Field(2.0, gt=0, le=1_000, allow_inf_nan=False)
    distil_steps: int = Field(5_000, ge=0, le=limits.MAX_STEPS_OF_TRAINING)
    num_unlabelled: int = Field(10_000, ge=1, le=limits.MAX_SHOTS)

    @model_validator(mode="after")
    def _student_is_on(self) -> "Config":
        idle = [name for name in OF_STUDENT if getattr(self, name) != type(self).model_fields[name].default]
        if idle and not self.distil:
            raise ValueError(f"{', '.join(idle)}: it goes with distil, which is off")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, serialize: Any) -> dict[str, Any]:
        """Leave out what is of a student where there is none, and the method that the paper has."""
        table: dict[str, Any] = serialize(self)
        off = () if self.distil else ("distil", *OF_STUDENT)
        return {name: value for name, value in table.items() if name not in off and (name, value) != ("method", FULL)}


@dataclass(frozen=True)
class Pet:
    """PET of a cell.

    Args:
        config: Its settings.
        tuning: How each model is trained; `examples` has each shot as each pattern renders it.
        patterns: The templates.
        unlabelled: Rows whose labels nobody looks at, for a student; none where there is no student.
    """

    config: Config
    tuning: Tuning
    patterns: tuple[Template, ...]
    unlabelled: tuple[Row, ...] = ()

    @property
    def num_models(self) -> int:
        """How many models are trained."""
        return len(self.patterns) * self.config.repetitions

    def examples_of(self, place: int) -> list[Example]:
        """List the shots as the pattern in this place renders them."""
        return [of_shot[place] for of_shot in self.tuning.examples]

    def trainings_of(self, place: int) -> list[Tuning]:
        """List the trainings by the pattern in this place; the first one is what tuning by it alone does."""
        examples = [[example] for example in self.examples_of(place)]
        seeds = [_seed(self.tuning.seed, repetition) for repetition in range(self.config.repetitions)]
        return [replace(self.tuning, examples=examples, seed=seed) for seed in seeds]

    def check(self, backbone: Backbone, scoring: Scoring, queries: Sequence[Example]) -> None:
        """Find what would keep `learn`, and scoring after it, from working; nothing is computed.

        Raises:
            MethodError: The model fills no masks, or as `tune.check`.
            ModelError: As `tune.check`.
            TaskError: A pattern makes nothing of a row.
        """
        if not backbone.sizes.is_encoder_only:
            message = f"--method pet trains models that fill masks, and '{backbone.name}' writes its answers"
            raise MethodError(message, hint="a BERT, RoBERTa, DeBERTa or ModernBERT; here, --method ia3 or lora")
        for place, pattern in enumerate(self.patterns):
            shown = [*rows(queries), *self.unlabelled]
            tune.check(self.trainings_of(place)[0], backbone, scoring, render(pattern, shown))


def _seed(seed: int, repetition: int) -> int:
    """Return the seed of a repetition: of the first one the cell's own."""
    if not repetition:
        return seed
    return int.from_bytes(hashlib.sha256(f"repetition\0{seed}\0{repetition}".encode()).digest()[:4])


def rows(examples: Sequence[Example]) -> list[Row]:
    """List the rows that examples were rendered from."""
    return [example.row for example in examples if example.row is not None]


def render(pattern: Template, shown: Sequence[Row]) -> list[Example]:
    """Render rows by a template.

    Raises:
        TaskError: It makes nothing of one.
    """
    for row in shown:
        if not pattern.reads(row):
            message = f"template '{pattern.name}' makes nothing of row {row.id + 1}, and PET answers by all templates"
            raise TaskError(message, hint="--templates N,N: those that read all rows")
    return [pattern.render(row) for row in shown]


@dataclass(frozen=True)
class Member:
    """A trained model: what was trained of it, away from the backbone.

    Args:
        pattern: The template that it answers by.
        weight: Of its answers.
        method: Name of the method that trained it.
        config: The method's settings.
        values: Full name -> tensor, on the CPU.
        shapes: Full name -> shape of the same, in the order in which the method gave them.
        num_saved: Values among them that are parameters.
        trained: What its training left beside; None where it was saved.
    """

    pattern: Template
    weight: float
    method: str
    config: MethodConfig
    values: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    num_saved: int = 0
    trained: TunePredictor | None = None

    def attach(self, backbone: Backbone) -> list[str]:
        """Put it on the backbone, and return the names of what was trained."""
        return saved.attach(backbone, self.method, self.config, self.shapes, self.values, Path(backbone.name))


@dataclass
class PetPredictor:
    """Scores queries by each model under its pattern, and averages.

    Args:
        backbone: Of all models; nothing is attached between calls.
        scoring: How choices are scored.
        members: The models.
        num_shots: Shots that each was trained on.
        num_cut_tokens: Tokens that were cut from the shots, once for each pattern.
        weighing: What the weights took.
        shot_tokens: No shots stand in the prompt.
        shot_bytes: No shots stand in the prompt.
    """

    backbone: Backbone
    scoring: Scoring
    members: list[Member]
    num_shots: int
    num_cut_tokens: int = 0
    weighing: ForwardWork = field(default_factory=ForwardWork)
    shot_tokens: int = 0
    shot_bytes: int = 0

    @property
    def work(self) -> TrainingWork:
        """What the trainings of all models ran."""
        work = TrainingWork()
        for predictor in self.trained:
            work += predictor.work
        return work

    @property
    def trained(self) -> list[TunePredictor]:
        """What the trainings left, of each model."""
        return [member.trained for member in self.members if member.trained is not None]

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's row under all patterns; `lengths` are of all these prompts.

        Args:
            examples: Of rows, rendered by whatever pattern.
            progress: Called with the number of examples that were just finished.

        Raises:
            TaskError: A pattern makes nothing of a row.
            RunError: As `scoring.score.score`.
        """
        advance = fraction(len(self.members), progress)
        parts = [self._scored(member, examples, advance) for member in self.members]
        weights = [member.weight for member in self.members]
        of_examples = zip(*(scores.choices for scores in parts), strict=True)
        return Scores(
            choices=[mean_score(choices, weights) for choices in of_examples],
            lengths=[length for scores in parts for length in scores.lengths],
            work=sum((scores.work for scores in parts), Work()),
            seconds=sum(scores.seconds for scores in parts),
        )

    def _scored(self, member: Member, examples: Sequence[Example], progress: Callable[[int], None] | None) -> Scores:
        try:
            member.attach(self.backbone)
            return score(self.backbone, render(member.pattern, rows(examples)), self.scoring, progress=progress)
        finally:
            self.backbone.detach_all()

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Refuse to write: it fills masks.

        Raises:
            MethodError: Always.
        """
        raise no_text("PET averages over answer choices")


def learn(
    pet: Pet, backbone: Backbone, scoring: Scoring, progress: Callable[[int, float], None] | None = None
) -> PetPredictor:
    """Train all models on the shots, one after another; the backbone is left as it was loaded.

    Args:
        pet: Patterns, shots and settings.
        backbone: With nothing attached.
        scoring: How masks are filled; the same as in evaluation.
        progress: Called after each step with the model's number, from 0, and the loss.

    Raises:
        MethodError: As `tune.learn`.
        ModelError: As `tune.learn`.
        RunError: As `tune.learn`.
    """
    weights, weighing = _weights(pet, backbone, scoring)
    predictor = PetPredictor(backbone, scoring, [], len(pet.tuning.examples), weighing=weighing)
    for place, (pattern, weight) in enumerate(zip(pet.patterns, weights, strict=True)):
        for tuning in pet.trainings_of(place):
            report = None if progress is None else partial(progress, len(predictor.members))
            predictor.members.append(_member(pattern, weight, tuning, backbone, scoring, report))
    predictor.num_cut_tokens = sum(trained.num_cut_tokens for trained in predictor.trained[:: pet.config.repetitions])
    return predictor


def _member(
    pattern: Template,
    weight: float,
    tuning: Tuning,
    backbone: Backbone,
    scoring: Scoring,
    report: Callable[[float], None] | None,
) -> Member:
    """Train one model, and take what was trained off the backbone."""
    try:
        trained = tune.learn(tuning, backbone, scoring, None if report is None else lambda _, loss: report(loss))
        tensors = backbone.tensors_named(trained.names)
        values = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        num_saved = trained.num_saved_parameters
    finally:
        backbone.detach_all()
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    return Member(pattern, weight, tuning.method, tuning.config, values, shapes, num_saved, trained)


def _weights(pet: Pet, backbone: Backbone, scoring: Scoring) -> tuple[list[float], ForwardWork]:
    """Weigh each pattern, and count what that took."""
    if pet.config.combine == "uniform":
        return [1.0] * len(pet.patterns), ForwardWork()
    weights, work = [], ForwardWork()
    for place in range(len(pet.patterns)):
        examples = pet.examples_of(place)
        scores = score(backbone, examples, scoring)
        work.add(scores.lengths, scores.work.passes)
        right = [predict(choices) == example.label for choices, example in zip(scores.choices, examples, strict=True)]
        weights.append(sum(right) / len(right))
    return weights if any(weights) else [1.0] * len(weights), work
