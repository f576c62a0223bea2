"""What a model costs in use, from its shapes: zero-shot, in-context learning with and without a cache, each method."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from peftbench import registry
from peftbench.costs import backward, count, memory, rule, storage
from peftbench.costs.count import Query
from peftbench.costs.describe import Described
from peftbench.costs.memory import DTYPE_BYTES, Optimizer
from peftbench.errors import CostError, MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.models.shapes import Sizes
from peftbench.store.record import Cost

if TYPE_CHECKING:
    from peftbench.costs.adapter_file import Written

MOST = 10**9
"""No count of shots, tokens or steps is above this."""

COUNTED = "all matmuls incl. attention scores and values, cross-attention and LM head; a multiply-add is 2 FLOPs"
AT_MOST = "what it takes up and costs afterwards is at most this"
BY_RULE = "2205.05638, section 4.2: 2 N FLOPs per token, N for encoder-decoders; training 3 x that"


@dataclass(frozen=True)
class Workload:
    """What is asked of the model.

    Args:
        shots: Examples in the prompt of in-context learning.
        shot_tokens: Tokens of one of them, its answer included.
        query_tokens: Tokens of a query with all its answer choices.
        choice_tokens: Tokens of each choice, which `query_tokens` includes.
        num_steps: Steps of training.
        batch_size: Examples per step, each with all its choices.
        dtype: Of the model's weights, activations and cached keys and values.
        optimizer: Of training.

    Raises:
        CostError: Counts that are negative or absurd, or choices that leave nothing of the query.
    """

    shots: int = 32
    shot_tokens: int = 98
    query_tokens: int = 103
    choice_tokens: tuple[int, ...] = (2, 2)
    num_steps: int = 1000
    batch_size: int = 8
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    optimizer: Optimizer = "adafactor"

    def __post_init__(self) -> None:
        least = {"shots": 0, "shot_tokens": 1, "query_tokens": 1, "num_steps": 1, "batch_size": 1}
        wrong = {name: getattr(self, name) for name, low in least.items() if not low <= getattr(self, name) <= MOST}
        if wrong:
            name, value = next(iter(wrong.items()))
            raise CostError(f"{name} = {value:,} is no count", hint=f"from {least[name]} to {MOST:,}")
        if not self.choice_tokens or min(self.choice_tokens) < 1 or sum(self.choice_tokens) >= self.query_tokens:
            raise CostError(
                f"choices of {', '.join(map(str, self.choice_tokens))} tokens in a query of {self.query_tokens}",
                hint="each choice has at least one token, and the query more than all its choices",
            )

    def query(self, sizes: Sizes, *, shots: bool = False) -> Query:
        """Give the lengths as the model is fed them; a decoder-only model's last answer token is only predicted."""
        fed = tuple(tokens + sizes.num_fed_more for tokens in self.choice_tokens)
        before = self.shots * self.shot_tokens if shots else 0
        return Query(before, self.query_tokens - sum(self.choice_tokens), fed)


@dataclass(frozen=True)
class Way:
    """One way to have a model answer queries.

    Args:
        name: "zero-shot", "ICL", or the method's name.
        variant: "cached" or "unmerged" where there are two; mostly "".
        costs: Each with its unit, kind and convention.
    """

    model: str
    name: str
    variant: str
    costs: tuple[Cost, ...]

    @property
    def title(self) -> str:
        """How it is called in a table."""
        return f"{self.name} {self.variant}".strip()

    @property
    def is_icl(self) -> bool:
        """Whether it has shots in its prompt."""
        return self.name == "ICL"

    @property
    def is_tuned(self) -> bool:
        """Whether parameters are trained."""
        return registry.is_method(self.name)

    def value(self, name: str, kind: str = "counted") -> int | None:
        """Give the value of a cost; None where it is absent."""
        found = [cost.value for cost in self.costs if (cost.name, cost.kind) == (name, kind)]
        return None if not found or found[0] is None else int(found[0])


@dataclass(frozen=True)
class Sheet:
    """A model's ways.

    Args:
        remarks: What the numbers must not be read without; methods that the model cannot take.
    """

    model: Described
    ways: tuple[Way, ...]
    remarks: tuple[str, ...] = field(default=())


