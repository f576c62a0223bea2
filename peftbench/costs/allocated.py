"""Bytes of the tensors that are there while something runs, forward and backward. Kind `traced`; it checks `memory.py`.

What kernels put aside inside themselves (workspaces) is not seen, nor what an allocator adds: rounding, and gaps.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocated(TorchDispatchMode):
    """Adds up the storages of all tensors that operators return, and takes each off again once nothing holds it.

    Args:
        present: Tensors that are there before: weights, an optimiser's state.

    Attributes:
        now: Bytes that are there.
        peak: The most that were there at once since `reset`.
    """

    def __init__(self, present: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in present:
            self._add(tensor)

    def reset(self) -> None:
        """Let the peak begin anew, with what is there now."""
        self.peak = self.now

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self._sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf)
        return out
