"""FLOPs of a forward pass, read off its traced graph by fvcore. Kind `traced`; it checks `count.py`, as kernels do.

The two share no code: fvcore sees a graph that was traced once, torch's formulas see each kernel that was dispatched.
Both count matmul-class operators only, 2 FLOPs per multiply-add.
"""

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from fvcore.nn.jit_analysis import JitModelAnalysis
from torch import Tensor, nn

from peftbench.errors import CostError

MATMUL_LIKE = re.compile(r"(mm|mv|matmul|linear|einsum|dot|attention|conv\w*|lstm|gru|rnn\w*|PythonOp.*)$")
"""Operators that do matmul work, by the end of their names; what a PythonOp does, the graph does not tell."""


def graph_flops(module: nn.Module, *inputs: Tensor) -> int:
    """Trace `module` once on `inputs` and add up its matmuls, forward.

    fvcore takes a multiply-add for one FLOP, adds norms to it, and drops scaled_dot_product_attention with a warning.
    Here its handles are replaced: matmul-class operators only, each by its shapes and times two, attention among them.

    Args:
        module: Gives tensors for `inputs`; on any device, "meta" too (with explicit 4-D masks: without them GPT-2 and
            Llama look at values there).
        inputs: What the module is called with.

    Returns:
        FLOPs of the operators that the outputs depend on.

    Raises:
        CostError: The graph has a matmul-like operator that has no handle: a number without it would look fine.
    """
    analysis = JitModelAnalysis(module, inputs).set_op_handle(**HANDLES)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        flops = analysis.total()
    unknown = [name for name in analysis.unsupported_ops() if MATMUL_LIKE.search(name)]
    if unknown:
        raise CostError(f"the graph has matmul-like operators that cannot be counted: {', '.join(sorted(unknown))}")
    return int(flops)


def _shape(value: Any) -> list[int]:
    return value.type().sizes()


def _product(left: int, right: int) -> Callable[[list[Any], list[Any]], int]:
    """Make the handle of an operator that multiplies its arguments number `left` and `right`."""

    def flops(inputs: list[Any], outputs: list[Any]) -> int:
        # From the output's shape: batch dimensions may be broadcast from either side.
        inner = _shape(inputs[left])[-1]
        assert inner in _shape(inputs[right]), "inner sizes differ"
        return 2 * math.prod(_shape(outputs[0])) * inner

    return flops


def _attention(inputs: list[Any], _: list[Any]) -> int:
    """Scores and values of scaled_dot_product_attention, every (query, key) pair, masked or not."""
    query, key, value = (_shape(tensor) for tensor in inputs[:3])
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


HANDLES: dict[str, Callable[[list[Any], list[Any]], int]] = {
    "aten::mm": _product(0, 1),
    "aten::bmm": _product(0, 1),
    "aten::matmul": _product(0, 1),
    "aten::linear": _product(0, 1),
    "aten::addmm": _product(1, 2),
    "aten::baddbmm": _product(1, 2),
    "aten::scaled_dot_product_attention": _attention,
}
