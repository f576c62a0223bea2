"""Frozen layers: what lies below all that is trained or acts is run once for each example, not with each step.

The examples of a row do not see each other, so that what a layer makes of an example's tokens is the same in any row,
up to rounding. A step puts its rows together from states that were computed before, and begins in the middle.

Where dropout would draw in these layers, or before them, each call gives other states, and none are kept.

Shapes: states are (tokens, d_model) of an example in a stack, (rows, tokens, d_model) of a pass, padded with zeros.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.rnn import pad_sequence

from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Layer, Stack
from peftbench.scoring import forward
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.passes import Prompt

MOST_BYTES = 2**28
"""Of states that are kept: 128 examples (32 shots, 4 templates) of 512 tokens and 1,024 features in float32."""

Key = TypeVar("Key", bound=Hashable)


def first_adapted(backbone: Backbone) -> tuple[Stack, int] | None:
    """Find the lowest (stack, layer) in which something is trained or acts, as `Added.first_layer` counts it.

    Args:
        backbone: With a method attached, what it trains requiring gradients.

    Returns:
        None where that is outside of the layers, from where it may reach the lowest one.
    """
    adapted = [name for name, module in backbone.model.named_modules() if _is_adapted(module)]
    places = {f"{layer.module}.": (layer.stack, layer.layer) for layer in backbone.layers()}
    if any(not f"{name}.".startswith(tuple(places)) for name in adapted):
        return None
    inside = (place for module, place in places.items() if any(f"{name}.".startswith(module) for name in adapted))
    return next(inside, None)


def layers(backbone: Backbone, first: tuple[Stack, int] | None) -> list[Layer]:
    """List the layers that give the same states in each step, encoder first, lowest first.

    Args:
        backbone: With or without the method attached.
        first: The lowest (stack, layer) that it adapts.
    """
    ordered = [] if backbone.sizes.is_encoder_only else backbone.layers()  # whose examples have several rows
    below = ordered[: [(layer.stack, layer.layer) for layer in ordered].index(first)] if first and ordered else []
    above = tuple(f"{layer.module}." for layer in ordered[len(below) :])
    modules = (module for name, module in backbone.model.named_modules() if not f"{name}.".startswith(above))
    return [] if any(map(_draws, modules)) else below


def num_layers(layers: Sequence[Layer]) -> tuple[int, int]:
    """Count layers, of the encoder and of the decoder."""
    stacks = [layer.stack for layer in layers]
    return stacks.count("encoder"), stacks.count("decoder")


def num_bytes(backbone: Backbone, layers: Sequence[Layer], prompt: Prompt) -> int:
    """Count the bytes of the states that an example has behind frozen layers."""
    num_tokens = sum(_num_tokens(backbone, stack, prompt) for stack in _stacks(layers))
    return num_tokens * backbone.sizes.d_model * backbone.dtype.itemsize


@dataclass
class Room(Generic[Key]):
    """The examples whose states are kept: as they come, as far as there is room.

    Args:
        num_left: Bytes that are free.
        keys: The examples.
    """

    num_left: int = field(default_factory=lambda: MOST_BYTES)
    keys: set[Key] = field(default_factory=set)

    def enter(self, batch: Iterable[tuple[Key, int]]) -> list[Key]:
        """Take in a batch's examples, with their bytes, and list those that are to be run: each once."""
        new = {key: size for key, size in batch if key not in self.keys}
        for key, size in new.items():
            if size <= self.num_left:
                self.keys.add(key)
                self.num_left -= size
        return list(new)


