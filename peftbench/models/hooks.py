"""Hooks on a layer: a module that acts at a site of it, or one that it computes its weight through.

Shapes: x (..., in_features) what goes into a layer; values (..., features) one side of it; a site is `heads` slices of
that side, each from `start` to `stop`, `step` features apart.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from peftbench.models.shapes import Site


def act_at(site: Site, layer: nn.Module, module: nn.Module) -> RemovableHandle:
    """Let `module(piece, x)` replace the site's slices of the layer's input or output."""
    if site.side == "input":
        return layer.register_forward_pre_hook(_input_hook(site, module))
    return layer.register_forward_hook(_output_hook(site, module))


def overlay(owner: nn.Module, leaf: str, weight: nn.Parameter, module: nn.Module) -> list[RemovableHandle]:
    """Let a layer compute with `module(weight)` in place of its parameter `leaf`.

    An instance attribute hides the parameter while the layer runs: Python finds it before `nn.Module.__getattr__` does.
    """

    def before(_owner: nn.Module, _args: object) -> None:
        owner.__dict__[leaf] = module(weight).to(weight.dtype)

    def after(_owner: nn.Module, _args: object, _output: object) -> None:
        owner.__dict__.pop(leaf, None)

    return [
        owner.register_forward_pre_hook(before, prepend=True),
        owner.register_forward_hook(after, always_call=True),
    ]


def _output_hook(site: Site, module: nn.Module) -> Callable[..., Tensor]:
    def hook(_linear: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return _replaced(output, site, args[0], module)

    return hook


def _input_hook(site: Site, module: nn.Module) -> Callable[..., tuple[Tensor, ...]]:
    def hook(_linear: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (_replaced(args[0], site, args[0], module), *args[1:])

    return hook


def _replaced(values: Tensor, site: Site, x: Tensor, module: nn.Module) -> Tensor:
    """Replace the site's slices of `values`; out of place, so that gradients flow."""
    if site.features == values.shape[-1]:
        return module(values, x).to(values.dtype)
    heads = values.unflatten(-1, (site.heads, -1))  # (..., heads, step)
    piece = heads[..., site.start : site.stop].flatten(-2)  # (..., site.features)
    piece = module(piece, x).to(values.dtype).unflatten(-1, (site.heads, -1))  # (..., heads, stop - start)
    return torch.cat((heads[..., : site.start], piece, heads[..., site.stop :]), -1).flatten(-2)  # (..., features)
