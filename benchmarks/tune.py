"""A training step against two peers: the peft library with a plain loop, and T-Few's way of running choices.

Run: python benchmarks/tune.py [--quick] [CASE ...]      cases: smollm2, smollm2-4, t5, t5-77. Needs the extra `peft`.

All sides train on the same rows of a random checkpoint, each in a process of its own, one thread, CPU seconds a step.
Ours computes all three losses over all choices. The plain loop is the shorter work: the peft library's method, one row
for each example with its right answer only, padded, and the language-model loss. T-Few's way (2205.05638, by its
description): the encoder once for each example, its states repeated for each choice, all choices as rows of the
decoder, three losses. The token ratio is what our step runs over what it needs at least.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.chosen import chosen
from benchmarks.icl import checkpoint, phrase

BATCH_SIZE, NUM_STEPS = 8, 3
Row = tuple[str, tuple[str, ...], int]


@dataclass(frozen=True)
class Case:
    """A model's shape, the number of choices, our method, and the peer."""

    shape: str
    choices: int
    method: str
    peer: str


CASES = {
    "smollm2": Case("smollm2", 2, "lora", "peft"),
    "smollm2-4": Case("smollm2", 4, "lora", "peft"),
    "t5": Case("t5", 4, "ia3", "t-few"),
    "t5-77": Case("t5", 77, "ia3", "t-few"),
}
QUICK = ("smollm2",)


def rows(case: Case) -> list[Row]:
    """Write 32 examples of 8 to 40 words, as uneven as reviews are, with answers of one to three words."""
    generator = Random(0)
    answers: dict[str, None] = {}
    while len(answers) < case.choices:
        answers[phrase(generator, generator.choice([1, 2, 3]))] = None
    choices = tuple(answers)
    return [
        (phrase(generator, generator.randint(8, 40)), choices, generator.randrange(len(choices))) for _ in range(32)
    ]


def make(case: Case, folder: Path) -> None:
    """Write a random model of the case's shape."""
    if case.shape != "smollm2":
        return checkpoint(case.shape, folder)
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import tiny_tokenizer

    torch.manual_seed(0)
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30}
    sizes = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "max_position_embeddings": 8192}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=True, pad_token_id=0))
    model.save_pretrained(folder)
    tiny_tokenizer("llama").save_pretrained(folder)
    return None


def seconds_of(step: Callable[[int], Any]) -> float:
    """Time steps in CPU seconds; the first one warms up."""
    step(0)
    started = time.process_time()
    for number in range(1, NUM_STEPS + 1):
        step(number)
    return (time.process_time() - started) / NUM_STEPS


def ours(folder: str, case: Case) -> dict[str, float]:
    from peftbench import registry
    from peftbench.learners import tune
    from peftbench.models.load import load
    from peftbench.spec.cell import Scoring, Training
    from tests.scoring.prompts import example

    backbone = load(folder, device="cpu")
    method = registry.method(case.method)
    config = method.Config(**({"rank": 8} if case.method == "lora" else {}))
    moments: list[float] = []
    tuning = tune.Tuning(
        case.method,
        config,
        Training(num_steps=NUM_STEPS + 1, batch_size=BATCH_SIZE),
        [[example(text, choices, label)] for text, choices, label in rows(case)],
    )
    learned = tune.learn(
        tuning, backbone, Scoring(end="none"), lambda _step, _loss: moments.append(time.process_time())
    )
    work = learned.work
    return {
        "seconds": (moments[-1] - moments[0]) / NUM_STEPS,
        "token_ratio": 1 + work.num_padding_tokens / (work.num_tokens - work.num_shared_tokens),
    }


def with_peft(folder: str, case: Case) -> dict[str, float]:
    """Train LoRA in all linear layers by the peft library, on the right answers alone."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(folder)
    model = peft.get_peft_model(base, peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    order = [row for _ in range(NUM_STEPS + 1) for row in Random(0).sample(rows(case), 32)]

    def step(number: int) -> None:
        batch = order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
        prompts = [tokenizer(text, add_special_tokens=False).input_ids for text, _, _ in batch]
        answers = [tokenizer(choices[label], add_special_tokens=False).input_ids for _, choices, label in batch]
        longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            stop = len(prompt) + len(answer)
            ids[index, :stop] = torch.tensor(prompt + answer)
            labels[index, len(prompt) : stop] = torch.tensor(answer)
            mask[index, :stop] = 1
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return {"seconds": seconds_of(step)}


def as_t_few(folder: str, case: Case) -> dict[str, float]:
    """Train (IA)^3 by the peft library, running the choices as T-Few's code does."""
    import peft
    import torch
    from torch.nn.functional import cross_entropy, pad
    from transformers import Adafactor, AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.modeling_outputs import BaseModelOutput

    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForSeq2SeqLM.from_pretrained(folder)
    places = {"target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]}
    model = peft.get_peft_model(base, peft.IA3Config(task_type="SEQ_2_SEQ_LM", **places))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = Adafactor(trained, lr=3e-3, scale_parameter=True, relative_step=False, warmup_init=False)
    order = [row for _ in range(NUM_STEPS + 1) for row in Random(0).sample(rows(case), 32)]

    def step(number: int) -> None:
        batch = order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
        inputs = tokenizer([text for text, _, _ in batch], return_tensors="pt", padding=True)
        texts = [choice for _, choices, _ in batch for choice in choices]
        answers = tokenizer(texts, return_tensors="pt", padding=True)
        label = torch.tensor([label for _, _, label in batch])
        states = model.get_encoder()(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask)
        repeated = BaseModelOutput(states.last_hidden_state.repeat_interleave(case.choices, 0))
        logits = model(
            encoder_outputs=repeated,
            attention_mask=inputs.attention_mask.repeat_interleave(case.choices, 0),
            decoder_input_ids=pad(answers.input_ids[:, :-1], (1, 0)),
        ).logits  # (batch * choices, length, vocab_size)
        mask = answers.attention_mask.view(BATCH_SIZE, case.choices, -1).bool()
        log_probs = -cross_entropy(logits.flatten(0, 1), answers.input_ids.flatten(), reduction="none").view(mask.shape)
        beta = log_probs.where(mask, 0).sum(-1) / mask.sum(-1)
        right = torch.arange(BATCH_SIZE), label
        lm = -log_probs[right][mask[right]].mean()
        wrong = mask.clone()
        wrong[right] = False
        unlikelihood = -(1 - log_probs.exp() + 0.01).log()[wrong].mean()
        (lm + unlikelihood + cross_entropy(beta, label)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {"seconds": seconds_of(step)}


SIDES: dict[str, Callable[[str, Case], dict[str, float]]] = {"ours": ours, "peft": with_peft, "t-few": as_t_few}


def measure(side: str, folder: str, case: Case) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.tune", "--child", side, folder, json.dumps(asdict(case))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        import torch

        torch.set_num_threads(1)
        side, folder, case = sys.argv[2:]
        print(json.dumps(SIDES[side](folder, Case(**json.loads(case)))))
        return
    print("| shape | choices | method | ours, CPU s a step | token ratio | peer | CPU s a step | ratio |")
    print("|---|---:|---|---:|---:|---|---:|---:|")
    for name in chosen(CASES, QUICK):
        case = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            make(case, Path(folder))
            own, other = measure("ours", folder, case), measure(case.peer, folder, case)
        cells = (
            case.shape,
            case.choices,
            case.method,
            f"{own['seconds']:.2f}",
            f"{own['token_ratio']:.3f}",
            case.peer,
            f"{other['seconds']:.2f}",
            f"{other['seconds'] / own['seconds']:.1f} x",
        )
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
