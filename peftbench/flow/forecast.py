"""What a trial will cost, before it runs: FLOPs of learning and of scoring, and how many passes they take.

Batches are cut as they will be (`scoring.passes`), from the token counts of queries and examples. Shots are counted by
themselves and added to the queries, of many queries a sample is encoded, and of a long training its first batches are
drawn: what is exact otherwise is near then. So it is where shots are chosen for each query, which is not done yet: each
query is taken to have as many tokens of shots as rows have at mean, and to share none with others. A training that may
stop at a plateau is forecast with all of its steps, more than it may take.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from peftbench import registry
from peftbench.costs import backward, count
from peftbench.flow.trial import Trial
from peftbench.learners import distil, icl, parts, pet, sweep, tune
from peftbench.learners.classify import Classifying
from peftbench.learners.icl import Icl
from peftbench.learners.learn import Queries
from peftbench.learners.pet import Pet
from peftbench.learners.predictor import Reading, Round
from peftbench.learners.tune import Tuning
from peftbench.methods.base import Added
from peftbench.methods.parts import places
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Layer
from peftbench.scoring import frozen, head
from peftbench.scoring.batches import token_budget
from peftbench.scoring.encoding import cut_input, encode, num_common, opening
from peftbench.scoring.passes import Prompt, Shapes
from peftbench.scoring.work import Pass
from peftbench.selection.base import Embedder
from peftbench.selection.embedding import BUDGET as TOKENS_READ_AT_ONCE
from peftbench.selection.embedding import embedder_of
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

MOST_TEXTS = 1024
"""Texts, a query with one of its choices each, that are encoded for one template; a sample stands for more."""
MOST_STEPS = 32
"""Steps whose batches are drawn; they stand for more."""


@dataclass(frozen=True)
class Forecast:
    """What a trial will cost, as it will be run: padding counts, what prompts share is run once.

    Args:
        learn_flops: Of all trainings, forward and backward, and of what comes before them; 0 where nothing is learned.
        score_flops: Of scoring all queries under all templates.
        num_learn_passes: Training steps, and other passes of learning.
        num_score_passes: Forward passes of scoring.
        num_layers: The model's layers.
        d_model: The model's width.
        num_parameters: The model's parameters.
        num_frozen: The lowest layers, which training steps do not run.
        num_tensors: Places where something is trained.
        num_trained: Values that are trained.
        learner: "icl", or the method.
    """

    learn_flops: int = 0
    score_flops: int = 0
    num_learn_passes: int = 0
    num_score_passes: int = 0
    num_layers: int = 0
    d_model: int = 0
    num_parameters: int = 0
    num_frozen: int = 0
    num_tensors: int = 0
    num_trained: int = 0
    learner: str = "icl"

    @property
    def flops(self) -> int:
        """Of learning and scoring."""
        return self.learn_flops + self.score_flops


def forecast(trial: Trial) -> Forecast:
    """Forecast one trial; see `forecasts`."""
    return forecasts([trial])[0]


def forecasts(trials: Sequence[Trial]) -> list[Forecast]:
    """Forecast trials on one loaded model that passed their checks; nothing is run, nothing is attached.

    What several of them have in common is encoded once; what several would tune alike costs the first one alone.
    """
    texts: dict[str, Texts] = {}
    tuned: set[str] = set()
    costs = []
    for trial in trials:
        plain = _of(trial, texts.setdefault(_scoring_of(trial), Texts(trial.backbone, trial.scoring)))
        if isinstance(trial.learner, Tuning):
            is_tuned = trial.cell.learning in tuned
            plain = replace(plain, learn_flops=0, num_learn_passes=0) if is_tuned else plain
            tuned.add(trial.cell.learning)
        costs.append(plain)
    return costs


def _scoring_of(trial: Trial) -> str:
    return trial.scoring.model_dump_json()


def _of(trial: Trial, texts: "Texts") -> Forecast:
    learner = trial.learner
    if trial.backbone.remote is not None:  # how fast a server is shows when it answers
        return Forecast()
    if isinstance(learner, Classifying):
        plain = _classified(learner, trial, texts)
    elif isinstance(learner, Pet):
        plain = _ensembled(learner, trial, texts)
    elif isinstance(learner, Tuning):
        plain = _tuned(learner, trial, texts, trial.plan.queries)
    else:
        plain = _prompted(learner, trial, texts)
    if trial.cell.draw != "kmeans":
        return plain
    tokens = texts.read_once(embedder_of(trial.backbone), trial.pool()[1])
    read_flops = sum(count.states_flops(trial.backbone.sizes, number) for number in tokens)
    num_passes = -(-sum(tokens) // TOKENS_READ_AT_ONCE)
    return replace(
        plain, learn_flops=plain.learn_flops + read_flops, num_learn_passes=plain.num_learn_passes + num_passes
    )


@dataclass(frozen=True)
class Counts:
    """Token counts of examples.

    Args:
        prompts: Each example's.
        num_common: Tokens with which all contexts begin alike.
    """

    prompts: list[Prompt]
    num_common: int

    def spread_to(self, number: int) -> "Counts":
        """Let a sample, sorted, stand for `number` examples."""
        if number == len(self.prompts):
            return self
        prompts = [self.prompts[index * len(self.prompts) // number] for index in range(number)]
        return Counts(prompts, self.num_common)

    def after(self, num_tokens: int) -> "Counts":
        """Let each example stand after so many tokens of its own, so that no two begin alike."""
        return Counts([replace(prompt, context=prompt.context + num_tokens) for prompt in self.prompts], 0)


class Texts:
    """Texts -> token counts, each list of examples being encoded once.

    Args:
        backbone: With nothing attached.
        scoring: As of the trials.
    """

    def __init__(self, backbone: Backbone, scoring: Scoring) -> None:
        self._backbone, self._scoring = backbone, scoring
        self._counts: dict[tuple[Example, ...], Counts] = {}
        self._rows: set[bytes] = set()

    def counts(self, examples: Sequence[Example]) -> Counts:
        """Count the tokens of examples without shots."""
        key = tuple(examples)
        if key not in self._counts:
            encoded = encode(self._backbone, examples, self._scoring)
            prompts = [Prompt.of(tokens) for tokens in encoded]
            self._counts[key] = Counts(prompts, num_common([tokens.context for tokens in encoded]))
        return self._counts[key]

    def to_read(self, reading: Reading, num_queries: int) -> list[int]:
        """List the tokens of texts that are read to choose shots: of rows that were read before, none.

        Args:
            reading: Of a sample of the queries.
            num_queries: How many there are.
        """
        rows = () if reading.rows_sha256 in self._rows else reading.rows
        self._rows.add(reading.rows_sha256)
        return [*rows, *(reading.queries[index * len(reading.queries) // num_queries] for index in range(num_queries))]

    def read_once(self, embedder: Embedder, inputs: Sequence[str]) -> list[int]:
        """List the tokens of different texts that are read for their embeddings; of a list that was read, none."""
        different = list(dict.fromkeys(inputs))
        digest = hashlib.sha256("\0".join([embedder.fingerprint, *different]).encode()).digest()
        return self.to_read(Reading(digest, tuple(map(len, embedder.ids(different))), (), embedder.sizes), 0)


def _prompted(learner: Icl, trial: Trial, texts: Texts) -> Forecast:
    sizes, options = trial.backbone.sizes, learner.options
    as_text = replace(learner, options=options.model_copy(update={"as_prefix": False}))
    prompts = [icl.learn(trial.backbone, template, as_text, trial.scoring) for template in learner.templates]
    samples = [_sample(queries) for queries in trial.plan.queries]
    if options.fit_shots and not options.is_chosen:
        icl.fit(prompts, samples)
    learned: Counter[Pass] = Counter()
    scored: Counter[Pass] = Counter()
    num_read = read_flops = 0
    for prompt, sample, queries in zip(prompts, samples, trial.plan.queries, strict=True):
        for part in prompt.rounds(sample):
            counts = texts.counts(part.examples)
            if part.reading is not None:
                read = texts.to_read(part.reading, len(queries))
                num_read += sum(read)
                read_flops += sum(count.states_flops(part.reading.reader or sizes, number) for number in read)
            if not part.is_once:
                counts = counts.spread_to(len(part.examples) * len(queries) // len(sample))
            if options.as_prefix:
                prefill, passes = _after_prefix(part, counts, trial)
                learned[prefill] += 1
            else:
                before = part.shot_tokens
                if part.is_chosen:
                    is_shared = trial.scoring.cache and sizes.is_causal
                    before, counts = 0, counts.after(part.shot_tokens // (part.num_alike if is_shared else 1))
                passes = _scoring(Shapes(sizes, num_before=before, blocks=part.blocks), counts, trial)
            scored.update(passes)
    return replace(
        _nothing(trial.backbone),
        learn_flops=count.passes_flops(sizes, learned) + read_flops,
        score_flops=count.passes_flops(sizes, scored),
        num_learn_passes=learned.total() + -(-num_read // TOKENS_READ_AT_ONCE),
        num_score_passes=scored.total(),
    )


def _classified(learner: Classifying, trial: Trial, texts: "Texts") -> Forecast:
    """Forecast that shots and queries are read, each list of texts once for all trials."""
    backbone, most = trial.backbone, trial.scoring.max_input_tokens
    embedder = embedder_of(backbone, learner.config.embedder)

    def read(examples: Sequence[Example]) -> list[int]:
        return texts.read_once(embedder, [cut_input(backbone, example, most)[0].input for example in examples])

    def flops(tokens: Sequence[int]) -> int:
        return sum(count.states_flops(embedder.sizes or backbone.sizes, number) for number in tokens)

    of_templates = [read([*map(template.render, learner.read_by(template))]) for template in learner.templates]
    shots = [number for tokens in of_templates for number in tokens]
    trained = 3 * sum(_num_trained(learner, len(tokens)) * flops(tokens) // len(tokens) for tokens in of_templates)
    queries = [number for of_template in trial.plan.queries for number in read(of_template)]
    return replace(
        _nothing(backbone),
        learn_flops=flops(shots) + trained,
        score_flops=flops(queries),
        num_learn_passes=-(-sum(shots) // TOKENS_READ_AT_ONCE),
        num_score_passes=-(-sum(queries) // TOKENS_READ_AT_ONCE),
        learner=learner.classifier,
    )


def _num_trained(learner: Classifying, num_shots: int) -> int:
    """Count the texts that a training of the sentence model reads."""
    return registry.classifier(learner.classifier).num_trained(num_shots, learner.config)


def _nothing(backbone: Backbone) -> Forecast:
    """Return the forecast of no work, with the model's sizes."""
    sizes = backbone.sizes
    return Forecast(num_layers=sizes.num_layers, d_model=sizes.d_model, num_parameters=backbone.num_parameters)


