"""The costs of one finished cell, each with its unit, its kind and its convention."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench.costs import backward, count, rule, storage
from peftbench.methods.base import Added
from peftbench.models.backbone import Sizes
from peftbench.models.scoring import Length, Pass
from peftbench.record import Cost

EXACT = "all matmuls incl. attention and LM head, multiply-add = 2, choices share the query, no padding"
TRAINED = (
    "all matmuls forward and backward, multiply-add = 2, no padding; frozen weights get no gradient, nothing below the "
    "first adapted place is run backward; what is run before the first step and the optimiser are left out"
)
AS_RUN = "all matmuls of scoring, multiply-add = 2, as run: padding counts, what prompts share was run once"
PAPER = "2205.05638 section 4.2: 2N FLOPs per token, N for encoder-decoders; N = all parameters"


@dataclass(frozen=True)
class Facts:
    """What costs are computed from.

    Args:
        num_parameters: Parameters of the bare model.
        num_trained_parameters: Those that were trained and saved; 0 for in-context learning.
        added: What the method adds; None for in-context learning.
        lengths: Per scored prompt, over all templates: tokens of the shots, and of context and choices.
        icl_tokens: Tokens of the shots, mean over templates; None after tuning.
        passes: The forward passes that scored all examples under all templates, as run.
        examples: Length of an example -> how often one of it was trained on; None for in-context learning.
        num_steps: Steps of training.
        adapter: Folder of the saved parameters; None for in-context learning.
        learn_seconds: Wall time of learning.
        score_seconds: Wall time of scoring all examples under all templates.
    """

    sizes: Sizes
    num_parameters: int
    num_trained_parameters: int
    added: Added | None
    lengths: Sequence[tuple[int, Length]]
    icl_tokens: float | None
    passes: Sequence[Pass]
    examples: Mapping[Length, int] | None
    num_steps: int
    adapter: Path | None
    learn_seconds: float
    score_seconds: float


def ledger(facts: Facts) -> list[Cost]:
    """List the costs of a finished cell."""
    return [*_inference(facts), *_learning(facts), *_storage(facts), *_clock(facts)]


def _inference(facts: Facts) -> list[Cost]:
    name = "inference_flops_per_example"
    queries = [_query(facts, shots, length) for shots, length in facts.lengths]
    costs = [
        Cost(
            name=name,
            value=_mean([count.forward_flops(facts.sizes, query, facts.added) for query in queries]),
            unit="FLOPs",
            kind="counted",
            convention=f"{EXACT}; methods folded into the weights where they can be; mean over examples and templates",
        ),
        Cost(
            name=name,
            value=_mean([_rule(facts, query) for query in queries]),
            unit="FLOPs",
            kind="estimated",
            convention=f"{PAPER}; mean over examples and templates",
        ),
    ]
    run = sum(count.pass_flops(facts.sizes, each, facts.added) for each in facts.passes)
    costs.append(Cost(name="scoring_flops", value=run, unit="FLOPs", kind="counted", convention=AS_RUN))
    if facts.icl_tokens and not facts.sizes.is_encoder_decoder:
        costs += _cached(facts, queries)
    return costs


def _cached(facts: Facts, queries: Sequence[count.Query]) -> list[Cost]:
    cached = [count.forward_flops(facts.sizes, query, facts.added, cached=True) for query in queries]
    return [
        Cost(
            name="cached_inference_flops_per_example",
            value=_mean(cached),
            unit="FLOPs",
            kind="counted",
            convention=f"{EXACT}; keys and values of the shots read from a cache",
        ),
        Cost(
            name="cache_flops",
            value=_mean([count.prefill_flops(facts.sizes, query.shot_tokens, facts.added) for query in queries]),
            unit="FLOPs",
            kind="counted",
            convention="filling the cache of the shots' keys and values, once per template",
        ),
    ]


def _learning(facts: Facts) -> list[Cost]:
    if facts.examples is None or facts.added is None:
        return [Cost(name="training_flops", value=0, unit="FLOPs", kind="counted", convention="nothing is trained")]
    examples: Counter[count.Query] = Counter()
    for length, times in facts.examples.items():
        examples[_query(facts, 0, length)] += times
    counted = backward.training_flops(facts.sizes, examples, facts.num_steps, facts.added)
    tokens = sum(times * (length.context + sum(length.choices)) for length, times in facts.examples.items())
    estimated = 3 * rule.inference_flops(
        facts.num_parameters, tokens, is_encoder_decoder=facts.sizes.is_encoder_decoder
    )
    convention = f"{PAPER}; training = 3 x forward, as if all weights were trained; tokens as run, no padding"
    return [
        Cost(name="training_flops", value=counted, unit="FLOPs", kind="counted", convention=TRAINED),
        Cost(name="training_flops", value=estimated, unit="FLOPs", kind="estimated", convention=convention),
    ]


def _storage(facts: Facts) -> list[Cost]:
    if facts.adapter is not None:
        size = storage.file_bytes(facts.adapter)
        return [
            Cost(
                name="disk_bytes", value=size, unit="bytes", kind="measured", convention="size of the adapter's files"
            ),
            Cost(
                name="tensor_bytes",
                value=storage.tensor_bytes(facts.num_trained_parameters),
                unit="bytes",
                kind="counted",
                convention="trained parameters in float32, without any file format",
            ),
        ]
    tokens = round(facts.icl_tokens or 0)
    convention = "token ids of the shots as int32 (2205.05638 section 4.2), mean over templates"
    return [
        Cost(name="disk_bytes", value=storage.icl_bytes(tokens), unit="bytes", kind="counted", convention=convention)
    ]


def _clock(facts: Facts) -> list[Cost]:
    where = "wall clock of this run, on its machine"
    return [
        Cost(name="learn_seconds", value=facts.learn_seconds, unit="seconds", kind="measured", convention=where),
        Cost(name="score_seconds", value=facts.score_seconds, unit="seconds", kind="measured", convention=where),
    ]


def _query(facts: Facts, shot_tokens: int, length: Length) -> count.Query:
    virtual = facts.added.extra_tokens if facts.added else 0
    return count.Query(shot_tokens, length.context - virtual - shot_tokens, length.choices)


def _rule(facts: Facts, query: count.Query) -> int:
    unfed = (
        0 if facts.sizes.is_encoder_decoder else len(query.choice_tokens)
    )  # the paper counts all tokens of the choices
    tokens = query.shot_tokens + query.input_tokens + sum(query.choice_tokens) + unfed
    return rule.inference_flops(facts.num_parameters, tokens, is_encoder_decoder=facts.sizes.is_encoder_decoder)


def _mean(values: Sequence[int]) -> int:
    """Round the mean to whole FLOPs, in integers: floats end at 2^53."""
    return (2 * sum(values) + len(values)) // (2 * len(values))
