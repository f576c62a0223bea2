"""The costs of one finished cell, each with its unit, its kind and its convention."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peftbench.adapters.saved import TENSORS
from peftbench.costs import backward, count, of_written, rule, storage
from peftbench.costs.of_written import Written
from peftbench.costs.traced_cell import Traced
from peftbench.methods.base import Added
from peftbench.models.shapes import Sizes
from peftbench.scoring.work import ForwardWork, Length, Pass, SelectionWork, SweepWork, TrainingWork, rows_of
from peftbench.store.record import Cost

EXACT = "all matmuls incl. attention and LM head, multiply-add = 2, choices share the query, no padding"
TRAINED = (
    "all matmuls forward and backward, multiply-add = 2, no padding; frozen weights get no gradient, nothing below the "
    "first adapted place is run backward; what the method runs before the first step counts; the optimiser is left out"
)
AS_RUN = "all matmuls of scoring, multiply-add = 2, as run: padding counts, what prompts share was run once"
AS_TRAINED = (
    "all matmuls of training and before it, multiply-add = 2, as run: padding counts, layers below all that is trained "
    "run once for an example where their states are kept"
)
TRACED = (
    "matmul-class operators that ran, as torch's FlopCounterMode knows them (no FFTs, no solves), multiply-add = 2, "
    "the method attached, one example at a time"
)
READ = f"{EXACT}; keys and values of the shots read from a cache"
PAPER = "2205.05638 section 4.2: 2N FLOPs per token, N for encoder-decoders; N = all parameters"
RULED = f"{PAPER}; training = 3 x forward, as if all weights were trained; tokens as run, no padding"
MEAN = "mean over templates"


@dataclass(frozen=True)
class ScoredRows:
    """The test rows under one template, in tokens.

    Args:
        lengths: Of all prompts that were scored for the examples: one for each, or more.
        once: Lengths of prompts that were scored once for all examples.
        num_examples: How many there were.
        shot_tokens: Tokens of the shots, of all prompts of an ensemble, or of all rows from which each query's are
            chosen; 0 after tuning.
        shot_bytes: The same as UTF-8 text.
        selection: What choosing shots for each query took; None where none are chosen.
    """

    lengths: Sequence[Length]
    once: Sequence[Length]
    num_examples: int
    shot_tokens: int
    shot_bytes: int
    selection: SelectionWork | None = None


@dataclass(frozen=True)
class Facts:
    """What costs are computed from.

    Args:
        num_parameters: Parameters of the bare model.
        bytes_per_value: Of the model as it was run, and so of cached keys and values.
        scored: For each template, what was scored.
        passes: The forward passes that scored all examples under all templates, as run.
        adapter: Folder of what was saved; None where nothing was.
        learn_seconds: Wall time of learning.
        score_seconds: Wall time of scoring all examples under all templates.
        trained: What training ran; None for in-context learning.
        swept: What a sweep ran before it; None where there was none.
        added: What the method adds; None for in-context learning, and for a method without closed form.
        left: What is left of that when training has ended, where it may be less.
        traced: What was seen of a method that has no closed form.
        weighing: What scored the shots before any training, to weigh the models of an ensemble; None where nothing did.
        teachers: Of what answers here: the models that taught it, and what they were asked for that; None where nobody
            taught.
        written: For each template, the answers that were written; nothing where choices were scored.
    """

    sizes: Sizes
    num_parameters: int
    bytes_per_value: int
    scored: Sequence[ScoredRows]
    passes: Sequence[Pass]
    adapter: Path | None
    learn_seconds: float
    score_seconds: float
    trained: TrainingWork | None = None
    swept: SweepWork | None = None
    added: Added | None = None
    left: Added | None = None
    traced: Traced | None = None
    weighing: ForwardWork | None = None
    teachers: "Facts | None" = None
    written: Sequence[Written] = ()

    @property
    def exact(self) -> str:
        """How a query's FLOPs are counted."""
        return of_written.EXACT if self.written else EXACT

    @property
    def used(self) -> Added | None:
        """What of the method answers queries."""
        return self.left or self.added

    @property
    def reads_prefix(self) -> bool:
        """Whether the shots' keys and values were saved, so that queries read them and nothing else of the shots."""
        return self.adapter is not None and self.trained is None

    @property
    def is_cacheable(self) -> bool:
        """Whether there are shots whose keys and values could be kept: no encoder reads the query with them.

        Those of chosen shots could not: other shots stand before them in each prompt.
        """
        has_shots = any(scored.shot_tokens for scored in self.scored) and not self.selections
        return has_shots and self.sizes.is_causal

    @property
    def is_blocked(self) -> bool:
        """Whether the shots stand in blocks that do not see each other."""
        return any(length.blocks for scored in self.scored for length in scored.lengths)

    @property
    def selections(self) -> list[SelectionWork]:
        """What choosing shots took under each template; nothing where none are chosen."""
        return [scored.selection for scored in self.scored if scored.selection is not None]


