"""A sparse change of the model's own weights: theta + delta, where delta is not zero at few places only.

Weights are numbered through all of the model's parameters, in their order, tied ones once.

Shapes:
    k    weights that are changed
    places (k) int64, values (k): the numbers of those weights, ascending, and their delta
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from peftbench.methods.parts.reference import Reference
from peftbench.models.backbone import Backbone


class Sparse(nn.Module):
    """The whole change delta: `values` at `places`.

    Args:
        places: (k) int64, ascending numbers of the changed weights.
    """

    places: Tensor

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.values = nn.Parameter(torch.zeros(len(places)))


class Segment(nn.Module):
    """The part of a sparse change in one parameter, whose weights are start .. start + count - 1.

    Args:
        sparse: The whole change; it is registered in the model.
        start: Number of the parameter's first weight.
        count: How many weights it has.
    """

    def __init__(self, sparse: Sparse, start: int, count: int) -> None:
        super().__init__()
        self._sparse, self._span = Reference(sparse), torch.tensor([start, start + count])

    def forward(self, weight: Tensor) -> Tensor:
        """Compute weight + delta; places are looked up at each use, since they may change until training begins."""
        sparse = self._sparse.target
        first, last = torch.searchsorted(sparse.places, self._span.to(sparse.places.device)).tolist()
        local = (sparse.places[first:last] - self._span[0].item()).to(weight.device)  # (places in this parameter)
        values = sparse.values[first:last].to(weight.device)
        changed = weight.to(values.dtype).flatten().index_add(0, local, values)  # (count)
        return changed.view(weight.shape)


def overlay(backbone: Backbone, name: str, places: Tensor) -> list[str]:
    """Overlay the model's parameters with a sparse change.

    Args:
        backbone: With nothing of that name in it.
        name: Submodule of the model that holds it.
        places: (k) int64, ascending.

    Returns:
        Full name of the values, the trained parameter.
    """
    sparse = Sparse(places)
    backbone.adopt(name, sparse)
    start = 0
    for full_name in backbone.base_names:
        count = backbone.model.get_parameter(full_name).numel()
        backbone.overlay(full_name, Segment(sparse, start, count))
        start += count
    return [f"{name}.values"]


def saved(name: str) -> list[str]:
    """List the full names of the tensors that are saved: values and places."""
    return [f"{name}.values", f"{name}.places"]


def restore(backbone: Backbone, name: str, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Overlay the model's parameters with a sparse change of as many values as were saved, to be filled."""
    (count,) = shapes[f"{name}.values"]
    overlay(backbone, name, torch.zeros(count, dtype=torch.int64))
    return saved(name)
