"""mini-t0's material: its tokenizer's text, its stream of prompted pairs, and the figures on its card."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from peftbench.lab.text.batches import Material, Stream, seq2seq_stream
from peftbench.lab.text.mixture import pairs
from peftbench.lab.world.lexicon import lexicon
from peftbench.lab.world.world import World
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import expand, load
from peftbench.tasks.task import Example

COPIES_OF_A_WORD = 20
MEASURED = ("lab-train", "lab-validation")
ROWS_PER_TEMPLATE = 100


def material(data: dict[str, Any], seed: int) -> Material:
    """Gather mini-t0's material.

    Args:
        data: `world_seed`, `corpus_rows`, `examples_per_step`, `num_micro_batches`.
        seed: Of the stream.
    """
    world = World.generate(data["world_seed"])
    draw = pairs(world)

    def stream(tokenizer: PreTrainedTokenizerFast) -> Stream:
        return seq2seq_stream(draw, tokenizer, seed, data["examples_per_step"], data["num_micro_batches"])

    return Material(
        corpus(world, draw, seed, data["corpus_rows"]),
        stream,
        lambda model, tokenizer: zero_shot(
            lambda examples: [_is_right(model, tokenizer, example) for example in examples]
        ),
    )


def corpus(world: World, draw: Callable[[random.Random], tuple[str, str]], seed: int, num_rows: int) -> list[str]:
    """Draw the tokenizer's text: training pairs, and each word by itself, so that rare words are whole tokens too."""
    rng = random.Random(f"{seed}/corpus")
    texts = [" ".join(draw(rng)) for _ in range(num_rows)]
    words = {word for text in texts for word in text.replace(".", " ").split() if word.isalpha()}
    return texts + sorted(words | set(lexicon().reserved)) * COPIES_OF_A_WORD


def zero_shot(are_right: Callable[[list[Example]], list[bool]]) -> dict[str, float]:
    """Measure zero-shot accuracy, length-normalised, on the training and validation tasks (sentences never trained on).

    Args:
        are_right: Tells of each example whether the model's answer is right.

    Returns:
        Task -> share right, over all templates and the first rows of its test file.
    """
    accuracies = {}
    for name in (task for group in MEASURED for task in expand(group)):
        task = load(TaskSpec(name=name))
        rows = task.test[:ROWS_PER_TEMPLATE]
        hits = are_right([template.render(row) for template in task.templates for row in rows])
        accuracies[f"zero-shot {name}, chance {task.chance:.2f}"] = sum(hits) / len(hits)
    return accuracies


@torch.inference_mode()
def _is_right(model: Any, tokenizer: PreTrainedTokenizerFast, example: Example) -> bool:
    source = tokenizer([example.input] * len(example.choices), return_tensors="pt")
    target = tokenizer(list(example.choices), return_tensors="pt", padding=True)
    logits = model(**source, labels=target["input_ids"]).logits.float()  # (choices, length, vocabulary)
    log_probs = logits.log_softmax(-1).gather(-1, target["input_ids"][..., None])[..., 0]
    mask = target["attention_mask"]
    return int(((log_probs * mask).sum(-1) / mask.sum(-1)).argmax()) == example.label