def costs(facts: Facts) -> list[Cost]:
    """List the costs of a finished cell."""
    if facts.traced is not None and facts.trained is not None:
        return [*_seen(facts, facts.traced, facts.trained), *_storage(facts), *_clock(facts)]
    cached = _cached(facts) if facts.is_cacheable else []
    chosen = _selection(facts) if facts.selections else []
    return [*_inference(facts), *cached, *chosen, *_learning(facts), *_storage(facts), *_clock(facts)]


def _inference(facts: Facts) -> list[Cost]:
    name = "inference_flops_per_example"
    exact = f"{facts.exact}; methods folded into the weights where they can be; mean over examples and templates"
    choosing, ruled = _choosing_flops(facts), _ruled_choosing(facts)
    exact += "; with choosing the shots" if facts.selections else ""
    exact += "; blocks of shots see themselves alone" if facts.is_blocked else ""
    by_rule = f"{PAPER}; mean over examples and templates"
    run, as_run = count.passes_flops(facts.sizes, Counter(facts.passes), facts.used), AS_RUN
    if facts.written:
        parts = [part.run_flops(facts.sizes, facts.used, reads_prefix=facts.reads_prefix) for part in facts.written]
        run, as_run = sum(parts), of_written.AS_RUN
    inference = [
        _flops(
            name, choosing + _per_example(facts, lambda query: _forward(facts, query, cached=facts.reads_prefix)), exact
        ),
        _flops(name, ruled + _per_example(facts, lambda query: _rule(facts, query)), by_rule, "estimated"),
        _flops("scoring_flops", run, as_run),
    ]
    if any(scored.once for scored in facts.scored):
        once = sum(_forward(facts, _query(facts, length)) for scored in facts.scored for length in scored.once)
        convention = f"{EXACT}; what calibration asks beside the queries, {MEAN}"
        inference.append(_flops("calibration_flops", _ratio(once, len(facts.scored)), convention))
    return inference


def _selection(facts: Facts) -> list[Cost]:
    """List what choosing shots took: an index, once, and a comparison of each query with it."""
    once, where = f"once; {MEAN}", "wall clock, on the machine of this run; all templates"
    index_bytes = _mean([work.index_bytes for work in facts.selections])
    index_flops = _mean([_read_flops(facts, work, work.index_tokens) for work in facts.selections])
    per_query = "matmuls of comparing a query with the training rows, multiply-add = 2; part of a query's inference"
    return [
        _flops("selection_flops_per_example", _choosing_flops(facts), f"{per_query}; mean over examples and templates"),
        _flops("index_flops", index_flops, f"matmuls of indexing the training rows, multiply-add = 2, {once}"),
        _bytes("index_bytes", index_bytes, f"numbers of the index of the training rows, as in memory, {MEAN}"),
        _seconds("index_seconds", sum(work.index_seconds for work in facts.selections), f"indexing, {where}"),
        _seconds("selection_seconds", sum(work.seconds for work in facts.selections), f"choosing, {where}"),
    ]


def drawing_costs(work: SelectionWork, sizes: Sizes) -> list[Cost]:
    """List what it took that a model chose the shots, the same for all queries."""
    lengths = Counter(work.index_tokens)
    flops = sum(times * count.states_flops(work.reader or sizes, tokens) for tokens, times in lengths.items())
    return [
        _flops("index_flops", flops, "matmuls of reading the training rows that shots are of, multiply-add = 2, once"),
        _seconds("index_seconds", work.index_seconds, "reading them, wall clock, on the machine of this run"),
    ]


def _choosing_flops(facts: Facts) -> int:
    """Average over examples and templates what choosing shots for an example takes; 0 where none are chosen."""
    total = 0
    for scored in facts.scored:
        if scored.selection is not None:
            compared = 2 * scored.selection.num_multiplied * scored.num_examples
            total += compared + _read_flops(facts, scored.selection, scored.selection.query_tokens)
    return _ratio(total, sum(scored.num_examples for scored in facts.scored))


