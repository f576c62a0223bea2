"""The costs of a finished cell of a classifier of embeddings: texts are read, and numbers compared."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from peftbench.costs import count, rule
from peftbench.costs.of_cell import MEAN, PAPER
from peftbench.models.shapes import EncoderSizes, Sizes
from peftbench.store.record import Cost

READING = "all matmuls of computing a text's last hidden states incl. attention, multiply-add = 2, no padding"
BACKWARD = 3
"""Forward passes that a training step's FLOPs come to: one forward, two of gradients, of inputs and of weights."""
TRAINED = "three forwards for each of the two texts of a pair; then "
LEFT_OUT = "fitting the classifier is left out"
KEPT = "what the classifier keeps: embeddings and labels of the shots, or coefficients"
KEPT_ENCODER = "the whole trained encoder, and the coefficients"


@dataclass(frozen=True)
class Classified:
    """What a classifier read and keeps under one template.

    Args:
        shots: Tokens of each different shot.
        queries: Tokens of each query.
        num_multiplied: Numbers that a query's embedding is multiplied with.
        num_bytes: Bytes that are kept.
        trained: Tokens of each text that the training of a sentence model read, each time that it did.
    """

    shots: Sequence[int]
    queries: Sequence[int]
    num_multiplied: int
    num_bytes: int
    trained: Sequence[int] = ()


@dataclass(frozen=True)
class ClassifierFacts:
    """What costs are computed from.

    Args:
        sizes: Of the model that reads texts.
        num_parameters: Of the same.
        classified: For each template.
        learn_seconds: Wall time of learning.
        score_seconds: Wall time of reading the queries under all templates.
    """

    sizes: Sizes | EncoderSizes
    num_parameters: int
    classified: Sequence[Classified]
    learn_seconds: float
    score_seconds: float


def costs(facts: ClassifierFacts) -> list[Cost]:
    """List the costs of a finished cell."""
    num_queries = sum(len(part.queries) for part in facts.classified)
    scoring = sum(_read(facts, part.queries) + 2 * part.num_multiplied * len(part.queries) for part in facts.classified)
    learning = [_read(facts, part.shots) + BACKWARD * _read(facts, part.trained) for part in facts.classified]
    by_rule = [_ruled(facts, part.shots) + BACKWARD * _ruled(facts, part.trained) for part in facts.classified]
    ruled = sum(_ruled(facts, part.queries) for part in facts.classified) / num_queries
    is_trained = any(part.trained for part in facts.classified)
    once = f"{TRAINED if is_trained else ''}each different shot is read once, forward; {LEFT_OUT}"
    kept = KEPT_ENCODER if is_trained else KEPT
    where = "wall clock of this run, on its machine"
    name, over = "inference_flops_per_example", "mean over examples and templates"
    return [
        _cost(name, scoring / num_queries, "FLOPs", f"{READING}; and of the classifier; {over}"),
        _cost(name, ruled, "FLOPs", f"{PAPER}; {over}", "estimated"),
        _cost("scoring_flops", scoring, "FLOPs", f"{READING}; and of the classifier"),
        _cost("training_flops", fmean(learning), "FLOPs", f"{READING}; {once}; {MEAN}"),
        _cost("training_flops", fmean(by_rule), "FLOPs", f"{PAPER}; {once}; {MEAN}", "estimated"),
        _cost("learning_flops", sum(learning), "FLOPs", f"{READING}; {once}; all templates"),
        _cost(
            "disk_bytes",
            fmean(part.num_bytes for part in facts.classified),
            "bytes",
            f"{kept}, of 4 bytes; {MEAN}",
        ),
        Cost(name="learn_seconds", value=facts.learn_seconds, unit="seconds", kind="measured", convention=where),
        Cost(name="score_seconds", value=facts.score_seconds, unit="seconds", kind="measured", convention=where),
    ]


def _read(facts: ClassifierFacts, tokens: Sequence[int]) -> int:
    return sum(times * count.states_flops(facts.sizes, number) for number, times in Counter(tokens).items())


def _ruled(facts: ClassifierFacts, tokens: Sequence[int]) -> int:
    is_half = isinstance(facts.sizes, Sizes) and facts.sizes.is_encoder_decoder
    return rule.inference_flops(facts.num_parameters, sum(tokens), is_encoder_decoder=is_half)


def _cost(
    name: str, value: float, unit: str, convention: str, kind: Literal["counted", "estimated"] = "counted"
) -> Cost:
    return Cost(name=name, value=round(value), unit=unit, kind=kind, convention=convention)
