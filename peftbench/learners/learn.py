"""The ways to learn, as one: in-context learning writes prompts, tuning trains an adapter, classifying fits vectors.

PET trains several adapters, whose answers are averaged.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench.adapters import saved
from peftbench.learners import classify, distil, pet, pet_folder, shots_as_prefix, tune
from peftbench.learners.classify import ClassifierPredictor, Classifying
from peftbench.learners.distil import Student
from peftbench.learners.icl import Icl
from peftbench.learners.pet import Pet, PetPredictor
from peftbench.learners.predictor import Predictor, Prompting
from peftbench.learners.progress import Watch
from peftbench.learners.sweep import Swept, num_steps, sweep
from peftbench.learners.tune import TunePredictor, Tuning
from peftbench.models.backbone import Backbone
from peftbench.spec.cell import Scoring
from peftbench.spec.decoding import Decoding
from peftbench.tasks.task import Example

Learner = Icl | Tuning | Classifying | Pet
Queries = Sequence[Sequence[Example]]
"""The test rows, as each template renders them: queries[template][row]."""


@dataclass(frozen=True)
class Prompted:
    """What in-context learning made.

    Args:
        predictors: One for each template.
        seconds: Wall time of learning.
        as_prefix: Whether the prompts are adapters of prefix tuning.
    """

    predictors: Sequence[Prompting]
    seconds: float
    as_prefix: bool

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from the shots."""
        return sum(predictor.num_cut_tokens for predictor in self.predictors)


@dataclass(frozen=True)
class Tuned:
    """What tuning made, attached to the backbone.

    Args:
        tuning: As it was trained: with the learning rate that a sweep chose.
        predictor: Scores with the tuned backbone, under any template.
        seconds: Wall time of learning, the sweep included.
        num_templates: Templates that queries come in.
        swept: What the sweep of the learning rate found; None where there was none.
    """

    tuning: Tuning
    predictor: TunePredictor
    seconds: float
    num_templates: int
    swept: Swept | None = None

    @property
    def predictors(self) -> Sequence[Predictor]:
        """The predictor, for each template."""
        return [self.predictor] * self.num_templates

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from the shots."""
        return self.predictor.num_cut_tokens


@dataclass(frozen=True)
class Classified:
    """What classifying made.

    Args:
        learner: What was fitted.
        predictors: One for each template.
        seconds: Wall time of learning: of reading the shots, when they were read, and of fitting.
    """

    learner: Classifying
    predictors: Sequence[ClassifierPredictor]
    seconds: float

    @property
    def is_trained(self) -> bool:
        """Whether a sentence model was trained, which is to be saved."""
        return all(predictor.trained is not None for predictor in self.predictors)

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from the shots."""
        return sum(predictor.num_cut_tokens for predictor in self.predictors)


@dataclass(frozen=True)
class Ensembled:
    """What PET trained.

    Args:
        learner: What was trained, and how.
        predictor: Scores rows under all patterns.
        seconds: Wall time of learning.
    """

    learner: Pet
    predictor: PetPredictor
    seconds: float

    @property
    def predictors(self) -> Sequence[Predictor]:
        """The predictor: whatever the template that a query comes in, all patterns answer it."""
        return [self.predictor]

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from the shots."""
        return self.predictor.num_cut_tokens


@dataclass(frozen=True)
class Distilled:
    """What PET's models taught a student, which is attached to the backbone.

    Args:
        learner: What was trained, and how.
        student: What answers in their place.
        seconds: Wall time of learning, that of the models included.
    """

    learner: Pet
    student: Student
    seconds: float

    @property
    def predictors(self) -> Sequence[Predictor]:
        """The student, as the first pattern shows it rows."""
        return [self.student.predictor]

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from the shots, and from the rows without labels."""
        return self.student.teachers.num_cut_tokens + self.student.predictor.num_cut_tokens


Learned = Prompted | Tuned | Classified | Ensembled | Distilled


def check(
    learner: Learner, backbone: Backbone, scoring: Scoring, queries: Queries, decoding: Decoding | None = None
) -> None:
    """Find what would keep `learn`, and scoring or writing after it, from working, before anything is computed.

    Raises:
        PeftbenchError: As `learn`.
    """
    if isinstance(learner, Tuning):
        tune.check(learner, backbone, scoring, [query for of_template in queries for query in of_template], decoding)
    elif isinstance(learner, Classifying):
        learner.check(backbone)
    elif isinstance(learner, Pet):
        learner.check(backbone, scoring, queries[0])
        if learner.config.distil:
            tune.check(distil.tuning_of(learner), backbone, distil.scoring_of(scoring), queries[0])
    else:
        learner.check(backbone, scoring, queries, decoding)