def _ruled_choosing(facts: Facts) -> int:
    """Estimate by the paper's rule what reading queries takes to choose their shots; 0 where no model reads them."""
    flops = 0
    for work in facts.selections:
        reader, is_encoder_decoder = work.reader, facts.sizes.is_encoder_decoder and work.reader is None
        num_parameters = facts.num_parameters if reader is None else reader.num_parameters
        flops += rule.inference_flops(num_parameters, sum(work.query_tokens), is_encoder_decoder=is_encoder_decoder)
    return _ratio(flops, sum(scored.num_examples for scored in facts.scored))


def _read_flops(facts: Facts, work: SelectionWork, tokens: Sequence[int]) -> int:
    """Count what it takes to read texts of these lengths for their hidden states."""
    sizes = work.reader or facts.sizes
    return sum(times * count.states_flops(sizes, number) for number, times in Counter(tokens).items())


def _seen(facts: Facts, traced: Traced, trained: TrainingWork) -> list[Cost]:
    """List what was traced, and what the paper's rule says, which asks for no method."""
    inference, training = "inference_flops_per_example", "training_flops"
    convention = f"{TRACED}, forward and backward; mean of {traced.num_training} of them x their number"
    if facts.swept is not None:
        convention += "; the trials of the sweep are left out"
    by_rule = _per_example(facts, lambda query: _rule(facts, query))
    return [
        _flops(inference, traced.inference, f"{TRACED}; mean of {traced.num_inference} of them", "traced"),
        _flops(inference, by_rule, f"{PAPER}; mean over examples and templates", "estimated"),
        _flops(training, traced.training, convention, "traced"),
        _flops(training, 3 * _by_rule(facts, trained.lengths), RULED, "estimated"),
    ]


def _cached(facts: Facts) -> list[Cost]:
    """Count what it would be with the shots' keys and values kept, whether they were or not."""
    cached = _per_example(facts, lambda query: _forward(facts, query, cached=True))
    blocks = "; blocks of shots see themselves alone" if facts.is_blocked else ""
    fill = _ratio(sum(_fill_flops(facts, scored) for scored in facts.scored), len(facts.scored))
    return [
        _flops(
            "cached_inference_flops_per_example",
            cached,
            f"{facts.exact}; keys and values of the shots read from a cache",
        ),
        _flops("cache_flops", fill, f"filling the cache of the shots' keys and values, once per template{blocks}"),
    ]


def _fill_flops(facts: Facts, scored: ScoredRows) -> int:
    """Count each prompt of shots once: an ensemble has several, and each scores all examples."""
    flops = sum(
        count.prefill_flops(facts.sizes, length.shots, facts.used, blocks=length.blocks) for length in scored.lengths
    )
    shot_tokens = sum(length.shots for length in scored.lengths)
    return _ratio(flops * scored.shot_tokens, shot_tokens) if shot_tokens else 0


def _learning(facts: Facts) -> list[Cost]:
    if facts.trained is None or facts.added is None:
        return [_flops("training_flops", 0, "nothing is trained")]
    sweep = _sweep(facts, facts.swept, facts.added) if facts.swept else Flops()
    total = _training(facts, facts.trained, facts.added) + sweep + _weighing(facts) + _teaching(facts.teachers)
    whole = "" if facts.teachers is None else "; with the teachers, and what they were asked"
    learning = [
        _flops("training_flops", total.counted, f"{TRAINED}{whole}"),
        _flops("training_flops", total.by_rule, f"{RULED}{whole}", "estimated"),
        _flops("learning_flops", total.run, f"{AS_TRAINED}{whole}"),
    ]
    if facts.swept is not None:
        convention = (
            "training and scoring of the sweep's trials, on the shots alone; of trials that broke, what was run; "
            "part of training_flops"
        )
        learning.append(_flops("sweep_flops", sweep.counted, convention))
    preparation = _preparation(facts, facts.trained, facts.added)
    if preparation:
        convention = "forward and backward on the shots before the first step, once; part of training_flops"
        learning.append(_flops("preparation_flops", preparation, convention))
    return learning


@dataclass(frozen=True)
class Flops:
    """FLOPs of some work: counted without padding, counted as run, and by the paper's rule."""

    counted: int = 0
    run: int = 0
    by_rule: int = 0

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.counted + other.counted, self.run + other.run, self.by_rule + other.by_rule)