def _after_prefix(part: Round, counts: Counts, trial: Trial) -> tuple[Pass, list[Pass]]:
    """Return the pass that makes a prefix of the shots, and those that score the queries after it."""
    num_opening = len(opening(trial.backbone))
    num_keys = part.shot_tokens + num_opening
    passes = _scoring(Shapes(trial.backbone.sizes, num_before=-num_opening), counts, trial)
    prefill = Pass.of_decoder(rows=1, tokens=num_keys, head=0)
    return prefill, [replace(shape, cached_tokens=shape.cached_tokens + num_keys) for shape in passes]


def _ensembled(learner: Pet, trial: Trial, texts: Texts) -> Forecast:
    """Forecast the models of PET and what their weights take; with a student its training, for which they answer."""
    shown = learner.unlabelled if learner.config.distil else pet.rows(trial.plan.queries[0])
    parts = []
    for place, pattern in enumerate(learner.patterns):
        queries = [pet.render(pattern, shown)]
        parts += [_tuned(tuning, trial, texts, queries) for tuning in learner.trainings_of(place)]
    models = replace(_joined(parts), learner=trial.cell.method or "")
    if learner.config.combine == "weighted":
        models = _with_weights(models, learner, trial, texts)
    if not learner.config.distil:
        return models
    scoring = distil.scoring_of(trial.scoring)
    texts = Texts(trial.backbone, scoring)
    student = _tuned(distil.tuning_of(learner), replace(trial, scoring=scoring), texts, trial.plan.queries)
    return replace(
        models,
        learn_flops=models.flops + student.learn_flops,
        score_flops=student.score_flops,
        num_learn_passes=models.num_learn_passes + models.num_score_passes + student.num_learn_passes,
        num_score_passes=student.num_score_passes,
    )


