"""Tuning: a method's parameters are trained on the shots, with T-Few's losses over all answer choices."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from peftbench import registry
from peftbench.adapters import saved
from peftbench.adapters.saved import Start
from peftbench.errors import RunError
from peftbench.learners import losses
from peftbench.learners.inputs import shorten
from peftbench.learners.optimizer import Optimizer
from peftbench.methods.base import MethodConfig
from peftbench.methods.stages import Stages
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes
from peftbench.scoring import encoding
from peftbench.scoring.batches import memory_for
from peftbench.scoring.encoding import Encoded, Prompt, check_fits, encode_all
from peftbench.scoring.forward import choice_log_probs, of_members
from peftbench.scoring.score import Scores, score
from peftbench.scoring.work import Length, Pass
from peftbench.spec.cell import Scoring, Training
from peftbench.tasks.task import Example

Examples = Sequence[Sequence[Example]]
"""The training rows, each rendered by each of its templates: examples[shot][template]."""


@dataclass
class TunePredictor:
    """Scores queries with the tuned backbone, which must stay attached as `learn` left it.

    Args:
        backbone: The tuned model.
        scoring: How choices are scored; `end` is resolved.
        names: Full names of what was trained, as the method left it when training ended.
        num_shots: Shots that it was trained on.
        num_trained_parameters: Values that were trained; what is saved of them may be fewer (a folded network).
        num_unreached_parameters: Those among them in tensors that never got a gradient.
        num_cut_tokens: Tokens cut so far: from the shots, once per template, and from scored inputs.
        prompt_tokens: No shots stand in the prompt.
        log: Losses of each step by name: "loss" is the weighted sum, beside it those that are on.
        prompt_bytes: No shots stand in the prompt.
        lengths: Lengths in tokens of the examples that were trained on, each with the times that it was seen.
        passes: Shapes of the batches that were trained on, padding included, each with the times that it was run.
        prepared: Lengths of the examples that the method ran, forward and backward, before the first step.
        num_padding_tokens: Tokens run for nothing in training.
        seconds: Wall time of training.
    """

    backbone: Backbone
    scoring: Scoring
    names: list[str]
    num_shots: int
    num_cut_tokens: int
    num_trained_parameters: int = 0
    num_unreached_parameters: int = 0
    prompt_tokens: int = 0
    prompt_bytes: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    lengths: Counter[Length] = field(default_factory=Counter)
    passes: Counter[Pass] = field(default_factory=Counter)
    prepared: Counter[Length] = field(default_factory=Counter)
    num_padding_tokens: int = 0
    seconds: float = 0.0

    @property
    def num_saved_parameters(self) -> int:
        """Number of values that are used and saved; a network that was folded into them is not among them."""
        tensors = self.backbone.tensors_named(self.names).values()
        return sum(tensor.numel() for tensor in tensors if isinstance(tensor, nn.Parameter))

    @property
    def num_tokens(self) -> int:
        """Tokens that training ran through the model, padding left out."""
        return sum(times * (length.context + sum(length.choices)) for length, times in self.lengths.items())

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, as `models.scoring.score`."""
        queries, num_cut = shorten(self.backbone, examples, self.scoring.max_input_tokens)
        prompts = [Prompt(query.input, query.choices) for query in queries]
        scores = score(
            self.backbone,
            prompts,
            end=str(self.scoring.end),
            separator=self.scoring.separator,
            cache=self.scoring.cache,
            progress=progress,
        )
        self.num_cut_tokens += num_cut
        return scores


class TrainingError(RunError):
    """Training broke.

    Args:
        error: How.
        predictor: What was run until then, the step that broke included.
    """

    def __init__(self, error: RunError, predictor: TunePredictor) -> None:
        super().__init__(error.message, hint=error.hint)
        self.predictor = predictor


