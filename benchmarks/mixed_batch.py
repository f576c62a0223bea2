"""Rows of many adapters in one forward pass: against one adapter, and against switching from task to task.

Run: python benchmarks/mixed_batch.py [--quick] [FAMILY ...]      t5 and gpt2; quote the ratios, they are of one run.

128 queries, each of one of N adapters, in their random order. `one` sends them all through one adapter, `mixed` each
through its own in batches of 64, `switch` sorts them by adapter and puts one adapter after the other on the model.
`apart` is the largest difference of a log-probability between those two, in parts of the largest log-probability.
"""

import random
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from benchmarks.chosen import chosen, is_quick
from peftbench import registry
from peftbench.adapters import saved
from peftbench.adapters.side_by_side import SideBySide
from peftbench.models.load import load
from peftbench.scoring.forward import answer_log_probs
from tests.scoring.prompts import encode_one
from tests.tiny import tiny_tokenizer

NUM_QUERIES, BATCH, REPEATS = 128, 64, 1
NUMBERS = (1, 4, 16, 64)
METHODS = ("ia3", "lora", "bitfit", "bottleneck", "prefix_tuning", "prompt_tuning")
INPUT = "the premise says that the answer is maybe positive or negative"


def folder(family: str, root: Path) -> str:
    """Write a random model in the shape of T5 v1.1 small or GPT-2 small; the vocabulary is the tests' tiny one."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(family)
    if family == "t5":
        shape = {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "decoder_start_token_id": 0}
        config = T5Config(vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", tie_word_embeddings=False, **shape)
        model = T5ForConditionalGeneration(config)
    else:
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, bos_token_id=None)
        )
    path = root / family
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def adapters(backbone, method: str, number: int, root: Path) -> list[Path]:
    """Save adapters with random values."""
    module = registry.method(method)
    config, folders = module.Config(), []
    for seed in range(number):
        torch.manual_seed(seed)
        names = module.attach(backbone, config)
        with torch.no_grad():
            for parameter in backbone.parameters_named(names).values():
                parameter.add_(0.01 * torch.randn_like(parameter))
        folders.append(saved.save(root / f"{method}-{seed}", backbone, method, config, names))
        backbone.detach_all()
    return folders


def run(backbone, encoded, ids=None, side_by_side=None) -> torch.Tensor:
    """Score queries in batches of 64, in their order."""
    log_probs = []
    for start in range(0, len(encoded), BATCH):
        rows = nullcontext() if side_by_side is None else side_by_side.use(ids[start : start + BATCH])
        with torch.inference_mode(), rows:
            log_probs.append(answer_log_probs(backbone, encoded[start : start + BATCH])[0])
    return torch.cat(log_probs)


def switched(backbone, encoded, ids, folders) -> torch.Tensor:
    """Score queries adapter by adapter, and put the results back in order."""
    order = sorted(range(len(ids)), key=ids.__getitem__)
    log_probs = []
    for index in sorted(set(ids)):
        saved.load(folders[index], backbone)
        log_probs.append(run(backbone, [encoded[query] for query in order if ids[query] == index]))
        backbone.detach_all()
    flat = torch.cat(log_probs).view(len(encoded), -1)
    return flat[torch.tensor(order).argsort()].flatten()


def seconds(work, *args) -> tuple[float, torch.Tensor]:
    """Return the best time of REPEATS runs, and the result."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = work(*args)
        times.append(time.perf_counter() - started)
    return min(times), result


def main(families: list[str]) -> None:
    """Print queries per second of `one`, and how much of it `mixed` and `switch` reach."""
    for family in families:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            backbone = load(folder(family, root), device="cpu")
            encoded = [
                encode_one(
                    backbone, f"{INPUT} {number}", ["yes it does", "no it does not"], end="none", separator="\n\n"
                )
                for number in range(NUM_QUERIES)
            ]
            length = len(encoded[0].context)
            size = f"{backbone.num_parameters / 1e6:.0f} M parameters"
            print(f"\n{family}, {size}, {length} tokens, {BATCH} rows a batch; mixed and switch in parts of one")
            print(
                f"{'method':>14} {'adapters':>8} {'kB each':>8} {'one q/s':>8} {'mixed':>6} {'switch':>6} {'apart':>8}"
            )
            for method in METHODS[:1] if is_quick() else METHODS:
                folders = adapters(backbone, method, NUMBERS[1] if is_quick() else max(NUMBERS), root)
                size = (folders[0] / saved.TENSORS).stat().st_size / 1000
                for number in NUMBERS[:2] if is_quick() else NUMBERS:
                    saved.load(folders[0], backbone)
                    single, _ = seconds(run, backbone, encoded)
                    backbone.detach_all()
                    ids = random.Random(number).choices(range(number), k=NUM_QUERIES)
                    side_by_side = SideBySide(backbone, folders[:number])
                    mixed, mixed_log_probs = seconds(run, backbone, encoded, ids, side_by_side)
                    backbone.detach_all()
                    switch, switch_log_probs = seconds(switched, backbone, encoded, ids, folders)
                    apart = (mixed_log_probs - switch_log_probs).abs().max() / switch_log_probs.abs().max()
                    print(
                        f"{method:>14} {number:>8} {size:>8.1f} {NUM_QUERIES / single:>8.0f} {single / mixed:>6.2f}"
                        f" {single / switch:>6.2f} {apart:>8.1e}"
                    )


if __name__ == "__main__":
    main(chosen(("t5", "gpt2"), ("t5",)))
