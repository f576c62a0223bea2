"""A sparse change of the model's own weights: theta + delta, where delta is not zero at few places only.

The places are numbered through all of the model's parameters, in their order, tied ones once.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from peftbench.methods.parts.reference import Reference
from peftbench.models.backbone import Backbone


class Sparse(nn.Module):
    """The change: values at places.

    Args:
        places: (k) int64, ascending numbers of the changed weights.
    """

    places: Tensor

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.values = nn.Parameter(torch.zeros(len(places)))


class Segment(nn.Module):
    """What a sparse change does to one parameter, whose numbers are start .. start + count - 1.

    Args:
        sparse: The whole change; it is registered in the model.
        start: Number of the parameter's first weight.
        count: How many weights it has.
    """

    def __init__(self, sparse: Sparse, start: int, count: int) -> None:
        super().__init__()
        self._sparse, self._span = Reference(sparse), torch.tensor([start, start + count])

    def forward(self, weight: Tensor) -> Tensor:
        """Give weight + delta; places are looked up at each use, since they may change until training begins."""
        sparse = self._sparse.target
        first, last = torch.searchsorted(sparse.places, self._span.to(sparse.places.device)).tolist()
        local = sparse.places[first:last] - self._span[0].item()
        changed = weight.to(sparse.values.dtype).flatten().index_add(0, local, sparse.values[first:last])
        return changed.view(weight.shape)


def lay(backbone: Backbone, name: str, places: Tensor) -> list[str]:
    """Put a sparse change over the model's parameters.

    Args:
        backbone: With nothing of that name in it.
        name: Submodule of the model that holds it.
        places: (k) int64, ascending.

    Returns:
        Full name of the values, which are what is trained.
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
    """List what a sparse change needs on disk: values and places."""
    return [f"{name}.values", f"{name}.places"]


def restore(backbone: Backbone, name: str, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Put a sparse change of as many values as were saved over the model's parameters, to be filled."""
    (count,) = shapes[f"{name}.values"]
    lay(backbone, name, torch.zeros(count, dtype=torch.int64))
    return saved(name)