def sheet(model: Described, work: Workload, methods: Mapping[str, MethodConfig], *, strict: bool) -> Sheet:
    """Count what a model costs in each way.

    Args:
        model: Its shapes.
        work: What is asked of it.
        methods: Name -> settings.
        strict: Whether a method that does not fit the model is an error; otherwise it is a remark.

    Raises:
        CostError: Impossible sizes.
        MethodError: A method that does not fit.
    """
    ways, remarks = [*_prompted(model, work)], [*_remarks(model, work)]
    if not methods:
        return Sheet(model, tuple(ways), tuple(remarks))
    from peftbench.costs import adapter_file  # with torch, as the methods' own files

    bare = adapter_file.without_weights(model, work.dtype)
    for name, config in methods.items():
        try:
            added = registry.method(name).added(model.shape.sizes, config)
        except MethodError as error:
            if strict:
                raise
            remarks.append(f"{name} is left out: {error.message}")
            continue
        ways += _tuned(model, work, name, added, adapter_file.written(bare, name, config))
        if registry.method(name).prunes:
            remarks.append(f"{name} takes out in training what it needs least: {AT_MOST}")
    return Sheet(model, tuple(ways), tuple(remarks))


def break_evens(sheets: Iterable[Sheet]) -> list[tuple[Way, Way, int | None]]:
    """Give, for each tuned way and each with shots, the number of queries from which on training has paid for itself.

    ceil((training - filling the cache) / (a query with shots - a query after tuning))

    Returns:
        (tuned, ICL, queries); None where a query costs no less after tuning.
    """
    ways = [way for each in sheets for way in each.ways]
    found = []
    for tuned in (way for way in ways if way.is_tuned):
        for icl in (way for way in ways if way.is_icl):
            once = _known(tuned, "training_flops") - _known(icl, "once_flops")
            query = _known(icl, "inference_flops_per_query"), _known(tuned, "inference_flops_per_query")
            queries = rule.break_even_queries(once, *query)
            found.append((tuned, icl, None if queries is None else max(queries, 0)))
    return found


def _known(way: Way, name: str) -> int:
    value = way.value(name)
    assert value is not None, f"{way.title} has no {name}"
    return value


def _remarks(model: Described, work: Workload) -> Iterable[str]:
    yield from model.shape.remarks
    tokens, most = work.shots * work.shot_tokens + work.query_tokens, model.shape.max_positions
    if most is not None and tokens > most:
        yield f"{tokens:,} tokens are more than the {most:,} positions of the model: ICL is counted as if they fitted"
    if model.shape.sizes.is_encoder_decoder:
        yield "no cached ICL: an encoder reads shots and query together, so that no keys and values can be kept"


def _prompted(model: Described, work: Workload) -> Iterable[Way]:
    sizes = model.shape.sizes
    width = DTYPE_BYTES[work.dtype]
    plain, query = (work.query(sizes, shots=shots) for shots in (False, True))
    yield _way(model, "zero-shot", "", work, count.forward_flops(sizes, plain), shots=False)
    if not work.shots:
        return
    tokens = storage.icl_bytes(query.shot_tokens)
    told = "token ids of the shots as int32"
    yield _way(model, "ICL", "", work, count.forward_flops(sizes, query), shots=True, disk=_disk(tokens, told))
    if not sizes.is_encoder_decoder:
        cache = storage.cache_bytes(sizes, query.shot_tokens, width)
        yield _way(
            model,
            "ICL",
            "cached",
            work,
            count.forward_flops(sizes, query, cached=True),
            shots=True,
            once=count.prefill_flops(sizes, query.shot_tokens),
            cache=cache,
            disk=_disk(cache, f"keys and values of the shots in {work.dtype}"),
        )


def _tuned(model: Described, work: Workload, name: str, added: Added, file: "Written | None") -> Iterable[Way]:
    sizes = model.shape.sizes
    query = work.query(sizes)
    merged, unmerged = (count.forward_flops(sizes, query, added, merged=merged) for merged in (True, False))
    training = (*_training(model, work, added, query), *_training_memory(model, work, added, query))
    extra = added.num_saved_bytes(model.num_parameters) if file is None else file.tensor_bytes
    kept = 0 if registry.method(name).merge is not None else extra
    tensors = _bytes("tensor_bytes", extra, "tensors that are saved, without a file around them")
    for variant, flops, held in (("", merged, kept), ("unmerged", unmerged, extra)):
        if not variant or merged < unmerged:
            yield _way(
                model,
                name,
                variant,
                work,
                added.num_members * flops,
                more=(*training, tensors),
                disk=_file(file),
                kept=held,
                times=added.num_members,
            )


