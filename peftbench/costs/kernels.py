"""FLOPs of the kernels that ran, forward and backward, by torch's own formulas. Kind `traced`; it checks `count.py`.

Matmul-class operators only, 2 FLOPs per multiply-add. `graph.py` counts a forward pass in another way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch._C import DispatchKey
from torch.backends import mkldnn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def kernel_flops(function: Callable[[], Any]) -> int:
    """Run `function` and add up the matmuls that were dispatched, those of `backward()` too.

    Torch has no formula for the fused attention kernel of the CPU and would drop it, so attention is made to run as
    plain matmuls: then its backward pass is counted without the recomputation that fused kernels do. Of oneDNN's LSTM
    it sees no matmul either.

    Args:
        function: Runs the model, and `backward()` where that is to be counted.

    Returns:
        FLOPs.
    """
    with _without_onednn(), sdpa_kernel(SDPBackend.MATH), Kernels() as kernels:
        function()
    return kernels.flops


@contextmanager
def _without_onednn() -> Iterator[None]:
    was_enabled = mkldnn.set_flags(_enabled=False, _fp32_precision=None)[0]
    try:
        yield
    finally:
        mkldnn.set_flags(_enabled=was_enabled, _fp32_precision=None)


class Kernels(TorchDispatchMode):
    """Adds up torch's formulas over the kernels that run, as FlopCounterMode does beside its tables per module.

    Those tables take most of its time, and refuse parameters that train in inference mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func.overloadpacket)
        if formula is None and _is_composite(func):
            with self:  # in inference mode it arrives whole
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        return out


@cache
def _is_composite(func: Any) -> bool:
    return bool(func.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd))