class FrozenLayers:
    """The frozen layers of a backbone in training, and the states behind them of the examples that were run.

    Args:
        backbone: With a method attached.
        layers: The frozen ones, as `layers` lists them; none: nothing is kept.
    """

    def __init__(self, backbone: Backbone, layers: Sequence[Layer]) -> None:
        self._backbone, self._layers, self._stacks = backbone, layers, _stacks(layers)
        self._above = [layer for layer in backbone.layers() if layer not in layers]
        self._room: Room[Encoded] = Room()
        self._states: dict[Encoded, list[Tensor]] = {}

    @contextmanager
    def skipped(self, batch: Sequence[Encoded]) -> Iterator[list[Encoded]]:
        """Let a packed pass over a batch (`forward.choice_log_probs`) begin behind the frozen layers.

        Yields:
            The examples that were run through them for this.
        """
        if not self._layers:
            yield []
            return
        missing = self._room.enter((encoded, self._num_bytes(encoded)) for encoded in batch)
        run = dict(zip(missing, self._run(missing), strict=True)) if missing else {}
        self._states |= {encoded: states for encoded, states in run.items() if encoded in self._room.keys}
        states = [run.get(encoded) or self._states[encoded] for encoded in batch]
        places = forward.places(self._backbone, batch)
        with ExitStack() as stack:
            for index, (name, frozen) in enumerate(self._stacks.items()):
                rows = [torch.cat([states[prompt][index] for prompt in row]) for row in self._order(name, places)]
                stack.enter_context(_skipped(self._backbone, frozen, pad_sequence(rows, batch_first=True)))
            yield missing

    def _num_bytes(self, encoded: Encoded) -> int:
        return num_bytes(self._backbone, self._layers, Prompt.of(encoded))

    @torch.no_grad()
    def _run(self, batch: Sequence[Encoded]) -> list[list[Tensor]]:
        """Run examples through the frozen layers alone; the states of each, encoder first."""
        outputs: list[Tensor] = []
        with ExitStack() as stack:
            stack.enter_context(_skipped(self._backbone, self._above))
            for frozen in self._stacks.values():
                last = self._backbone.model.get_submodule(frozen[-1].module)
                stack.callback(last.register_forward_hook(partial(_take, outputs)).remove)
            forward.answer_states(self._backbone, batch, is_packed=True)
        places = forward.places(self._backbone, batch)
        states: list[list[Tensor]] = [[] for _ in batch]
        for name, output in zip(self._stacks, outputs, strict=True):
            for row, prompts in zip(output, self._order(name, places), strict=True):
                start = 0
                for prompt in prompts:
                    end = start + _num_tokens(self._backbone, name, Prompt.of(batch[prompt]))
                    states[prompt].append(row[start:end].clone())  # a view would keep the whole pass
                    start = end
        return states

    def _order(self, stack: Stack, places: Sequence[Sequence[int]]) -> list[list[int]]:
        """List the examples of each row as they stand there; in an encoder-decoder's decoder, by their numbers."""
        is_sorted = stack == "decoder" and self._backbone.is_encoder_decoder
        return [sorted(row) if is_sorted else list(row) for row in places]


def _is_adapted(module: nn.Module) -> bool:
    """Tell whether a hook or a trained parameter is on a module itself."""
    is_hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return is_hooked or any(parameter.requires_grad for parameter in module.parameters(recurse=False))


def _draws(module: nn.Module) -> bool:
    """Tell whether a module itself drops anything in training: models write the probability as a number, or as p."""
    chances = [value for name, value in vars(module).items() if "drop" in name]
    chances += [module.p] if isinstance(module, _DropoutNd) else []
    return any(isinstance(chance, float | int) and chance > 0 for chance in chances)


def _stacks(layers: Sequence[Layer]) -> dict[Stack, list[Layer]]:
    stacks: dict[Stack, list[Layer]] = {}
    for layer in layers:
        stacks.setdefault(layer.stack, []).append(layer)
    return stacks


def _num_tokens(backbone: Backbone, stack: Stack, prompt: Prompt) -> int:
    """Count the tokens that an example has in a stack."""
    if stack == "encoder":
        return prompt.context
    before = backbone.sizes.num_start_tokens if backbone.is_encoder_decoder else prompt.context
    return before + prompt.num_fed


@contextmanager
def _skipped(backbone: Backbone, layers: Sequence[Layer], states: Tensor | None = None) -> Iterator[None]:
    """Let layers hand on what enters them, or the first one these states in its place."""
    modules = [backbone.model.get_submodule(layer.module) for layer in layers]
    entering = {} if states is None else {modules[0]: states}

    def hand_on(module: nn.Module, hidden: Tensor, *args: Any, **_: Any) -> Any:
        return backbone.family.skipped(module, entering.get(module, hidden), args)

    # An instance attribute hides the method of the class; where the model is spread over devices, there is one before.
    before = {module: vars(module)["forward"] for module in modules if "forward" in vars(module)}
    for module in modules:
        vars(module)["forward"] = partial(hand_on, module)
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["forward"]
            vars(module).update({"forward": before[module]} if module in before else {})


def _take(outputs: list[Tensor], _module: nn.Module, _args: object, output: Any) -> None:
    """Take a layer's states from what it returns, which in some families has more behind them."""
    outputs.append(output[0] if isinstance(output, tuple) else output)