def learn(
    learner: Learner, backbone: Backbone, scoring: Scoring, queries: Queries, watch: Watch, title: str
) -> Learned:
    """Learn from the shots: a prompt or a classifier for each template, or one adapter for all of them.

    Args:
        learner: What to learn from, and how.
        backbone: With nothing attached; tuning leaves its adapter attached.
        scoring: How the queries are to be scored.
        queries: Looked at for their lengths alone.
        watch: Is told of each step.
        title: What is learned, in words.

    Raises:
        MethodError: The method does not fit the backbone.
        ModelError: A prompt does not fit the model, or its choices cannot be told apart.
        RunError: Training broke, or memory does not suffice.
    """
    started = time.perf_counter()
    if isinstance(learner, Icl):
        prompts = learner.prompts(backbone, scoring, queries)
        return Prompted(prompts, time.perf_counter() - started, learner.options.as_prefix)
    if isinstance(learner, Classifying):
        predictors = learner.learn(backbone, scoring)
        return Classified(learner, predictors, time.perf_counter() - started)
    if isinstance(learner, Pet):
        return _ensembled(learner, backbone, scoring, watch, title)
    swept = None
    if learner.sweep:
        stage = f"{title}: sweeping the learning rate of {learner.method}, seed {learner.seed}"
        with watch.stage(stage, num_steps(learner.training)) as advance:
            swept = sweep(learner, backbone, scoring, lambda text: advance(1, text))
            if rest := num_steps(learner.training) - swept.num_steps:
                advance(rest, "swept")
        learner = learner.at(swept.lr)
    stage = f"{title}: tuning {learner.method}, seed {learner.seed}"
    with watch.stage(stage, learner.training.num_steps) as advance:
        predictor = tune.learn(learner, backbone, scoring, lambda _, loss: advance(1, f"loss {loss:.3f}"))
        if rest := learner.training.num_steps - len(predictor.log):
            advance(rest, f"stopped at step {len(predictor.log)}: the loss falls no more")
    return Tuned(learner, predictor, time.perf_counter() - started, len(queries), swept)


def _ensembled(learner: Pet, backbone: Backbone, scoring: Scoring, watch: Watch, title: str) -> Ensembled | Distilled:
    started, num_steps = time.perf_counter(), learner.tuning.training.num_steps
    stage = f"{title}: PET, {learner.num_models} trainings of {learner.tuning.method}, seed {learner.tuning.seed}"
    with watch.stage(stage, learner.num_models * num_steps) as advance:
        predictor = pet.learn(
            learner, backbone, scoring, lambda number, loss: advance(1, f"model {number + 1}, loss {loss:.3f}")
        )
        if rest := learner.num_models * num_steps - predictor.work.num_steps:
            advance(rest, "the loss falls no more")
    if not learner.config.distil:
        return Ensembled(learner, predictor, time.perf_counter() - started)
    with watch.stage(f"{title}: PET, a student of {len(learner.unlabelled)} rows", learner.config.distil_steps) as step:
        student = distil.learn(learner, predictor, backbone, lambda _, loss: step(1, f"loss {loss:.3f}"))
        if rest := learner.config.distil_steps - len(student.predictor.log):
            step(rest, "the loss falls no more")
    return Distilled(learner, student, time.perf_counter() - started)


def save(learned: Learned, folder: Path, files: Mapping[str, Mapping[str, str]]) -> Path | None:
    """Write what was learned as adapters, or as trained sentence models, where it is one or several.

    Args:
        learned: What was learned.
        folder: The adapter's, or for prefixes of several templates the folder of their folders.
        files: Folder of an adapter in it ("" for the only one) -> files beside the adapter, name -> text.

    Returns:
        The folder, or None where there is nothing to write.

    Raises:
        MethodError: The folder cannot be written.
    """
    if isinstance(learned, Tuned | Distilled):
        part = learned if isinstance(learned, Tuned) else learned.student
        tuning, predictor = part.tuning, part.predictor
        backbone = predictor.backbone
        return saved.save(folder, backbone, tuning.method, tuning.config, predictor.names, files[""])
    if isinstance(learned, Ensembled):
        return pet_folder.save(learned.predictor, folder, files[""])
    if isinstance(learned, Prompted) and learned.as_prefix:
        return shots_as_prefix.save(learned.predictors, folder, files)
    if isinstance(learned, Classified) and learned.is_trained:
        return classify.save(learned.predictors, learned.learner.classifier, folder, files)
    return None
