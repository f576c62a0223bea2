"""Tuning: a method's parameters are trained on the shots, with T-Few's losses over all answer choices."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from peftbench import registry
from peftbench.adapters import starts
from peftbench.adapters.starts import Start
from peftbench.errors import MethodError, RunError
from peftbench.learners import losses, parts
from peftbench.learners.optimizer import Optimizer, warmup
from peftbench.learners.parts import checkpointed
from peftbench.learners.plateau import Plateau
from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import places
from peftbench.methods.stages import Stages
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes
from peftbench.scoring import encoding, frozen, head
from peftbench.scoring.batches import memory_for
from peftbench.scoring.encoded import SoftLabel
from peftbench.scoring.encoding import Encoded, check_fits, encode
from peftbench.scoring.forward import choice_log_probs, of_members
from peftbench.scoring.frozen import FrozenLayers
from peftbench.scoring.generate import Output, check_writing, generate
from peftbench.scoring.passes import Prompt, Shapes
from peftbench.scoring.score import Scores, score
from peftbench.scoring.work import Length, Pass, TrainingWork
from peftbench.spec.cell import Scoring, Training
from peftbench.spec.decoding import Decoding
from peftbench.tasks.task import Example

Item = TypeVar("Item")
Examples = Sequence[Sequence[Example]]
"""The training rows, each rendered by each of its templates: examples[shot][template]."""
Progress = Callable[[int, float], None]
"""Called after each step with the steps done and the loss."""


@dataclass(frozen=True)
class Tuning:
    """Tuning of a cell: a method, and how its parameters are trained.

    Args:
        method: Name in the registry.
        config: The method's settings.
        training: Optimiser and losses.
        examples: The shots; nothing else is learned from.
        seed: Of initial values, dropout, batches and templates.
        start: A saved adapter of the same method and settings, whose values training starts from.
        sweep: Whether the learning rate is chosen by cross-validation on the shots, before all of them are trained on.
        soft_labels: Of each shot, what `length_norm_loss` compares with in place of its label; None where labels are
            known.
    """

    method: str
    config: MethodConfig
    training: Training
    examples: Examples
    seed: int = 0
    start: Start | None = None
    sweep: bool = False
    soft_labels: Sequence[SoftLabel] | None = None

    def at(self, lr: float) -> "Tuning":
        """Return the same tuning with another learning rate."""
        return replace(self, training=self.training.model_copy(update={"lr": lr}))


@dataclass
class TunePredictor:
    """Scores queries with the tuned backbone, which must stay attached as `learn` left it.

    Args:
        backbone: The tuned model.
        scoring: How choices are scored.
        names: Full names of what was trained, as the method left it when training ended.
        num_shots: Shots that it was trained on.
        num_cut_tokens: Tokens that were cut from the shots, once per template.
        num_trained_parameters: Values that were trained; what is saved of them may be fewer (a folded network).
        num_unreached_parameters: Those among them in tensors that never got a gradient.
        own_names: Of the model's own parameters that were trained beside the method.
        head_names: Of the classification layer's parameters, which are among `names`; no number here counts them.
        shot_tokens: No shots stand in the prompt.
        shot_bytes: No shots stand in the prompt.
        log: Losses of each step by name: "loss" is the weighted sum, beside it those that are on.
        work: What training ran.
    """

    backbone: Backbone
    scoring: Scoring
    names: list[str]
    num_shots: int
    num_cut_tokens: int
    num_trained_parameters: int = 0
    num_unreached_parameters: int = 0
    head_names: list[str] = field(default_factory=list)
    own_names: list[str] = field(default_factory=list)
    shot_tokens: int = 0
    shot_bytes: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    work: TrainingWork = field(default_factory=TrainingWork)

    @property
    def num_head_parameters(self) -> int:
        """Number of values of the classification layer; 0 where there is none."""
        return sum(tensor.numel() for tensor in self.backbone.tensors_named(self.head_names).values())

    @property
    def num_saved_parameters(self) -> int:
        """Number of values that are used and saved; a network that was folded into them is not among them."""
        names = (name for name in self.names if name not in self.head_names)
        tensors = self.backbone.tensors_named(names).values()
        return sum(tensor.numel() for tensor in tensors if isinstance(tensor, nn.Parameter))

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, as `scoring.score.score`."""
        return score(self.backbone, examples, self.scoring, progress=progress)

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Write an answer to each example, as `scoring.generate.generate`."""
        return generate(self.backbone, examples, self.scoring, decoding, progress=progress)


class TrainingError(RunError):
    """Training broke.

    Args:
        error: How.
        predictor: What was run until then, the step that broke included.
    """

    def __init__(self, error: RunError, predictor: TunePredictor) -> None:
        super().__init__(error.message, hint=error.hint)
        self.predictor = predictor


def learn(tuning: Tuning, backbone: Backbone, scoring: Scoring, progress: Progress | None = None) -> TunePredictor:
    """Attach a method, train it on the shots, and leave it attached.

    L = w_LM L_LM + w_UL L_UL + w_LN L_LN

    Each example comes with a template drawn anew each time and with all its choices, the encoder being run once for
    them; with L_LM alone only the right choice is run. Equal arguments give equal results; the method has no influence
    on batches and templates. The members of an ensemble learn side by side from the same batches, each as if alone.

    Args:
        tuning: Method, settings and shots.
        backbone: With nothing attached.
        scoring: Cut and end of answers; the same as in evaluation.
        progress: Called after each step; with `stop` there may be fewer than `num_steps`.

    Raises:
        MethodError: The method does not fit the backbone, or the starting point does not fit the method.
        ModelError: A shot is longer than the model's positions, or its choices cannot be told apart.
        TrainingError: The loss or a gradient is not finite.
        RunError: Memory does not suffice.

    Paper: 2205.05638, sections 3.2 and 3.5.
    Differs: batches are cut from one running shuffle of the shots, so that none is left out; the authors' loader drops
        an epoch's last batch where it is not full, and gives none at all where a batch holds more than there are shots.
    """
    with memory_for(_too_large(tuning, backbone)), _own_randomness(backbone):
        torch.manual_seed(tuning.seed)
        names, head_names, own_names = _attach(tuning, backbone, scoring)
        backbone.train_only(names)
        stages = Stages(registry.method(tuning.method), backbone, tuning.config, names)
        encoded = _with_soft_labels(tuning, _encode(tuning.examples, tuning.training, backbone, scoring))
        num_cut = sum(tokens.num_cut_tokens for shot in encoded for tokens in shot)
        predictor = TunePredictor(
            backbone, scoring, names, len(tuning.examples), num_cut, head_names=head_names, own_names=own_names
        )
        if tuning.start is None:
            stages.prepare(encoded, lambda batch: _preparation_loss(predictor, batch, tuning.training))
        else:
            starts.load(tuning.start, backbone, [name for name in names if name not in (*head_names, *own_names)])
        try:
            _train(predictor, encoded, tuning, stages, progress)
        except RunError as error:
            raise TrainingError(error, predictor) from None
        predictor.names = stages.finish([*head_names, *own_names])
    return predictor


def check(
    tuning: Tuning,
    backbone: Backbone,
    scoring: Scoring,
    queries: Sequence[Example] = (),
    decoding: Decoding | None = None,
) -> None:
    """Find what would keep `learn`, and scoring after it, from working; nothing is computed, nothing stays attached.

    Args:
        tuning: Method, settings and shots.
        backbone: With nothing attached.
        scoring: Cut and end of answers.
        queries: What is to be answered afterwards.
        decoding: How answers are written; None where they are chosen.

    Raises:
        MethodError: As `learn`; what is attached writes no text.
        ModelError: As `learn`, for queries too, and for answers as long as may be.
    """
    with _own_randomness(backbone):
        try:
            names, *beside = _attach(tuning, backbone, scoring)
            names = [name for name in names if not any(name in others for others in beside)]
            if tuning.start is not None:
                starts.load(tuning.start, backbone, names)
            _encode(tuning.examples, tuning.training, backbone, scoring)
            _check_queries(queries, backbone, scoring)
            if decoding is not None:
                check_writing(backbone, queries, scoring, decoding)
        finally:
            backbone.detach_all()


def added(tuning: Tuning, sizes: Sizes, of_method: Added) -> Added:
    """Add to what a method adds what is trained beside it: a classification layer, or all of the model.

    Args:
        tuning: Says whether the model is.
        sizes: The model's, with the layer where there is one.
        of_method: What the method adds.
    """
    if sizes.num_classes:
        of_method = replace(of_method, head=True)
    if tuning.training.train_backbone:
        weights = tuple(dict.fromkeys([*of_method.weights, *places.matrices(sizes)]))
        of_method = replace(
            of_method, num_parameters=None, share=1.0, saved_bytes=None, weights=weights, embeddings=True, head=True
        )
    return of_method


def _check_queries(queries: Sequence[Example], backbone: Backbone, scoring: Scoring) -> None:
    if backbone.max_positions is None:  # only the choices can be at fault
        queries = list({query.choices: query for query in queries}.values())
    check_fits(backbone, encode(backbone, queries, scoring))


def _attach(tuning: Tuning, backbone: Backbone, scoring: Scoring) -> tuple[list[str], list[str], list[str]]:
    """Attach the method, and before it a classification layer where answers are classes.

    Returns:
        Full names of all that is trained; of those among them that are the layer's; and of those that are the model's
        own and no part of the method.

    Raises:
        MethodError: The method does not fit the model, or computes the model's own weights, which are to be trained.
    """
    head_names = backbone.set_classes(head.num_classes(tuning.examples)) if scoring.answer == "head" else []
    names: list[str] = registry.method(tuning.method).attach(backbone, tuning.config)
    backbone.check_changes(names)
    names += [name for name in head_names if name not in names]
    own_names = [name for name in backbone.base_names if name not in names] if tuning.training.train_backbone else []
    if own_names and backbone.has_overlays:
        message = f"train_backbone = true: {tuning.method} lies over the model's own weights, which stay as they are"
        raise MethodError(message, hint="without train_backbone, or another method, for example p_tuning or lora")
    return [*names, *own_names], head_names, own_names


def _own_randomness(backbone: Backbone) -> AbstractContextManager[None]:
    """Keep what is drawn in the block from changing the generators outside of it."""
    return torch.random.fork_rng([device for device in backbone.devices if device.type == "cuda"])


def _encode(examples: Examples, training: Training, backbone: Backbone, scoring: Scoring) -> list[list[Encoded]]:
    """Encode each shot with each of its templates, once: encoded[shot][template]."""
    encoded = encode(backbone, list(itertools.chain(*examples)), scoring)
    if not (training.unlikelihood_loss or training.length_norm_loss):
        encoded = [_right_only(tokens) for tokens in encoded]
    check_fits(backbone, encoded)
    flat = iter(encoded)
    return [list(itertools.islice(flat, len(of_shot))) for of_shot in examples]


def _with_soft_labels(tuning: Tuning, encoded: list[list[Encoded]]) -> list[list[Encoded]]:
    """Give each shot its soft label, where there are any."""
    if tuning.soft_labels is None:
        return encoded
    pairs = zip(encoded, tuning.soft_labels, strict=True)
    return [[replace(tokens, soft_label=label) for tokens in of_shot] for of_shot, label in pairs]


def _too_large(tuning: Tuning, backbone: Backbone) -> RunError:
    training = tuning.training
    again = "" if training.activation_checkpointing else "--set activation_checkpointing=true or "
    parts_more = min(training.batch_size, 4 * training.accumulate)
    same = f"{again}--set accumulate={parts_more}" if parts_more > training.accumulate else again.removesuffix(" or ")
    return RunError(
        f"memory on {backbone.device_names} does not suffice to tune '{backbone.name}' with {tuning.method} in "
        f"batches of {training.batch_size}",
        hint=f"finished records are kept; {same or 'a smaller size of the method'} takes less"
        + (", with the same gradients" if same else ""),
    )


def _right_only(encoded: Encoded) -> Encoded:
    right = slice(encoded.label, encoded.label + 1)
    cloze = encoded.cloze and replace(encoded.cloze, words=encoded.cloze.words[right])
    return replace(encoded, choices=encoded.choices[right], starts=encoded.starts[right], label=0, cloze=cloze)


def _train(
    predictor: TunePredictor,
    encoded: Sequence[Sequence[Encoded]],
    tuning: Tuning,
    stages: Stages,
    progress: Progress | None,
) -> None:
    backbone, training = predictor.backbone, tuning.training
    parameters = backbone.parameters_named(predictor.names)
    num_members = backbone.num_members
    own = [parameters[name] for name in predictor.own_names]
    optimizer = Optimizer(parameters.values(), training, backbone=own, apart=num_members > 1)
    num_all = sum(parameter.numel() for parameter in parameters.values())
    predictor.num_trained_parameters = num_all - predictor.num_head_parameters
    batches = draw_batches(encoded, training.batch_size, tuning.seed)
    plateau = Plateau(warmup(training)) if training.stop == "plateau" else None
    layers = frozen.layers(backbone, frozen.first_adapted(backbone))
    predictor.work.num_frozen = frozen.num_layers(layers)
    lower = FrozenLayers(backbone, layers)
    predictor.work.is_checkpointed = training.activation_checkpointing
    backbone.model.train()  # for the model's own dropout
    try:
        with checkpointed(backbone, training.activation_checkpointing):
            for step, drawn in zip(range(training.num_steps), batches, strict=False):
                values = _add_gradients(predictor, drawn, training, stages, lower)
                predictor.log.append(values)
                stages.before_step(step, training.num_steps)
                optimizer.step(step, values["loss"])
                stages.after_step(step, training.num_steps)
                if progress is not None:
                    progress(step + 1, values["loss"])
                if plateau is not None and plateau.is_reached(values["loss"]):
                    break
    finally:
        backbone.model.eval()
    predictor.num_unreached_parameters = optimizer.num_unreached


def _add_gradients(
    predictor: TunePredictor, drawn: Sequence[Encoded], training: Training, stages: Stages, lower: FrozenLayers
) -> dict[str, float]:
    """Run a step's batch forward and backward, part by part, and return its losses."""
    backbone, work = predictor.backbone, predictor.work
    values: Counter[str] = Counter()
    for part in parts.cut(drawn, training.accumulate):
        batch = of_members(backbone, part)
        share = parts.shares(part, drawn, training) if training.accumulate > 1 else None
        with lower.skipped(batch) as run:
            terms = _losses(backbone, batch, training, share=share)
            terms = stages.penalized(terms, len(part) / len(drawn))
        (backbone.num_members * terms["loss"]).backward()  # the loss is the members' mean, each gets its own gradient
        values.update({name: term.item() for name, term in terms.items()})
        work.add_pass(*_shapes(backbone, batch))
        if run:
            work.frozen[replace(_shapes(backbone, run)[1], head_tokens=0)] += 1
    work.num_steps += 1
    return dict(values)


