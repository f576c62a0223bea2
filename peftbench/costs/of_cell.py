"""The costs of one finished cell, each with its unit, its kind and its convention."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peftbench.adapters import saved as adapter
from peftbench.costs import backward, count, rule, storage
from peftbench.costs.traced_cell import Traced
from peftbench.methods.base import Added
from peftbench.models.shapes import Sizes
from peftbench.scoring.work import Length, Pass
from peftbench.store.record import Cost

EXACT = "all matmuls incl. attention and LM head, multiply-add = 2, choices share the query, no padding"
TRAINED = (
    "all matmuls forward and backward, multiply-add = 2, no padding; frozen weights get no gradient, nothing below the "
    "first adapted place is run backward; what the method runs before the first step counts; the optimiser is left out"
)
AS_RUN = "all matmuls of scoring, multiply-add = 2, as run: padding counts, what prompts share was run once"
AS_TRAINED = "all matmuls of training and before it, multiply-add = 2, as run: padding counts"
TRACED = (
    "matmul-class operators that ran, as torch's FlopCounterMode knows them (no FFTs, no solves), multiply-add = 2, "
    "the method attached, one example at a time"
)
PAPER = "2205.05638 section 4.2: 2N FLOPs per token, N for encoder-decoders; N = all parameters"
RULED = f"{PAPER}; training = 3 x forward, as if all weights were trained; tokens as run, no padding"
MEAN = "mean over templates"


@dataclass(frozen=True)
class Asked:
    """The test rows under one template, in tokens.

    Args:
        lengths: Of all prompts that were scored for the examples: one for each, or more.
        once: Lengths of prompts that were scored once for all examples.
        num_examples: How many there were.
        shot_tokens: Tokens of the shots, those of all prompts of an ensemble; 0 after tuning.
        shot_bytes: The same as UTF-8 text.
    """

    lengths: Sequence[Length]
    once: Sequence[Length]
    num_examples: int
    shot_tokens: int
    shot_bytes: int


@dataclass(frozen=True)
class Trained:
    """What tuning ran.

    Args:
        lengths: Length of an example -> how often one of it was trained on.
        prepared: Length of an example -> how often one of it was run by itself before the first step, forward and
            backward, with the gradients of a step.
        passes: Shape of a step's batch, padding included -> how many steps had such a one.
    """

    lengths: Mapping[Length, int]
    prepared: Mapping[Length, int]
    passes: Mapping[Pass, int]


@dataclass(frozen=True)
class Tried:
    """What a sweep ran before the training that counts.

    Args:
        trained: All of its trainings; of those that broke, what they ran until then.
        held_out: Length of a held-out example -> how often one of it was scored.
        passes: The forward passes that scored them, as run.
    """

    trained: Trained
    held_out: Mapping[Length, int]
    passes: Sequence[Pass]


@dataclass(frozen=True)
class Facts:
    """What costs are computed from.

    Args:
        num_parameters: Parameters of the bare model.
        bytes_per_value: Of the model as it was run, and so of cached keys and values.
        added: What the method adds; None for in-context learning.
        asked: For each template, what was scored.
        passes: The forward passes that scored all examples under all templates, as run.
        trained: None for in-context learning.
        adapter: Folder of what was saved; None where nothing was.
        learn_seconds: Wall time of learning.
        score_seconds: Wall time of scoring all examples under all templates.
        tried: What a sweep ran; None where there was none.
        left: What is left of that when training has ended, where it may be less.
        traced: What was seen of a method that has no closed form; `added` is None.
    """

    sizes: Sizes
    num_parameters: int
    bytes_per_value: int
    added: Added | None
    asked: Sequence[Asked]
    passes: Sequence[Pass]
    trained: Trained | None
    adapter: Path | None
    learn_seconds: float
    score_seconds: float
    tried: Tried | None = None
    left: Added | None = None
    traced: Traced | None = None

    @property
    def used(self) -> Added | None:
        """What answers queries."""
        return self.left or self.added

    @property
    def reads_prefix(self) -> bool:
        """Whether the shots' keys and values were saved, so that queries read them and nothing else of the shots."""
        return self.adapter is not None and self.trained is None

    @property
    def is_cacheable(self) -> bool:
        """Whether there are shots whose keys and values could be kept: no encoder reads the query with them."""
        return any(each.shot_tokens for each in self.asked) and not self.sizes.is_encoder_decoder


def ledger(facts: Facts) -> list[Cost]:
    """List the costs of a finished cell."""
    if facts.traced is not None and facts.trained is not None:
        return [*_seen(facts, facts.traced, facts.trained), *_storage(facts), *_clock(facts)]
    cached = _cached(facts) if facts.is_cacheable else []
    return [*_inference(facts), *cached, *_learning(facts), *_storage(facts), *_clock(facts)]