def _way(
    model: Described,
    name: str,
    variant: str,
    work: Workload,
    flops: int,
    *,
    shots: bool = False,
    once: int = 0,
    cache: int = 0,
    kept: int = 0,
    more: tuple[Cost, ...] = (),
    disk: Cost | None = None,
    times: int = 1,
) -> Way:
    """Put together what every way has; a query is run `times` over, which `flops` says already."""
    is_encoder_decoder = model.shape.sizes.is_encoder_decoder
    tokens = work.query_tokens + (work.shots * work.shot_tokens if shots and not cache else 0)
    by_rule = rule.inference_flops(model.num_parameters, times * tokens, is_encoder_decoder=is_encoder_decoder)
    weights = model.num_parameters * DTYPE_BYTES[work.dtype] + kept
    per_query = "inference_flops_per_query"
    costs = [
        Cost(name=per_query, value=flops, unit="FLOPs", kind="counted", convention=COUNTED),
        Cost(name=per_query, value=by_rule, unit="FLOPs", kind="estimated", convention=BY_RULE),
        Cost(name="once_flops", value=once, unit="FLOPs", kind="counted", convention="filling the cache of the shots"),
        _bytes("weight_bytes", weights, f"all parameters in {work.dtype}, and float32 ones that are not merged"),
        _bytes("cache_bytes", cache, f"keys and values of the shots in {work.dtype}"),
        disk or _disk(0, "nothing beside the model"),
    ]
    if not more:
        costs.append(
            Cost(name="training_flops", value=0, unit="FLOPs", kind="counted", convention="nothing is trained")
        )
    return Way(model.name, name, variant, (*costs, *more))


def _training(model: Described, work: Workload, added: Added, query: Query) -> tuple[Cost, ...]:
    sizes, examples = model.shape.sizes, work.num_steps * work.batch_size * added.num_members
    by_rule = rule.training_flops(
        model.num_parameters,
        work.query_tokens,
        num_steps=work.num_steps,
        batch_size=work.batch_size * added.num_members,
        is_encoder_decoder=sizes.is_encoder_decoder,
    )
    counted = backward.training_flops(sizes, {query: examples}, work.num_steps, added)
    counted += backward.training_flops(sizes, {query: added.looks * work.shots}, 0, added)
    trained = added.num_trained(model.num_parameters)
    convention = f"{COUNTED}; frozen weights get no gradient, below the first adapted place nothing is run backward"
    convention += "; gradients on the shots before the first step included" if added.looks else ""
    return (
        Cost(name="training_flops", value=counted, unit="FLOPs", kind="counted", convention=convention),
        Cost(name="training_flops", value=by_rule, unit="FLOPs", kind="estimated", convention=BY_RULE),
        Cost(name="num_trained", value=trained, unit="parameters", kind="counted", convention="trained values"),
    )


def _training_memory(model: Described, work: Workload, added: Added, query: Query) -> tuple[Cost, ...]:
    found = memory.training(
        model.shape.sizes,
        model.num_parameters,
        query,
        added,
        batch_size=work.batch_size * added.num_members,
        bytes_per_value=DTYPE_BYTES[work.dtype],
        optimizer=work.optimizer,
    )
    kept = "values kept for the backward pass by fused attention and plain layers; allocator and workspaces left out"
    return (
        _bytes("training_weight_bytes", found.weights, f"all parameters in {work.dtype}, what is added in float32"),
        _bytes("gradient_bytes", found.gradients, "of what is trained, float32"),
        _bytes("optimizer_bytes", found.optimizer, f"state of {work.optimizer}, float32; copies of half precision"),
        _bytes("activation_bytes", found.activations, kept, "estimated"),
        _bytes("training_bytes", found.total, "sum of the four", "estimated"),
    )


def _bytes(name: str, value: int, convention: str, kind: Literal["counted", "estimated"] = "counted") -> Cost:
    return Cost(name=name, value=value, unit="bytes", kind=kind, convention=convention)


def _disk(value: int, convention: str) -> Cost:
    return _bytes("disk_bytes", value, convention)


def _file(file: "Written | None") -> Cost:
    told = "the file that is written (safetensors), its header included"
    if file is None:
        reason = "training decides which tensors are left"
        return Cost(name="disk_bytes", value=None, unit="bytes", kind="counted", convention=told, reason=reason)
    return _disk(file.file_bytes, told)
