"""Counted against traced on models that fit into no memory here: T0-11B and GPT-3 175B on the meta device.

Run: python benchmarks/large_models.py [MODEL]      one model per process, so that the peak of memory is its own

T0-11B with 103 + 4 tokens, GPT-3 175B with the paper's 4,121: forward, and one example of training with (IA)^3.
"""

import resource
import sys
import time

import torch
from flop_counters import Plain, inputs

from peftbench import registry
from peftbench.costs.adapter_file import without_weights
from peftbench.costs.backward import training_flops
from peftbench.costs.count import Query, forward_flops
from peftbench.costs.describe import describe
from peftbench.costs.graph import graph_flops
from peftbench.costs.kernels import kernel_flops

QUERIES = {"t0-11b": Query(0, 103, (4,)), "gpt3-175b": Query(4018, 99, (4,))}


def main(name: str) -> None:
    started, query = time.process_time(), QUERIES[name]
    backbone = without_weights(describe(name), "float32")
    backbone.model.set_attn_implementation("sdpa")
    plain, arguments = Plain(backbone), inputs(query, backbone)
    counted = forward_flops(backbone.sizes, query)
    with torch.no_grad():
        kernels = kernel_flops(lambda: plain(*arguments))
    print(f"{name}: forward, counted {counted:,}; kernels {kernels:,}; graph {graph_flops(plain, *arguments):,}")
    method = registry.method("ia3")
    with torch.device("meta"):
        backbone.train_only(method.attach(backbone, method.Config()))
    counted = training_flops(backbone.sizes, {query: 1}, 1, method.added(backbone.sizes, method.Config()))
    kernels = kernel_flops(lambda: plain(*arguments).sum().backward())
    print(f"{name}: training, counted {counted:,}; kernels {kernels:,}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{name}: {time.process_time() - started:.1f} s of one core, peak {peak:,.0f} MiB, libraries included")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "t0-11b")