def _inference(facts: Facts) -> list[Cost]:
    name = "inference_flops_per_example"
    exact = f"{EXACT}; methods folded into the weights where they can be; mean over examples and templates"
    run = sum(count.pass_flops(facts.sizes, each, facts.used) for each in facts.passes)
    costs = [
        _flops(
            name,
            _per_example(
                facts, lambda query: count.forward_flops(facts.sizes, query, facts.used, cached=facts.reads_prefix)
            ),
            exact,
        ),
        _flops(
            name, _per_example(facts, lambda query: _rule(facts, query)), f"{PAPER}; mean over examples and templates",
            "estimated",
        ),
        _flops("scoring_flops", run, AS_RUN),
    ]  # fmt: skip
    if any(each.once for each in facts.asked):
        once = sum(
            count.forward_flops(facts.sizes, _query(facts, length), facts.used)
            for each in facts.asked
            for length in each.once
        )
        costs.append(
            _flops("calibration_flops", _ratio(once, len(facts.asked)), f"{EXACT}; queries without content, {MEAN}")
        )
    return costs


def _seen(facts: Facts, traced: Traced, trained: Trained) -> list[Cost]:
    """List what was traced, and what the paper's rule says, which asks for no method."""
    asked, learned = "inference_flops_per_example", "training_flops"
    both = f"{TRACED}, forward and backward; mean of {traced.num_training} of them x their number"
    if facts.tried is not None:
        both += "; the trials of the sweep are left out"
    rule = _per_example(facts, lambda query: _rule(facts, query))
    tripled = 3 * _by_rule(facts, trained.lengths)
    return [
        _flops(asked, traced.inference, f"{TRACED}; mean of {traced.num_inference} of them", "traced"),
        _flops(asked, rule, f"{PAPER}; mean over examples and templates", "estimated"),
        _flops(learned, traced.training, both, "traced"),
        _flops(learned, tripled, RULED, "estimated"),
    ]


def _cached(facts: Facts) -> list[Cost]:
    """Count what it would be with the shots' keys and values kept, whether they were or not."""
    return [
        _flops(
            "cached_inference_flops_per_example",
            _per_example(facts, lambda query: count.forward_flops(facts.sizes, query, facts.used, cached=True)),
            f"{EXACT}; keys and values of the shots read from a cache",
        ),
        _flops(
            "cache_flops",
            _ratio(sum(_fill_flops(facts, each) for each in facts.asked), len(facts.asked)),
            "filling the cache of the shots' keys and values, once per template",
        ),
    ]


def _fill_flops(facts: Facts, asked: Asked) -> int:
    """Count each prompt of shots once: an ensemble has several, and each scores all examples."""
    flops = sum(count.prefill_flops(facts.sizes, length.shots, facts.used) for length in asked.lengths)
    shots = sum(length.shots for length in asked.lengths)
    return _ratio(flops * asked.shot_tokens, shots) if shots else 0


def _learning(facts: Facts) -> list[Cost]:
    if facts.trained is None or facts.added is None:
        return [_flops("training_flops", 0, "nothing is trained")]
    before = _before(facts, facts.trained, facts.added)
    total = _training(facts, facts.trained, facts.added)
    searched = _sweep(facts, facts.tried, facts.added) if facts.tried else NOTHING
    counted, run, by_rule = (sum(pair) for pair in zip(total, searched, strict=True))
    costs = [
        _flops("training_flops", counted, TRAINED),
        _flops("training_flops", by_rule, RULED, "estimated"),
        _flops("learning_flops", run, AS_TRAINED),
    ]
    if facts.tried is not None:
        told = (
            "training and scoring of the sweep's trials, on the shots alone; of trials that broke, what was run; "
            "part of training_flops"
        )
        costs.append(_flops("sweep_flops", searched[0], told))
    if before:
        told = "forward and backward on the shots before the first step, once; part of training_flops"
        costs.append(_flops("preparation_flops", before, told))
    return costs


Kind = Literal["counted", "traced", "estimated"]
Total = tuple[int, int, int]
"""FLOPs counted without padding, counted as run, and by the paper's rule."""
NOTHING: Total = (0, 0, 0)


def _training(facts: Facts, trained: Trained, added: Added) -> Total:
    """Count trainings with what was run before their first steps."""
    num_steps = sum(trained.passes.values())
    counted = backward.training_flops(facts.sizes, _queries(facts, trained.lengths), num_steps, added)
    alone: Counter[Pass] = Counter()
    for length, times in trained.prepared.items():
        alone[_alone(facts, length)] += times
    run = sum(backward.trained_flops(facts.sizes, passes, added) for passes in (trained.passes, alone))
    return counted + _before(facts, trained, added), run, 3 * _by_rule(facts, trained.lengths)


def _before(facts: Facts, trained: Trained, added: Added) -> int:
    return backward.training_flops(facts.sizes, _queries(facts, trained.prepared), 0, added)