def _training(facts: Facts, trained: TrainingWork, added: Added) -> Flops:
    """Count trainings with what was run before their first steps."""
    counted = backward.training_flops(facts.sizes, _queries(facts, trained.lengths), trained.num_steps, added)
    alone: Counter[Pass] = Counter()
    for length, times in trained.prepared.items():
        alone[_alone(facts, length)] += times
    return Flops(
        counted=counted + _preparation(facts, trained, added),
        run=backward.trained_flops(
            facts.sizes,
            trained.passes,
            added,
            trained.frozen,
            trained.num_frozen,
            is_checkpointed=trained.is_checkpointed,
        )
        + backward.trained_flops(facts.sizes, alone, added),
        by_rule=3 * _by_rule(facts, trained.lengths),
    )


def _preparation(facts: Facts, trained: TrainingWork, added: Added) -> int:
    return backward.training_flops(facts.sizes, _queries(facts, trained.prepared), 0, added)


def _sweep(facts: Facts, swept: SweepWork, added: Added) -> Flops:
    """Count a sweep's trainings and the scoring of what they held out."""
    held_out = _queries(facts, swept.held_out).items()
    return _training(facts, swept.training, added) + Flops(
        counted=sum(times * count.forward_flops(facts.sizes, query, added, merged=False) for query, times in held_out),
        run=count.passes_flops(facts.sizes, Counter(swept.passes), added),
        by_rule=_by_rule(facts, swept.held_out),
    )


def _teaching(teachers: Facts | None) -> Flops:
    """Count the trainings of teachers, and their answers."""
    if teachers is None or teachers.trained is None or teachers.added is None:
        return Flops()
    queries = [_query(teachers, length) for scored in teachers.scored for length in scored.lengths]
    answers = Flops(
        counted=sum(_forward(teachers, query) for query in queries),
        run=count.passes_flops(teachers.sizes, Counter(teachers.passes), teachers.used),
        by_rule=sum(_rule(teachers, query) for query in queries),
    )
    return _training(teachers, teachers.trained, teachers.added) + _weighing(teachers) + answers


def _weighing(facts: Facts) -> Flops:
    """Count what scored the shots with nothing attached."""
    work = facts.weighing or ForwardWork()
    counted = 0
    for length, times in work.lengths.items():
        counted += times * count.forward_flops(facts.sizes, count.Query(0, length.context, length.choices))
    run = count.passes_flops(facts.sizes, work.passes)
    return Flops(counted=counted, run=run, by_rule=_by_rule(facts, work.lengths))


def _alone(facts: Facts, length: Length) -> Pass:
    """Return the shape of an example that is run by itself; what has several rows pads them to the longest."""
    fed = sum(length.choices)
    if facts.sizes.is_encoder_only:
        rows = [length.context + number for number in rows_of(length.choices)]
        return Pass.of_decoder(rows=len(rows), tokens=max(rows), head=len(rows))
    if not facts.sizes.is_encoder_decoder:
        return Pass.of_decoder(rows=1, tokens=length.total, head=fed + 1)
    return Pass.of_encoder_decoder(
        inputs=1,
        input_tokens=length.context,
        answers=len(length.choices),
        answer_tokens=max(length.choices),
        head=fed - facts.sizes.num_fed_more * len(length.choices),
    )


def _by_rule(facts: Facts, lengths: Mapping[Length, int]) -> int:
    tokens = sum(times * length.total for length, times in lengths.items())
    return rule.inference_flops(facts.num_parameters, tokens, is_encoder_decoder=facts.sizes.is_encoder_decoder)


def _queries(facts: Facts, lengths: Mapping[Length, int]) -> Counter[count.Query]:
    queries: Counter[count.Query] = Counter()
    for length, times in lengths.items():
        queries[_query(facts, length)] += times
    return queries


def _storage(facts: Facts) -> list[Cost]:
    disk = _disk(facts) if facts.adapter is None else _adapter_bytes(facts, facts.adapter)
    if any(scored.shot_tokens for scored in facts.scored):
        text = [scored.shot_bytes for scored in facts.scored]
        of = "all training rows, each as a shot" if facts.selections else "the shots and separators"
        disk.append(_bytes("shot_text_bytes", _mean(text), f"UTF-8 text of {of}, {MEAN}"))
    if facts.is_cacheable:
        cache = [storage.cache_bytes(facts.sizes, scored.shot_tokens, facts.bytes_per_value) for scored in facts.scored]
        convention = f"keys and values of the shots, {facts.bytes_per_value} bytes per value as the cell ran, {MEAN}"
        disk.append(_bytes("cache_bytes", _mean(cache), convention))
    elif any(scored.shot_tokens for scored in facts.scored) and not facts.sizes.is_causal:
        convention, reason = f"keys and values of the shots, {MEAN}", "an encoder reads the shots anew with each query"
        disk.append(
            Cost(name="cache_bytes", value=None, unit="bytes", kind="counted", convention=convention, reason=reason)
        )
    return disk