def draw_batches(examples: Sequence[Sequence[Item]], batch_size: int, seed: int) -> Iterator[list[Item]]:
    """Cut full batches from an endless run of shuffled shots, each with a template of its own drawing.

    Args:
        examples: Per shot, per template: encoded, or their token counts.
        batch_size: May exceed the number of shots; then a batch holds some twice.
        seed: Of the order and the templates.
    """
    generator = random.Random(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < batch_size:
            waiting += generator.sample(range(len(examples)), len(examples))
        batch, waiting = waiting[:batch_size], waiting[batch_size:]
        yield [generator.choice(examples[shot]) for shot in batch]


def _losses(
    backbone: Backbone,
    batch: Sequence[Encoded],
    training: Training,
    *,
    is_shared: bool = True,
    share: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """Compute the losses that are on, and under "loss" their weighted sum.

    Args:
        backbone: The model.
        batch: Examples with their choices.
        training: Which losses.
        is_shared: As in `choice_log_probs`.
        share: Of a part of a batch: what each loss is multiplied by, so that those of all parts add up to the batch's.
    """
    smoothing = training.label_smoothing
    log_probs, mask = choice_log_probs(backbone, batch, is_shared=is_shared, smoothing=smoothing)
    label = torch.tensor([example.label for example in batch], device=log_probs.device)
    terms: dict[str, Tensor] = {}
    if training.lm_loss:
        terms["lm_loss"] = losses.lm_loss(log_probs, mask, label, training.loss_form)
    if training.unlikelihood_loss:
        terms["unlikelihood_loss"] = losses.unlikelihood_loss(log_probs, mask, label, training.loss_form)
    if training.length_norm_loss:
        terms["length_norm_loss"] = _rank_loss(batch, log_probs, mask, label)
    if share is not None:
        terms = {name: share[name] * term for name, term in terms.items()}
    total = torch.stack([getattr(training, name) * term for name, term in terms.items()]).sum()
    return {"loss": total, **terms}


def _rank_loss(batch: Sequence[Encoded], log_probs: Tensor, mask: Tensor, label: Tensor) -> Tensor:
    """Compute the loss of rank classification: of the right choices, or of soft labels."""
    soft = [example.soft_label for example in batch if example.soft_label is not None]
    if not soft:
        return losses.length_norm_loss(log_probs, mask, label)
    probabilities = log_probs.new_tensor([label.probabilities for label in soft])  # (batch, choices)
    return losses.distillation_loss(log_probs, mask, probabilities, soft[0].temperature)


def _preparation_loss(predictor: TunePredictor, batch: Sequence[Encoded], training: Training) -> Tensor:
    """Compute the loss of examples that a method looks at before the first step, choice by choice, and count them."""
    predictor.work.prepared.update(encoding.lengths(predictor.backbone, batch))
    return _losses(predictor.backbone, batch, training, is_shared=False)["loss"]


def _shapes(backbone: Backbone, batch: Sequence[Encoded]) -> tuple[list[Length], Pass, int]:
    """Return the length of each example of a batch, the shape that it is run in, and what examples share of a row."""
    num_virtual = encoding.num_virtual_tokens(backbone)
    shapes = Shapes(backbone.sizes, num_virtual, backbone.num_members)
    prompts = [Prompt.of(tokens) for tokens in batch]
    shape = shapes.training(prompts)
    if backbone.sizes.is_encoder_only:
        lengths = encoding.lengths(backbone, batch)
        num_run = sum(num_virtual + number for prompt in prompts for number in prompt.rows)
        return lengths, shape, sum(length.total for length in lengths) - num_run
    num_alone = len(batch) if backbone.is_encoder_decoder else shape.decoder_rows
    num_shared = num_virtual * (len(batch) - num_alone)
    for prompt in prompts:
        num_shared += prompt.num_alike + shapes.num_start * (len(prompt.choices) - 1)
    return encoding.lengths(backbone, batch), shape, num_shared