def _sweep(facts: Facts, tried: Tried, added: Added) -> Total:
    """Count a sweep's trainings and the scoring of what they held out."""
    counted, run, by_rule = _training(facts, tried.trained, added)
    held_out = _queries(facts, tried.held_out).items()
    counted += sum(times * count.forward_flops(facts.sizes, query, added, merged=False) for query, times in held_out)
    run += sum(count.pass_flops(facts.sizes, each, added) for each in tried.passes)
    return counted, run, by_rule + _by_rule(facts, tried.held_out)


def _alone(facts: Facts, length: Length) -> Pass:
    """Give the shape of an example that is run by itself: an encoder-decoder pads its choices to the longest."""
    fed = sum(length.choices)
    if not facts.sizes.is_encoder_decoder:
        return Pass(0, 0, 1, length.context + fed, 0, fed + 1)
    head = fed - facts.sizes.num_fed_more * len(length.choices)
    return Pass(1, length.context, len(length.choices), max(length.choices), 0, head)


def _by_rule(facts: Facts, lengths: Mapping[Length, int]) -> int:
    tokens = sum(times * (length.context + sum(length.choices)) for length, times in lengths.items())
    return rule.inference_flops(facts.num_parameters, tokens, is_encoder_decoder=facts.sizes.is_encoder_decoder)


def _queries(facts: Facts, lengths: Mapping[Length, int]) -> Counter[count.Query]:
    queries: Counter[count.Query] = Counter()
    for length, times in lengths.items():
        queries[_query(facts, length)] += times
    return queries


def _storage(facts: Facts) -> list[Cost]:
    costs = []
    if facts.adapter is not None:
        # One adapter, or for shots that were saved as a prefix one for each template.
        paths = sorted(facts.adapter.rglob(adapter.TENSORS))
        over = f"; {MEAN}" if facts.reads_prefix else ""
        told = "tensors that are saved, without the file's header"
        whole, files, tensors = (
            _mean([size(path) for path in paths])
            for size in (lambda path: storage.file_bytes(path.parent), storage.file_bytes, storage.stored_tensor_bytes)
        )
        costs = [
            _bytes("disk_bytes", whole, f"all files of the adapter{over}", "measured"),
            _bytes("tensor_file_bytes", files, f"{adapter.TENSORS}, header included{over}", "measured"),
            _bytes("tensor_bytes", tensors, f"{told}{over}", "measured"),
        ]
    else:
        tokens = [storage.icl_bytes(each.shot_tokens) for each in facts.asked]
        told = f"token ids of the shots as int32 (2205.05638 section 4.2), {MEAN}"
        costs = [_bytes("disk_bytes", _mean(tokens), told)]
    if any(each.shot_tokens for each in facts.asked):
        text = [each.shot_bytes for each in facts.asked]
        costs.append(_bytes("shot_text_bytes", _mean(text), f"UTF-8 text of the shots and separators, {MEAN}"))
    if facts.is_cacheable:
        cache = [storage.cache_bytes(facts.sizes, each.shot_tokens, facts.bytes_per_value) for each in facts.asked]
        told = f"keys and values of the shots, {facts.bytes_per_value} bytes per value as the cell ran, {MEAN}"
        costs.append(_bytes("cache_bytes", _mean(cache), told))
    return costs


def _clock(facts: Facts) -> list[Cost]:
    where = "wall clock of this run, on its machine"
    return [
        Cost(name="learn_seconds", value=facts.learn_seconds, unit="seconds", kind="measured", convention=where),
        Cost(name="score_seconds", value=facts.score_seconds, unit="seconds", kind="measured", convention=where),
    ]


def _query(facts: Facts, length: Length) -> count.Query:
    virtual = facts.added.extra_tokens if facts.added else 0
    return count.Query(length.shots, length.context - virtual - length.shots, length.choices)


def _rule(facts: Facts, query: count.Query) -> int:
    unfed = -facts.sizes.num_fed_more * len(query.choice_tokens)  # the paper counts all tokens of the choices
    before = 0 if facts.reads_prefix else query.shot_tokens
    tokens = before + query.input_tokens + sum(query.choice_tokens) + unfed
    return rule.inference_flops(facts.num_parameters, tokens, is_encoder_decoder=facts.sizes.is_encoder_decoder)


def _per_example(facts: Facts, flops: Callable[[count.Query], int]) -> int:
    """Give the mean over examples and templates; an example may have had several prompts."""
    total = sum(flops(_query(facts, length)) for each in facts.asked for length in each.lengths)
    return _ratio(total, sum(each.num_examples for each in facts.asked))


def _mean(values: Sequence[int]) -> int:
    return _ratio(sum(values), len(values))


def _ratio(total: int, number: int) -> int:
    """Round total / number to a whole number, in integers: floats end at 2^53."""
    return (2 * total + number) // (2 * number)


def _flops(name: str, value: int, convention: str, kind: Kind = "counted") -> Cost:
    return Cost(name=name, value=value, unit="FLOPs", kind=kind, convention=convention)


def _bytes(name: str, value: int, convention: str, kind: Literal["counted", "measured"] = "counted") -> Cost:
    return Cost(name=name, value=value, unit="bytes", kind=kind, convention=convention)
