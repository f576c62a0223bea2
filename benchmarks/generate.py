"""Writing answers against transformers' plain `generate`: the same prompts, weights and texts, by turns in one process.

Run: python benchmarks/generate.py [--quick]      Needs the extra peft. About four CPU minutes; --quick: one.

The peer gets all prompts as one batch, tokenized by us, padded on the left, with the same limit and the same text that
ends an answer, in float32; tuned it is the peft library's LoRA of the same rank on the same layers, as it starts. Both
must write the same texts.
Rates are of CPU seconds of one thread, the best of some turns, so that a busy machine changes little.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

NUM_QUERIES, NUM_NEW, NUM_SHOTS, NUM_TURNS = 24, 32, 16, 3
STOP = "\n"
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Case:
    """What is written: after how many shots, and whether LoRA is attached."""

    model: str
    shots: int = 0
    is_tuned: bool = False


CASES = [
    Case(model, **more) for model in ("mini-gpt", "llama") for more in ({}, {"shots": NUM_SHOTS}, {"is_tuned": True})
]
QUICK = CASES[:3]


def phrases(number: int, seed: int) -> list[str]:
    """Write texts of 5 to 25 words."""
    from tests.tiny import TEXT

    rng, words = random.Random(seed), TEXT.split()
    return [" ".join(rng.choice(words) for _ in range(rng.randint(5, 25))) for _ in range(number)]


def folder_of(model: str, root: Path) -> str:
    """Return the folder of an embedded model, or of a random Llama of 100 M parameters."""
    from benchmarks.icl import checkpoint
    from peftbench import registry

    if model in registry.embedded_models():
        return str(registry.embedded_models()[model])
    if not (root / model).exists():
        checkpoint(model, root / model)
    return str(root / model)


def sides(case: Case, folder: str) -> tuple[Callable[[], list[str]], Callable[[], list[str]]]:
    """Prepare ours and the peer's: each writes the answers to the same prompts."""
    from peftbench.learners import tune
    from peftbench.models.load import load
    from peftbench.registry import method
    from peftbench.scoring.generate import contexts, generate
    from peftbench.scoring.layout import Shot
    from peftbench.spec.cell import Scoring, Training
    from peftbench.spec.decoding import Decoding
    from tests.scoring.prompts import example

    backbone, scoring = load(folder, device="cpu"), Scoring(end="none", separator="\n\n")
    texts = [example(text, ("yes",)) for text in phrases(NUM_QUERIES, seed=0)]
    shots = [Shot(text, "no maybe") for text in phrases(case.shots, seed=1)]
    if case.is_tuned:
        none = Training(num_steps=0)
        tune.learn(tune.Tuning("lora", method("lora").Config(), none, [texts[:1]]), backbone, scoring)
    decoding = Decoding(max_new_tokens=NUM_NEW, stop=(STOP,))

    def ours() -> list[str]:
        return [output.text for output in generate(backbone, texts, scoring, decoding, shots)]

    return ours, plain(case, folder, lambda: contexts(backbone, texts, scoring, shots))


def plain(case: Case, folder: str, tokenized: Callable[[], list[list[int]]]) -> Callable[[], list[str]]:
    """Prepare transformers' own, on a model that it has loaded itself."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from peftbench.registry import method

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if case.is_tuned:
        from peft import LoraConfig, get_peft_model

        own = method("lora").Config()
        model = get_peft_model(model, LoraConfig(r=own.rank, lora_alpha=own.alpha, target_modules=LAYERS)).eval()

    def write() -> list[str]:
        prompts = tokenized()
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
        with torch.inference_mode():
            rows = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=NUM_NEW,
                do_sample=False,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.eos_token_id,
                stop_strings=[STOP],
                tokenizer=tokenizer,
            )
        texts = tokenizer.batch_decode(rows[:, longest:], skip_special_tokens=True)
        return [text.partition(STOP)[0].strip() for text in texts]

    return write


def measure(case: Case, root: Path) -> None:
    """Print a line of the table: answers a CPU second of both, and the ratio."""
    ours, peer = sides(case, folder_of(case.model, root))
    assert ours() == peer(), "the answers differ"  # and both are warm
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(NUM_TURNS):
        for name, write in (("ours", ours), ("peer", peer)):
            began = time.process_time()
            write()
            seconds[name].append(time.process_time() - began)
    own, other = min(seconds["ours"]), min(seconds["peer"])
    what = "LoRA" if case.is_tuned else f"{case.shots} shots"
    cells = f"{NUM_QUERIES / own:.1f}", f"{NUM_QUERIES / other:.1f}", f"{other / own:.2f} x"
    print(f"| {case.model} | {what} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="mini-gpt alone")
    quick = parser.parse_args().quick
    print("| model | | ours, answers/CPU s | plain generate | ratio |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as root:
        for case in QUICK if quick else CASES:
            measure(case, Path(root))


if __name__ == "__main__":
    main()