def _joined(parts: Sequence[Forecast]) -> Forecast:
    """Add up the work of several trainings by one method."""
    return replace(
        parts[0],
        learn_flops=sum(part.learn_flops for part in parts),
        score_flops=sum(part.score_flops for part in parts),
        num_learn_passes=sum(part.num_learn_passes for part in parts),
        num_score_passes=sum(part.num_score_passes for part in parts),
    )


def _with_weights(models: Forecast, learner: Pet, trial: Trial, texts: Texts) -> Forecast:
    """Add what it takes that the bare model answers the shots under each pattern."""
    sizes, weighing = trial.backbone.sizes, Counter[Pass]()
    for place in range(len(learner.patterns)):
        weighing.update(_scoring(Shapes(sizes), texts.counts(learner.examples_of(place)), trial))
    return replace(
        models,
        learn_flops=models.learn_flops + count.passes_flops(sizes, weighing),
        num_learn_passes=models.num_learn_passes + weighing.total(),
    )


def _tuned(tuning: Tuning, trial: Trial, texts: Texts, shown: Queries) -> Forecast:
    sizes, added = trial.backbone.sizes, _added(tuning, trial.backbone)
    if trial.scoring.answer == "head":
        sizes = replace(sizes, num_classes=head.num_classes(tuning.examples))
    added = tune.added(tuning, sizes, added)
    shapes = Shapes(sizes, added.extra_tokens, added.num_members)
    layers = frozen.layers(trial.backbone, added.first_layer)
    trainings, judged = [(1, tuning)], Counter[Pass]()
    for rest, held_out in sweep.folds(tuning.examples) if tuning.sweep else ():
        trainings.append((sweep.NUM_RATES, replace(tuning, examples=rest)))
        counts = texts.counts(list(itertools.chain(*held_out)))
        judged += _times(sweep.NUM_RATES, Counter(_scoring(shapes, counts, trial)))
    steps, below, looks = Counter[Pass](), Counter[Pass](), Counter[Pass]()
    for times, training in trainings:
        shots = _shots(training, texts)
        steps += _times(times, _steps(training, shots, shapes))
        below += _times(times, _below(training, shots, shapes, trial.backbone, layers))
        looks += _times(times, _looks(training, shots, shapes, added))
    scored: Counter[Pass] = Counter()
    for queries in shown:
        scored.update(_scoring(shapes, texts.counts(_sample(queries)).spread_to(len(queries)), trial))
    again = tuning.training.activation_checkpointing
    num_frozen = frozen.num_layers(layers)
    trained_flops = backward.trained_flops(sizes, steps, added, below, num_frozen, is_checkpointed=again)
    return replace(
        _nothing(trial.backbone),
        learn_flops=trained_flops
        + backward.trained_flops(sizes, looks, added)
        + count.passes_flops(sizes, judged, added),
        score_flops=count.passes_flops(sizes, scored, added),
        num_learn_passes=steps.total() + looks.total() + judged.total(),
        num_score_passes=scored.total(),
        num_frozen=len(layers),
        num_tensors=len(added.ops) + len(added.places) + len(added.weights),
        num_trained=added.num_trained(trial.backbone.num_parameters),
        learner=tuning.method,
    )


