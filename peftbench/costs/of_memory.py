"""What a model takes of memory under a workload: scoring and training, in several precisions, and what of it fits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from peftbench import registry
from peftbench.costs import memory
from peftbench.costs.describe import Described
from peftbench.costs.memory import Model, Peak
from peftbench.costs.of_model import Workload
from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.scoring.batches import GPU_BUDGET
from peftbench.scoring.passes import Prompt, Shapes
from peftbench.scoring.work import rows_of

DTYPES = ("float32", "bfloat16", "4bit")
MOST_BATCH = 1024
"""Examples of a batch up to which is looked for one that still fits."""


@dataclass(frozen=True)
class Use:
    """A way to use a model, and the most memory that it takes.

    Args:
        strategy: "zero-shot", "ICL", or the method that is trained.
        dtype: Of weights and activations.
        checkpointing: Whether activations are computed again; None where nothing is trained.
        batch_size: Examples of a training step; None where nothing is trained.
        peak: By part.
    """

    strategy: str
    dtype: str
    checkpointing: bool | None
    batch_size: int | None
    peak: Peak


@dataclass(frozen=True)
class ModelMemory:
    """A model's uses.

    Args:
        model: Its shapes.
        uses: In the order of strategies.
        remarks: What is left out, and why.
    """

    model: Described
    uses: tuple[Use, ...]
    remarks: tuple[str, ...] = ()


def model_memory(model: Described, work: Workload, methods: Mapping[str, MethodConfig], *, strict: bool) -> ModelMemory:
    """Count what a model takes in scoring, and in training with each method.

    Args:
        model: Its shapes.
        work: Queries and training; every precision is counted, whatever its dtype.
        methods: Name -> settings.
        strict: Whether a method that does not fit the model is an error; otherwise it is a remark.

    Raises:
        MethodError: A method that does not fit.
    """
    uses, remarks = [*_scoring(model, work)], [*_unpackable(model)]
    for name, config in methods.items():
        try:
            added = registry.method(name).added(model.shape.sizes, config)
        except MethodError as error:
            if strict:
                raise
            remarks.append(f"{name} is left out: {error.message}")
            continue
        uses += _training(model, work, name, added)
        if not _is_beside(added):
            remarks.append(f"{name} changes the weights themselves, which 4-bit ones do not allow")
    return ModelMemory(model, tuple(uses), tuple(remarks))


def _unpackable(model: Described) -> Iterator[str]:
    """Write of which models the rows of 4 bits are an estimate alone."""
    sizes = model.shape.sizes
    if sizes.is_encoder_decoder or sizes.is_encoder_only:
        yield f"{model.name}: --load packs decoder-only models, so that its rows of 4 bits cannot be run here"


def fitting(model: ModelMemory, work: Workload, methods: Mapping[str, MethodConfig], room: int) -> list[Use]:
    """List the uses that fit, trainings with the largest batch that does, a power of two.

    Args:
        model: All of its uses.
        work: What they were counted for.
        methods: Name -> settings.
        room: Bytes that there are.
    """
    return [fit for use in model.uses if (fit := _largest(model.model, work, methods, use, room)) is not None]


def _largest(model: Described, work: Workload, methods: Mapping[str, MethodConfig], use: Use, room: int) -> Use | None:
    if use.batch_size is None or use.checkpointing is None:
        return use if use.peak.total <= room else None
    added = registry.method(use.strategy).added(model.shape.sizes, methods[use.strategy])
    largest, size = None, 1
    while size <= MOST_BATCH:
        candidate = _step(model, replace(work, batch_size=size), use.strategy, added, use.dtype, use.checkpointing)
        if candidate.peak.total > room:
            break
        largest, size = candidate, 2 * size
    return largest


def _scoring(model: Described, work: Workload) -> Iterator[Use]:
    sizes = model.shape.sizes
    # Shots of an encoder alone are whatever its few positions hold: no workload's number.
    num_shots = [0, *([work.shots] if work.shots and not sizes.is_encoder_only else [])]
    for shots in num_shots:
        prompt = _prompt(work, shots, is_encoder_only=sizes.is_encoder_only)
        shapes = Shapes(sizes)
        common = shots * work.tokens_per_shot
        number = max(1, GPU_BUDGET // max(1, prompt.cost - (0 if sizes.is_encoder_decoder else common)))
        passes = shapes.scoring([prompt] * number, common, GPU_BUDGET, cache=True)
        for dtype in DTYPES:
            peak = memory.scoring(_model(model, dtype), passes)
            yield Use("ICL" if shots else "zero-shot", dtype, None, None, peak)


def _prompt(work: Workload, shots: int, *, is_encoder_only: bool) -> Prompt:
    """Build a query of the workload behind its shots; its choices share no tokens."""
    if is_encoder_only:
        around = work.query_tokens - sum(work.choice_tokens)
        rows = tuple(around + masks for masks in rows_of(work.choice_tokens))
        return Prompt(around, work.choice_tokens, work.choice_tokens, sum(rows) - around, len(rows), rows)
    fed = sum(tokens - 1 for tokens in work.choice_tokens)
    context = shots * work.tokens_per_shot + work.query_tokens - sum(work.choice_tokens)
    return Prompt(context, work.choice_tokens, work.choice_tokens, fed, fed + 1)


def _training(model: Described, work: Workload, name: str, added: Added) -> Iterable[Use]:
    dtypes: Sequence[str] = DTYPES if _is_beside(added) else DTYPES[:2]
    return [
        _step(model, work, name, added, dtype, checkpointing) for dtype in dtypes for checkpointing in (False, True)
    ]


def _step(model: Described, work: Workload, name: str, added: Added, dtype: str, checkpointing: bool) -> Use:
    sizes = model.shape.sizes
    run = memory.step_pass(sizes, work.query(sizes), added, work.batch_size)
    peak = memory.training(_model(model, dtype), run, memory.Training(added, work.optimizer, checkpointing))
    return Use(name, dtype, checkpointing, work.batch_size, peak)


def _model(model: Described, dtype: str) -> Model:
    return Model(model.shape.sizes, model.elementwise, model.num_parameters, dtype)


def _is_beside(added: Added) -> bool:
    """Tell whether a method leaves the model's own parameters as they are, and adds matrices, vectors or tokens."""
    is_added = bool(added.extra_keys) or set(added.places) <= set(added.factors)  # else biases or norms
    return is_added and not (added.weights or added.embeddings)