def learn(
    backbone: Backbone,
    method: str,
    config: MethodConfig,
    examples: Examples,
    training: Training,
    scoring: Scoring,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
    start: Start | None = None,
) -> TunePredictor:
    """Attach a method, train it on the shots, and leave it attached.

    L = w_LM L_LM + w_UL L_UL + w_LN L_LN

    Each example comes with a template drawn anew each time and with all its choices, the encoder being run once for
    them; with L_LM alone only the right choice is run. Equal arguments give equal results; the method has no influence
    on batches and templates. The members of an ensemble learn side by side from the same batches, each as if alone.

    Args:
        backbone: With nothing attached.
        method: Name in the registry.
        config: The method's settings.
        examples: The shots; nothing else is learned from.
        training: Optimiser and losses.
        scoring: Cut and end of answers; the same as in evaluation.
        seed: Of initial values, dropout, batches and templates.
        progress: Called after each step with the steps done and the loss.
        start: A saved adapter of the same method and settings, whose values training starts from.

    Raises:
        MethodError: The method does not fit the backbone, or the starting point does not fit the method.
        ModelError: A shot is longer than the model's positions, or its choices cannot be told apart.
        TrainingError: The loss or a gradient is not finite.
        RunError: Memory does not suffice.

    Paper: 2205.05638, sections 3.2 and 3.5.
    Differs: batches are cut from one running shuffle of the shots, so that none is left out; the authors' loader drops
        an epoch's last batch where it is not full, and gives none at all where a batch holds more than there are shots.
    """
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with memory_for(_too_large(backbone, method, training)), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        names = registry.method(method).attach(backbone, config)
        backbone.train_only(names)
        stages = Stages(registry.method(method), backbone, config, names)
        encoded, num_cut = _encode(backbone, examples, training, scoring)
        predictor = TunePredictor(backbone, scoring, names, len(examples), num_cut)
        if start is None:
            stages.prepare(encoded, lambda batch: _prepared(predictor, batch, training))
        else:
            saved.start_from(start, backbone, names)
        try:
            _train(predictor, encoded, training, seed, stages, progress)
        except RunError as error:
            raise TrainingError(error, predictor) from None
        predictor.names = stages.finish()
    return predictor


def check(
    backbone: Backbone,
    method: str,
    config: MethodConfig,
    examples: Examples,
    training: Training,
    scoring: Scoring,
    start: Start | None = None,
    queries: Sequence[Example] = (),
) -> None:
    """Find what would keep `learn`, and scoring after it, from working; nothing is computed, nothing stays attached.

    Args:
        backbone: With nothing attached.
        method: Name in the registry.
        config: The method's settings.
        examples: The shots.
        training: Optimiser and losses.
        scoring: Cut and end of answers.
        start: A saved adapter that training is to start from.
        queries: What is to be scored afterwards.

    Raises:
        MethodError: As `learn`.
        ModelError: As `learn`, for queries too.
    """
    with torch.random.fork_rng([backbone.device] if backbone.device.type == "cuda" else []):
        try:
            names = registry.method(method).attach(backbone, config)
            if start is not None:
                saved.start_from(start, backbone, names)
            _encode(backbone, examples, training, scoring)
            if backbone.max_positions is not None:
                _encode(backbone, [queries], training, scoring)
        finally:
            backbone.detach_all()


def _encode(
    backbone: Backbone, examples: Examples, training: Training, scoring: Scoring
) -> tuple[list[list[Encoded]], int]:
    """Encode each shot with each of its templates, once: encoded[shot][template]."""
    flat, num_cut = shorten(backbone, list(itertools.chain(*examples)), scoring.max_input_tokens)
    encoded = encode_all(
        backbone,
        [Prompt(example.input, example.choices) for example in flat],
        end=str(scoring.end),
        separator=scoring.separator,
        labels=[example.label for example in flat],
    )
    if not (training.unlikelihood_loss or training.length_norm_loss):
        encoded = [_right_only(each) for each in encoded]
    check_fits(backbone, encoded)
    rest = iter(encoded)
    return [list(itertools.islice(rest, len(some))) for some in examples], num_cut


def _too_large(backbone: Backbone, method: str, training: Training) -> RunError:
    return RunError(
        f"memory on {backbone.device} does not suffice to tune '{backbone.name}' with {method} in batches of "
        f"{training.batch_size}",
        hint="finished records are kept; a smaller batch_size or a smaller size of the method takes less",
    )


def _right_only(encoded: Encoded) -> Encoded:
    assert encoded.label is not None
    right = slice(encoded.label, encoded.label + 1)
    return replace(encoded, choices=encoded.choices[right], starts=encoded.starts[right], label=0)