Shots = Sequence[Sequence[tuple[Hashable, Prompt]]]
"""Per shot, per template: what tells an example from others, and its token counts."""


def _shots(tuning: Tuning, texts: Texts) -> Shots:
    training = tuning.training
    examples = list(itertools.chain(*tuning.examples))
    prompts = texts.counts(examples).prompts
    if not (training.unlikelihood_loss or training.length_norm_loss):
        prompts = [prompt.only(example.label) for prompt, example in zip(prompts, examples, strict=True)]
    keys = [(example.input, example.choices, example.label) for example in examples]
    flat = iter(zip(keys, prompts, strict=True))
    return [list(itertools.islice(flat, len(of_shot))) for of_shot in tuning.examples]


def _steps(tuning: Tuning, shots: Shots, shapes: Shapes) -> Counter[Pass]:
    """Count the passes of one training's steps by their shapes."""
    num_steps = tuning.training.num_steps
    num_drawn = min(num_steps, MOST_STEPS)
    passes: Counter[Pass] = Counter()
    for index, batch in enumerate(_batches(tuning, shots, num_drawn)):
        for part in parts.cut(batch, tuning.training.accumulate):
            shape = shapes.training([prompt for _, prompt in part for _ in range(shapes.num_members)])
            passes[shape] += _share(index, num_drawn, num_steps)
    return passes


