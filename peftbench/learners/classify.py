"""Classifying: shots and queries are read once for their embeddings, and a classifier answers; there is no prompt."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from peftbench import registry
from peftbench.classifiers import saved
from peftbench.classifiers.base import FLOAT32_BYTES, ClassifierConfig, Fitted, Trained
from peftbench.classifiers.logistic_regression import Regression
from peftbench.errors import ModelError, TaskError
from peftbench.learners.predictor import no_text
from peftbench.models.backbone import Backbone
from peftbench.models.sentence_backbone import SentenceBackbone
from peftbench.models.shapes import EncoderSizes
from peftbench.scoring.encoding import cut_input
from peftbench.scoring.generate import Output
from peftbench.scoring.ranking import ChoiceScore
from peftbench.scoring.score import Scores
from peftbench.scoring.work import Length, Work
from peftbench.selection import embedding
from peftbench.spec.cell import Scoring
from peftbench.spec.decoding import Decoding
from peftbench.spec.packages import require
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template

LEAST = -100.0
"""Log-probability, in nats, of a class whose probability is 0 or near it: scores are finite."""


@dataclass(frozen=True)
class Classifying:
    """Classifying of a cell: a classifier for each template, which learns from the shots as the template renders them.

    Args:
        classifier: Name in the registry.
        config: Its settings.
        templates: Those that queries come in; the answer choices of each are the same for all rows.
        shots: What it learns from.
        seed: What a training of the sentence model draws follows from.
    """

    classifier: str
    config: ClassifierConfig
    templates: tuple[Template, ...]
    shots: tuple[Row, ...]
    seed: int = 0

    def read_by(self, template: Template) -> list[Row]:
        """List the shots that a template makes something of."""
        return [row for row in self.shots if template.reads(row)]

    def check(self, backbone: Backbone) -> None:
        """Find what would keep `learn` from working; no model is run.

        Raises:
            MethodError: A package is not installed.
            ModelError: `embedder` is no sentence model's folder; or one would be trained, and there is none.
            TaskError: The shots have too few classes, or a template makes nothing of any of them.
        """
        classifier = registry.classifier(self.classifier)
        if classifier.package is not None and classifier.extra is not None:
            require(classifier.package, classifier.extra, f"--method {self.classifier}")
        embedding.embedder_of(backbone, self.config.embedder)
        if classifier.train is not None and (backbone.sentence is None or self.config.embedder is not None):
            message = f"--method {self.classifier} trains the sentence model of --model, and '{backbone.name}' is none"
            if backbone.sentence is not None:
                message = f"--method {self.classifier} trains the sentence model of --model, and reads by no --embedder"
            raise ModelError(message, hint="--model FOLDER, as sentence-transformers saves one: all-MiniLM-L6-v2")
        for template in self.templates:
            classes = {row.label for row in self.read_by(template)}
            if not classes:
                message = f"template '{template.name}' makes nothing of any of the {len(self.shots)} shots"
                raise TaskError(message, hint="more of them with --shots, another seed, or another of --templates")
            if classifier.tells_apart and len(classes) == 1:
                message = f"{self.classifier} tells classes apart, and all shots of '{template.name}' have one"
                raise TaskError(message, hint="--draw balanced, more --shots, or another seed with --seeds")

    def learn(self, backbone: Backbone, scoring: Scoring) -> list["ClassifierPredictor"]:
        """Read the shots, and fit a classifier for each template.

        Raises:
            PeftbenchError: As `check`; hidden states that are not finite.
        """
        self.check(backbone)
        return [self._learn(backbone, template, scoring) for template in self.templates]

    def _learn(self, backbone: Backbone, template: Template, scoring: Scoring) -> "ClassifierPredictor":
        rows, folder = self.read_by(template), self.config.embedder
        cut = [cut_input(backbone, template.render(row), scoring.max_input_tokens) for row in rows]
        texts, labels = [example.input for example, _ in cut], [row.label for row in rows]
        classifier, trained = registry.classifier(self.classifier), None
        if classifier.train is not None and backbone.sentence is not None:
            trained = classifier.train(backbone.sentence, texts, labels, self.config, self.seed)
        index = embedding.index(texts, backbone, folder, trained.encoder if trained else None)
        fitted = classifier.fit(index.embeddings, labels, len(template.fixed_choices or ()), self.config)
        return ClassifierPredictor(
            backbone,
            self.config,
            scoring,
            fitted,
            len(rows),
            sum(number for _, number in cut),
            index.tokens,
            index.sizes,
            trained,
        )


@dataclass(frozen=True)
class ClassifierPredictor:
    """Scores a query's choices by the probabilities of their classes.

    Args:
        backbone: The model, as it is.
        config: The classifier's settings.
        scoring: How inputs are cut; nothing else of it has a part.
        fitted: The classifier.
        num_shots: Shots that it learned from.
        num_cut_tokens: Tokens that were cut from them.
        read_tokens: Tokens of each different shot that was read.
        reader: Sizes of the model that reads texts; None of the backbone.
        trained: The sentence model that reads them, where it was trained for this.
        shot_tokens: No shots stand in a prompt.
        shot_bytes: No shots stand in a prompt.
    """

    backbone: Backbone
    config: ClassifierConfig
    scoring: Scoring
    fitted: Fitted
    num_shots: int
    num_cut_tokens: int
    read_tokens: tuple[int, ...]
    reader: EncoderSizes | None
    trained: Trained | None = None
    shot_tokens: int = 0
    shot_bytes: int = 0

    @property
    def num_encoder_parameters(self) -> int:
        """Count the parameters of a sentence model that was trained, and so is kept."""
        return 0 if self.trained is None else self.trained.encoder.sizes.num_parameters

    @property
    def num_parameters(self) -> int:
        """Count the values that were fitted or trained."""
        return self.num_encoder_parameters + self.fitted.num_parameters

    @property
    def num_bytes(self) -> int:
        """Count the bytes of what has to be kept, numbers of 4 bytes."""
        return FLOAT32_BYTES * self.num_encoder_parameters + self.fitted.num_bytes

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Refuse to write: it knows classes.

        Raises:
            MethodError: Always.
        """
        raise no_text("a classifier of embeddings chooses a class")

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices: log p of the class, each choice being of length 1.

        Returns:
            `lengths` has the tokens of each example's text.

        Raises:
            RunError: Hidden states are not finite.
        """
        if not examples:
            return Scores([], [], Work())
        cut = [cut_input(self.backbone, example, self.scoring.max_input_tokens) for example in examples]
        texts, encoder = [example.input for example, _ in cut], self.trained.encoder if self.trained else None
        index = embedding.index(texts, self.backbone, self.config.embedder, encoder)
        if progress is not None:
            progress(len(examples))
        return Scores(
            choices=[list(map(_score, shares)) for shares in self.fitted.probabilities(index.embeddings)],
            lengths=[Length(number, ()) for number in index.query_tokens(texts)],
            work=Work(cut_tokens=sum(number for _, number in cut)),
            seconds=index.seconds,
        )


def save(
    learned: Sequence[ClassifierPredictor], name: str, folder: Path, files: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write what was trained and fitted for each template.

    Args:
        learned: One for each template, with a sentence model that was trained.
        name: Of the classifier.
        folder: Where.
        files: For each template: name of its folder in it ("" for itself) -> the files beside, name -> text.

    Returns:
        The folder.

    Raises:
        MethodError: It cannot be written.
    """
    for predictor, (place, beside) in zip(learned, files.items(), strict=True):
        trained, head = predictor.trained, predictor.fitted
        assert trained is not None, "a sentence model was trained"
        assert isinstance(head, Regression), "its head is one"
        saved.save(folder / place, name, trained.encoder, head, dict(beside))
    return folder


def load(folder: Path, config: ClassifierConfig, scoring: Scoring, device: torch.device) -> ClassifierPredictor:
    """Read what was trained and fitted.

    Raises:
        PeftbenchError: It is missing or damaged.
    """
    encoder, head = saved.load(folder, device)
    backbone = SentenceBackbone(str(folder), encoder)
    return ClassifierPredictor(backbone, config, scoring, head, 0, 0, (), encoder.sizes, Trained(encoder, ()))


def _score(probability: float) -> ChoiceScore:
    log_prob = max(LEAST, math.log(probability)) if probability > 0 else LEAST
    return ChoiceScore(log_prob, num_tokens=1, num_chars=1, num_bytes=1)
