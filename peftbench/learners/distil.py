r"""A student of PET's models: one classifier learns what they say of rows without labels, and answers in their place.

    q(y | x) = softmax_y(s(y | x) / T)                        s: the mean score of all models (`learners.pet`)
    L = T^2 KL(q || softmax_y(z(y | x) / T))                  z: logits of a layer on the text's pooled state

Rows without labels are the training rows that are no shots; their labels are not looked at. The student starts from
the model as it was loaded, and reads a row as the first pattern has it, without its mask.

Paper: 2001.07676, section 3.3 (step 3 of section 3.2).
Differs: the authors' student reads a row's texts without a pattern.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from peftbench.learners import pet, tune
from peftbench.learners.pet import Pet, PetPredictor
from peftbench.learners.tune import TunePredictor, Tuning
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoded import SoftLabel
from peftbench.scoring.ranking import ChoiceScore, log_sum_exp
from peftbench.scoring.score import Scores
from peftbench.spec.cell import Scoring


@dataclass(frozen=True)
class Student:
    """A trained student, attached to the backbone, and whom it learned from.

    Args:
        tuning: How it was trained.
        predictor: Scores with it, as a classifier.
        teachers: PET's models.
        labelling: What they say of the rows without labels.
    """

    tuning: Tuning
    predictor: TunePredictor
    teachers: PetPredictor
    labelling: Scores


def scoring_of(scoring: Scoring) -> Scoring:
    """Return how a student answers: by its layer, whatever the masks are filled by."""
    return scoring.model_copy(update={"answer": "head", "pll": True})


def tuning_of(learner: Pet) -> Tuning:
    """Return how a student is trained; its soft labels come later, and nothing says which choices are right."""
    examples = [[replace(example, label=0)] for example in pet.render(learner.patterns[0], learner.unlabelled)]
    training = learner.tuning.training.model_copy(update={"num_steps": learner.config.distil_steps})
    return replace(learner.tuning, examples=examples, training=training)


def learn(
    learner: Pet, teachers: PetPredictor, backbone: Backbone, progress: Callable[[int, float], None] | None = None
) -> Student:
    """Let PET's models label rows, and train a student on that; it stays attached.

    Args:
        learner: Patterns, settings, and rows without labels.
        teachers: The models.
        backbone: With nothing attached.
        progress: Called after each step of the student with the steps done and the loss.

    Raises:
        ModelError: A row brings choices of its own, or as `tune.learn`.
        RunError: As `tune.learn`.
    """
    tuning = tuning_of(learner)
    labelling = teachers.score([example for (example,) in tuning.examples])
    labels = [soft_label(choices, learner.config.temperature) for choices in labelling.choices]
    teachers.members = [replace(member, values={}) for member in teachers.members]  # nobody asks them again
    tuning = replace(tuning, soft_labels=labels)
    predictor = tune.learn(tuning, backbone, scoring_of(teachers.scoring), progress)
    predictor.num_shots = teachers.num_shots
    return Student(tuning, predictor, teachers, labelling)


def soft_label(choices: list[ChoiceScore], temperature: float) -> SoftLabel:
    """Soften a distribution over choices.

    q(y) = p(y)^(1/T) / sum_y' p(y')^(1/T)
    """
    logits = [choice.log_prob / temperature for choice in choices]
    common = log_sum_exp(logits)
    return SoftLabel(tuple(math.exp(logit - common) for logit in logits), temperature)