def _below(tuning: Tuning, shots: Shots, shapes: Shapes, backbone: Backbone, layers: Sequence[Layer]) -> Counter[Pass]:
    """Count the passes of one training through the frozen layers, in which examples run as they are drawn."""
    passes: Counter[Pass] = Counter()
    room: frozen.Room[Hashable] = frozen.Room()
    keys = {key for of_shot in shots for key, _ in of_shot}
    for batch in _batches(tuning, shots, tuning.training.num_steps) if layers else ():
        prompts = dict(batch)
        new = room.enter((key, frozen.num_bytes(backbone, layers, prompt)) for key, prompt in prompts.items())
        if new:
            passes[replace(shapes.training([prompts[key] for key in new]), head_tokens=0)] += 1
        if room.keys == keys:
            break
    return passes


def _looks(tuning: Tuning, shots: Shots, shapes: Shapes, added: Added) -> Counter[Pass]:
    """Count the passes of one training before its first step."""
    passes: Counter[Pass] = Counter()
    looks = added.looks if tuning.start is None else 0
    for index, of_shot in enumerate(shots if looks else ()):
        _, prompt = of_shot[index % len(of_shot)]
        passes[shapes.alone(prompt)] += looks
    return passes


def _batches(tuning: Tuning, shots: Shots, number: int) -> Iterator[list[tuple[Hashable, Prompt]]]:
    return itertools.islice(tune.draw_batches(shots, tuning.training.batch_size, tuning.seed), number)


def _added(tuning: Tuning, backbone: Backbone) -> Added:
    """Return what the method adds; of one without closed form, that the gradient runs through all layers."""
    if tuning.method in registry.METHODS:
        added: Added = registry.method(tuning.method).added(backbone.sizes, tuning.config)
        return added
    return Added(num_parameters=0, places=places.matrices(backbone.sizes))


def _scoring(shapes: Shapes, counts: Counts, trial: Trial) -> list[Pass]:
    budget = token_budget(trial.backbone)
    return shapes.scoring(counts.prompts, counts.num_common, budget, cache=trial.scoring.cache)


def _sample(queries: Sequence[Example]) -> Sequence[Example]:
    """Take evenly spaced queries from the shortest to the longest, where there are very many."""
    number = max(1, MOST_TEXTS // len(queries[0].choices))
    if len(queries) <= number:
        return queries
    by_length = sorted(queries, key=lambda query: len(query.input))
    return [by_length[(index + 1) * len(queries) // number - 1] for index in range(number)]


def _share(index: int, number: int, total: int) -> int:
    """Return how many of `total` the index-th of `number` stands for, as evenly as can be."""
    return (index + 1) * total // number - index * total // number


def _times(factor: int, passes: Counter[Pass]) -> Counter[Pass]:
    return Counter({shape: factor * times for shape, times in passes.items()})
