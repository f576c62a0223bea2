"""In-context learning curve: how often the right label comes first after k shots, on sentences outside training.

One forward pass over a row of many shots gives every point of the curve. The label is judged by its first token among
the first tokens of all labels: quick enough to look at while a model trains. Reported scores come from `peftbench icl`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from peftbench.lab.text.episodes import Row, Stage, episode, label_row
from peftbench.lab.world.world import HELD, World
from peftbench.tasks.task import Task

POINTS = {0: (0, 1), 1: (1, 2), 4: (4, 6), 16: (16, 20), 32: (32, 40)}  # k -> shots seen, from and below


def icl_curve(model: Any, tokenizer: PreTrainedTokenizerFast, rows: Iterable[Row]) -> dict[int, float]:
    """Measure accuracy by the number of shots before the label.

    Args:
        model: A causal model.
        tokenizer: Its tokenizer.
        rows: Episodes; their labels begin with different tokens.

    Returns:
        k -> share right, over all labels with that many shots before them (POINTS); a k that no row reaches is absent.
    """
    hits: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        firsts = [tokenizer(label)["input_ids"][0] for label in row.labels]
        starts = [i for i, shot in enumerate(row.shots) if shot >= 0 and i > 0 and row.shots[i - 1] != shot]
        with torch.inference_mode():
            logits = model(torch.tensor([row.ids]), use_cache=False).logits[0]
        for start in starts:
            guess = firsts[int(logits[start - 1, firsts].argmax())]
            for k, (least, below) in POINTS.items():
                if least <= row.shots[start] < below:
                    hits[k].append(guess == row.ids[start])
    return {k: sum(hits[k]) / len(hits[k]) for k in POINTS if k in hits}


def unseen_episodes(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    level: str,
    length: int,
    count: int,
    styles: tuple[float, float] = (0.1, 0.2),
    focus: dict[str, float] | None = None,
) -> list[Row]:
    """Draw episodes of training attributes in sentences that training never shows; labels differ in token one."""
    rng = random.Random(f"curve/{level}")
    stage = Stage(0, length, bare_share=styles[0], plain_share=styles[1], focus=focus or {})
    rows: list[Row] = []
    while len(rows) < count:
        row = episode(world, tokenizer, rng, level, stage, part=HELD)
        if len({tokenizer(label)["input_ids"][0] for label in row.labels}) == len(row.labels):
            rows.append(row)
    return rows


def task_episodes(task: Task, tokenizer: PreTrainedTokenizerFast, length: int, per_template: int) -> list[Row]:
    """Draw episodes of a task, in each of its templates, from its rows; for tasks of the validation group."""
    assert task.group == "lab-validation", "held-out tasks are measured by `peftbench icl`, not while building"
    rng = random.Random(f"curve/{task.name}")
    rows = [*task.train, *task.test]
    episodes = []
    for template in task.templates:
        for _ in range(per_template):
            examples = [template.render(row) for row in rng.sample(rows, min(len(rows), 48))]
            shots = [(example.input, example.target) for example in examples]
            episodes.append(_join(tokenizer, shots, examples[0].choices, length))
    return episodes


def _join(
    tokenizer: PreTrainedTokenizerFast, shots: Sequence[tuple[str, str]], labels: tuple[str, ...], length: int
) -> Row:
    text, spans = "", []
    for prompt, label in shots:
        spans.append((len(text) + len(prompt), len(text) + len(prompt) + 1 + len(label)))
        text += f"{prompt} {label}\n\n"
    return label_row(tokenizer, text, spans, length, labels)
