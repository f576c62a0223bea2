"""What a model costs in use, from its shapes: zero-shot, in-context learning with and without a cache, each method."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from peftbench import registry
from peftbench.costs import backward, count, memory, rule, storage
from peftbench.costs.count import Query
from peftbench.costs.describe import Described
from peftbench.costs.memory import DTYPE_BYTES
from peftbench.costs.trained import Optimizer
from peftbench.errors import CostError, MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.models.shapes import Sizes
from peftbench.scoring.work import rows_of
from peftbench.store.record import Cost

if TYPE_CHECKING:
    from peftbench.costs.adapter_file import Written

MOST = 10**9
"""No count of shots, tokens or steps is above this."""

PER_QUERY = "inference_flops_per_query"
COUNTED = "all matmuls incl. attention scores and values, cross-attention and LM head; a multiply-add is 2 FLOPs"
AT_MOST = "what it takes up and costs afterwards is at most this"
BY_RULE = "2205.05638, section 4.2: 2 N FLOPs per token, N for encoder-decoders; training 3 x that"


@dataclass(frozen=True)
class Workload:
    """The queries that a model answers, and how it is tuned for them.

    Args:
        shots: Number of examples in the prompt of in-context learning.
        tokens_per_shot: Tokens of an example, its answer included.
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
    tokens_per_shot: int = 98
    query_tokens: int = 103
    choice_tokens: tuple[int, ...] = (2, 2)
    num_steps: int = 1000
    batch_size: int = 8
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    optimizer: Optimizer = "adafactor"

    def __post_init__(self) -> None:
        least = {"shots": 0, "tokens_per_shot": 1, "query_tokens": 1, "num_steps": 1, "batch_size": 1}
        wrong = {name: getattr(self, name) for name, low in least.items() if not low <= getattr(self, name) <= MOST}
        if wrong:
            name, value = next(iter(wrong.items()))
            raise CostError(f"{name} = {value:,} is no count", hint=f"from {least[name]} to {MOST:,}")
        if not self.choice_tokens or min(self.choice_tokens) < 1 or sum(self.choice_tokens) >= self.query_tokens:
            raise CostError(
                f"choices of {', '.join(map(str, self.choice_tokens))} tokens in a query of {self.query_tokens}",
                hint="each choice has at least one token, and the query more than all its choices",
            )

    @property
    def shot_tokens(self) -> int:
        """Tokens of all shots together."""
        return self.shots * self.tokens_per_shot

    def query(self, sizes: Sizes, *, shots: bool = False) -> Query:
        """Build a query's lengths as the model is fed them, `shots` before it or not.

        A decoder-only model's last answer token is only predicted.
        """
        choices = tuple(tokens + sizes.num_fed_more for tokens in self.choice_tokens)
        return Query(self.shot_tokens if shots else 0, self.query_tokens - sum(self.choice_tokens), choices)

    def num_tokens(self, sizes: Sizes, num_before: int = 0) -> int:
        """Count the tokens of a query and of what stands before it, in each of the rows that the model takes."""
        if not sizes.is_encoder_only:
            return num_before + self.query_tokens
        context = num_before + self.query_tokens - sum(self.choice_tokens)
        return sum(context + number for number in rows_of(self.choice_tokens))