def _train(
    predictor: TunePredictor,
    encoded: Sequence[Sequence[Encoded]],
    training: Training,
    seed: int,
    stages: Stages,
    progress: Callable[[int, float], None] | None,
) -> None:
    backbone, started = predictor.backbone, time.perf_counter()
    parameters = backbone.parameters_named(predictor.names)
    num_members = backbone.num_members
    optimizer = Optimizer(parameters.values(), training, apart=num_members > 1)
    predictor.num_trained_parameters = sum(parameter.numel() for parameter in parameters.values())
    batches = draw_batches(encoded, training.batch_size, seed)
    backbone.model.train()  # for the model's own dropout
    try:
        for step, drawn in zip(range(training.num_steps), batches, strict=False):
            batch = of_members(backbone, drawn)
            terms = stages.penalized(_losses(backbone, batch, training))
            (num_members * terms["loss"]).backward()  # the loss is the members' mean, each gets the gradient of its own
            values = {name: term.item() for name, term in terms.items()}
            _note(predictor, batch, values)
            stages.before_step(step, training.num_steps)
            optimizer.step(step, values["loss"])
            stages.after_step(step, training.num_steps)
            if progress is not None:
                progress(step + 1, values["loss"])
    finally:
        backbone.model.eval()
    predictor.num_unreached_parameters = optimizer.num_unreached
    predictor.seconds = time.perf_counter() - started


def draw_batches(encoded: Sequence[Sequence[Encoded]], batch_size: int, seed: int) -> Iterator[list[Encoded]]:
    """Cut full batches from an endless run of shuffled shots, each with a template of its own drawing.

    Args:
        encoded: Per shot, per template.
        batch_size: May exceed the number of shots; then a batch holds some twice.
        seed: Of the order and the templates.
    """
    generator = random.Random(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < batch_size:
            waiting += generator.sample(range(len(encoded)), len(encoded))
        batch, waiting = waiting[:batch_size], waiting[batch_size:]
        yield [generator.choice(encoded[shot]) for shot in batch]


def _losses(backbone: Backbone, batch: Sequence[Encoded], training: Training) -> dict[str, Tensor]:
    """Compute the losses that are on, and under "loss" their weighted sum."""
    log_probs, mask = choice_log_probs(backbone, batch)
    label = torch.tensor([example.label for example in batch], device=log_probs.device)
    terms: dict[str, Tensor] = {}
    if training.lm_loss:
        terms["lm_loss"] = losses.lm_loss(log_probs, mask, label, training.loss_form)
    if training.unlikelihood_loss:
        terms["unlikelihood_loss"] = losses.unlikelihood_loss(log_probs, mask, label, training.loss_form)
    if training.length_norm_loss:
        terms["length_norm_loss"] = losses.length_norm_loss(log_probs, mask, label)
    total = torch.stack([getattr(training, name) * term for name, term in terms.items()]).sum()
    return {"loss": total, **terms}


def _prepared(predictor: TunePredictor, batch: Sequence[Encoded], training: Training) -> Tensor:
    """Compute the loss of examples that a method looks at before the first step, and write down that it did."""
    predictor.prepared.update(encoding.lengths(predictor.backbone, batch))
    return _losses(predictor.backbone, batch, training)["loss"]


def _note(predictor: TunePredictor, batch: Sequence[Encoded], values: dict[str, float]) -> None:
    """Write down a step's losses and the tokens that it ran."""
    lengths = encoding.lengths(predictor.backbone, batch)
    passed = _padded(lengths, batch, predictor.backbone.sizes)
    predictor.log.append(values)
    predictor.lengths.update(lengths)
    predictor.passes[passed] += 1
    num_run = passed.encoder_rows * passed.encoder_tokens + passed.decoder_rows * passed.decoder_tokens
    predictor.num_padding_tokens += num_run - sum(length.context + sum(length.choices) for length in lengths)


def _padded(lengths: Sequence[Length], batch: Sequence[Encoded], sizes: Sizes) -> Pass:
    """Give the shape that a batch is padded to."""
    if not sizes.is_encoder_decoder:
        longest = max(length.context + sum(length.choices) for length in lengths)
        return Pass(0, 0, len(lengths), longest, 0, sum(map(_num_predicting, batch)))
    context = max(length.context for length in lengths)
    rows = len(lengths) * max(len(length.choices) for length in lengths)
    return Pass(
        len(lengths),
        context,
        rows,
        max(max(length.choices) for length in lengths),
        0,
        sum(len(ids) for each in batch for ids in each.choices),
    )


def _num_predicting(encoded: Encoded) -> int:
    """Count the tokens of a decoder-only model that predict: one for the first tokens of all choices, then each."""
    pairs = list(zip(encoded.choices, encoded.starts, strict=True))
    return any(start == 0 for _, start in pairs) + sum(len(ids) - max(start, 1) for ids, start in pairs)