def _disk(facts: Facts) -> list[Cost]:
    token_ids = [storage.icl_bytes(scored.shot_tokens) for scored in facts.scored]
    convention = f"token ids of the shots as int32 (2205.05638 section 4.2), {MEAN}"
    if facts.selections:
        index = _mean([work.index_bytes for work in facts.selections])
        convention = f"token ids of all training rows as int32, and the index of them, {MEAN}"
        return [_bytes("disk_bytes", _mean(token_ids) + index, convention)]
    return [_bytes("disk_bytes", _mean(token_ids), convention)]


def _adapter_bytes(facts: Facts, adapter: Path) -> list[Cost]:
    """Measure what was saved: all adapters, or for shots as a prefix the mean of one for each template."""
    paths = sorted(adapter.rglob(TENSORS))
    over = f"; {MEAN}" if facts.reads_prefix else ""
    whole = _mean([storage.file_bytes(path.parent) for path in paths])
    whole = whole if facts.reads_prefix else storage.file_bytes(adapter)
    joined = _mean if facts.reads_prefix else sum
    files = joined([storage.file_bytes(path) for path in paths])
    tensors = joined([storage.stored_tensor_bytes(path) for path in paths])
    return [
        _bytes("disk_bytes", whole, f"all files of the adapter{over}", "measured"),
        _bytes("tensor_file_bytes", files, f"{TENSORS}, header included{over}", "measured"),
        _bytes("tensor_bytes", tensors, f"tensors that are saved, without the file's header{over}", "measured"),
    ]


def _clock(facts: Facts) -> list[Cost]:
    where = "wall clock of this run, on its machine"
    return [
        _seconds("learn_seconds", facts.learn_seconds, where),
        _seconds("score_seconds", facts.score_seconds, where),
    ]


def _query(facts: Facts, length: Length) -> count.Query:
    virtual = facts.added.extra_tokens if facts.added else 0
    return count.Query(length.shots, length.context - virtual - length.shots, length.choices, length.blocks)


def _forward(facts: Facts, query: count.Query, *, cached: bool = False) -> int:
    if facts.written:
        return facts.written[0].flops(facts.sizes, query, facts.used, cached=cached)
    return count.forward_flops(facts.sizes, query, facts.used, cached=cached)


def _rule(facts: Facts, query: count.Query) -> int:
    unfed = -facts.sizes.num_fed_more * len(query.choice_tokens)  # the paper counts all tokens of the choices
    before = 0 if facts.reads_prefix else query.shot_tokens
    virtual = facts.added.extra_tokens if facts.added else 0
    context = before + virtual + query.input_tokens
    tokens = context + sum(query.choice_tokens) + unfed
    if facts.sizes.is_encoder_only:
        tokens = sum(context + number for number in rows_of(query.choice_tokens))
    return rule.inference_flops(facts.num_parameters, tokens, is_encoder_decoder=facts.sizes.is_encoder_decoder)


def _per_example(facts: Facts, flops: Callable[[count.Query], int]) -> int:
    """Average over examples and templates; an example may have had several prompts."""
    total = sum(flops(_query(facts, length)) for scored in facts.scored for length in scored.lengths)
    return _ratio(total, sum(scored.num_examples for scored in facts.scored))


def _mean(values: Sequence[int]) -> int:
    return _ratio(sum(values), len(values))


def _ratio(total: int, number: int) -> int:
    """Round total / number to a whole number, in integers: floats end at 2^53."""
    return (2 * total + number) // (2 * number)


def _flops(name: str, value: int, convention: str, kind: Literal["counted", "traced", "estimated"] = "counted") -> Cost:
    return Cost(name=name, value=value, unit="FLOPs", kind=kind, convention=convention)


def _bytes(name: str, value: int, convention: str, kind: Literal["counted", "measured"] = "counted") -> Cost:
    return Cost(name=name, value=value, unit="bytes", kind=kind, convention=convention)


def _seconds(name: str, value: float, convention: str) -> Cost:
    return Cost(name=name, value=value, unit="seconds", kind="measured", convention=convention)