@dataclass(frozen=True)
class Strategy:
    """A way to have a model answer queries: zero-shot, in-context learning, or tuned with a method.

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
        """Its name in a table."""
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
        """Return the value of a cost; None where it is absent."""
        values = [cost.value for cost in self.costs if (cost.name, cost.kind) == (name, kind)]
        return None if not values or values[0] is None else int(values[0])


@dataclass(frozen=True)
class ModelCosts:
    """A model's strategies with their costs.

    Args:
        remarks: What the numbers must not be read without; methods that the model cannot take.
    """

    model: Described
    strategies: tuple[Strategy, ...]
    remarks: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class BreakEven:
    """When training has paid for itself.

    Args:
        tuned: The strategy that is trained.
        icl: The strategy with shots in its prompt.
        queries: From how many queries on; None where a query costs no less after tuning.
    """

    tuned: Strategy
    icl: Strategy
    queries: int | None


def model_costs(model: Described, work: Workload, methods: Mapping[str, MethodConfig], *, strict: bool) -> ModelCosts:
    """Count what a model costs under each strategy.

    Args:
        model: Its shapes.
        work: Queries and training.
        methods: Name -> settings.
        strict: Whether a method that does not fit the model is an error; otherwise it is a remark.

    Raises:
        CostError: Impossible sizes.
        MethodError: A method that does not fit.
    """
    prices = Prices(model, work)
    strategies, remarks = [*prices.prompted()], [*_remarks(model, work)]
    if not methods:
        return ModelCosts(model, tuple(strategies), tuple(remarks))
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
        strategies += prices.tuned(name, added, adapter_file.written(bare, name, config))
        if registry.method(name).prunes:
            remarks.append(f"{name} takes out in training what it needs least: {AT_MOST}")
    return ModelCosts(model, tuple(strategies), tuple(remarks))


def break_evens(models: Iterable[ModelCosts]) -> list[BreakEven]:
    """Count, for each tuned strategy against each with shots, the queries after which training has paid for itself.

    ceil((training - filling the cache) / (a query with shots - a query after tuning))
    """
    strategies = [strategy for model in models for strategy in model.strategies]
    points = []
    for tuned in (strategy for strategy in strategies if strategy.is_tuned):
        for icl in (strategy for strategy in strategies if strategy.is_icl):
            once = _present(tuned, "training_flops") - _present(icl, "once_flops")
            per_query = _present(icl, PER_QUERY), _present(tuned, PER_QUERY)
            queries = rule.break_even_queries(once, *per_query)
            points.append(BreakEven(tuned, icl, None if queries is None else max(queries, 0)))
    return points


def _present(strategy: Strategy, name: str) -> int:
    value = strategy.value(name)
    assert value is not None, f"{strategy.title} has no {name}"
    return value


def _remarks(model: Described, work: Workload) -> Iterable[str]:
    yield from model.shape.remarks
    tokens, most = work.shot_tokens + work.query_tokens, model.shape.max_positions
    if _lacks_positions(model, work):
        yield f"ICL n/a: {tokens:,} tokens with the shots, and the encoder has {most:,} positions"
    elif most is not None and tokens > most:
        yield f"{tokens:,} tokens are more than the {most:,} positions of the model: ICL is counted as if they fitted"
    if not model.shape.sizes.is_causal:
        yield "no cached ICL: an encoder reads shots and query together, so that no keys and values can be kept"


def _lacks_positions(model: Described, work: Workload) -> bool:
    """Tell whether an encoder has no positions for the shots: one that was made for few tokens is not used on more."""
    most, tokens = model.shape.max_positions, work.shot_tokens + work.query_tokens
    return model.shape.sizes.is_encoder_only and most is not None and tokens > most


class Prices:
    """What a model costs under a workload.

    Args:
        model: Its shapes.
        work: Queries and training.
    """

    def __init__(self, model: Described, work: Workload) -> None:
        self._model, self._work, self._sizes = model, work, model.shape.sizes
        self._value_bytes = DTYPE_BYTES[work.dtype]

    def prompted(self) -> Iterable[Strategy]:
        """Price the strategies without training: zero-shot, and with shots in the prompt, cached where they can be."""
        model, work, sizes = self._model, self._work, self._sizes
        query, with_shots = (work.query(sizes, shots=shots) for shots in (False, True))
        untrained = _flops("training_flops", 0, "nothing is trained")
        answer = self._query_costs(count.forward_flops(sizes, query), work.num_tokens(sizes))
        yield Strategy(model.name, "zero-shot", "", (*answer, *self._byte_costs(), untrained))
        if not work.shots or _lacks_positions(model, work):
            return
        file = _bytes("disk_bytes", storage.icl_bytes(work.shot_tokens), "token ids of the shots as int32")
        answer = self._query_costs(count.forward_flops(sizes, with_shots), work.num_tokens(sizes, work.shot_tokens))
        yield Strategy(model.name, "ICL", "", (*answer, *self._byte_costs(file), untrained))
        if not sizes.is_causal:
            return
        cache = storage.cache_bytes(sizes, work.shot_tokens, self._value_bytes)
        file = _bytes("disk_bytes", cache, f"keys and values of the shots in {work.dtype}")
        once = count.prefill_flops(sizes, work.shot_tokens)
        answer = self._query_costs(count.forward_flops(sizes, with_shots, cached=True), work.query_tokens, once)
        yield Strategy(model.name, "ICL", "cached", (*answer, *self._byte_costs(file, cache=cache), untrained))

    def tuned(self, name: str, added: Added, written: "Written | None") -> Iterable[Strategy]:
        """Price what a method makes of the model, merged into it and, where a query then costs more, beside it.

        Args:
            name: Of the method.
            added: What it adds.
            written: Its file; None where training decides which tensors are left.
        """
        query = self._work.query(self._sizes)
        extra = added.num_saved_bytes(self._model.num_parameters) if written is None else written.tensor_bytes
        is_mergeable = registry.method(name).merge is not None
        training = (
            *self._training_costs(added, query),
            *self._training_memory_costs(added, query),
            _bytes("tensor_bytes", extra, "tensors that are saved, without a file around them"),
        )
        flops = {
            merged: added.num_members * count.forward_flops(self._sizes, query, added, merged=merged)
            for merged in (True, False)
        }
        for merged in [True, False] if flops[True] < flops[False] else [True]:
            beside = 0 if merged and is_mergeable else extra
            num_tokens = added.num_members * self._work.num_tokens(self._sizes, added.extra_tokens)
            answer = self._query_costs(flops[merged], num_tokens)
            costs = (*answer, *self._byte_costs(_adapter_file(written), beside=beside), *training)
            yield Strategy(self._model.name, name, "" if merged else "unmerged", costs)

    def _query_costs(self, flops: int, num_tokens: int, once: int = 0) -> tuple[Cost, ...]:
        """List what a query costs, counted and by the rule for its tokens, and what is paid once before all of them."""
        is_encoder_decoder = self._sizes.is_encoder_decoder
        by_rule = rule.inference_flops(self._model.num_parameters, num_tokens, is_encoder_decoder=is_encoder_decoder)
        return (
            _flops(PER_QUERY, flops, COUNTED),
            _flops(PER_QUERY, by_rule, BY_RULE, "estimated"),
            _flops("once_flops", once, "filling the cache of the shots"),
        )

    def _byte_costs(self, disk: Cost | None = None, *, cache: int = 0, beside: int = 0) -> tuple[Cost, ...]:
        """List what answering takes up; `beside` are the bytes of parameters that are not merged."""
        dtype, weights = self._work.dtype, self._model.num_parameters * self._value_bytes + beside
        return (
            _bytes("weight_bytes", weights, f"all parameters in {dtype}, and float32 ones that are not merged"),
            _bytes("cache_bytes", cache, f"keys and values of the shots in {dtype}"),
            disk or _bytes("disk_bytes", 0, "nothing beside the model"),
        )

    def _training_costs(self, added: Added, query: Query) -> tuple[Cost, ...]:
        work, sizes = self._work, self._sizes
        batch_size = work.batch_size * added.num_members
        by_rule = rule.training_flops(
            self._model.num_parameters,
            work.num_tokens(sizes, added.extra_tokens),
            num_steps=work.num_steps,
            batch_size=batch_size,
            is_encoder_decoder=sizes.is_encoder_decoder,
        )
        counted = backward.training_flops(sizes, {query: work.num_steps * batch_size}, work.num_steps, added)
        counted += backward.training_flops(sizes, {query: added.looks * work.shots}, 0, added)
        trained = added.num_trained(self._model.num_parameters)
        convention = f"{COUNTED}; frozen weights get no gradient, below the first adapted place nothing is run backward"
        convention += "; gradients on the shots before the first step included" if added.looks else ""
        return (
            _flops("training_flops", counted, convention),
            _flops("training_flops", by_rule, BY_RULE, "estimated"),
            Cost(name="num_trained", value=trained, unit="parameters", kind="counted", convention="trained values"),
        )

    def _training_memory_costs(self, added: Added, query: Query) -> tuple[Cost, ...]:
        work = self._work
        model = memory.Model(self._sizes, self._model.elementwise, self._model.num_parameters, work.dtype)
        step = memory.step_pass(self._sizes, query, added, work.batch_size)
        peak = memory.training(model, step, memory.Training(added, work.optimizer))
        weights = (
            f"all parameters in {work.dtype}, what is added in float32, a second copy of the model's that are trained"
        )
        return (
            _bytes("training_weight_bytes", peak.weights, weights),
            _bytes("gradient_bytes", peak.gradients, f"of what is trained, at the peak: {peak.moment}"),
            _bytes("optimizer_bytes", peak.optimizer, f"state of {work.optimizer}, float32; copies of half precision"),
            _bytes("activation_bytes", peak.activations, f"{memory.ACTIVATIONS}, at the peak: {peak.moment}"),
            _bytes("training_bytes", peak.total, "peak of a step: the sum of the four"),
        )


Kind = Literal["counted", "estimated"]


def _flops(name: str, value: int, convention: str, kind: Kind = "counted") -> Cost:
    return Cost(name=name, value=value, unit="FLOPs", kind=kind, convention=convention)


def _bytes(name: str, value: int, convention: str, kind: Kind = "counted") -> Cost:
    return Cost(name=name, value=value, unit="bytes", kind=kind, convention=convention)


def _adapter_file(written: "Written | None") -> Cost:
    """Return the file's bytes, or why nobody knows them."""
    convention = "the file that is written (safetensors), its header included"
    if written is None:
        reason = "training decides which tensors are left"
        return Cost(name="disk_bytes", value=None, unit="bytes", kind="counted", convention=convention, reason=reason)
    return _bytes("disk_bytes", written.file_bytes, convention)
